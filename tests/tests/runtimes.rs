//! Heaps of language runtimes, which map their memory themselves: told apart from what malloc maps, with what they grew by.

use std::{process::Command, thread::sleep, time::Duration};

use memmgr::report::{Report, Stack};
use memmgr_tests::{Capture, Outcome, Workload, host::has_program, require_root, take_turn};

const MIB: u64 = 1 << 20;

fn workload(name: &str) -> String {
    format!("{}/workloads/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Mappings and bytes that are there, of this purpose.
fn mapped(report: &Report, what: &str) -> (u64, u64) {
    let rows = report.mapped_by.iter().filter(|row| row.what == what);
    rows.fold((0, 0), |(count, bytes), row| (count + row.live_count, bytes + row.live_bytes))
}

/// The interpreter says itself how many arenas it has; large objects go by malloc, and are no part of them.
#[test]
fn pythons_arenas_are_told_from_malloc() {
    if !require_root() || !has_program("python3") {
        return;
    }
    let _turn = take_turn();
    let mut command = Command::new("python3");
    command.arg(workload("grows-on-demand.py"));
    let mut workload = Workload::start_command(command);
    let _: u64 = workload.ask("look");
    let before: u64 = workload.ask("look");
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    let after: u64 = workload.ask("grow");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    let (arenas, bytes) = mapped(report, "arenas of Python's objects (pymalloc)");
    assert!(after > before + 50, "{before} {after}");
    assert_eq!(arenas, after - before, "{:?}", report.mapped_by);
    // 1 MiB each since 3.10, 256 KiB before.
    assert!(bytes == arenas * MIB || bytes == arenas * MIB / 4, "{:?}", report.mapped_by);
    let large = report.stacks.iter().filter(|stack| stack.class == "heap");
    let large: u64 = large
        .flat_map(|stack| &stack.sizes)
        .filter(|s| s.min_bytes <= 100_001 && s.max_bytes > 100_001)
        .map(|s| s.live_bytes)
        .sum();
    assert!(large >= 200 * 100_000, "{large}");
    let line = format!("in {arenas} mappings: arenas of Python's objects (pymalloc)");
    assert!(outcome.stdout.contains(&line), "{}", outcome.stdout);
}

fn grown(command: Command, flags: &[&str]) -> Outcome {
    let mut workload = Workload::start_command(command);
    let capture = Capture::start(workload.pid(), flags);
    workload.send("grow");
    assert_eq!(workload.line(), "grown");
    // An interval more, in which pages are looked at.
    sleep(Duration::from_millis(1500));
    capture.interrupt()
}

#[test]
fn the_jvms_heap_is_told_with_its_growth() {
    if !require_root() || !has_program("java") {
        return;
    }
    let _turn = take_turn();
    let mut command = Command::new("java");
    command.args(["-Xms16m", "-Xmx512m", "-XX:+UseSerialGC"]).arg(workload("GrowsOnDemand.java"));
    let outcome = grown(command, &["--mode", "exact"]);
    let report = outcome.expect_report();
    let what = "the JVM's heap, metaspace and code";
    let (_, bytes) = mapped(report, what);
    assert!((32 * MIB..1024 * MIB).contains(&bytes), "{:?}", report.mapped_by);
    assert!(outcome.stdout.contains(what), "{}", outcome.stdout);
}

/// What a JVM had when memmgr came is resident in anonymous memory like an allocator's, and is not called that.
#[test]
fn the_heap_that_a_jvm_had_before_is_not_called_the_allocators() {
    if !require_root() || !has_program("java") {
        return;
    }
    let _turn = take_turn();
    let mut command = Command::new("java");
    command
        .args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:+AlwaysPreTouch"])
        .arg(workload("GrowsOnDemand.java"));
    let outcome = grown(command, &["--mode", "exact"]);
    let report = outcome.expect_report();
    let lines = &report.reconciliation;
    assert_eq!(lines.runtime_heap.as_deref(), Some("the JVM's heap"));
    assert!((200 * MIB..400 * MIB).contains(&lines.allocator_retained_bytes), "{lines:?}");
    let line = "the JVM's heap, and what else the allocator has";
    assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("rest of the allocator"), "{}", outcome.stdout);
    let retained = report.findings.iter().any(|finding| finding.kind == "retention");
    assert!(!retained, "{:?}", report.findings);
    let gaps = &report.target.not_covered;
    assert!(gaps.iter().any(|gap| gap.what == "objects in the JVM's heap"), "{gaps:?}");
}

/// Node's heap grows without a mapping: in the default mode its page faults show it, and where they are not captured the report says
/// that it is not seen.
#[test]
fn nodes_heap_is_told_with_its_growth() {
    if !require_root() || !has_program("node") {
        return;
    }
    let _turn = take_turn();
    let node = || {
        let mut command = Command::new("node");
        command.arg(workload("grows-on-demand.js"));
        command
    };
    let outcome = grown(node(), &[]);
    let report = outcome.expect_report();
    let is_v8 = |stack: &&Stack| {
        let mut names = stack.frames.iter().filter_map(|frame| frame.function.as_deref());
        names.any(|name| name.contains("v8::"))
    };
    let resident = report.stacks.iter().filter(|stack| stack.class == "resident");
    let bytes: u64 = resident.filter(is_v8).map(|stack| stack.live_bytes).sum();
    // An estimate: 64 MiB are kept, and what the collector copied may be there yet.
    assert!((24 * MIB..512 * MIB).contains(&bytes), "{bytes} {:?}", report.resident);
    let exact = grown(node(), &["--mode", "exact"]);
    assert!(exact.stdout.contains("the heap of V8 (Node): V8 reserves"), "{}", exact.stdout);
}
