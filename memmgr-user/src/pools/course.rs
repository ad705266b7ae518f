//! An allocator over some time: what a capture saw of it.

use serde::{Deserialize, Serialize};

use crate::report::{Capture, Finding, Fragmentation, Report, Served};

/// What a capture tells of an allocator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// How long it was captured, in seconds.
    pub duration_s: f64,
    /// Why it ended: `duration`, `interrupted`, `exited`, `exec`.
    pub ended: String,
    /// How it was made, as in a report.
    pub capture: Capture,
    /// Whether nothing was lost.
    pub complete: bool,
    /// Whether counts of allocations are estimates.
    pub estimated: bool,
    /// Where the windows of `served` end, in seconds since counting began.
    pub windows_s: Vec<f64>,
    /// Hit and miss; absent when nothing was allocated.
    pub served: Option<Served>,
    /// What is outstanding on which pages; absent where not every block is known.
    pub fragmentation: Option<Fragmentation>,
    /// What is to be said about its calls to the kernel.
    pub findings: Vec<Finding>,
}

impl From<Report> for Course {
    fn from(report: Report) -> Self {
        let is_of_allocator =
            |finding: &Finding| matches!(finding.kind.as_str(), "kernel-calls" | "arenas");
        Course {
            duration_s: report.duration_s,
            ended: report.target.ended,
            complete: report.capture.complete,
            estimated: report.capture.estimates() || !report.capture.complete,
            capture: report.capture,
            windows_s: report.windows_s,
            served: report.served,
            fragmentation: report.fragmentation,
            findings: report.findings.into_iter().filter(is_of_allocator).collect(),
        }
    }
}
