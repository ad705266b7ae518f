//! The target is never harmed: whatever memmgr does or suffers, the target's own check of itself passes, its
//! code is as its files have it afterwards, and nothing of memmgr stays in the kernel.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use memmgr_tests::{
    Capture, Program, Workload,
    capture::binary,
    code::changed_bytes,
    kernel_objects::{BpfObject, held_by},
    require_root, take_turn,
};
use rustix::process::{Pid, Signal, kill_process};

/// How often the repeated tests repeat: `MEMMGR_TEST_RUNS`, or what an ordinary run can afford.
fn runs(ordinary: u32) -> u32 {
    std::env::var("MEMMGR_TEST_RUNS").map_or(ordinary, |runs| runs.parse().expect("a number"))
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

/// A busy program with a check of itself.
fn self_checking(threads: &str) -> Workload {
    Workload::start(&Program::c("self-checking"), &[threads])
}

/// Ends the program, whose last check has to pass; it has to have gone on with its work, too.
#[track_caller]
fn check_unharmed(mut workload: Workload) {
    send(workload.pid(), Signal::TERM);
    let line = workload.line();
    assert!(workload.finish().success(), "{line}");
    let calls: u64 = line.strip_prefix("checked ").expect("its last word").parse().expect("calls");
    assert!(calls > 0);
}

/// Nothing of these is left, after the kernel had a moment to take them apart.
#[track_caller]
fn check_gone(objects: &[BpfObject]) {
    let end = Instant::now() + Duration::from_secs(2);
    while objects.iter().any(|object| object.exists()) && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    let left: Vec<_> = objects.iter().filter(|object| object.exists()).collect();
    assert!(left.is_empty(), "still there: {left:?}");
}

/// The code is as the files have it, after the kernel had a moment to take the breakpoints out.
#[track_caller]
fn check_code(pid: u32) {
    let end = Instant::now() + Duration::from_secs(2);
    while changed_bytes(pid) > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(changed_bytes(pid), 0, "breakpoints stayed");
}

#[test]
fn attached_and_detached_many_times() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let workload = self_checking("64");
    let pid = workload.pid();
    assert_eq!(changed_bytes(pid), 0, "somebody else probes it");
    let runs = runs(20);
    let mut counted = 0;
    for run in 0..runs {
        // Every mode and every kind of stack has its turn, and a third is ended by a signal.
        let mode = ["exact", "sample"][run as usize % 2];
        let stack = ["fp", "dwarf"][run as usize / 2 % 2];
        let by_signal = run % 3 == 0;
        let duration = if by_signal { "1h" } else { "100ms" };
        let flags =
            ["--mode", mode, "--stack", stack, "--ring-bytes", "1MiB", "--duration", duration];
        let capture = Capture::start(pid, &flags);
        if run == 0 {
            assert!(changed_bytes(pid) > 0, "this test sees no probes");
        }
        let objects = held_by(capture.pid());
        let links = objects.iter().filter(|object| matches!(object, BpfObject::Link(_))).count();
        assert!(links > 0 || !by_signal, "{objects:?}");
        let outcome = if by_signal { capture.interrupt() } else { capture.wait() };
        let report = outcome.expect_report();
        assert_eq!(report.capture.accounting.residual, 0);
        counted += u32::from(report.capture.accounting.seen > 0);
        if run % 10 == 0 || run + 1 == runs {
            check_gone(&objects);
            check_code(pid);
        }
    }
    println!("{counted} of {runs} captures saw calls");
    assert!(counted * 2 > runs, "only {counted} of {runs} captures saw any call");
    check_unharmed(workload);
}

