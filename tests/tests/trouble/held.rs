//! Targets that do not run: stopped, or frozen with their cgroup; and one that runs and allocates nothing.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use memmgr_tests::{Capture, require_root};
use rustix::process::{Pid, Signal, kill_process};

use crate::{live_through, obedient, report_into, run, tell};

fn state(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    status.lines().find(|line| line.starts_with("State:")).expect("a state").to_owned()
}

/// A stopped target is attached to without waking it, and counted once somebody else wakes it.
#[test]
fn a_stopped_target() {
    if !require_root() {
        return;
    }
    let mut workload = obedient();
    let pid = Pid::from_raw(i32::try_from(workload.pid()).expect("a process")).expect("not 0");
    kill_process(pid, Signal::STOP).expect("it runs");
    while !state(workload.pid()).contains("(stopped)") {
        thread::sleep(Duration::from_millis(1));
    }
    workload.send("hold 100 50");
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    thread::sleep(Duration::from_millis(100));
    assert!(state(workload.pid()).contains("(stopped)"), "{}", state(workload.pid()));
    let idle = Capture::start(workload.pid(), &["--mode", "exact", "--duration", "300ms"]).wait();
    assert_eq!(idle.expect_report().totals.alloc_count, 0);
    assert!(state(workload.pid()).contains("(stopped)"), "{}", state(workload.pid()));

    kill_process(pid, Signal::CONT).expect("it runs");
    assert_eq!(workload.line(), "held 5000");
    tell(&mut workload, "hold 100 50", "held 5000");
    let outcome = capture.interrupt();
    assert_eq!(live_through(outcome.expect_report(), "hold_blocks"), (10_000, 100));
}

/// Probes that hear nothing of a busy target are where it does not allocate: that is said while there is time.
#[test]
fn a_busy_target_that_calls_nothing_is_told() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let mut busy = Command::new("yes").stdout(Stdio::null()).spawn().expect("yes is on every host");
    thread::sleep(Duration::from_millis(300));
    let ended = run(&mut report_into(directory.path(), busy.id(), &["--duration", "7s"]));
    busy.kill().expect("it runs");
    busy.wait().expect("it ends");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("none of the probed functions was called in"),
        "{}",
        ended.stderr
    );
}
