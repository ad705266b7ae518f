//! What the governor is to keep to, what it orders, and what it tells of its steps.

use std::{fmt, time::Duration};

use super::{Costs, Priced};

/// What a capture may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Whatever it takes.
    Off,
    /// Percent of the target's processor time, 0 to 100; where it uses less than half a processor, of half a processor.
    Percent(f64),
}

impl Budget {
    /// Whether the first look at the allocator would take more than it gives in minutes.
    pub fn is_below_a_window(self) -> bool {
        const LEAST_PERCENT: f64 = 0.05;
        matches!(self, Budget::Percent(percent) if percent < LEAST_PERCENT)
    }
}

/// What the governor is to keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The budget.
    pub budget: Budget,
    /// The finest sampling interval in bytes; 0 is every call. Also the one to begin with.
    pub finest: u64,
    /// The same for page faults.
    pub finest_faults: u64,
    /// Look closely at the allocator only while the target grows.
    pub growth_first: bool,
    /// Prices.
    pub costs: Costs,
    /// The functions that are probed; none where page faults are all that is captured.
    pub functions: Vec<Priced>,
}

/// What is to be in force from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders {
    /// Mean bytes between heap samples; 0 is every call.
    pub interval: u64,
    /// Mean bytes between samples of page faults; 0 is every fault.
    pub fault_interval: u64,
    /// Whether the allocator's probes are to be in place.
    pub open: bool,
    /// Functions without a probe from the next window on.
    pub dropped: Vec<bool>,
    /// Whether mapping calls are to be watched by tracepoints, where it is done in the C library.
    pub leave_library: bool,
    /// When to look again.
    pub next_look: Duration,
}

/// A step of the governor, for the report and the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since counting began.
    pub at: Duration,
    /// What was done, and why.
    pub what: String,
    /// Percent of the target's time that probing took until then.
    pub achieved_percent: f64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s: {}", self.at.as_secs_f64(), self.what)
    }
}
