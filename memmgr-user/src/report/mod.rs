//! The report, `memmgr.report/1`: plain, versioned, serializable.
//!
//! Fields may be added; a renamed or removed one bumps the number in [`SCHEMA`]. Bytes are bytes,
//! times are seconds, counts are counts. Text that came from the target (names, paths, symbols) is
//! stored as it was found and is hostile until a sink escapes it for the place it goes to.

pub mod account;
pub mod build;
pub mod ending;
mod figures;
pub mod last_look;
pub mod reconcile;
pub mod sampled;
mod shares;
mod verdict;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::track::Class;

pub use figures::{Cgroup, Host, Pressure, PressureLine, Process, Reconciliation};
pub use shares::{Function, Module, SizeClass};
pub use verdict::{Finding, Growth, Lifetime, Noticed, Old, Suppression, Survival};

/// The name and version of the schema, in every JSON report.
pub const SCHEMA: &str = "memmgr.report/1";

/// One capture, whole: what every sink renders and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The version of memmgr that captured.
    pub memmgr_version: String,
    /// When the capture ended, RFC 3339, UTC.
    pub captured_at: String,
    /// From the moment that counting began to the moment that it ended.
    pub duration_s: f64,
    /// What was looked at.
    pub target: Target,
    /// How it was looked at, and what was lost.
    pub capture: Capture,
    /// Heap figures over all stacks.
    pub totals: Totals,
    /// Anonymous memory that the target mapped by itself or through its allocator since the attach: address space.
    pub mapped: Totals,
    /// Files that the target mapped since the attach: address space.
    pub file_mapped: Totals,
    /// Private pages that the target touched since the attach and that are there: where the faults were captured.
    #[serde(default)]
    pub resident: Totals,
    /// Every stack with allocations, most live bytes first.
    pub stacks: Vec<Stack>,
    /// Bytes of the main class by function: of the heap, or without one of what is resident.
    pub functions: Vec<Function>,
    /// The same by file, and where each file was mapped.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// The same by size of the block, smallest first.
    #[serde(default)]
    pub sizes: Vec<SizeClass>,
    /// Judgements, most severe first.
    pub findings: Vec<Finding>,
    /// What `--suppress` took out of the judgement.
    #[serde(default)]
    pub suppressions: Vec<Suppression>,
    /// Seconds since counting began at which the windows of every `growth.series` end; the first begins at 0.
    #[serde(default)]
    pub windows_s: Vec<f64>,
    /// Seconds of each of those windows in which the allocator probes were in place; empty when all the time.
    #[serde(default)]
    pub windows_observed_s: Vec<f64>,
    /// One point an interval.
    pub timeline: Vec<TimelinePoint>,
    /// The target's own figures at the end, from procfs.
    pub process: Process,
    /// The memory cgroup of the target, if there is one.
    pub cgroup: Option<Cgroup>,
    /// The host at the end.
    pub host: Host,
    /// What explains the target's RSS, line by line.
    pub reconciliation: Reconciliation,
    /// What memmgr itself used.
    pub collector: Collector,
}

impl Report {
    /// What the report is about first: the heap, or where no allocator was probed what is resident.
    pub fn main_class(&self) -> Class {
        main_class(&self.capture, &self.stacks)
    }

    /// Leaves out the series of stacks that do not grow, but for the largest: nobody looks at them, and in
    /// a report of many stacks they are most of its bytes. For after the judgement, which needs them all.
    pub fn drop_flat_series(&mut self) {
        const LARGEST: usize = 200;
        for stack in self.stacks.iter_mut().skip(LARGEST).filter(|stack| stack.finding.is_none()) {
            if let Some(growth) = stack.growth.as_mut().filter(|growth| growth.shape == "flat") {
                growth.series = Vec::new();
                growth.kept = Vec::new();
            }
        }
    }
}

/// See [`Report::main_class`].
fn main_class(capture: &Capture, stacks: &[Stack]) -> Class {
    let has_heap = || stacks.iter().any(|stack| stack.class == Class::Heap.name());
    if capture.mode == "growth" && !has_heap() { Class::Resident } else { Class::Heap }
}

/// The process that was captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// The kernel's short name of the process.
    pub comm: String,
    /// The executable as procfs names it.
    pub exe: String,
    /// The arguments.
    pub cmdline: Vec<String>,
    /// Start of the process in seconds since the host booted; with `pid` the identity of a process.
    pub start_time_s: f64,
    /// Path of its cgroup, as `/proc/PID/cgroup` has it.
    pub cgroup: String,
    /// Container id read from the cgroup path, if there is one.
    pub container_id: Option<String>,
    /// Threads at the end of the capture.
    pub threads: u64,
    /// Why the capture ended: `duration`, `interrupted`, `exited`, `exec`.
    pub ended: String,
    /// Allocators that were probed.
    pub allocators: Vec<Allocator>,
    /// What was found but could not be covered.
    pub not_covered: Vec<NotCovered>,
}

