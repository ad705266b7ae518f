//! Memory that a program maps by itself is counted whichever way the system calls are watched: in the kernel, or where that
//! slows the host down in the C library.

use memmgr::report::{Report, Stack};
use memmgr_tests::{Capture, Program, Workload, code::changed_bytes, require_root, take_turn};

const KIB: u64 = 1 << 10;
/// The ways to capture, and whether each sees system calls that are made without the C library on every kernel.
const WAYS: [(&[&str], bool); 4] = [
    (&["--mode", "exact"], true),
    (&["--mode", "sample", "--max-overhead", "off"], false),
    (&["--mode", "growth"], false),
    (&[], false),
];

fn start() -> Workload {
    Workload::start(&Program::c("maps-memory"), &[])
}

/// Whether the calls are watched in the C library: then the report says what is not seen.
fn is_in_library(report: &Report) -> bool {
    report.target.not_covered.iter().any(|not| not.why.contains("watched in the C library"))
}

fn live_by(report: &Report, function: &str) -> u64 {
    let leads_to = |stack: &&Stack| {
        stack.class == "mapping"
            && stack.frames.iter().any(|frame| frame.function.as_deref() == Some(function))
    };
    report.stacks.iter().filter(leads_to).map(|stack| stack.live_bytes).sum()
}

#[test]
fn what_is_mapped_is_counted_to_the_byte() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    for (flags, sees_all) in WAYS {
        let mut workload = start();
        let capture = Capture::start(workload.pid(), flags);
        let _: u64 = workload.ask("map 40 64");
        let _: u64 = workload.ask("unmap");
        let _: u64 = workload.ask("map 10 256");
        let _: u64 = workload.ask("grow 512");
        let held: u64 = workload.ask("break 384");
        let with_direct: u64 = workload.ask("direct 128");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_eq!((held, with_direct), (3456 * KIB, 3584 * KIB));
        assert!(report.capture.complete, "{flags:?}: {:?}", report.capture.loss);
        assert_eq!(report.capture.accounting.residual, 0, "{flags:?}");
        assert!(!(sees_all && is_in_library(report)), "{flags:?}");
        let direct = if is_in_library(report) { 0 } else { 128 * KIB };
        assert_eq!(live_by(report, "map_directly"), direct, "{flags:?}");
        assert_eq!(live_by(report, "move_break"), 384 * KIB, "{flags:?}");
        assert_eq!(live_by(report, "map_range"), 9 * 256 * KIB, "{flags:?}");
        assert_eq!(live_by(report, "main"), held + direct, "{flags:?}");
        assert_eq!(report.mapped.live_bytes, held + direct, "{flags:?}: {:?}", report.mapped);
        // 40 ranges were given back, and one was exchanged for a larger one.
        assert_eq!(report.mapped.free_bytes, (40 * 64 + 256) * KIB, "{flags:?}");
    }
}

#[test]
fn a_static_program_is_watched_too() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("maps-memory").flags(&["-static"]);
    let mut workload = Workload::start(&program, &[]);
    let capture = Capture::start(workload.pid(), &["--mode", "growth"]);
    let _: u64 = workload.ask("map 4 64");
    let _: u64 = workload.ask("unmap");
    let held: u64 = workload.ask("map 3 1024");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_eq!(report.mapped.live_bytes, held, "{:?}", report.target.not_covered);
    assert_eq!(report.mapped.free_count, 4);
}

#[test]
fn a_program_that_unmaps_all_the_time_is_left_to_the_tracepoints() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start();
    let capture = Capture::start(workload.pid(), &["--mode", "growth", "--ring-bytes", "256MiB"]);
    let probed = changed_bytes(workload.pid()) > 0;
    let _: u64 = workload.ask("map 10 64");
    let _: u64 = workload.ask("storm 3000");
    let _: u64 = workload.ask("unmap");
    let _: u64 = workload.ask("map 7 128");
    assert_eq!(changed_bytes(workload.pid()), 0, "the probes are gone");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_eq!(probed, is_in_library(report), "{:?}", report.target.not_covered);
    let actions = &report.capture.overhead.actions;
    let taken_over = actions.iter().find(|action| action.what.contains("tracepoints"));
    assert_eq!(taken_over.is_some(), probed, "{actions:?}");
    assert!(taken_over.is_none_or(|action| action.t_s < 1.5), "{actions:?}");
    assert_eq!(report.mapped.live_bytes, 7 * 128 * KIB, "{:?}", report.mapped);
}
