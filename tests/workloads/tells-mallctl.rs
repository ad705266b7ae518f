//! Allocates by jemalloc as the lines on its standard input say, and tells what jemalloc counts.
//!
//! ```text
//! keep COUNT SIZE     keeps so many blocks
//! holes COUNT SIZE    keeps every second of so many blocks
//! drop                frees all that it keeps
//! threads COUNT       starts threads that keep blocks of many sizes and wait
//! busy COUNT          starts threads that allocate and free all the time
//! stats               prints what mallctl says
//! ```
//!
//! Only these blocks are jemalloc's: what is needed to print is glibc's.

use std::{
    ffi::{CString, c_void},
    io::{self, BufRead, Write},
    ptr,
    thread::park,
};

use tikv_jemalloc_sys as jemalloc;

/// Four arenas, so that threads share them. jemalloc reads this variable when it starts.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"narenas:4,dirty_decay_ms:60000\0";

/// A value of jemalloc's; written first where one is given.
fn control<T: Copy + Default>(name: &str, new: Option<T>) -> T {
    let (name, mut value, mut size) = (CString::new(name).unwrap(), T::default(), size_of::<T>());
    let (new, new_size) = match &new {
        Some(new) => (ptr::from_ref(new) as *mut c_void, size_of::<T>()),
        None => (ptr::null_mut(), 0),
    };
    // SAFETY: name, value and size live through the call, and the value has this type (jemalloc.3), else it fails.
    let result = unsafe {
        jemalloc::mallctl(name.as_ptr(), ptr::from_mut(&mut value).cast(), &mut size, new, new_size)
    };
    assert_eq!((result, size), (0, size_of::<T>()), "{name:?}");
    value
}

/// A block, every byte of it written.
fn block(size: usize) -> usize {
    // SAFETY: what malloc gives has this size.
    unsafe {
        let block = jemalloc::malloc(size);
        assert!(!block.is_null());
        ptr::write_bytes(block.cast::<u8>(), 1, size);
        block as usize
    }
}

fn free(block: usize) {
    // SAFETY: it came from `block`, and is freed once.
    unsafe { jemalloc::free(block as *mut c_void) }
}

/// Every second of these blocks is freed.
fn with_holes(blocks: Vec<usize>) -> Vec<usize> {
    let (kept, freed): (Vec<_>, Vec<_>) = blocks.chunks(2).map(|two| (two[0], two.get(1))).unzip();
    freed.into_iter().flatten().for_each(|block| free(*block));
    kept
}

fn jemalloc_is_5_2() -> bool {
    let version = control::<usize>("version", None) as *const std::ffi::c_char;
    // SAFETY: it is a string that is part of jemalloc.
    unsafe { std::ffi::CStr::from_ptr(version) }.to_bytes().starts_with(b"5.2")
}

fn stats() -> String {
    control::<u64>("epoch", Some(1));
    let has_statistics = control::<bool>("config.stats", None);
    let size = |name: String| control::<usize>(&name, None);
    let mut arenas = Vec::new();
    for index in 0..control::<u32>("arenas.narenas", None) {
        if !control::<bool>(&format!("arena.{index}.initialized"), None) {
            continue;
        }
        let of = |name: &str| size(format!("stats.arenas.{index}.{name}"));
        let decay = |name: &str| control::<isize>(&format!("stats.arenas.{index}.{name}"), None);
        let mut fields = vec![format!("\"index\":{index}")];
        fields.push(format!("\"threads\":{}", control::<u32>(&format!("stats.arenas.{index}.nthreads"), None)));
        fields.extend(["dirty_decay_ms", "muzzy_decay_ms"].map(|name| format!("\"{name}\":{}", decay(name))));
        fields.extend(["pactive", "pdirty", "pmuzzy"].map(|name| format!("\"{name}\":{}", of(name))));
        if has_statistics {
            let names = ["retained", "mapped", "resident", "base", "large.allocated"];
            fields.extend(names.map(|name| format!("\"{name}\":{}", of(name))));
            // Of 5.2 the sum is wrong.
            if !jemalloc_is_5_2() {
                fields.push(format!("\"tcache_bytes\":{}", of("tcache_bytes")));
            }
            let large = 0..control::<u32>("arenas.nlextents", None);
            let large: usize = large.map(|class| of(&format!("lextents.{class}.curlextents"))).sum();
            fields.push(format!("\"large.count\":{large}"));
            let bins = (0..control::<u32>("arenas.nbins", None)).filter_map(|bin| {
                let slabs = of(&format!("bins.{bin}.curslabs"));
                (slabs > 0).then(|| {
                    let regions = of(&format!("bins.{bin}.curregs"));
                    let room = control::<u32>(&format!("arenas.bin.{bin}.nregs"), None);
                    let class = |name: &str| size(format!("arenas.bin.{bin}.{name}"));
                    format!("[{},{},{room},{slabs},{regions}]", class("size"), class("slab_size"))
                })
            });
            fields.push(format!("\"bins\":[{}]", bins.collect::<Vec<_>>().join(",")));
        }
        arenas.push(format!("{{{}}}", fields.join(",")));
    }
    format!("{{\"page\":{},\"arenas\":[{}]}}", size("arenas.page".to_owned()), arenas.join(","))
}

fn main() {
    let mut kept = Vec::new();
    let say = |line: &str| {
        println!("{line}");
        io::stdout().flush().unwrap();
    };
    say("ready");
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let order = words.next().unwrap();
        let numbers: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
        match (order, numbers.as_slice()) {
            ("keep", [count, size]) => kept.extend((0..*count).map(|_| block(*size))),
            ("holes", [count, size]) => kept.extend(with_holes((0..*count).map(|_| block(*size)).collect())),
            ("drop", []) => kept.drain(..).for_each(free),
            ("threads", [count]) => {
                for _ in 0..*count {
                    let (told, started) = std::sync::mpsc::channel();
                    std::thread::spawn(move || {
                        let kept = with_holes((0..1000).map(|at| block(8 + at * 20)).collect());
                        told.send(kept.len()).unwrap();
                        loop {
                            park();
                        }
                    });
                    started.recv().unwrap();
                }
            }
            ("busy", [count]) => {
                for seed in 0..*count {
                    std::thread::spawn(move || {
                        let mut kept = vec![0; 4096];
                        for at in (seed..).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) {
                            let slot = &mut kept[at % 4096];
                            free(std::mem::replace(slot, block(1 + at % 30_000)));
                        }
                    });
                }
            }
            ("stats", []) => {
                say(&stats());
                continue;
            }
            _ => panic!("{line}"),
        }
        say("done");
    }
}
