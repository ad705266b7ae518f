//! Mode growth: no allocator is probed, and the pages that the target touched are told by the code that did.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use memmgr::report::{Report, Stack};
use memmgr_tests::{
    Capture, Program, Workload, host::has_program, require_root, servers, take_turn,
};

/// One byte between samples: every fault is one.
const EVERY: [&str; 8] = [
    "--mode",
    "growth",
    "--sample-interval",
    "1",
    "--ring-bytes",
    "256MiB",
    "--max-overhead",
    "off",
];
const KIB: u64 = 1 << 10;
/// Stacks of libraries, the program's start and what the workload needs for its own answers.
const BESIDE: u64 = 128 * KIB;

fn start() -> Workload {
    Workload::start(&Program::c("touches-pages"), &[])
}

/// Tells the workload a line; what it says is there.
fn tell(workload: &mut Workload, line: &str) -> u64 {
    workload.ask(line)
}

fn resident(report: &Report) -> impl Iterator<Item = &Stack> {
    report.stacks.iter().filter(|stack| stack.class == "resident")
}

fn names(stack: &Stack) -> impl Iterator<Item = &str> {
    stack.frames.iter().filter_map(|frame| frame.function.as_deref())
}

/// Bytes that are resident, and that were touched at all, by stacks with this function.
fn by(report: &Report, function: &str) -> (u64, u64) {
    resident(report)
        .filter(|stack| names(stack).any(|name| name == function))
        .fold((0, 0), |(live, all), stack| (live + stack.live_bytes, all + stack.alloc_bytes))
}

#[track_caller]
fn check_books(report: &Report) {
    assert_eq!(report.capture.mode, "growth");
    assert!(report.capture.complete, "{:?} {:?}", report.capture.loss, report.capture.accounting);
    assert_eq!(report.capture.accounting.residual, 0);
    assert!(report.stacks.iter().all(|stack| stack.class != "heap"), "nothing is probed");
    let (live, all): (u64, u64) = resident(report)
        .fold((0, 0), |(live, all), stack| (live + stack.live_bytes, all + stack.alloc_bytes));
    let totals = &report.resident;
    assert_eq!((totals.live_bytes, totals.alloc_bytes), (live, all));
    assert_eq!(totals.alloc_bytes - totals.free_bytes, totals.live_bytes);
}

/// Captures every fault while the workload does what the lines say, a pause after each in which it is looked at.
fn capture(lines: &[&str]) -> Report {
    let mut workload = start();
    let capture = Capture::start(workload.pid(), &EVERY);
    for line in lines {
        tell(&mut workload, line);
        sleep(Duration::from_millis(1200));
    }
    let report = capture.interrupt().expect_report().clone();
    check_books(&report);
    report
}

#[test]
fn every_page_that_is_there_has_its_stack() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let report = capture(&["map 1024", "blocks 4096"]);
    assert_eq!(by(&report, "touch_mapped"), (1024 * KIB, 1024 * KIB));
    // 16 bytes of the allocator's own for each block, and what it touches ahead.
    let (live, all) = by(&report, "fill_blocks");
    assert!((4096 * KIB..4300 * KIB).contains(&live), "{live}");
    assert_eq!(live, all);
    assert!(report.resident.live_bytes < 1024 * KIB + live + BESIDE, "{:?}", report.resident);
    // The touching function is the leaf, and its callers are whole.
    let stack = resident(&report).find(|stack| names(stack).any(|name| name == "touch_each"));
    let stack = stack.expect("a stack of touch_each");
    assert_eq!(names(stack).take(2).collect::<Vec<_>>(), ["touch_each", "touch_mapped"]);
    assert!(names(stack).any(|name| name == "main") && stack.cut.is_none(), "{stack:?}");
    assert_eq!(
        stack.frames[0].file.as_deref().map(|file| file.ends_with("touches-pages.c")),
        Some(true)
    );
}

#[test]
fn what_was_given_back_is_gone() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let report = capture(&["map 2048", "give-back", "churn 512 3", "map 256"]);
    assert_eq!(by(&report, "touch_mapped"), (256 * KIB, 2304 * KIB));
    // Touched four times in turn: the last time is unmapped too.
    assert_eq!(by(&report, "churn_pages"), (0, 4 * 512 * KIB));
}

#[test]
fn memory_comes_when_it_is_written() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let report = capture(&["read 512", "write"]);
    assert_eq!(by(&report, "only_read"), (0, 0));
    assert_eq!(by(&report, "write_later"), (512 * KIB, 512 * KIB));
}

#[test]
fn a_copy_of_what_a_child_shares_is_no_new_memory() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let report = capture(&["map 512", "fork"]);
    assert_eq!(by(&report, "touch_mapped"), (512 * KIB, 512 * KIB));
    let (live, _) = by(&report, "write_shared");
    // What fork itself takes of the process's own: its stack and data.
    assert!(live < 64 * KIB, "{live}");
}

#[test]
fn a_huge_page_counts_whole() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if !enabled.is_ok_and(|text| !text.contains("[never]")) {
        println!("skipped: there are no transparent huge pages");
        return;
    }
    let report = capture(&["huge 32"]);
    let (live, _) = by(&report, "touch_huge");
    // The kernel gives small pages where it finds no huge one.
    let huge = resident(&report)
        .filter(|stack| names(stack).any(|name| name == "touch_huge"))
        .flat_map(|stack| &stack.sizes)
        .find(|size| size.min_bytes == 2 << 20);
    let huge = huge.unwrap_or_else(|| panic!("no huge page: {live} bytes"));
    assert_eq!(huge.live_bytes, huge.live_count * (2 << 20));
    assert!(huge.live_count >= 14 && live <= 32 << 20, "{huge:?} of {live} bytes");
}

