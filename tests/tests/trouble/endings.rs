//! Targets that end, or become something else, while memmgr attaches or captures.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use memmgr::report::Report;
use memmgr_tests::{Capture, Program, Workload, capture::binary, require_root, take_turn};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    check_nothing_left, check_trouble, live_through, obedient, obeys_commands, report_into, run,
    tell,
};

/// Lives too short to attach to, and lives that end somewhere in the course of it.
#[test]
fn a_target_that_ends_while_memmgr_attaches() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("ends-by-itself").build();
    let (mut captured, mut missed) = (0, 0);
    for life in (0..=1000).step_by(50) {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let mut target = Command::new(&program).arg(life.to_string()).spawn().expect("a target");
        let pid = target.id();
        wait_for_libc(pid);
        let collects = thread::spawn(move || target.wait());
        let ended = run(&mut report_into(directory.path(), pid, &["--duration", "30s"]));
        collects.join().expect("a thread").expect("a child");
        if ended.code == Some(0) {
            let report = read(directory.path());
            assert_eq!(report.target.ended, "exited", "{}", ended.stderr);
            // It may have ended between the entry of its first call and the return.
            assert!(report.capture.accounting.seen > 0);
            captured += 1;
        } else {
            check_trouble(&ended, 3, &["process"]);
            check_nothing_left(directory.path());
            missed += 1;
        }
    }
    assert!(captured > 0 && missed > 0, "{captured} were captured and {missed} were missed");
}

#[test]
fn a_target_that_exits_during_the_capture() {
    if !require_root() {
        return;
    }
    let mut workload = obedient();
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 1000 100", "held 100000");
    workload.send("exit");
    assert!(workload.finish().success());
    let outcome = capture.wait();
    let report = outcome.expect_report();
    assert_eq!(report.target.ended, "exited");
    assert_eq!(live_through(report, "hold_blocks"), (100_000, 100));
    assert!(report.capture.complete, "{:?}", report.capture.loss);
}

#[test]
fn a_target_that_is_killed_during_the_capture() {
    if !require_root() {
        return;
    }
    let mut workload = obedient();
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 1000 100", "held 100000");
    send(workload.pid(), Signal::KILL);
    assert!(!workload.finish().success());
    let outcome = capture.wait();
    assert_eq!(outcome.expect_report().target.ended, "exited");
    assert_eq!(live_through(outcome.expect_report(), "hold_blocks"), (100_000, 100));
}

#[test]
fn a_target_that_executes_another_program() {
    if !require_root() {
        return;
    }
    let mut workload = obedient();
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 320 100", "held 32000");
    let successor = obeys_commands().build();
    tell(&mut workload, &format!("exec {}", successor.display()), "ready");
    tell(&mut workload, "hold 10000 100", "held 1000000");
    let outcome = capture.wait();
    let report = outcome.expect_report();
    assert_eq!(report.target.ended, "exec");
    assert_eq!(live_through(report, "hold_blocks"), (32_000, 100));
    tell(&mut workload, "hold 1 1", "held 1");
}

/// The first thread ends, and the process goes on.
#[test]
fn a_target_whose_first_thread_ends() {
    if !require_root() {
        return;
    }
    let mut workload = obedient();
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 100 10", "held 1000");
    tell(&mut workload, "thread-exit", "moved");
    while !state_is_over(workload.pid()) {
        thread::sleep(Duration::from_millis(1));
    }
    tell(&mut workload, "hold 100 90", "held 9000");
    let outcome = capture.interrupt();
    assert_eq!(outcome.expect_report().target.ended, "interrupted");
    assert_eq!(live_through(outcome.expect_report(), "hold_blocks"), (10_000, 100));
}

