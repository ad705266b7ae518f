//! Verdicts and figures from windows of time.

use super::watched::{Habit, Watch, watched};
use crate::report::Report;

const KIB: u64 = 1 << 10;
const WINDOWS: Watch = Watch { window_s: 0.03, seconds: 40, sampling: 0 };

fn habit(size: u64, per_s: f64, life_s: f64) -> Habit {
    Habit { stack: 0, size, per_s, life_s, spread: 0.2 }
}

const FOREVER: f64 = f64::INFINITY;

/// Severities of what is said about stacks, the same for each of some seeds.
#[track_caller]
fn check(habits: &[Habit], watch: Watch, expected: &[&str]) {
    for seed in 1..=5 {
        let report = watched(habits, watch, seed);
        let leaks = report.findings.iter().filter(|finding| finding.kind == "leak");
        let found: Vec<&str> = leaks.map(|finding| finding.severity.as_str()).collect();
        assert_eq!(found, expected, "seed {seed}: {:#?}", report.findings);
    }
}

/// Every sentence of evidence.
fn evidence(report: &Report) -> String {
    report
        .findings
        .iter()
        .flat_map(|finding| &finding.evidence)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_leak_is_found_through_windows() {
    check(&[habit(KIB, 1024.0, FOREVER)], WINDOWS, &["warning"]);
    let report = watched(&[habit(KIB, 1024.0, FOREVER)], WINDOWS, 1);
    let said = evidence(&report);
    assert!(said.contains("Allocator probes were in place for 3.0 % of the time. Of 1"), "{said}");
    assert!(said.contains("0 were seen to be freed; had half of them died"), "{said}");
    assert!(said.contains("so most of them stay"), "{said}");
    // And in 40 s it is about 40 MiB.
    let (live, error) = (report.totals.live_bytes as f64, report.totals.live_bytes_error as f64);
    assert!((live - 40.0 * 1024.0 * 1024.0).abs() <= 2.0 * error, "{live} ± {error}");
    assert!(error < 0.2 * live, "{live} ± {error}");
}

#[test]
fn sampled_windows_find_it_too() {
    let leak = habit(KIB, 4096.0, FOREVER);
    check(&[leak], Watch { sampling: 4 * KIB, ..WINDOWS }, &["warning"]);
}

fn is_grave(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.severity != "info")
}

#[test]
fn sessions_that_end_between_windows_are_no_leak() {
    for (per_s, sampling) in [(50.0, 0), (500.0, 0), (2000.0, 0), (2000.0, 4 * KIB)] {
        for seed in 1..=10 {
            let report = watched(&[habit(KIB, per_s, 10.0)], Watch { sampling, ..WINDOWS }, seed);
            assert!(!is_grave(&report), "{per_s} {sampling} {seed}: {:#?}", report.findings);
        }
    }
}

/// Sessions that live equally long to the millisecond, as after a timeout, die between two windows as one. That all of
/// them do so is a chance that grows small with time, and no more can be known.
#[test]
fn equally_long_sessions_are_rarely_a_leak() {
    let sessions = Habit { spread: 0.0, ..habit(KIB, 1000.0, 10.0) };
    let warned = (1..=20).filter(|seed| is_grave(&watched(&[sessions], WINDOWS, *seed))).count();
    assert!(warned <= 5, "{warned} of 20");
    let watch = Watch { seconds: 90, ..WINDOWS };
    let warned = (1..=20).filter(|seed| is_grave(&watched(&[sessions], watch, *seed))).count();
    assert!(warned <= 1, "{warned} of 20");
}

#[test]
fn too_little_to_tell_is_said() {
    let report = watched(&[habit(64 * KIB, 50.0, FOREVER)], WINDOWS, 3);
    let said = evidence(&report);
    assert_eq!(report.findings[0].severity, "info", "{said}");
    assert!(said.contains("only a longer observation or a larger --max-overhead"), "{said}");
}

#[test]
fn churn_is_nothing() {
    check(&[habit(64, 20_000.0, 50e-6)], WINDOWS, &[]);
    check(&[habit(64, 20_000.0, 50e-6)], Watch { sampling: 4 * KIB, ..WINDOWS }, &[]);
}

#[test]
fn a_leak_shows_among_churn_of_the_same_stack() {
    let leak = habit(2 * KIB, 512.0, FOREVER);
    let churn = habit(2 * KIB, 50_000.0, 20e-6);
    check(&[leak, churn], WINDOWS, &["warning"]);
}

/// What windows estimate is the truth within its error, pairs stay paired, and nothing falls below zero.
#[test]
fn figures_are_scaled() {
    let (mut within, mut cases) = (0, 0);
    for seed in 0..40 {
        let habits = [habit(KIB, 600.0, FOREVER), Habit { stack: 1, ..habit(256, 3000.0, 1e-4) }];
        let report = watched(&habits, Watch { window_s: 0.1, ..WINDOWS }, 100 + seed);
        let truths = [600.0 * 40.0 * 1024.0, 3000.0 * 40.0 * 256.0];
        for stack in &report.stacks {
            let truth = truths[usize::from(stack.frames[0].function.as_deref() != Some("stack_0"))];
            let off = stack.alloc_bytes as f64 - truth;
            within += u32::from(off.abs() <= 2.0 * stack.alloc_bytes_error as f64);
            cases += 1;
        }
        let sum: u64 = report.stacks.iter().map(|stack| stack.live_bytes).sum();
        assert!(sum.abs_diff(report.totals.live_bytes) <= 2, "{sum} {}", report.totals.live_bytes);
        assert!(report.stacks.iter().all(|stack| stack.live_bytes <= stack.alloc_bytes));
        assert!(report.capture.loss.implied_free == 0);
        let observed = report.capture.observed.unwrap();
        assert!((observed.share - 0.1).abs() < 1e-9 && observed.windows == 40, "{observed:?}");
    }
    // The births are even: windows taken for clusters at random never claim too much.
    assert!(within * 100 >= cases * 95, "{within} of {cases}");
}

/// Windows that are always open are no windows: the same report as that of a capture without them.
#[test]
fn always_is_no_window() {
    let habits = [habit(KIB, 200.0, FOREVER), habit(256, 1000.0, 1e-3)];
    let report = watched(&habits, Watch { window_s: 1.0, ..WINDOWS }, 5);
    assert_eq!(report.capture.observed, None);
    assert_eq!(report.totals.live_bytes_error, 0);
    let stack = &report.stacks[0];
    assert!(stack.lifetime.as_ref().unwrap().noticed.is_none());
}
