//! Hit and miss, and fragmentation: what the allocator served by itself, and what keeps its pages.

use std::{fs, process::Command};

use memmgr::{
    pools::Pools,
    report::{Missing, Report, Served},
};
use memmgr_tests::{Capture, Program, Workload, capture::binary, require_root, take_turn};

/// So much room that nothing is lost while the collector waits for a processor.
const EXACT: [&str; 4] = ["--mode", "exact", "--ring-bytes", "256MiB"];

fn program() -> Program {
    Program::c("goes-to-the-kernel").flags(&["-pthread"])
}

/// The calls that gave memory after the program was ready, as strace saw them: of brk, mmap and mremap.
fn counted_by_strace(log: &str) -> [(&'static str, u64); 3] {
    let mut counts = [("brk", 0), ("mmap", 0), ("mremap", 0)];
    let (mut is_ready, mut end_of_heap) = (false, 0);
    // `THREAD CALL(ARGUMENTS) = RESULT`
    for line in log.lines() {
        is_ready |= line.contains("write(1, \"ready");
        let (call, result) = line.rsplit_once(" = ").unwrap_or((line, ""));
        let result = result.trim().strip_prefix("0x");
        let Some(result) = result.and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
            continue;
        };
        for (name, count) in &mut counts {
            let is_it = call.split_once(' ').is_some_and(|(_, call)| {
                call.trim_start().strip_prefix(*name).is_some_and(|rest| rest.starts_with('('))
            });
            let asks = call.contains("brk(NULL)");
            let grows = *name != "brk" || (result > end_of_heap && !asks);
            *count += u64::from(is_it && is_ready && grows);
            if is_it && *name == "brk" {
                end_of_heap = result;
            }
        }
    }
    counts
}

fn calls_of(served: &Served, ways: &[&str]) -> u64 {
    served.ways.iter().filter(|way| ways.contains(&way.name.as_str())).map(|way| way.calls).sum()
}

/// What was taken for the large blocks.
fn of_load_page(served: &Served) -> &Missing {
    let found = served.stacks.iter().find(|missing| missing.subject == "load_page");
    found.unwrap_or_else(|| panic!("{served:?}"))
}

fn served(report: &Report) -> &Served {
    report.served.as_ref().expect("it allocated")
}

/// What a program with this C library takes of the kernel, and for whom.
fn check_misses(program: &Program, library: &str) -> (Report, [(&'static str, u64); 3]) {
    let _turn = take_turn();
    let directory = tempfile::tempdir().expect("no temporary directory");
    let log = directory.path().join("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=brk,mmap,mremap,write", "-o"]).arg(&log).arg(program.build());
    let mut workload = Workload::start_command(command);
    let children = format!("/proc/{0}/task/{0}/children", workload.pid());
    let children = fs::read_to_string(children).expect("strace runs");
    let pid: u32 = children.trim().parse().expect("strace has one child");
    let capture = Capture::start(pid, &[&EXACT[..], &["--allow-traced"]].concat());
    let allocations: u64 = workload.ask("calls");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert!(workload.finish().success());
    let log = fs::read_to_string(log).expect("strace wrote it");

    let served = served(report);
    assert!(report.capture.complete, "{library}: {:?}", report.capture.loss);
    assert_eq!(served.allocations, allocations, "{library}");
    let truth = counted_by_strace(&log);
    let all = truth.iter().map(|(_, calls)| calls).sum::<u64>();
    assert_eq!(served.kernel_calls, all, "{library}: {:?} {log}", served.ways);
    let rate = 1.0 - served.kernel_calls as f64 / allocations as f64;
    assert!((served.hit_rate.expect("it allocated") - rate).abs() < 1e-12);
    assert_eq!(served.windows_allocations.iter().sum::<u64>(), allocations);
    assert_eq!(served.windows_kernel_calls.iter().sum::<u64>(), served.kernel_calls);
    assert_eq!(of_load_page(served).calls, 20, "{library}: {served:?}");
    // What the allocator mapped is not taken for the program's own.
    assert_eq!(report.reconciliation.own_mappings_bytes, 0, "{library}");
    (report.clone(), truth)
}

#[test]
fn hits_and_misses_are_what_strace_counts() {
    if !require_root() {
        return;
    }
    for (library, program) in
        [("glibc", program()), ("static glibc", program().flags(&["-static"]))]
    {
        let (report, truth) = check_misses(&program, library);
        let served = served(&report);
        let seen = [
            ("brk", calls_of(served, &["brk"])),
            ("mmap", calls_of(served, &["mmap", "mmap for an arena"])),
            ("mremap", calls_of(served, &["mremap"])),
        ];
        assert_eq!(seen, truth, "{library}");
        let most = of_load_page(served);
        assert_eq!((most, most.bytes), (&served.stacks[0], 20 * (300 << 10) + 20 * 4096));
        for way in ["brk", "mmap", "mremap", "mmap for an arena"] {
            assert!(calls_of(served, &[way]) > 0, "{library}: no {way}: {:?}", served.ways);
        }
        // A thread of it allocates, and what arenas take by mprotect is not seen.
        assert!(served.uncounted.as_ref().is_some_and(|words| words.contains("mprotect")));
    }
}

/// musl has no unwind tables in Debian and Alpine: stacks go on behind the allocator's call.
#[test]
fn without_unwind_tables_misses_have_their_stacks() {
    if !require_root() {
        return;
    }
    let musl = || program().compiler("musl-gcc");
    for (library, program) in [("musl", musl()), ("static musl", musl().flags(&["-static"]))] {
        let (report, _) = check_misses(&program, library);
        let served = served(&report);
        assert_eq!(served.uncounted, None);
        let stack = report.stacks.iter().find(|stack| stack.id == of_load_page(served).stack);
        let names: Vec<_> =
            stack.iter().flat_map(|s| &s.frames).filter_map(|f| f.function.as_deref()).collect();
        let caller = names.iter().position(|name| *name == "load_page").expect("who allocated");
        assert!(names[caller - 1].contains("malloc"), "{library}: {names:?}");
    }
}

#[test]
fn churn_is_a_finding_with_the_threshold_that_ends_it() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&program(), &[]);
    let capture = Capture::start(workload.pid(), &["--interval", "250ms"]);
    let _: u64 = workload.ask("churn 3000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    let found = report.findings.iter().find(|finding| finding.kind == "kernel-calls");
    let found = found.unwrap_or_else(|| panic!("{:?}", report.served));
    assert!(found.evidence.iter().any(|words| words.contains("load_page")), "{found:?}");
    assert!(found.recommendation.contains("mmap_threshold=1048576"), "{found:?}");
}

