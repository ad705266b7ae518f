//! The report, `memmgr.report/1`: plain, versioned, serializable.
//!
//! Fields may be added; a renamed or removed one bumps the number in [`SCHEMA`]. Bytes are bytes,
//! times are seconds, counts are counts. Text that came from the target (names, paths, symbols) is
//! stored as it was found and is hostile until a sink escapes it for the place it goes to.

pub mod account;
pub mod build;
mod capture;
pub mod ending;
mod figures;
mod fragmentation;
pub mod last_look;
mod mapped_by;
mod member;
pub mod reconcile;
pub mod sampled;
mod served;
mod shares;
mod verdict;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::track::Class;

pub use capture::{
    Accounting, Action, Capture, Filter, Loss, Observed, Overhead, StackChoice, StackFile,
};
pub use figures::{Cgroup, Host, Pressure, PressureLine, Process, Reconciliation};
pub use fragmentation::{Area, Fragmentation, Occupancy, Pinning};
pub use mapped_by::MappedBy;
pub use member::Member;
pub use served::{Missing, Served, Way};
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
    /// The same by who mapped it, the largest first.
    #[serde(default)]
    pub mapped_by: Vec<MappedBy>,
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
    /// Where the memory of allocations came from: the allocator's own, or the kernel; absent when nothing was allocated.
    #[serde(default)]
    pub served: Option<Served>,
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
    /// Resident pages of the allocator's memory by what is outstanding on them; absent where not every block is known, and for all
    /// moments but the end.
    #[serde(default)]
    pub fragmentation: Option<Fragmentation>,
    /// What memmgr itself used.
    pub collector: Collector,
    /// The processes whose reports were merged into this one, most bytes outstanding first; empty in the report of one process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Member>,
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
    /// Process id in the initial PID namespace; 0 in a merged report.
    pub pid: u32,
    /// The kernel's short name of the process; in a merged report of all of them, separated by commas.
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
    /// Most bytes outstanding at any time; in a merged report the sum of all peaks, which no moment need have had.
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
    /// The median; in a merged report that of the medians of all processes, each as often as it has blocks. The true one
    /// lies between the smallest and the largest of them.
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
