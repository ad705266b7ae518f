//! Targets that do not run: stopped, or frozen with their cgroup.

use std::{fs, thread, time::Duration};

use memmgr_tests::{Capture, require_root};
use rustix::process::{Pid, Signal, kill_process};

use crate::{live_through, obedient, tell};

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
