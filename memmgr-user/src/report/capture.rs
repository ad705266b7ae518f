//! How a capture was made, and what was lost.

use serde::{Deserialize, Serialize};

use super::sampled;

/// How the capture was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// `auto` (what the budget allows), `exact`, `sample`, or `growth`: no allocator probes, only page faults and mappings.
    pub mode: String,
    /// Mean distance between samples, in mode growth of page faults, in mode auto the largest that ever was in force; 0 where nothing is left out.
    pub sample_interval_bytes: u64,
    /// Which stacks were taken and why.
    pub stack: StackChoice,
    /// How the probes are attached: `session`, `multi` or `perf`.
    pub attach: String,
    /// True when nothing was lost: then exact figures are equal to the truth.
    pub complete: bool,
    /// When the allocator probes were in place; absent when all the time.
    #[serde(default)]
    pub observed: Option<Observed>,
    /// Probe hits per second, over the capture.
    pub probes_per_s: f64,
    /// The overhead budget and what became of it.
    pub overhead: Overhead,
    /// Which outstanding blocks the stacks show.
    #[serde(default)]
    pub filter: Filter,
    /// What was lost, by cause.
    pub loss: Loss,
    /// The sums behind `complete`.
    pub accounting: Accounting,
}

impl Capture {
    /// Whether only samples were taken, of blocks or of page faults.
    pub fn is_sampled(&self) -> bool {
        match self.mode.as_str() {
            "sample" => true,
            "auto" | "growth" => self.sample_interval_bytes > 0,
            _ => false,
        }
    }

    /// Whether it is a profile that the program's runtime keeps, since the program's start.
    pub fn is_of_runtime(&self) -> bool {
        self.stack.kind == sampled::STACKS
    }

    /// Whether the figures of the main class are estimates.
    pub fn estimates(&self) -> bool {
        self.is_sampled() || self.observed.is_some()
    }
}

/// Windows of time in which the allocator probes were in place. Heap figures are scaled by what each stands for, and
/// a block that was freed between windows counts as outstanding until its address is seen again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Share of the time of the capture, 0 to 1.
    pub share: f64,
    /// Intervals that had a window.
    pub windows: u64,
}

impl Observed {
    /// The share for people.
    pub fn percent(&self) -> String {
        let percent = self.share * 100.0;
        if percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
    }
}

/// Which outstanding blocks are shown; totals count all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// At least this old.
    pub min_age_s: f64,
    /// At least this large.
    pub min_size_bytes: u64,
}

impl Filter {
    /// Whether anything may be left out.
    pub fn hides(&self) -> bool {
        self.min_age_s > 0.0 || self.min_size_bytes > 0
    }
}

/// The kind of stack that was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackChoice {
    /// `fp` (frame pointers walked in the kernel) or `dwarf` (a copy of the stack, unwound afterwards).
    pub kind: String,
    /// Bytes of stack copied at most; 0 with frame pointers.
    pub bytes: u32,
    /// Why this kind, in a sentence.
    pub why: String,
    /// What every mapped file allows.
    pub files: Vec<StackFile>,
}

/// What one mapped file allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackFile {
    /// The file as the target's mappings name it.
    pub path: String,
    /// `frame pointers`, `unwind tables`, or `none`.
    pub unwind: String,
}

/// The overhead budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// What the user allowed, when there is a budget.
    pub budget_percent: Option<f64>,
    /// What was measured, when it was measured.
    pub achieved_percent: Option<f64>,
    /// Percent of its speed at which the target ran in windows with probes, about; absent without windows.
    #[serde(default)]
    pub speed_in_windows_percent: Option<f64>,
    /// What was done to keep it, in order.
    pub actions: Vec<Action>,
}

/// A step that was taken to keep the budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Seconds since counting began.
    pub t_s: f64,
    /// What was done, and why.
    pub what: String,
    /// Percent of the target's processor time that probing had taken until then.
    pub achieved_percent: f64,
}

/// What was lost, by cause. All zero means complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Events that found no room in the ring buffer.
    pub ring_full: u64,
    /// Hits while memmgr was stopped or starved for so long that its programs returned at once.
    #[serde(default)]
    pub asleep: u64,
    /// Events that found no room in a kernel map, or in a capped table of the collector.
    pub map_full: u64,
    /// Allocations without any stack; their bytes are kept.
    pub stack_missing: u64,
    /// Stacks that were cut short; their bytes are kept.
    pub stack_truncated: u64,
    /// Returns without an entry or entries without a return.
    pub unmatched_return: u64,
    /// Probe hits that the kernel did not deliver.
    pub missed: u64,
    /// Frees of blocks that memmgr does not know: mostly older than the attach. Not a loss by itself.
    pub unknown_free: u64,
    /// Allocations at an address that was still live: a free was missed.
    pub implied_free: u64,
    /// The same where the free fell between two windows in which the probes were in place. Not a loss.
    #[serde(default)]
    pub hidden_free: u64,
}

/// The sums that must balance: `seen = filtered + sampled_out + submitted + lost` and
/// `submitted + stack_records = received = decoded`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Probe hits that the programs handled.
    pub seen: u64,
    /// Hits that are no event: other processes, nested calls, null frees, failed allocations.
    pub filtered: u64,
    /// Hits that the sampler passed over.
    pub sampled_out: u64,
    /// Hits that became an event in the ring buffer.
    pub submitted: u64,
    /// Records beside the hits: frame-pointer stacks, sent once each.
    pub stack_records: u64,
    /// Hits that should have become an event and did not, over all causes.
    pub lost: u64,
    /// Events read from the ring buffer.
    pub received: u64,
    /// Events decoded.
    pub decoded: u64,
    /// `seen - filtered - sampled_out - submitted - lost`; 0 when the books balance.
    pub residual: i64,
}
