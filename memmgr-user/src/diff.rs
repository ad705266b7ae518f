//! Two reports compared: `memmgr.diff/1`. Pure, and as plain and serializable as a report.
//!
//! Fields may be added; a renamed or removed one bumps the number in [`SCHEMA`]. What stands in the way
//! of a fair comparison is said in [`Diff::cautions`], never passed over. Text that came from the targets
//! is hostile until a sink escapes it.

mod cautions;
mod findings;
pub(crate) mod identity;
mod noise;
mod shares;
pub(crate) mod side;
mod stacks;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use findings::FindingChange;
pub use shares::{FunctionChange, ModuleChange, Share, SizeChange};
pub use side::{Relation, Side};
pub use stacks::{StackChange, Status};

use crate::report::{Report, Totals};
use identity::Names;

/// The name and version of the schema.
pub const SCHEMA: &str = "memmgr.diff/1";

/// What changed from one report to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The version of memmgr that compared.
    pub memmgr_version: String,
    /// The first report.
    pub before: Side,
    /// The second report.
    pub after: Side,
    /// What the two have in common.
    pub relation: Relation,
    /// Why figures of the two sides may not be comparable, in sentences. Empty when nothing speaks against it.
    pub cautions: Vec<String>,
    /// True when `kept` figures are there: blocks allocated after the first side and outstanding at the second.
    pub kept: bool,
    /// The heap.
    pub totals: Change,
    /// Anonymous mappings and the program break. Never add them to the heap.
    pub mapped: Change,
    /// Mapped files.
    pub file_mapped: Change,
    /// Private pages by the stack that touched them first. Never add them to the heap.
    #[serde(default)]
    pub resident: Change,
    /// Resident bytes of the target at the end.
    pub rss_bytes: Gauge,
    /// Usage of its memory cgroup at the end.
    pub cgroup_bytes: Gauge,
    /// Every stack of either side, by the size of what changed in its outstanding bytes (or of what was kept).
    pub stacks: Vec<StackChange>,
    /// Heap bytes by function, most changed first.
    pub functions: Vec<FunctionChange>,
    /// Heap bytes by file, most changed first.
    pub modules: Vec<ModuleChange>,
    /// Heap bytes by size of the block, smallest first.
    pub sizes: Vec<SizeChange>,
    /// Judgements that only one side has.
    pub findings: Vec<FindingChange>,
    /// Names of the probed allocator functions of both sides: the frames that say nothing about who allocates.
    pub allocator_functions: Vec<String>,
}

/// Bytes and counts of one side (`u64`), or how they differ (`i64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures<T> {
    /// Blocks outstanding.
    pub live_count: T,
    /// Bytes outstanding.
    pub live_bytes: T,
    /// Allocations over the capture.
    pub alloc_count: T,
    /// Bytes allocated over the capture.
    pub alloc_bytes: T,
    /// Allocations a second; absent when no time passed. Comparable when the captures lasted differently.
    pub alloc_count_per_s: Option<f64>,
    /// Bytes allocated a second; absent when no time passed.
    pub alloc_bytes_per_s: Option<f64>,
}

/// Outstanding blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many.
    pub count: u64,
    /// How much.
    pub bytes: u64,
}

/// Two sides and how they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// In the first report.
    pub before: Figures<u64>,
    /// In the second report.
    pub after: Figures<u64>,
    /// Second less first.
    pub delta: Figures<i64>,
    /// Allocated after the first and outstanding at the second, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Held>,
}

/// A figure that may be unknown on either side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// In the first report.
    pub before: Option<u64>,
    /// In the second report.
    pub after: Option<u64>,
    /// Second less first, when both are known.
    pub delta: Option<i64>,
}

