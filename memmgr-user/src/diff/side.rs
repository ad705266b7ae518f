//! The two sides of a comparison, and what they have in common.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// Two captures that began this close to each other, of one process, are the same capture: the times of
/// a report are whole seconds.
const SAME_START: Duration = Duration::from_secs(2);
/// Start times of one process differ by a clock tick at most.
const SAME_PROCESS_S: f64 = 0.02;

/// What identifies one report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Process id.
    pub pid: u32,
    /// The kernel's short name of the process.
    pub comm: String,
    /// When the capture, or its part up to this moment, ended.
    pub captured_at: String,
    /// From the moment that counting began.
    pub duration_s: f64,
    /// `exact`, `sample`, ...
    pub mode: String,
    /// Mean distance between samples; 0 in exact mode.
    pub sample_interval_bytes: u64,
    /// True when nothing was lost.
    pub complete: bool,
}

impl Side {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            pid: report.target.pid,
            comm: report.target.comm.clone(),
            captured_at: report.captured_at.clone(),
            duration_s: report.duration_s,
            mode: report.capture.mode.clone(),
            sample_interval_bytes: report.capture.sample_interval_bytes,
            complete: report.capture.complete,
        }
    }
}

/// What two reports have in common, from the most to the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Two moments of one capture: the second contains the first.
    OneCapture,
    /// Two captures of one process.
    OneProcess,
    /// Two processes of one program.
    OneProgram,
    /// Different programs.
    #[default]
    Different,
}

impl Relation {
    pub(super) fn of(before: &Report, after: &Report) -> Self {
        let (first, second) = (&before.target, &after.target);
        if first.comm != second.comm || program(before) != program(after) {
            return Relation::Different;
        }
        let born = (first.start_time_s - second.start_time_s).abs();
        if first.pid != second.pid || born > SAME_PROCESS_S {
            return Relation::OneProgram;
        }
        match (began(before), began(after)) {
            (Some(first), Some(second)) if apart(first, second) < SAME_START => {
                Relation::OneCapture
            }
            _ => Relation::OneProcess,
        }
    }

    /// True when addresses of the one are addresses of the other.
    pub fn is_one_process(self) -> bool {
        matches!(self, Relation::OneCapture | Relation::OneProcess)
    }
}

/// The executable without its directory, which differs from release to release.
fn program(report: &Report) -> &str {
    report.target.exe.rsplit('/').next().unwrap_or_default()
}

/// When the capture ended; nothing when the report does not say it well.
pub(super) fn ended(report: &Report) -> Option<SystemTime> {
    humantime::parse_rfc3339(&report.captured_at).ok()
}

/// When counting began, to a second.
pub(crate) fn began(report: &Report) -> Option<SystemTime> {
    ended(report)?.checked_sub(Duration::try_from_secs_f64(report.duration_s).ok()?)
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}
