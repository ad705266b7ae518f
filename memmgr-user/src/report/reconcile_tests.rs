//! Tests of the reconciliation: literal smaps in, lines and sentences out.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::source::{
    mappings::{parse_smaps, read_mapping_figures},
    process::read_stack_pointers,
    process_dir::ProcessDir,
    roots::Roots,
};

const MIB: u64 = 1 << 20;

/// A process with one of everything. Its two thread stacks are known by their pointers: 0x7f20007ff000 and
/// 0x7f30000ff000.
const SMAPS: &str = "\
00400000-00500000 r-xp 00000000 08:02 5 /bin/server
Rss: 1024 kB
00500000-00700000 rw-p 00100000 08:02 5 /bin/server
Rss: 2048 kB
Anonymous: 512 kB
01000000-05000000 rw-p 00000000 00:00 0 [heap]
Rss: 32768 kB
Swap: 4096 kB
7f1000000000-7f1004000000 rw-p 00000000 00:00 0
Rss: 16384 kB
7f2000000000-7f2000001000 ---p 00000000 00:00 0
7f2000001000-7f2000801000 rw-p 00000000 00:00 0
Rss: 64 kB
7f3000000000-7f3000100000 rw-p 00000000 00:00 0
Rss: 32 kB
VmFlags: rd wr mr mw me ac nh
7f4000000000-7f4000100000 rw-s 00000000 00:01 9 /memfd:cache (deleted)
Rss: 1024 kB
7f4000100000-7f4000200000 rw-s 00000000 00:01 9 /dev/zero (deleted)
Rss: 256 kB
7f4000200000-7f4000300000 r--p 00000000 00:00 0
Rss: 128 kB
7f5000000000-7f5000200000 rw-p 00000000 00:0f 9 /dev/hugepages/a
Rss: 0 kB
Private_Hugetlb: 2048 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
Rss: 100 kB
7ffd00030000-7ffd00032000 r-xp 00000000 00:00 0 [vdso]
Rss: 4 kB
";
const STACK_POINTERS: [u64; 2] = [0x7f30_000f_f000, 0x7f20_007f_f000];

#[test]
fn the_heap_of_a_runtime_is_named() {
    let check = |file: &str, expected: Option<&str>| {
        let smaps =
            format!("{SMAPS}7fff00000000-7fff00001000 r-xp 00000000 08:02 7 {file}\nRss: 4 kB\n");
        let found = reconcile(&parse_smaps(smaps.as_bytes()).unwrap(), MIB, &[], &STACK_POINTERS);
        assert_eq!(found.runtime_heap.as_deref(), expected, "{file}");
        let sentence = found.explanation.iter().find(|words| words.contains("more is resident"));
        let named = expected.unwrap_or("kept by the allocator after a free");
        assert!(sentence.is_some_and(|words| words.contains(named)), "{sentence:?}");
    };
    check("/opt/java/lib/server/libjvm.so", Some("the JVM's heap"));
    check("/usr/lib/libnode.so.108", Some("V8's heap"));
    check("/usr/share/dotnet/libcoreclr.so", Some(".NET's heap"));
    check("/usr/lib/libc.so.6", None);
}

#[test]
fn one_of_everything() {
    let mappings = parse_smaps(SMAPS.as_bytes()).unwrap();
    let found = reconcile(&mappings, 40 * MIB, &[], &STACK_POINTERS);
    let expected = Reconciliation {
        rss_bytes: mappings.iter().map(|figures| figures.rss).sum(),
        tracked_live_bytes: 40 * MIB,
        allocator_retained_bytes: 8 * MIB,
        runtime_heap: None,
        own_mappings_bytes: 0,
        thread_stacks_bytes: (64 + 32 + 100) << 10,
        file_bytes: (1024 + 1536) << 10,
        shmem_bytes: (1024 + 256) << 10,
        untracked_bytes: (512 + 128 + 4) << 10,
        explanation: [
            "52.6 MiB is resident; at most 40.0 MiB of it (76 %) is heap that was allocated since memmgr attached and is not freed.",
            "8.0 MiB more is resident in the heap's mappings: allocated before memmgr attached, kept by the allocator after a free, lost to fragmentation, or zeroed static data (.bss).",
            "4.0 MiB of the heap is swapped out and not part of the resident memory.",
            "196.0 KiB is stacks of threads.",
            "2.5 MiB is pages of mapped files: programs, libraries and data, which the kernel can drop and read again unless they are dirty or locked.",
            "1.2 MiB is shared memory (memfd, /dev/shm, System V), which may be in use by other processes too.",
            "512.0 KiB is untracked: pages of mapped files that the process changed, as .data and relocations of libraries.",
            "132.0 KiB is untracked: read-only anonymous memory and special mappings.",
            "2.0 MiB of huge pages (hugetlbfs) is in use besides: the kernel does not count it as resident.",
        ]
        .map(String::from)
        .to_vec(),
    };
    assert_eq!(found, expected);
}

