//! The overhead budget: what allocates little is captured exactly, a storm is looked at in windows, and programs whose
//! collector stands still go to sleep. Speeds are measured by `cargo xtask bench`.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use memmgr_tests::{
    Capture, Program, Workload,
    code::changed_bytes,
    counts_itself::{
        self, Truth, assert_complete, assert_consistent, assert_equal_to_the_truth, heap,
    },
    require_root, take_turn,
};
use rustix::process::Signal;

fn start(options: &[&str]) -> Workload {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    counts_itself::start(&counts_itself::program(), None, &options)
}

#[test]
fn what_allocates_little_is_captured_exactly() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(&["pause=5"]);
    let capture = Capture::start(workload.pid(), &[]);
    let truth: Truth = workload.ask("run 500");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_eq!(report.capture.mode, "auto");
    assert_eq!(report.capture.overhead.budget_percent, Some(5.0));
    assert_eq!(report.capture.overhead.actions, [], "nothing had to be done");
    assert_equal_to_the_truth(report, &truth, "auto");
    assert_eq!(report.totals.alloc_bytes_error, 0, "it is no estimate");
}

/// The most breakpoints of mapping calls, which stay: an allocator has more.
const OF_MAPPINGS: usize = 9;

/// Waits until the target has breakpoints in its allocator, or has none.
#[track_caller]
fn wait_for_probes(pid: u32, there: bool) {
    let begin = Instant::now();
    while (changed_bytes(pid) > OF_MAPPINGS) != there {
        assert!(begin.elapsed() < Duration::from_secs(20), "no change to probes: {there}");
        sleep(Duration::from_millis(2));
    }
}

/// A child pays for probes that are not meant for it until it is freed of them: a parent whose children allocate has none for most of
/// the time, and one whose children do nothing has them.
#[test]
fn what_children_pay_is_part_of_the_budget() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&Program::c("makes-children"), &[]);
    let capture = Capture::start(workload.pid(), &[]);
    let mut child = |orders: &[&str]| {
        for order in orders {
            workload.send(order);
            workload.line();
        }
        sleep(Duration::from_millis(20));
        changed_bytes(workload.pid()) > OF_MAPPINGS
    };
    for number in 0..100 {
        assert!(child(&["fork", "end"]), "nothing was to be saved: child {number}");
    }
    let begin = Instant::now();
    while child(&["fork", "work 50", "end"]) {
        assert!(begin.elapsed() < Duration::from_secs(20), "probes stay, whatever children pay");
    }
    let outcome = capture.interrupt();
    let actions = &outcome.expect_report().capture.overhead.actions;
    assert!(!actions.is_empty(), "it was not told");
}

/// Short-lived threads, of which each makes one call.
const THREADS: u64 = 60;

#[test]
fn a_storm_is_looked_at_in_windows() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(&["threads=2"]);
    let flags = ["--max-overhead", "10", "--sample-interval", "64KiB", "--mode", "sample"];
    for flags in [&flags[..2], &flags[..]] {
        let capture = Capture::start(workload.pid(), flags);
        workload.send("storm");
        let begin = Instant::now();
        wait_for_probes(workload.pid(), false);
        sleep(Duration::from_secs(5).saturating_sub(begin.elapsed()));
        let _: Truth = workload.ask("stop");
        // Now nothing is to be saved: the probes come to stay.
        sleep(Duration::from_secs(9));
        wait_for_probes(workload.pid(), true);
        let before: Truth = workload.ask("run 0");
        let after: Truth = workload.ask(&format!("churn {THREADS} 1"));
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_consistent(report, "storm");
        assert_complete(report, "storm");
        let overhead = &report.capture.overhead;
        assert!(!overhead.actions.is_empty());
        let first_window = overhead.actions.iter().find(|action| action.what.contains("windows"));
        assert!(first_window.is_some_and(|action| action.t_s < 1.0), "{overhead:?}");
        let stays = |action: &&memmgr::report::Action| action.what.contains("probes stay");
        assert!(overhead.actions.iter().any(|action| stays(&action)), "{overhead:?}");
        let observed = report.capture.observed.expect("it was not there all the time");
        assert!(observed.share < 0.95 && observed.windows >= 3, "{observed:?}");
        assert!(
            outcome.stderr.contains("memmgr: 0."),
            "every step is on stderr: {}",
            outcome.stderr
        );
        // All of what ran while they stayed, and of every thread its first call.
        let calls = after.total.alloc_count - before.total.alloc_count;
        let seen: u64 = heap(report)
            .filter(|stack| {
                stack.frames.iter().any(|f| f.function.as_deref() == Some("short_lived_thread"))
            })
            .map(|stack| stack.alloc_count)
            .sum();
        if report.capture.mode == "auto" {
            assert_eq!(seen, calls, "{overhead:?}");
        }
    }
}

#[test]
fn programs_go_to_sleep_when_the_collector_stands_still() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(&[]);
    // Without a budget, so that the probes are there to fall asleep.
    let flags = ["--mode", "sample", "--max-overhead", "off", "--ring-bytes", "64MiB"];
    let capture = Capture::start(workload.pid(), &flags);
    workload.send("storm");
    sleep(Duration::from_secs(1));
    capture.signal(Signal::STOP);
    sleep(Duration::from_secs(6));
    capture.signal(Signal::CONT);
    sleep(Duration::from_secs(1));
    let _: Truth = workload.ask("stop");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_consistent(report, "asleep");
    let loss = &report.capture.loss;
    assert!(loss.asleep > 0 && !report.capture.complete, "{loss:?}");
    assert_eq!(report.capture.accounting.lost, loss.asleep + loss.ring_full);
    assert!(outcome.stdout.contains("stopped or starved"), "{}", outcome.stdout);
}

#[test]
fn a_budget_of_nothing_leaves_the_allocator_alone() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(&[]);
    for budget in ["0", "0.001"] {
        let capture =
            Capture::start(workload.pid(), &["--max-overhead", budget, "--mode", "exact"]);
        let _: Truth = workload.ask("run 10000");
        assert_eq!(changed_bytes(workload.pid()), 0);
        let outcome = capture.interrupt();
        assert_eq!(outcome.expect_report().capture.mode, "growth");
        assert!(outcome.stderr.contains("so small a budget allows no probe"), "{}", outcome.stderr);
    }
}
