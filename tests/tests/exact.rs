//! Exact mode against a program that counts itself: equal to the byte and to the block.
//!
//! `MEMMGR_TEST_RUNS` is the number of runs of a million calls, spread over [`VARIANTS`]; each run
//! has its own seed.

use memmgr::report::Allocator;
use memmgr_tests::{
    Capture, Outcome, Workload,
    counts_itself::{
        self, ALL_FUNCTIONS, Truth, assert_complete, assert_consistent, assert_equal_to_the_truth,
        reported, reported_site,
    },
    host::{has_library, has_program, has_static_library},
    require_root, take_turn,
};

/// So much room that the collector may get no processor time for a while: with frame pointers a
/// million events fit whole.
const RING: &str = "512MiB";
/// The stacks of the program are shallow.
const STACK: &str = "4KiB";

/// Without `strdup`: the caller's frame is not in a chain of frame pointers that begins in a function
/// of a C library that was built without them.
const NO_STRDUP: &str =
    "malloc,calloc,realloc,reallocarray,posix_memalign,aligned_alloc,memalign,valloc,pvalloc";
/// Without `pvalloc`, which jemalloc does not replace: its blocks would be glibc's.
const NO_PVALLOC: &str =
    "malloc,calloc,realloc,reallocarray,posix_memalign,aligned_alloc,memalign,valloc";
/// What musl offers.
const MUSL: &str = "malloc,calloc,realloc,reallocarray,posix_memalign,aligned_alloc,memalign";

/// What every library that is linked in has.
const STATIC: &str = "malloc,calloc,realloc,posix_memalign,aligned_alloc,memalign";

/// An allocator, a number of threads, a kind of stack.
#[derive(Clone, Copy, Debug)]
struct Variant {
    allocator: &'static str,
    threads: u32,
    stack: &'static str,
    functions: &'static str,
    /// Calls between the pauses of a thread, so that the collector gets processor time: copies of
    /// stacks fill a ring, and no ring holds a million of them. 0: no pauses.
    pause: u32,
}

const fn variant(
    allocator: &'static str,
    threads: u32,
    stack: &'static str,
    functions: &'static str,
    pause: u32,
) -> Variant {
    Variant { allocator, threads, stack, functions, pause }
}

const VARIANTS: [Variant; 19] = [
    variant("glibc", 16, "fp", NO_STRDUP, 0),
    variant("glibc", 4, "dwarf", ALL_FUNCTIONS, 200),
    variant("glibc", 64, "fp", NO_STRDUP, 0),
    variant("jemalloc", 4, "fp", NO_PVALLOC, 0),
    variant("glibc", 1, "fp", NO_STRDUP, 0),
    variant("musl", 4, "fp", MUSL, 0),
    variant("glibc", 64, "dwarf", ALL_FUNCTIONS, 200),
    variant("tcmalloc", 4, "fp", NO_STRDUP, 0),
    variant("glibc", 4, "fp", NO_STRDUP, 0),
    variant("mimalloc", 4, "fp", NO_STRDUP, 0),
    variant("glibc", 1, "dwarf", ALL_FUNCTIONS, 200),
    variant("jemalloc", 16, "dwarf", NO_PVALLOC, 200),
    variant("glibc", 16, "dwarf", ALL_FUNCTIONS, 200),
    variant("tcmalloc", 16, "dwarf", NO_STRDUP, 200),
    variant("mimalloc", 16, "dwarf", NO_STRDUP, 200),
    variant("musl", 16, "dwarf", MUSL, 200),
    variant("static glibc", 4, "dwarf", STATIC, 200),
    variant("static jemalloc", 4, "fp", STATIC, 0),
    variant("static tcmalloc", 4, "dwarf", STATIC, 200),
];

/// The program with a variant's allocator; `None` where that is not installed.
fn start(variant: Variant, seed: u64) -> Option<Workload> {
    let (preload, installed) = match variant.allocator {
        "glibc" | "static glibc" => (None, true),
        "musl" => (None, has_program("musl-gcc")),
        "jemalloc" => (Some("libjemalloc.so.2"), has_library("libjemalloc.so.2")),
        "tcmalloc" => (Some("libtcmalloc_minimal.so.4"), has_library("libtcmalloc_minimal.so.4")),
        "mimalloc" => (Some("libmimalloc.so.2"), has_library("libmimalloc.so.2")),
        "static jemalloc" => (None, has_static_library("libjemalloc.a")),
        "static tcmalloc" => (None, has_static_library("libtcmalloc_minimal.a")),
        other => panic!("no such allocator: {other}"),
    };
    if !installed {
        return None;
    }
    let program = counts_itself::program();
    let program = match variant.allocator {
        "musl" => program.compiler("musl-gcc"),
        "static glibc" => program.flags(&["-static"]),
        "static jemalloc" => program.flags(&["-l:libjemalloc.a", "-lstdc++", "-lm"]),
        "static tcmalloc" => program.flags(&["-l:libtcmalloc_minimal.a", "-lstdc++", "-lm"]),
        _ => program,
    };
    let options = [
        format!("seed={seed}"),
        format!("threads={}", variant.threads),
        format!("functions={}", variant.functions),
        format!("slots={}", 8192 / variant.threads),
        format!("pause={}", variant.pause),
        "failing=1".to_owned(),
    ];
    Some(counts_itself::start(&program, preload, &options))
}