#[test]
fn more_tracked_than_resident() {
    let mappings = parse_smaps(SMAPS.as_bytes()).unwrap();
    let found = reconcile(&mappings, 100 * MIB, &[], &STACK_POINTERS);
    assert_eq!((found.tracked_live_bytes, found.allocator_retained_bytes), (100 * MIB, 0));
    assert_eq!(
        found.explanation[..2],
        [
            "52.6 MiB is resident; at most 48.0 MiB of it (91 %) is heap that was allocated since memmgr attached and is not freed.",
            "52.0 MiB of the tracked heap cannot be resident: it was allocated and never touched, or it is swapped out.",
        ]
    );
}

#[test]
fn nothing_is_resident() {
    assert_eq!(
        reconcile(&[], 0, &[], &[1]).explanation,
        [
            "0 B is resident; at most 0 B of it (0 %) is heap that was allocated since memmgr attached and is not freed."
        ]
    );
}

#[test]
fn what_counts_as_a_thread_stack() {
    let guard = "1000000-1001000 ---p 0 0:0 0\n";
    for (text, pointer, is_stack) in [
        // A guard page below and a pointer inside.
        (format!("{guard}1001000-1801000 rw-p 0 0:0 0\nRss: 4 kB\n"), 0x180_0000, true),
        // The pointer is outside, one too low or one too high.
        (format!("{guard}1001000-1801000 rw-p 0 0:0 0\nRss: 4 kB\n"), 0x100_0fff, false),
        (format!("{guard}1001000-1801000 rw-p 0 0:0 0\nRss: 4 kB\n"), 0x180_1000, false),
        // Go's heap: a pointer, and nothing that was made as a stack.
        ("c000000000-c000400000 rw-p 0 0:0 0\nRss: 4 kB\n".into(), 0xc0_0020_0000, false),
        // The guard does not touch.
        (format!("{guard}1002000-1801000 rw-p 0 0:0 0\nRss: 4 kB\n"), 0x180_0000, false),
        // A heap was merged into the mapping above the stack.
        (format!("{guard}1001000-9001000 rw-p 0 0:0 0\nRss: 4 kB\n"), 0x180_0000, false),
        // MAP_STACK without a guard page of its own.
        ("1001000-1801000 rw-p 0 0:0 0\nRss: 4 kB\nVmFlags: rd wr nh\n".into(), 0x180_0000, true),
        ("1001000-1801000 rw-p 0 0:0 0\nRss: 4 kB\nVmFlags: rd wr nh\n".into(), 0, false),
        // Named by glibc, running.
        (
            "1001000-1801000 rw-p 0 0:0 0 [anon: glibc: pthread stack: 77]\nRss: 4 kB\n".into(),
            0,
            true,
        ),
        ("1001000-1801000 rw-p 0 0:0 0 [anon: glibc: malloc arena]\nRss: 4 kB\n".into(), 0, false),
        ("1001000-1801000 rw-p 0 0:0 0 [stack]\nRss: 4 kB\n".into(), 0, true),
    ] {
        let found = reconcile(&parse_smaps(text.as_bytes()).unwrap(), 0, &[], &[pointer]);
        let lines = (found.thread_stacks_bytes, found.allocator_retained_bytes);
        assert_eq!(lines, if is_stack { (4096, 0) } else { (0, 4096) }, "{text}");
    }
}

