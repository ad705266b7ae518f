//! Uses Rust's collections under a global allocator and counts, between them and the allocator, what is asked for.
//!
//! Arguments: seed, threads, and after how many of its own calls a thread pauses for a millisecond (0: never). It writes `ready`
//! once its threads wait, and then does what each line on stdin says, and answers with its truth since then as one line of JSON,
//! the same as that of `counts-itself.c`:
//!
//! ```text
//! run CALLS   every thread makes its share of so many steps
//! free        frees every block
//! ```
//!
//! Whatever is allocated after `ready` is counted, by whomever: so the truth is that of the allocator's functions.

use std::{
    alloc::{GlobalAlloc, Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc},
    cell::Cell,
    fmt::Write as _,
    hint::black_box,
    io::{BufRead, Read, Write},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

#[cfg(feature = "jemalloc")]
const INNER: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
#[cfg(feature = "mimalloc")]
const INNER: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc")))]
const INNER: std::alloc::System = std::alloc::System;

const SITES: usize = 8;
/// Blocks that a thread holds at most.
const SLOTS: usize = 512;

/// Blocks and bytes.
#[derive(Default)]
struct Counts {
    alloc_count: AtomicU64,
    alloc_bytes: AtomicU64,
    free_count: AtomicU64,
    free_bytes: AtomicU64,
}

static COUNTS: [Counts; SITES] = [const {
    Counts {
        alloc_count: AtomicU64::new(0),
        alloc_bytes: AtomicU64::new(0),
        free_count: AtomicU64::new(0),
        free_bytes: AtomicU64::new(0),
    }
}; SITES];
static CALLS: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The site that allocates.
    static SITE: Cell<usize> = const { Cell::new(0) };
    /// The site of the block that is freed or resized, and afterwards of the one that is there.
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

impl Counting {
    fn gained(address: *mut u8, bytes: usize) -> *mut u8 {
        if address.is_null() {
            FAILED.fetch_add(1, Relaxed);
        } else {
            let counts = &COUNTS[SITE.get()];
            counts.alloc_count.fetch_add(1, Relaxed);
            counts.alloc_bytes.fetch_add(bytes as u64, Relaxed);
            OWNER.set(SITE.get());
        }
        address
    }

    fn lost(bytes: usize) {
        let counts = &COUNTS[OWNER.get()];
        counts.free_count.fetch_add(1, Relaxed);
        counts.free_bytes.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: every call goes to an allocator that keeps the contract, with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        Self::gained(unsafe { INNER.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        Self::gained(unsafe { INNER.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { INNER.dealloc(block, layout) };
        Self::lost(layout.size());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let address = unsafe { INNER.realloc(block, layout, new_size) };
        if !address.is_null() {
            Self::lost(layout.size());
        }
        Self::gained(address, new_size)
    }
}

/// One block that is held.
enum Held {
    Nothing,
    Bytes(Vec<u8>),
    Text(String),
    /// Of an alignment that a collection of bytes does not ask for.
    Aligned(*mut u8, Layout),
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Held::Aligned(block, layout) = self {
            // SAFETY: allocated with this layout, and freed nowhere else.
            unsafe { dealloc(*block, *layout) };
        }
    }
}

struct Slot {
    held: Held,
    site: usize,
}

struct Work {
    /// xorshift64* (Vigna 2016).
    random: u64,
    slots: Vec<Slot>,
    pause: u64,
    until_pause: u64,
}

// SAFETY: the blocks belong to the work, and only one thread has it at a time.
unsafe impl Send for Work {}

impl Work {
    fn below(&mut self, limit: usize) -> usize {
        let mut x = self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        ((x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize) % limit
    }

    /// At least 1: collections ask for nothing at all otherwise.
    fn size(&mut self) -> usize {
        match self.below(1000) {
            0..400 => 1 + self.below(64),
            400..750 => 65 + self.below(1 << 10),
            750..950 => 1025 + self.below(32 << 10),
            950..998 => (32 << 10) + self.below(1 << 20),
            _ => (1 << 20) + self.below(20 << 20),
        }
    }

    fn step(&mut self) {
        let at = self.below(SLOTS);
        let site = self.below(SITES);
        SITE.set(site);
        OWNER.set(self.slots[at].site);
        let empty = matches!(self.slots[at].held, Held::Nothing);
        if !empty && self.below(3) > 0 {
            self.slots[at].held = Held::Nothing;
        } else {
            let (kind, size, alignment) = (self.below(5), self.size(), 32 << self.below(8));
            STEPS[site](&mut self.slots[at], kind, size, alignment);
        }
        CALLS.fetch_add(1, Relaxed);
        if self.pause > 0 {
            self.until_pause -= 1;
            if self.until_pause == 0 {
                self.until_pause = self.pause;
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Fills an empty slot, or resizes what is in it.
fn fill(slot: &mut Slot, kind: usize, size: usize, alignment: usize) {
    match &mut slot.held {
        Held::Nothing => {
            slot.held = match kind {
                0 => Held::Bytes(Vec::with_capacity(size)),
                1 => Held::Bytes(vec![0; size]),
                2 => Held::Text("x".repeat(size)),
                3 => {
                    // One that cannot succeed.
                    assert!(
                        Vec::<u8>::new().try_reserve_exact(isize::MAX as usize - 4096).is_err()
                    );
                    return;
                }
                _ => aligned(
                    Layout::from_size_align(size, alignment).expect("a layout"),
                    size % 2 == 0,
                ),
            };
        }
        Held::Bytes(bytes) => {
            if size > bytes.capacity() {
                bytes.resize(bytes.capacity(), 1);
                bytes.reserve_exact(size - bytes.len());
            } else {
                bytes.truncate(size);
                bytes.shrink_to(size);
            }
        }
        Held::Text(text) => {
            text.truncate(size);
            text.shrink_to_fit();
        }
        Held::Aligned(block, layout) => {
            // SAFETY: allocated with this layout; the size is not 0.
            let moved = unsafe { realloc(*block, *layout, size) };
            let new = Layout::from_size_align(size, layout.align()).expect("a layout");
            if moved.is_null() {
                handle_alloc_error(new);
            }
            (*block, *layout) = (moved, new);
        }
    }
    // A resize may have had nothing to do.
    slot.site = OWNER.get();
}

fn aligned(layout: Layout, zeroed: bool) -> Held {
    // SAFETY: the size is not 0.
    let block = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    Held::Aligned(block, layout)
}

/// Functions that a report can tell apart: none of them is inlined, folded into another, or left by a jump.
macro_rules! sites {
    ($($name:ident = $site:literal),*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            fn $name(slot: &mut Slot, kind: usize, size: usize, alignment: usize) {
                fill(slot, kind, size, alignment);
                black_box($site);
            }
        )*
        const STEPS: [fn(&mut Slot, usize, usize, usize); SITES] = [$($name),*];
    };
}

sites!(
    site_0 = 0,
    site_1 = 1,
    site_2 = 2,
    site_3 = 3,
    site_4 = 4,
    site_5 = 5,
    site_6 = 6,
    site_7 = 7
);

/// Writes one object, without allocating.
fn tell(out: &mut impl Write) {
    struct Line([u8; 4096], usize);
    impl std::fmt::Write for Line {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0[self.1..][..text.len()].copy_from_slice(text.as_bytes());
            self.1 += text.len();
            Ok(())
        }
    }
    let mut line = Line([0; 4096], 0);
    let figures: [[u64; 4]; SITES] = std::array::from_fn(|site| {
        let c = &COUNTS[site];
        [&c.alloc_count, &c.alloc_bytes, &c.free_count, &c.free_bytes]
            .map(|count| count.load(Relaxed))
    });
    let total: [u64; 4] = std::array::from_fn(|i| figures.iter().map(|site| site[i]).sum());
    let object = |line: &mut Line, [allocs, bytes, frees, freed]: [u64; 4]| {
        write!(
            line,
            "{{\"alloc_count\":{allocs},\"alloc_bytes\":{bytes},\"free_count\":{frees},\"free_bytes\":{freed},\
             \"live_count\":{},\"live_bytes\":{}}}",
            allocs - frees,
            bytes - freed
        )
    };
    let (calls, failed) = (CALLS.load(Relaxed), FAILED.load(Relaxed));
    write!(line, "{{\"calls\":{calls},\"failed\":{failed},\"total\":").expect("room");
    object(&mut line, total).expect("room");
    for (site, figures) in figures.into_iter().enumerate() {
        line.write_str(if site == 0 { ",\"sites\":[" } else { "," }).expect("room");
        object(&mut line, figures).expect("room");
    }
    line.write_str("]}\n").expect("room");
    out.write_all(&line.0[..line.1]).and_then(|()| out.flush()).expect("stdout is there");
}

fn main() {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let [seed, threads, pause] = arguments[..] else { panic!("SEED THREADS PAUSE") };
    let (begin, end) = (
        Arc::new(Barrier::new(threads as usize + 1)),
        Arc::new(Barrier::new(threads as usize + 1)),
    );
    let steps = Arc::new(AtomicU64::new(0));
    let works: Vec<Arc<Mutex<Work>>> = (0..threads)
        .map(|thread| {
            let slots = (0..SLOTS).map(|_| Slot { held: Held::Nothing, site: 0 }).collect();
            let random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (thread + 1);
            Arc::new(Mutex::new(Work { random, slots, pause, until_pause: pause }))
        })
        .collect();
    for work in &works {
        let (work, steps) = (Arc::clone(work), Arc::clone(&steps));
        let (begin, end) = (Arc::clone(&begin), Arc::clone(&end));
        thread::spawn(move || {
            loop {
                begin.wait();
                let mut work = work.lock().expect("no thread panics");
                for _ in 0..steps.load(Relaxed) {
                    work.step();
                }
                drop(work);
                end.wait();
            }
        });
    }
    // One turn of nothing, so that whatever a thread allocates for itself it has.
    begin.wait();
    end.wait();
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut line = String::with_capacity(256);
    output.flush().expect("stdout is there");
    for counts in &COUNTS {
        for count in
            [&counts.alloc_count, &counts.alloc_bytes, &counts.free_count, &counts.free_bytes]
        {
            count.store(0, Relaxed);
        }
    }
    FAILED.store(0, Relaxed);
    output.write_all(b"ready\n").and_then(|()| output.flush()).expect("stdout is there");
    while (&mut input).take(255).read_line(&mut line).is_ok_and(|length| length > 0) {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next().map(str::parse::<u64>)) {
            (Some("run"), Some(Ok(calls))) => {
                steps.store(calls / threads, Relaxed);
                begin.wait();
                end.wait();
            }
            (Some("free"), None) => {
                for work in &works {
                    for slot in &mut work.lock().expect("no thread panics").slots {
                        OWNER.set(slot.site);
                        slot.held = Held::Nothing;
                    }
                }
            }
            _ => panic!("a word that is not known: {line}"),
        }
        tell(&mut output);
        line.clear();
    }
}