/// One probed allocator library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocator {
    /// `glibc`, `musl`, `jemalloc`, `tcmalloc`, `mimalloc` or `named` (by the user).
    pub kind: String,
    /// The file as the target's mappings name it.
    pub path: String,
    /// GNU build id in hex, empty when the file has none.
    pub build_id: String,
    /// Every probed function.
    pub functions: Vec<ProbedFunction>,
}

/// One probed function of an allocator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbedFunction {
    /// The symbol; aliases of one address are joined with `=`.
    pub symbol: String,
    /// What it does: `malloc`, `calloc`, `realloc`, `memalign`, `posix_memalign`, `free`, ...
    pub role: String,
    /// File offset of the function's first instruction.
    pub offset: u64,
    /// Where the probe stands and what a hit costs: `entry+3 je (emulated)`, `entry test (single-stepped)`.
    pub site: String,
    /// Outermost calls seen at this function.
    pub hits: u64,
}

/// Something that memmgr saw and does not cover.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotCovered {
    /// A function, a file or a memory class.
    pub what: String,
    /// Why.
    pub why: String,
}

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

/// Counts and bytes over a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Allocations.
    pub alloc_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Frees of known blocks.
    pub free_count: u64,
    /// Bytes freed.
    pub free_bytes: u64,
    /// Blocks outstanding at the end.
    pub live_count: u64,
    /// Bytes outstanding at the end.
    pub live_bytes: u64,
    /// Most bytes outstanding at any time.
    pub peak_live_bytes: u64,
    /// Standard error of `live_bytes`, in bytes; 0 where it is exact. Two of them to either side hold the truth in
    /// 95 of 100 cases.
    #[serde(default)]
    pub live_bytes_error: u64,
    /// Standard error of `alloc_bytes`.
    #[serde(default)]
    pub alloc_bytes_error: u64,
}

/// One stack and what it allocated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// Stable within the report.
    pub id: u32,
    /// `heap`, `mapping`, `file-mapping` or `resident`: what kind of memory. Kinds are never added up.
    pub class: String,
    /// Blocks outstanding.
    pub live_count: u64,
    /// Bytes outstanding.
    pub live_bytes: u64,
    /// Outstanding blocks that were really seen: in sample mode the samples behind the estimate.
    pub live_samples: u64,
    /// Allocations made.
    pub alloc_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Standard error of `live_bytes`, in bytes; 0 where it is exact.
    #[serde(default)]
    pub live_bytes_error: u64,
    /// Standard error of `alloc_bytes`.
    #[serde(default)]
    pub alloc_bytes_error: u64,
    /// How old the outstanding blocks are; absent when none is outstanding.
    pub age_s: Option<Age>,
    /// The frames, leaf first. Many stacks share them.
    pub frames: Vec<Arc<Frame>>,
    /// Why the stack is not whole: `truncated`, `missing`; absent when it reaches the start of its thread.
    pub cut: Option<String>,
    /// The finding about this stack, by its index in `findings`.
    pub finding: Option<u32>,
    /// The same figures by size of the block, smallest first.
    #[serde(default)]
    pub sizes: Vec<SizeClass>,
    /// How its outstanding bytes moved.
    #[serde(default)]
    pub growth: Option<Growth>,
    /// How long its blocks live.
    #[serde(default)]
    pub lifetime: Option<Lifetime>,
    /// The suppression that matched, as its line in the file reads.
    #[serde(default)]
    pub suppressed: Option<String>,
}

/// Ages of outstanding blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Age {
    /// The youngest.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The oldest.
    pub max: f64,
}

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The function, demangled; absent when unknown (see `reason`).
    pub function: Option<String>,
    /// The file that holds the code.
    pub module: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Line in the source file.
    pub line: Option<u32>,
    /// True when this function was inlined into the next frame.
    pub inlined: bool,
    /// Offset of the code in `module`; for code without a file, the address.
    pub address: u64,
    /// Why there is no function name.
    pub reason: Option<String>,
}

/// One moment of the capture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// Since the capture began.
    pub t_s: f64,
    /// Tracked heap bytes outstanding.
    pub live_bytes: u64,
    /// Resident bytes of the target.
    pub rss_bytes: u64,
    /// Usage of its memory cgroup.
    pub cgroup_bytes: Option<u64>,
    /// Swapped bytes of the target.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
    /// Threads of the target.
    #[serde(default)]
    pub threads: Option<u64>,
    /// Open file descriptors of the target.
    #[serde(default)]
    pub descriptors: Option<u64>,
    /// Seconds, since the point before, in which the allocator probes were in place; absent when all the time.
    #[serde(default)]
    pub observed_s: Option<f64>,
}

/// What memmgr itself used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Collector {
    /// Highest resident set of memmgr.
    pub rss_peak_bytes: u64,
    /// Processor time of memmgr.
    pub cpu_s: f64,
    /// From the start of the attach to its end.
    pub attach_s: f64,
    /// From the request to detach to its end.
    pub detach_s: f64,
    /// From the attach to the first event, when there was one.
    pub first_event_s: Option<f64>,
}
