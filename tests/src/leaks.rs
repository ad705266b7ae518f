//! Programs that leak and programs that do not, and what memmgr makes of them.
//!
//! Every file of `workloads/leaks/` is a case ([`Case`]): a small program with its expectation in the
//! comment on top. A case is captured as a user would do it, and its report is read as a user would read
//! it ([`Verdict`]): is there a warning, and which function stands on top.

mod case;
mod verdict;

use std::{thread::sleep, time::Duration};

pub use case::{Case, Expected, Language, Load, Mode};
pub use verdict::{Alarm, Mistake, Verdict};

use crate::{Capture, Outcome, Workload};

/// From the start of a program to the attach: it is loaded and has begun its work.
const HEAD_START: Duration = Duration::from_millis(500);

/// Starts the program of a case and captures it for so many seconds.
pub fn capture(case: &Case, seconds: u32) -> Outcome {
    let program = Workload::spawn(case.command());
    sleep(HEAD_START);
    let flags = ["--mode", case.mode.flag(), "--duration", &format!("{seconds}s")];
    match Capture::try_start(program.pid(), &flags) {
        Ok(capture) => capture.wait(),
        Err(outcome) => *outcome,
    }
}