#[test]
fn own_memory_adds_up() {
    let block = std::hint::black_box(vec![1_u8; 24 << 20]);
    let dir = ProcessDir::open(&Roots::default(), crate::units::Pid(std::process::id())).unwrap();
    let mappings = read_mapping_figures(&dir).unwrap();
    let found =
        reconcile(&mappings, block.len() as u64, &[], &read_stack_pointers(&dir).unwrap().known);
    let heap = mappings.iter().map(|figures| figures.rss).sum::<u64>()
        - found.thread_stacks_bytes
        - found.file_bytes
        - found.shmem_bytes
        - found.untracked_bytes;
    assert_eq!(heap, block.len() as u64 + found.allocator_retained_bytes);
    assert!(found.thread_stacks_bytes > 0 && found.file_bytes > 0, "{found:?}");
}

#[test]
fn stack_of_a_blocked_thread_of_ours() {
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let local = 0_u8;
        tell.send(&raw const local as u64).unwrap();
        ended.recv().unwrap_err();
    });
    let local: u64 = told.recv().unwrap();
    let dir = ProcessDir::open(&Roots::default(), crate::units::Pid(std::process::id())).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let pointer = loop {
        let known = read_stack_pointers(&dir).unwrap().known;
        if let Some(&pointer) = known.iter().find(|pointer| pointer.abs_diff(local) < 64 << 10) {
            break pointer;
        }
        assert!(std::time::Instant::now() < deadline, "the blocked thread was never seen");
    };
    let mappings = read_mapping_figures(&dir).unwrap();
    let at = mappings.iter().position(|figures| figures.mapping.contains(local)).unwrap();
    let found = reconcile(&mappings[at - 1..=at], 0, &[], &[pointer]);
    assert_eq!(found.thread_stacks_bytes, mappings[at].rss);
    drop(end);
    thread.join().unwrap();
}

proptest! {
    #[test]
    fn lines_add_up_to_rss(
        parts in proptest::collection::vec((0_usize..9, 0_u64..1 << 20, 0_u64..1 << 20, any::<bool>()), 0..20),
        tracked in 0_u64..1 << 32,
        pointers in proptest::collection::vec(0_u64..1 << 24, 0..8),
    ) {
        let names = ["", "[heap]", "[stack]", "[vdso]", "/lib/a", "/memfd:a", "[anon:a]", "[vvar]", "/dev/shm/a"];
        let mut text = String::new();
        for (index, (name, rss, anonymous, shared)) in parts.iter().enumerate() {
            let (start, end, name) = (index << 20, (index + 1) << 20, names[*name]);
            let shared = if *shared { 's' } else { 'p' };
            writeln!(text, "{start:x}-{end:x} rw-{shared} 0 0:0 0 {name}").unwrap();
            writeln!(text, "Rss: {rss} kB\nAnonymous: {anonymous} kB").unwrap();
        }
        let found = reconcile(&parse_smaps(text.as_bytes()).unwrap(), tracked, &[], &pointers);
        prop_assert_eq!(found.rss_bytes, parts.iter().map(|part| part.1 << 10).sum::<u64>());
        let rest = found.thread_stacks_bytes + found.file_bytes + found.shmem_bytes + found.untracked_bytes;
        let heap = found.rss_bytes - rest;
        prop_assert_eq!(tracked.min(heap) + found.allocator_retained_bytes, heap);
    }
}

#[test]
fn what_the_program_mapped_by_itself_is_no_heap() {
    let text = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \nSize: 4096 kB\nRss: 2048 kB\nPrivate_Dirty: 2048 kB\nAnonymous: 2048 kB\n";
    let mappings = parse_smaps(text.as_bytes()).unwrap();
    let own = [0x7f00_0020_0000..0x7f00_0040_0000, 0x1000..0x2000];
    let found = reconcile(&mappings, 8 * MIB, &own, &[]);
    assert_eq!((found.own_mappings_bytes, found.allocator_retained_bytes), (MIB, 0));
    assert!(
        found.explanation.iter().any(|s| s.contains("mapped by itself")),
        "{:?}",
        found.explanation
    );
}
