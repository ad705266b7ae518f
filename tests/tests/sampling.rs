//! Sample mode against a program that counts itself: estimates without bias and with the spread that
//! the theory gives them.
//!
//! A block of S bytes is sampled with probability p = 1 - e^(-S/R) and then stands for 1/p blocks
//! (Horvitz and Thompson 1952), so that the sum over n such blocks has the variance n S² (1-p)/p.
//! `MEMMGR_TEST_RUNS` is the number of runs of a million allocations for each interval.

use memmgr_tests::{
    Capture, Workload,
    counts_itself::{
        self, Counts, SITE_SIZES, SITES, Truth, assert_complete, assert_consistent, heap, reported,
        reported_site,
    },
    host::has_library,
    require_root, take_turn,
};

const CALLS: u64 = 1_000_000;

fn start(preload: Option<&str>, options: &[&str]) -> Workload {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    counts_itself::start(&counts_itself::program(), preload, &options)
}

fn capture(workload: &Workload, interval: u64) -> Capture {
    let interval = interval.to_string();
    let flags = ["--mode", "sample", "--sample-interval", &interval, "--max-overhead", "off"];
    let more = ["--stack", "fp", "--ring-bytes", "64MiB"];
    Capture::start(workload.pid(), &[&flags[..], &more].concat())
}

/// Variance of the estimate of the bytes of `count` blocks of `size` bytes.
fn variance(count: u64, size: u64, interval: u64) -> f64 {
    let skipped = (-(size as f64) / interval as f64).exp();
    count as f64 * (size as f64).powi(2) * skipped / (1.0 - skipped)
}

/// How many standard errors an estimate is off.
fn deviation(estimate: u64, truth: u64, variance: f64) -> f64 {
    (estimate as f64 - truth as f64) / variance.sqrt()
}

/// One run: deviations of the total and of each size.
fn run(workload: &mut Workload, interval: u64) -> (f64, [f64; SITES]) {
    let before: Truth = workload.ask("free");
    let capture = capture(workload, interval);
    let after: Truth = workload.ask(&format!("run {CALLS}"));
    let outcome = capture.interrupt();
    let truth = after - &before;
    let report = outcome.expect_report();
    let what = format!("interval {interval}");
    assert_complete(report, &what);
    assert_consistent(report, &what);
    assert!(report.capture.accounting.sampled_out > CALLS / 2, "{what}: these are no samples");
    assert_eq!((truth.total.alloc_count, truth.total.free_count), (CALLS, 0), "{what}");

    let by_size: [(Counts, f64); SITES] = std::array::from_fn(|site| {
        let count = truth.sites[site].alloc_count;
        assert_eq!(truth.sites[site].alloc_bytes, count * SITE_SIZES[site]);
        (reported_site(report, site), variance(count, SITE_SIZES[site], interval))
    });
    let total = reported(report);
    assert_eq!((total.free_count, total.free_bytes), (0, 0), "{what}: nothing was freed");
    let spread = by_size.iter().map(|(_, variance)| variance).sum();
    (
        deviation(total.alloc_bytes, truth.total.alloc_bytes, spread),
        std::array::from_fn(|site| {
            let (seen, variance) = by_size[site];
            deviation(seen.alloc_bytes, truth.sites[site].alloc_bytes, variance)
        }),
    )
}

/// Estimates at one interval over many runs. The limits are those that a sampler without a fault
/// passes with a probability of more than 0.9999, the first one at 100 runs excepted (0.97).
fn check(interval: u64, preload: Option<&str>, function: &str, runs: usize) {
    let asked = std::env::var("MEMMGR_TEST_RUNS").ok();
    let asked = asked.map(|runs| runs.parse().expect("MEMMGR_TEST_RUNS is a number"));
    let runs: usize = asked.unwrap_or(runs);
    let _turn = take_turn();
    let slots = format!("slots={CALLS}");
    let functions = format!("functions={function}");
    let mut workload =
        start(preload, &["threads=2", &functions, "frees=0", "site_sizes=1", &slots]);
    let deviations: Vec<_> = (0..runs).map(|_| run(&mut workload, interval)).collect();

    let far = deviations.iter().filter(|(total, _)| total.abs() > 3.0).count();
    let mean = deviations.iter().map(|(total, _)| total).sum::<f64>() / runs as f64;
    let squares = deviations.iter().flat_map(|(_, sizes)| sizes).map(|z| z * z).sum::<f64>();
    let degrees = (runs * SITES) as f64;
    println!(
        "interval {interval}: {runs} runs, {far} beyond 3 standard errors, mean deviation {mean:.3}, \
         chi² {squares:.1} at {degrees} degrees"
    );
    assert!(
        far <= runs.div_ceil(100),
        "{far} of {runs} runs are off by more than 3 standard errors"
    );
    let of_a_mean = (runs as f64).sqrt();
    assert!(mean.abs() * of_a_mean < 4.0, "the estimates of the total lean to one side: {mean}");
    for (site, size) in SITE_SIZES.iter().enumerate() {
        let mean = deviations.iter().map(|(_, sizes)| sizes[site]).sum::<f64>() / runs as f64;
        println!("  {size:>6} bytes: mean deviation {mean:.3}");
        assert!(
            mean.abs() * of_a_mean < 5.0,
            "{size} bytes: the estimates lean to one side: {mean}"
        );
    }
    // Too large: worse than the theory. Too small: these are no independent samples.
    let limit = 5.0 * (2.0 * degrees).sqrt();
    assert!((squares - degrees).abs() < limit, "chi² {squares} at {degrees} degrees");
}

#[test]
fn estimates_at_512_kib() {
    if require_root() {
        check(512 << 10, None, "malloc", 4);
    }
}

#[test]
fn estimates_at_64_kib() {
    if require_root() {
        check(64 << 10, None, "malloc", 4);
    }
}

/// Of functions whose return is skipped when they are not sampled: nothing that they call may count as well.
#[test]
fn estimates_of_leaf_functions() {
    if !require_root() {
        return;
    }
    check(64 << 10, None, "calloc", 2);
    for (library, functions) in [
        ("libjemalloc.so.2", &["malloc", "calloc"][..]),
        ("libtcmalloc_minimal.so.4", &["malloc"]),
        ("libmimalloc.so.2", &["malloc"]),
    ] {
        for function in functions {
            if has_library(library) {
                check(64 << 10, Some(library), function, 2);
            }
        }
    }
}

#[test]
fn a_sampled_block_never_outlives_its_free() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    for interval in [1 << 10, 64 << 10] {
        let mut workload = start(None, &["threads=8", "failing=1"]);
        let capture = capture(&workload, interval);
        let _: Truth = workload.ask(&format!("run {CALLS}"));
        let truth: Truth = workload.ask("free");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        let what = format!("interval {interval}");
        assert_complete(report, &what);
        assert_consistent(report, &what);
        assert_eq!((truth.total.live_count, truth.total.live_bytes), (0, 0), "{what}");
        let seen = reported(report);
        assert!(seen.alloc_bytes > 0, "{what}: nothing was sampled");
        assert_eq!((seen.live_count, seen.live_bytes), (0, 0), "{what}: {seen:?}");
        for stack in heap(report) {
            assert_eq!((stack.live_count, stack.live_bytes), (0, 0), "{what}: {stack:?}");
        }
        assert_eq!(report.capture.loss.unknown_free, 0, "{what}");
    }
}
