//! Programs that leak and programs that do not, and what memmgr makes of them.
//!
//! Every file of `workloads/leaks/` is a case ([`Case`]): a small program with its expectation in the
//! comment on top. A case is captured as a user would do it, and its report is read as a user would read
//! it ([`Verdict`]): is there a warning, and which function stands on top.

mod case;
mod verdict;

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

pub use case::{Case, Expected, Language, Load, Mode};
pub use verdict::{Alarm, Mistake, Verdict};

use crate::{Capture, Outcome, Workload};

/// From the moment that a program is loaded to the attach: it has begun its work.
const HEAD_START: Duration = Duration::from_millis(500);

/// Longest wait for a program to be loaded; after that memmgr says what is missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the program of a case and captures it for so many seconds.
pub fn capture(case: &Case, seconds: u32) -> Outcome {
    let program = Workload::spawn(case.command());
    wait_until_loaded(program.pid());
    sleep(HEAD_START);
    let duration = format!("{seconds}s");
    let mut flags =
        vec!["--mode", case.mode.flag(), "--max-overhead", "off", "--duration", &duration];
    flags.extend(case.capture.iter().map(String::as_str));
    match Capture::try_start(program.pid(), &flags) {
        Ok(capture) => capture.wait(),
        Err(outcome) => *outcome,
    }
}

/// Waits until the C library is mapped, which on a busy machine takes its time.
fn wait_until_loaded(pid: u32) {
    let begin = Instant::now();
    let loaded = || {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.contains("/libc.so")
    };
    while !loaded() && begin.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20));
    }
}