/// At random moments: while it starts, attaches, captures, writes.
#[test]
fn killed_at_any_moment() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let workload = self_checking("4");
    let pid = workload.pid();
    // The moments are spread over the time that a whole run takes here and now.
    let begin = Instant::now();
    Capture::start(pid, &["--mode", "exact", "--duration", "200ms"]).wait().expect_report();
    let whole = begin.elapsed().as_secs_f64();
    let (mut holding, runs) = (0, runs(20));
    for run in 0..runs {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let mut memmgr = Command::new(binary())
            .args([
                "report",
                "--mode",
                "exact",
                "--duration",
                "200ms",
                "-p",
                &pid.to_string(),
                "-o",
            ])
            .arg(directory.path().join("report.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("memmgr");
        // Without a pattern, and the same in every run: multiples of the golden ratio.
        let moment = (f64::from(run) * 0.618_033_988_75).fract();
        thread::sleep(Duration::from_secs_f64(moment * whole));
        // Stopped first, so that what it holds does not change under the list.
        send(memmgr.id(), Signal::STOP);
        let objects = held_by(memmgr.id());
        memmgr.kill().expect("it is a child");
        memmgr.wait().expect("it is a child");
        holding += u32::from(!objects.is_empty());
        check_gone(&objects);
        check_code(pid);
        let left = fs::read_dir(directory.path()).expect("a directory").count();
        assert!(left == 0 || directory.path().join("report.json").exists() && left == 1);
    }
    println!("{holding} of {runs} held something when they were killed");
    assert!(holding > 0, "none of {runs} was killed while it held anything");
    check_unharmed(workload);
}

/// Exceptions, longjmp, coroutines and alternate stacks: the result is the same as without memmgr.
#[test]
fn odd_control_flow_has_the_same_result() {
    if !require_root() {
        return;
    }
    let mut workload = Workload::start(&Program::cpp("leaves-sideways"), &[]);
    workload.send("run 200");
    let expected = workload.line();
    for (mode, stack) in [("exact", "dwarf"), ("exact", "fp"), ("sample", "dwarf")] {
        let flags = ["--mode", mode, "--stack", stack, "--sample-interval", "100"];
        let flags = [&flags[..], &["--max-overhead", "off"]].concat();
        let capture = Capture::start(workload.pid(), &flags);
        workload.send("run 200");
        assert_eq!(workload.line(), expected, "{mode} {stack}");
        let report = capture.interrupt();
        assert!(report.expect_report().totals.alloc_count > 0);
        assert_eq!(report.expect_report().capture.accounting.residual, 0);
    }
    assert!(workload.finish().success());
}

/// What runs on a stack of its own cannot be followed beyond it: the stack below a handler is not in the
/// copy, and glibc 2.36 does not mark `__start_context` as an end. Such stacks keep their own frames and
/// their bytes, and are said to be cut; all others go down to `main`.
#[test]
fn stacks_of_handlers_and_coroutines() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&Program::cpp("leaves-sideways"), &[]);
    let flags = ["--mode", "exact", "--stack", "dwarf", "--ring-bytes", "64MiB"];
    let capture = Capture::start(workload.pid(), &flags);
    workload.send("run 20");
    workload.line();
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    let (mut of_handler, mut of_coroutines) = (0, 0);
    for stack in report.stacks.iter().filter(|stack| stack.class == "heap") {
        let names = || stack.frames.iter().filter_map(|frame| frame.function.as_deref());
        let has = |name: &str| names().any(|other| other.starts_with(name));
        assert!(has("main") || stack.cut.is_some(), "{stack:#?}");
        if has("on_signal") {
            of_handler += stack.alloc_count;
        } else if has("coroutine") {
            of_coroutines += stack.alloc_count;
        } else {
            assert!(has("main"), "{stack:#?}");
            assert_eq!(stack.cut, None, "{stack:#?}");
        }
    }
    // A calloc and a realloc in each of 20 handlers; five words of 50 bytes a turn, and their vectors.
    assert_eq!(of_handler, 40, "{:?}", report.capture.loss);
    assert!(of_coroutines >= 100, "{:?}", report.capture.loss);
}