#[test]
fn pools_over_some_time_tell_hit_and_miss() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&program(), &[]);
    workload.send("churn 8000");
    let mut command = Command::new(binary());
    command.args(["pools", "--json", "--duration", "4s", "--pid", &workload.pid().to_string()]);
    let output = command.output().expect("memmgr runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pools: Pools = serde_json::from_slice(&output.stdout).expect("what it holds");
    let course = pools.course.expect("it was captured");
    let served = course.served.expect("it allocated");
    assert!(served.kernel_calls >= 100, "{served:?}");
    assert_eq!(served.ways[0].name, "mmap");
    assert_eq!(served.stacks[0].subject, "load_page");
    assert_eq!(served.windows_kernel_calls.len(), course.windows_s.len());
    let _: u64 = workload.answer();
}

/// The pages that the program says to be sparse, from a capture of it.
fn check_holes(report: &Report, [pages, bytes]: [u64; 2], from_start: bool) {
    assert!(report.capture.complete, "{:?}", report.capture.loss);
    let found = report.fragmentation.as_ref().expect("every block is known");
    assert_eq!(found.from_start, from_start);
    let pinning = &found.pinned_by[0];
    assert_eq!(
        (pinning.subject.as_str(), pinning.pages, pinning.live_bytes, pinning.pinned_bytes),
        ("keep_few", pages, bytes, pages * 4096 - bytes)
    );
    // 15 of 16 blocks of 1 KiB were freed: of four pages one has a block, or a part of one.
    let (empty, all) = (found.total.empty_bytes / 4096, 32768 / 4);
    assert!((all - pages - 64..=all - pages + 400).contains(&empty), "{empty} of {all}: {found:?}");
    assert_eq!(found.total.sparse_live_bytes / 4096, bytes / 4096, "{found:?}");
    assert!(found.total.resident_bytes >= found.total.empty_bytes + found.total.sparse_bytes);
    let heap = found.mappings.iter().find(|area| area.name == "[heap]").expect("it has one");
    assert!(heap.pages.sparse_bytes >= pages * 4096, "{heap:?}");
}

#[test]
fn who_keeps_sparse_pages_is_named_to_the_page() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&program(), &[]);
    let capture = Capture::start(workload.pid(), &EXACT);
    let truth: [u64; 2] = workload.ask("holes");
    let outcome = capture.interrupt();
    check_holes(outcome.expect_report(), truth, false);
    assert!(outcome.stdout.contains("keep_few: "), "{}", outcome.stdout);

    // Where memmgr starts the program nothing is older, and an empty page is the allocator's.
    let directory = tempfile::tempdir().expect("no temporary directory");
    let recording = directory.path().join("rec.db");
    let mut command = Command::new(binary());
    command.arg("record").args(EXACT).args(["--duration", "2s", "-o"]).arg(&recording);
    command.arg("--").arg(program().build());
    let mut workload = Workload::start_command(command);
    let truth: [u64; 2] = workload.ask("holes");
    // The capture ends before the program does: then it still has its pages.
    std::thread::sleep(std::time::Duration::from_secs(3));
    workload.finish();
    let mut report = Command::new(binary());
    let report = report.args(["report", "--format", "json", "-o", "-"]).arg(&recording);
    let output = report.output().expect("memmgr runs");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    check_holes(&report, truth, true);
}
