//! Several processes captured side by side: those of a cgroup, of a name, or any, and the children that they make.
//!
//! ```text
//! choose → a thread each: attach ── wait ── capture ── report ┐
//!                                                             ├→ merge → Report
//!          a thread each: attach ── wait ── capture ── report ┘
//! ```
//!
//! Each process has a whole capture of its own: kernel part, collector, budget, recording. So the books stay those of one
//! process, one that fails or ends takes nothing with it, and each keeps its own budget. They begin together and end
//! together; [`merge`] makes one report of theirs.

pub mod choose;
mod member;
pub mod merge;
mod run;

use crate::{
    report::{NotCovered, Report},
    units::Pid,
};

pub use choose::{Chooser, Found, NoProcess, Who};
pub use run::{Terms, run};

/// Processes that are captured at a time. Each has maps in the kernel, a database in memory or a file, and, at every probe of a
/// file that it shares with others, a handler that the kernel has to pass by.
pub const MOST_AT_A_TIME: usize = 32;
/// Processes that one capture takes in from its begin to its end: a server may make one for every connection.
pub const MOST_IN_ALL: usize = 128;

/// The capture of one process.
#[derive(Debug)]
pub struct Part {
    /// Its report, judged.
    pub report: Report,
    /// From the begin of the whole capture to the moment that counting began for this process.
    pub since_s: f64,
}

/// A process that belongs to the group and was not captured.
#[derive(Debug)]
pub struct Missed {
    /// Its number.
    pub pid: Pid,
    /// Its name when it was found; hostile.
    pub comm: String,
    /// Why.
    pub error: anyhow::Error,
}

/// What a capture of a group has brought.
#[derive(Debug, Default)]
pub struct Outcome {
    /// By process.
    pub parts: Vec<Part>,
    /// Processes that could not be captured.
    pub missed: Vec<Missed>,
    /// Processes that joined the others and ended before they were attached to.
    pub too_short: u64,
    /// Processes that were too many.
    pub left_out: u64,
}

impl Outcome {
    /// One report, which says who is not in it.
    pub fn report(self) -> Report {
        /// Told one by one; the others by number.
        const TOLD: usize = 10;
        let mut not_covered: Vec<NotCovered> = self
            .missed
            .iter()
            .take(TOLD)
            .map(|missed| NotCovered {
                what: format!("process {} ({})", missed.pid, missed.comm),
                // Of several lines, where it is an answer by itself.
                why: format!("{:#}", missed.error).replace("\n  ", " ").replace('\n', "; "),
            })
            .collect();
        let more = self.missed.len().saturating_sub(TOLD);
        if more > 0 {
            not_covered.push(NotCovered {
                what: format!("{more} more processes"),
                why: "they could not be captured either; most of them will have ended too soon"
                    .to_owned(),
            });
        }
        if self.too_short > 0 {
            not_covered.push(NotCovered {
                what: format!("{} processes that were seen and ended at once", self.too_short),
                why: "a new process is noticed within 250 ms, and attaching takes some tenths of a second, one after the other; after \
                      three of these a process has to be there 250 ms later too, because every attach slows its whole family"
                    .to_owned(),
            });
        }
        if self.left_out > 0 {
            not_covered.push(NotCovered {
                what: format!("{} processes that belong to the group too", self.left_out),
                why: format!(
                    "at most {MOST_AT_A_TIME} processes are captured at a time, the largest first, and {MOST_IN_ALL} in all"
                ),
            });
        }
        let mut report = merge::merge(self.parts);
        report.target.not_covered.extend(not_covered);
        report
    }
}