/// A filter that kills for every call that it does not know, which the call behind return probes is.
#[test]
fn a_strict_sandbox_lives() {
    if !require_root() {
        return;
    }
    let mut workload = Workload::start(&Program::c("allows-few-calls"), &[]);
    for mode in ["exact", "sample"] {
        let flags = ["--mode", mode, "--sample-interval", "100", "--max-overhead", "off"];
        let capture = Capture::start(workload.pid(), &flags);
        workload.send("hold 1000 100");
        assert_eq!(workload.line(), "held 100000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert!(report.totals.live_bytes > 0);
        if mode == "exact" {
            assert_eq!(report.totals.live_bytes, 100_000);
        }
    }
    assert!(workload.finish().success());
}

/// memmgr's own system calls: it traces, signals and writes nothing of the target.
#[test]
fn memmgr_only_observes() {
    if !require_root() {
        return;
    }
    let workload = self_checking("2");
    let pid = workload.pid();
    let directory = tempfile::tempdir().expect("no temporary directory");
    let log = directory.path().join("strace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-s", "256", "-o"])
        .arg(&log)
        .arg(binary())
        .args(["report", "--duration", "500ms", "-p", &pid.to_string(), "-o"])
        .arg(directory.path().join("report.json"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace");
    assert!(status.success());
    let log = fs::read_to_string(log).expect("a log");
    assert!(log.contains(&format!("/proc/{pid}/maps")) || log.contains("\"maps\""), "not its log");
    for line in log.lines() {
        check_harmless(line, pid);
    }
    check_unharmed(workload);
}

/// One line of strace: `THREAD CALL(ARGUMENTS) = RESULT`.
#[track_caller]
fn check_harmless(line: &str, pid: u32) {
    const NEVER: [&str; 12] = [
        "ptrace",
        "process_vm_writev",
        "process_vm_readv",
        "process_madvise",
        "pidfd_send_signal",
        "pidfd_getfd",
        "setns",
        "migrate_pages",
        "move_pages",
        "process_mrelease",
        "kcmp",
        "unshare",
    ];
    let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
    let name = call.split('(').next().unwrap_or_default();
    assert!(!NEVER.contains(&name), "{line}");
    // Signals and limits, where the target is named.
    let names_target = call.contains(&format!("({pid},")) || call.contains(&format!("({pid})"));
    let concerns = [
        "kill",
        "tgkill",
        "tkill",
        "rt_sigqueueinfo",
        "rt_tgsigqueueinfo",
        "prlimit64",
        "sched_setaffinity",
        "sched_setscheduler",
        "setpriority",
        "ioprio_set",
    ];
    assert!(!(concerns.contains(&name) && names_target), "{line}");
    // Files of the target, and files opened relative to its directory, are opened for reading.
    let opens = name.starts_with("open") || name == "creat";
    let written =
        ["O_WRONLY", "O_RDWR", "O_TRUNC", "O_CREAT"].iter().any(|flag| call.contains(flag));
    assert!(!(opens && written && call.contains("/proc/")), "{line}");
}

/// What memmgr itself takes with a million live blocks stays within its bound.
#[test]
fn a_million_live_blocks_fit_into_128_mib() {
    const BLOCKS: u64 = 1_000_000;
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    for stack in ["fp", "dwarf"] {
        let mut workload = Workload::start(&Program::c("obeys-commands"), &[]);
        let flags = ["--mode", "exact", "--stack", stack, "--stack-bytes", "4KiB"];
        let capture = Capture::start(workload.pid(), &flags);
        // In portions that fit into the ring buffer, so that all of them are tracked.
        for _ in 0..BLOCKS / 500 {
            workload.send("hold 64 500");
            assert_eq!(workload.line(), "held 32000");
            thread::sleep(Duration::from_millis(10));
        }
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_eq!(report.totals.live_count, BLOCKS, "{:?}", report.capture.loss);
        let rss = report.collector.rss_peak_bytes;
        println!("--stack {stack}: {rss} bytes");
        assert!(rss <= 128 << 20, "--stack {stack}: {rss} bytes");
    }
}
