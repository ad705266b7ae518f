//! Captures that lose events: the books must balance, the report must say so, and nothing may break.

use std::{thread::sleep, time::Duration};

use memmgr_tests::{
    Capture, Outcome, Workload,
    counts_itself::{
        self, Truth, assert_complete, assert_consistent, assert_equal_to_the_truth, reported_site,
    },
    require_root, take_turn,
};
use rustix::process::Signal;

fn start(threads: u32, functions: &str) -> Workload {
    let options =
        [format!("threads={threads}"), format!("functions={functions}"), "failing=1".to_owned()];
    counts_itself::start(&counts_itself::program(), None, &options)
}

const FUNCTIONS: &str = "malloc,calloc,realloc,posix_memalign,memalign";

/// A capture that ran out of room: it succeeds, knows what it lost to the event, and says so to a
/// person who only reads the text.
#[track_caller]
fn check_lossy(outcome: &Outcome, what: &str) {
    let report = outcome.expect_report();
    assert_consistent(report, what);
    let (loss, books) = (&report.capture.loss, &report.capture.accounting);
    assert!(!report.capture.complete, "{what}: {loss:?}");
    assert!(loss.ring_full > 0, "{what}: this did not lose anything: {loss:?}");
    assert_eq!(
        books.lost,
        loss.ring_full + loss.map_full + loss.asleep,
        "{what}: {loss:?} {books:?}"
    );
    assert!(books.received > 0, "{what}: it saw nothing at all");
    let complete = outcome.stdout.lines().find(|line| line.trim_start().starts_with("complete"));
    assert!(complete.is_some_and(|line| line.contains("NO, ")), "{what}:\n{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("found no room in the ring buffer"),
        "{what}:\n{}",
        outcome.stdout
    );
}

#[test]
fn a_ring_that_is_too_small_is_known_to_the_event() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    for stack in ["fp", "dwarf"] {
        let mut workload = start(4, FUNCTIONS);
        let flags = ["--mode", "exact", "--stack", stack, "--ring-bytes", "64KiB"];
        let capture = Capture::start(workload.pid(), &flags);
        let _: Truth = workload.ask("run 1000000");
        check_lossy(&capture.interrupt(), stack);
    }
}

#[test]
fn a_collector_that_stands_still_is_known_to_the_event() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    for (mode, ring) in [("exact", "1MiB"), ("sample", "64KiB")] {
        let mut workload = start(4, FUNCTIONS);
        let flags = ["--mode", mode, "--sample-interval", "4KiB", "--ring-bytes", ring];
        let flags = [&flags[..], &["--max-overhead", "off"]].concat();
        let capture = Capture::start(workload.pid(), &flags);
        workload.send("storm");
        capture.signal(Signal::STOP);
        sleep(Duration::from_secs(2));
        capture.signal(Signal::CONT);
        // It is alive again: what comes now it can follow.
        let _: Truth = workload.ask("stop");
        let _: Truth = workload.ask("run 1000");
        check_lossy(&capture.interrupt(), mode);
    }
}

#[test]
fn a_target_that_ends_under_loss_is_reported() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(4, FUNCTIONS);
    let flags = ["--mode", "exact", "--stack", "fp", "--ring-bytes", "64KiB"];
    let capture = Capture::start(workload.pid(), &flags);
    let _: Truth = workload.ask("run 1000000");
    assert!(workload.finish().success());
    let outcome = capture.wait();
    check_lossy(&outcome, "the target ended");
    assert_eq!(outcome.expect_report().target.ended, "exited");
}

#[test]
fn more_threads_than_the_kernel_part_has_room_for_may_come_and_go() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(8, FUNCTIONS);
    let flags = ["--mode", "exact", "--stack", "fp", "--ring-bytes", "128MiB"];
    let capture = Capture::start(workload.pid(), &flags);
    let threads = memmgr_common::limits::MAX_THREADS + 1000;
    let truth: Truth = workload.ask(&format!("churn {threads} 4"));
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_complete(report, "short-lived threads");
    assert_consistent(report, "short-lived threads");
    assert_eq!(report.capture.loss.map_full, 0);
    // The totals also have what the C library allocated for the threads.
    for (site, expected) in truth.sites.iter().enumerate() {
        assert_eq!(reported_site(report, site), *expected, "site_{site}");
    }
}

#[test]
fn a_capture_after_a_lossy_one_is_exact() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start(2, FUNCTIONS);
    let lossy = ["--mode", "exact", "--stack", "fp", "--ring-bytes", "64KiB"];
    let capture = Capture::start(workload.pid(), &lossy);
    let _: Truth = workload.ask("run 300000");
    check_lossy(&capture.interrupt(), "the first");
    let before: Truth = workload.ask("free");
    let flags = ["--mode", "exact", "--stack", "fp", "--ring-bytes", "128MiB"];
    let capture = Capture::start(workload.pid(), &flags);
    let after: Truth = workload.ask("run 300000");
    let outcome = capture.interrupt();
    assert_equal_to_the_truth(outcome.expect_report(), &(after - &before), "the second");
}