fn capture(workload: &Workload, stack: &str) -> Capture {
    let flags = ["--mode", "exact", "--stack", stack, "--stack-bytes", STACK, "--ring-bytes", RING];
    Capture::start(workload.pid(), &flags)
}

/// One run from the start of the program to the report.
fn check(variant: Variant, seed: u64, calls: u64) {
    let _turn = take_turn();
    let Some(mut workload) = start(variant, seed) else { return };
    let capture = capture(&workload, variant.stack);
    let truth: Truth = workload.ask(&format!("run {calls}"));
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    let what = format!("{variant:?}, seed {seed}, {calls} calls");
    assert!(truth.calls + u64::from(variant.threads) > calls, "{what}: {truth:?}");
    assert!(truth.failed > 0 || variant.functions == "strdup", "{what}: no call failed");
    assert_equal_to_the_truth(report, &truth, &what);
    assert_consistent(report, &what);
    assert_eq!(report.capture.stack.kind, variant.stack, "{what}");
    assert_eq!(
        report.capture.loss.unknown_free, 0,
        "{what}: every block is younger than the attach"
    );
    // Beside it there may be glibc's: for what a preloaded library does not replace.
    let called = |allocator: &Allocator| allocator.functions.iter().any(|f| f.hits > 0);
    let kind = variant.allocator.trim_start_matches("static ");
    let mut allocators = report.target.allocators.iter();
    assert!(
        allocators.any(|allocator| allocator.kind == kind && called(allocator)),
        "{what}: its allocator was not called: {:?}",
        report.target.allocators
    );
}

#[test]
fn a_million_calls_are_counted_to_the_byte() {
    if !require_root() {
        return;
    }
    let runs = std::env::var("MEMMGR_TEST_RUNS").ok();
    let runs = runs.map_or(4, |runs| runs.parse().expect("MEMMGR_TEST_RUNS is a number"));
    for run in 0..runs {
        let variant = VARIANTS[run % VARIANTS.len()];
        check(variant, run as u64, 1_000_000);
        println!("run {run}: {variant:?}: equal");
    }
}

#[test]
fn every_variant_is_counted_to_the_byte() {
    if !require_root() {
        return;
    }
    for variant in VARIANTS {
        check(variant, 1000, 50_000);
    }
}

#[test]
fn every_function_alone_is_counted_to_the_byte() {
    if !require_root() {
        return;
    }
    for function in ALL_FUNCTIONS.split(',') {
        check(variant("glibc", 2, "dwarf", function, 200), 2000, 20_000);
    }
}

#[test]
fn blocks_older_than_the_attach_are_unknown_when_they_go() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload =
        start(variant("glibc", 4, "fp", NO_STRDUP, 0), 3000).expect("glibc is there");
    let before: Truth = workload.ask("run 100000");
    let capture = capture(&workload, "fp");
    let _: Truth = workload.ask("run 100000");
    let after: Truth = workload.ask("free");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_complete(report, "half of it before the attach");
    assert_consistent(report, "half of it before the attach");
    let seen = reported(report);
    assert_eq!((seen.live_count, seen.live_bytes), (0, 0));
    assert_eq!(seen.alloc_count, after.total.alloc_count - before.total.alloc_count);
    assert_eq!(seen.alloc_bytes, after.total.alloc_bytes - before.total.alloc_bytes);
    // Each of them was freed or resized once; a resize that failed does not count.
    assert_eq!(report.capture.loss.unknown_free, before.total.live_count);
}

/// Attaches while four threads allocate, and ends either after they do or while they still do.
fn check_storm(workload: &mut Workload, duration: Option<&str>) -> (Outcome, Truth) {
    workload.send("storm");
    let mut flags = vec!["--mode", "exact", "--stack", "fp", "--ring-bytes", RING];
    flags.extend(duration.iter().flat_map(|duration| ["--duration", duration]));
    let capture = Capture::start(workload.pid(), &flags);
    if duration.is_some() {
        let outcome = capture.wait();
        (outcome, workload.ask("stop"))
    } else {
        let truth = workload.ask("stop");
        (capture.interrupt(), truth)
    }
}

#[test]
fn an_attach_in_a_storm_never_shows_more_than_there_is() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload =
        start(variant("glibc", 4, "fp", NO_STRDUP, 0), 4000).expect("glibc is there");
    let mut older = 0;
    for round in 0..20 {
        let what = format!("storm {round}");
        let ends_in_it = round % 2 == 1;
        let (outcome, truth) = check_storm(&mut workload, ends_in_it.then_some("100ms"));
        let report = outcome.expect_report();
        assert_complete(report, &what);
        assert_consistent(report, &what);
        assert_eq!(report.capture.loss.implied_free, 0, "{what}");
        older += report.capture.loss.unknown_free;
        if ends_in_it {
            continue;
        }
        let seen = reported(report);
        assert!(seen.live_bytes <= truth.total.live_bytes, "{what}: {seen:?} {truth:?}");
        assert!(seen.live_count <= truth.total.live_count, "{what}: {seen:?} {truth:?}");
        for (site, true_counts) in truth.sites.iter().enumerate() {
            let seen = reported_site(report, site);
            assert!(seen.live_bytes <= true_counts.live_bytes, "{what}: site_{site}: {seen:?}");
            assert!(seen.live_count <= true_counts.live_count, "{what}: site_{site}: {seen:?}");
        }
    }
    assert!(older > 0, "no block was older than its attach: this was no storm");
}