#[test]
fn samples_estimate_what_is_there() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    const INTERVAL: u64 = 64 * KIB;
    const TOUCHED: u64 = 64 << 20;
    let mut workload = start();
    let interval = INTERVAL.to_string();
    let flags = ["--mode", "growth", "--sample-interval", &interval, "--max-overhead", "off"];
    let capture = Capture::start(workload.pid(), &flags);
    tell(&mut workload, &format!("map {}", TOUCHED / KIB));
    sleep(Duration::from_millis(1200));
    let report = capture.interrupt().expect_report().clone();
    check_books_of_samples(&report);
    // A page is sampled with p = 1 - e^(-4096/R): the variance of the sum over n of them is n S² (1 - p) / p.
    let skipped = (-4096.0 / INTERVAL as f64).exp();
    let pages = TOUCHED as f64 / 4096.0;
    let error = 4096.0 * (pages * skipped / (1.0 - skipped)).sqrt();
    let (live, _) = by(&report, "touch_mapped");
    let off = (live as f64 - TOUCHED as f64) / error;
    assert!(off.abs() < 4.0, "{live} of {TOUCHED} bytes: {off:.1} standard errors");
}

#[track_caller]
fn check_books_of_samples(report: &Report) {
    assert!(report.capture.complete, "{:?} {:?}", report.capture.loss, report.capture.accounting);
    assert!(report.capture.accounting.sampled_out > 1000, "{:?}", report.capture.accounting);
    assert_eq!(report.capture.accounting.residual, 0);
}

#[test]
fn steady_growth_is_a_finding() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = start();
    let capture = Capture::start(workload.pid(), &EVERY);
    tell(&mut workload, "leak 1024 14");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    check_books(report);
    let leaks: Vec<_> = report.findings.iter().filter(|finding| finding.kind == "leak").collect();
    let found =
        |function: &str| leaks.iter().find(|finding| finding.subject.as_deref() == Some(function));
    for (function, share) in [("touch_each", 0.5), ("fill_blocks", 0.5)] {
        let finding = found(function).unwrap_or_else(|| panic!("no {function} in {leaks:#?}"));
        assert_eq!(finding.severity, "warning", "{finding:#?}");
        let rate = finding.growth_bytes_per_s / (1024.0 * 1024.0);
        assert!((rate - share).abs() < 0.15 * share + 0.02, "{function}: {rate} MiB/s");
    }
    assert!(
        !report.findings.iter().any(|finding| finding.kind == "rss-growth"),
        "{:#?}",
        report.findings
    );
    assert!(outcome.stdout.contains("Resident memory by the stack that touched it first"));
    assert!(!outcome.stdout.contains("Outstanding heap"), "{}", outcome.stdout);
}

/// Captures samples while something makes the process grow.
fn growth_of(pid: u32, grow: impl FnOnce()) -> Report {
    let capture = Capture::start(
        pid,
        &["--mode", "growth", "--sample-interval", "16KiB", "--max-overhead", "off"],
    );
    sleep(Duration::from_millis(1200));
    grow();
    sleep(Duration::from_millis(1200));
    let report = capture.interrupt().expect_report().clone();
    check_books_of_samples(&report);
    report
}

/// What the process grew by is told by stacks, most of it by those with this function.
#[track_caller]
fn check_growth(report: &Report, function: &str) {
    let rss = |point: Option<&memmgr::report::TimelinePoint>| point.map_or(0, |p| p.rss_bytes);
    let grew = rss(report.timeline.last()).saturating_sub(rss(report.timeline.first()));
    let live = report.resident.live_bytes;
    assert!(grew > 20 << 20, "{grew} bytes are no growth");
    let share = live as f64 / grew as f64;
    assert!((share - 1.0).abs() < 0.15, "{live} of {grew} bytes");
    let (named, _) = by(report, function);
    assert!(named as f64 > 0.7 * live as f64, "{function}: {named} of {live} bytes");
}

#[test]
fn python_that_fills_a_list() {
    if !require_root() || !has_program("python3") {
        return;
    }
    let _turn = take_turn();
    let script = "import sys\nprint('ready', flush=True)\nkept = []\nfor line in sys.stdin:\n    \
                  kept += ['%0200d' % i for i in range(200000)]\n    print(len(kept), flush=True)";
    let mut command = Command::new("python3");
    command.args(["-c", script]);
    let mut python = Workload::start_command(command);
    let pid = python.pid();
    let report = growth_of(pid, || {
        tell(&mut python, "fill");
    });
    check_growth(&report, "PyUnicode_New");
}

#[test]
fn redis_that_is_filled() {
    if !require_root() || !has_program("redis-server") {
        return;
    }
    let _turn = take_turn();
    let (server, port) = servers::redis(&[]);
    let report = growth_of(server.pid(), || {
        let load = Command::new("redis-benchmark")
            .args(["-q", "-t", "set", "-r", "1000000", "-d", "300", "-n", "100000", "-p"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .status();
        assert!(load.expect("redis-benchmark starts").success());
    });
    check_growth(&report, "readQueryFromClient");
}