/// Compares two reports. `kept`, where there is one, holds only the blocks that were allocated after
/// `before` and are outstanding in `after`: two moments of one recording can tell, two reports cannot.
pub fn diff(before: &Report, after: &Report, kept: Option<&Report>) -> Diff {
    let names = Names::common_to(before, after);
    let stacks = stacks::compare(&names, before, after, kept);
    let totals = |of: fn(&Report) -> &Totals| {
        let side = |report: &Report| Figures::of_totals(of(report), report.duration_s);
        let held = kept.map(of).map(|kept| Held { count: kept.live_count, bytes: kept.live_bytes });
        Change { kept: held, ..Change::between(side(before), side(after)) }
    };
    let cgroup = |report: &Report| report.cgroup.as_ref().and_then(|cgroup| cgroup.usage_bytes);
    Diff {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        before: Side::of(before),
        after: Side::of(after),
        relation: names.relation,
        cautions: cautions::cautions(&names, before, after),
        kept: kept.is_some(),
        totals: totals(|report| &report.totals),
        mapped: totals(|report| &report.mapped),
        file_mapped: totals(|report| &report.file_mapped),
        resident: totals(|report| &report.resident),
        rss_bytes: Gauge::between(before.process.rss_bytes, after.process.rss_bytes),
        cgroup_bytes: Gauge::between(cgroup(before), cgroup(after)),
        functions: shares::functions(&names, before, after),
        modules: shares::modules(&names, before, after),
        sizes: shares::sizes(before, after),
        findings: findings::compare(&names, &stacks, before, after),
        stacks: stacks.changes,
        allocator_functions: allocator_functions([before, after]),
    }
}

impl Diff {
    /// True when no stack, and no total, differs between the two sides.
    pub fn is_empty(&self) -> bool {
        let still = |change: &Change| change.delta.is_zero();
        [&self.totals, &self.mapped, &self.file_mapped, &self.resident].into_iter().all(still)
            && self.stacks.iter().all(|stack| still(&stack.change))
    }

    /// What allocations of the first side are multiplied by to stand beside those of the second: the
    /// ratio of the durations, or 1 where they are alike or the second capture contains the first.
    pub fn alloc_scale(&self) -> f64 {
        let (first, second) = (self.before.duration_s, self.after.duration_s);
        let scale = second / first;
        let apart = self.relation != Relation::OneCapture && cautions::differ(first, second);
        if apart && scale.is_finite() && scale > 0.0 { scale } else { 1.0 }
    }
}

impl Figures<u64> {
    fn of_totals(totals: &Totals, seconds: f64) -> Self {
        Self {
            live_count: totals.live_count,
            live_bytes: totals.live_bytes,
            alloc_count: totals.alloc_count,
            alloc_bytes: totals.alloc_bytes,
            ..Self::default()
        }
        .with_rates(seconds)
    }

    /// Adds what one stack or size class holds; rates are left for [`Figures::with_rates`].
    fn add(&mut self, more: Self) {
        self.live_count = self.live_count.saturating_add(more.live_count);
        self.live_bytes = self.live_bytes.saturating_add(more.live_bytes);
        self.alloc_count = self.alloc_count.saturating_add(more.alloc_count);
        self.alloc_bytes = self.alloc_bytes.saturating_add(more.alloc_bytes);
    }

    fn with_rates(self, seconds: f64) -> Self {
        let rate = |sum: u64| (seconds.is_finite() && seconds > 0.0).then(|| sum as f64 / seconds);
        Self {
            alloc_count_per_s: rate(self.alloc_count),
            alloc_bytes_per_s: rate(self.alloc_bytes),
            ..self
        }
    }
}

impl Figures<i64> {
    fn is_zero(&self) -> bool {
        (self.live_count, self.live_bytes, self.alloc_count, self.alloc_bytes) == (0, 0, 0, 0)
    }
}

impl Change {
    fn between(before: Figures<u64>, after: Figures<u64>) -> Self {
        let rates = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
        Self {
            before,
            after,
            delta: Figures {
                live_count: delta(before.live_count, after.live_count),
                live_bytes: delta(before.live_bytes, after.live_bytes),
                alloc_count: delta(before.alloc_count, after.alloc_count),
                alloc_bytes: delta(before.alloc_bytes, after.alloc_bytes),
                alloc_count_per_s: rates(before.alloc_count_per_s, after.alloc_count_per_s),
                alloc_bytes_per_s: rates(before.alloc_bytes_per_s, after.alloc_bytes_per_s),
            },
            kept: None,
        }
    }
}

impl Gauge {
    fn between(before: Option<u64>, after: Option<u64>) -> Self {
        Self { before, after, delta: before.zip(after).map(|(before, after)| delta(before, after)) }
    }
}

/// Second less first; figures that no memory can have (beyond 2^63) end at the limit.
pub(crate) fn delta(before: u64, after: u64) -> i64 {
    let exact = i128::from(after) - i128::from(before);
    exact.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn allocator_functions(reports: [&Report; 2]) -> Vec<String> {
    let allocators = reports.into_iter().flat_map(|report| &report.target.allocators);
    let mut names: Vec<String> = allocators
        .flat_map(|allocator| &allocator.functions)
        .flat_map(|function| function.symbol.split('='))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