/// What a child does is not its parent's, though the probes are in its memory too.
#[test]
fn a_target_that_forks() {
    if !require_root() {
        return;
    }
    let mut workload = obedient();
    tell(&mut workload, "hold 10 10", "held 100");
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 1000 100", "held 100000");
    tell(&mut workload, "fork 5000 100", "forked");
    tell(&mut workload, "hold 1000 50", "held 50000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_eq!(live_through(report, "hold_blocks"), (150_000, 150));
    assert_eq!(live_through(report, "become_a_child"), (0, 0));
    assert_eq!(report.totals.free_count, 0);
    assert!(report.capture.complete, "{:?}", report.capture.loss);
}

/// memmgr is stopped at moments of its start; meanwhile its target ends, and another process gets
/// the number. What is reported is the one or the other, never a mixture.
#[test]
fn a_number_that_goes_to_another_process() {
    if !require_root() {
        return;
    }
    let last_pid = "/proc/sys/kernel/ns_last_pid";
    if fs::OpenOptions::new().write(true).open(last_pid).is_err() {
        println!("skipped: this kernel does not let {last_pid} be written");
        return;
    }
    let _turn = take_turn();
    let (mut gone, mut old, mut new) = (0, 0, 0);
    for delay in (0..400).step_by(20) {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let mut first = obedient();
        let pid = first.pid();
        let start = start_time(pid);
        let memmgr = report_into(directory.path(), pid, &["--duration", "2s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("memmgr");
        thread::sleep(Duration::from_millis(delay));
        send(memmgr.id(), Signal::STOP);
        first.send("exit");
        first.finish();
        let second = obedient_with_number(pid, last_pid);
        send(memmgr.id(), Signal::CONT);
        let output = memmgr.wait_with_output().expect("memmgr");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        // The kernel tells two processes apart by ticks of 10 ms.
        let Some(second) = second.filter(|second| start_time(second.pid()) > start) else {
            continue;
        };
        match output.status.code() {
            Some(0) => {
                let report = read(directory.path());
                if report.target.start_time_s.to_bits() == start.to_bits() {
                    assert_eq!(report.target.ended, "exited", "{stderr}");
                    assert_eq!(report.totals.alloc_count, 0, "{stderr}");
                    old += 1;
                } else {
                    assert_eq!(report.target.start_time_s.to_bits(), start_time(pid).to_bits());
                    assert_eq!(report.target.ended, "duration", "{stderr}");
                    new += 1;
                }
            }
            Some(3) => {
                check_nothing_left(directory.path());
                gone += 1;
            }
            code => panic!("{code:?} {stderr}"),
        }
        drop(second);
    }
    println!("{gone} were gone, {old} were the old process, {new} the new");
    assert!(gone + old + new > 0, "no number could be had again");
}

/// Waits until the loader has done its work, or the process is over.
fn wait_for_libc(pid: u32) {
    let maps = || fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    while !maps().contains("libc.so") && !state_is_over(pid) {
        thread::yield_now();
    }
}

fn state_is_over(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// A program that has this process id, as far as nobody else took the number.
fn obedient_with_number(pid: u32, last_pid: &str) -> Option<Workload> {
    (0..20).find_map(|_| {
        fs::write(last_pid, (pid - 1).to_string()).expect("it is writable");
        Some(obedient()).filter(|second| second.pid() == pid)
    })
}

/// Seconds since boot, as in the report: field 22 of `/proc/PID/stat`, in ticks.
fn start_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_comm = stat.rsplit_once(") ").expect("a comm").1;
    let ticks: u64 = after_comm.split(' ').nth(19).expect("22 fields").parse().expect("ticks");
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

fn read(directory: &std::path::Path) -> Report {
    let bytes = fs::read(directory.join("report.json")).expect("a report");
    serde_json::from_slice(&bytes).expect("a report")
}

/// Without a process, before anything is attached: the binary and its messages alone.
#[test]
fn usage() {
    for (arguments, words) in [
        (&["report"][..], "<RECORDING|--pid <PID>|--cgroup <PATH>|--name <COMM>>"),
        (&["report", "-p", "0"], "0 is not in"),
        (&["report", "-p", "x"], "invalid"),
        (&["report", "-p", "1", "--mode", "exactly"], "possible values"),
        (&["report", "-p", "1", "--duration", "5"], "write 30s, 5m or 500ms"),
        (&["report", "-p", "1", "--probe", "malloc"], "write FUNC@OFFSET"),
        (&["report", "-p", "1", "--allocator", "libx.so"], "not an absolute path"),
    ] {
        let ended = run(Command::new(binary()).args(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}
