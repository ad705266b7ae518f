//! One process of a merged report.

use serde::{Deserialize, Serialize};

use super::Report;

/// A process that was captured beside others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// The kernel's short name of the process.
    pub comm: String,
    /// From the begin of the whole capture to the moment that counting began for this process: 0 for those that were there.
    pub since_s: f64,
    /// From that moment to the end of its counting.
    pub duration_s: f64,
    /// Why it ended, as in `target.ended`.
    pub ended: String,
    /// Heap blocks outstanding at its end.
    pub live_count: u64,
    /// Heap bytes outstanding at its end.
    pub live_bytes: u64,
    /// Standard error of `live_bytes`; 0 where it is exact.
    pub live_bytes_error: u64,
    /// Heap bytes allocated.
    pub alloc_bytes: u64,
    /// Resident set; memory that processes share is in that of each.
    pub rss_bytes: Option<u64>,
    /// Proportional set: shared memory divided by those that share it, so that these add up.
    pub pss_bytes: Option<u64>,
    /// True when nothing was lost.
    pub complete: bool,
    /// Percent of its processor time that the capture took.
    pub overhead_percent: Option<f64>,
    /// The verdict in a line.
    pub verdict: String,
    /// The whole report of this process.
    pub report: Option<Box<Report>>,
}
