//! The same changes seen another way: by function, by file, by size of the block.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{Change, Figures, delta, identity::Names};
use crate::report::{Report, SizeClass};

/// Bytes of a function or a file on one side (`u64`), or how they differ (`i64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share<T> {
    /// Outstanding bytes of stacks whose leaf is in it.
    pub self_live_bytes: T,
    /// Outstanding bytes of stacks in which it appears.
    pub total_live_bytes: T,
    /// Allocated bytes of stacks whose leaf is in it.
    pub self_alloc_bytes: T,
    /// Allocated bytes of stacks in which it appears.
    pub total_alloc_bytes: T,
}

/// A function on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionChange {
    /// The function's name.
    pub function: String,
    /// The file that holds it.
    pub module: String,
    /// In the first report.
    pub before: Share<u64>,
    /// In the second report.
    pub after: Share<u64>,
    /// Second less first.
    pub delta: Share<i64>,
}

/// A file on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleChange {
    /// The file.
    pub path: String,
    /// In the first report.
    pub before: Share<u64>,
    /// In the second report.
    pub after: Share<u64>,
    /// Second less first.
    pub delta: Share<i64>,
}

/// A size class on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SizeChange {
    /// The smallest size in this class, in bytes asked for.
    pub min_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
    /// The figures.
    #[serde(flatten)]
    pub change: Change,
}

impl Share<u64> {
    fn add(&mut self, more: Self) {
        self.self_live_bytes = self.self_live_bytes.saturating_add(more.self_live_bytes);
        self.total_live_bytes = self.total_live_bytes.saturating_add(more.total_live_bytes);
        self.self_alloc_bytes = self.self_alloc_bytes.saturating_add(more.self_alloc_bytes);
        self.total_alloc_bytes = self.total_alloc_bytes.saturating_add(more.total_alloc_bytes);
    }

    fn change_to(self, after: Self) -> Share<i64> {
        Share {
            self_live_bytes: delta(self.self_live_bytes, after.self_live_bytes),
            total_live_bytes: delta(self.total_live_bytes, after.total_live_bytes),
            self_alloc_bytes: delta(self.self_alloc_bytes, after.self_alloc_bytes),
            total_alloc_bytes: delta(self.total_alloc_bytes, after.total_alloc_bytes),
        }
    }
}

/// Sorts by how much the outstanding bytes changed; equals stay in the order of their names.
fn rank(delta: &Share<i64>) -> Reverse<(u64, u64, u64)> {
    Reverse((
        delta.total_live_bytes.unsigned_abs(),
        delta.self_live_bytes.unsigned_abs(),
        delta.total_alloc_bytes.unsigned_abs(),
    ))
}

/// What both sides have under each name, in the order of the names.
fn matched<K: Ord>(
    sides: [impl Iterator<Item = (K, Share<u64>)>; 2],
) -> BTreeMap<K, [Share<u64>; 2]> {
    let mut matched: BTreeMap<K, [Share<u64>; 2]> = BTreeMap::new();
    for (side, shares) in sides.into_iter().enumerate() {
        for (name, share) in shares {
            matched.entry(name).or_default()[side].add(share);
        }
    }
    matched
}

pub(super) fn functions(names: &Names<'_>, before: &Report, after: &Report) -> Vec<FunctionChange> {
    let sides = [before, after].map(|report| {
        report.functions.iter().map(|f| {
            let share = Share {
                self_live_bytes: f.self_live_bytes,
                total_live_bytes: f.total_live_bytes,
                self_alloc_bytes: f.self_alloc_bytes,
                total_alloc_bytes: f.total_alloc_bytes,
            };
            ((f.function.as_str(), names.file(&f.module)), share)
        })
    });
    let change =
        |((function, module), [before, after]): ((&str, &str), [Share<u64>; 2])| FunctionChange {
            function: function.to_owned(),
            module: module.to_owned(),
            before,
            after,
            delta: before.change_to(after),
        };
    let mut functions: Vec<_> = matched(sides).into_iter().map(change).collect();
    functions.sort_by_key(|function| rank(&function.delta));
    functions
}

pub(super) fn modules(names: &Names<'_>, before: &Report, after: &Report) -> Vec<ModuleChange> {
    let sides = [before, after].map(|report| {
        report.modules.iter().map(|m| {
            let share = Share {
                self_live_bytes: m.self_live_bytes,
                total_live_bytes: m.total_live_bytes,
                self_alloc_bytes: m.self_alloc_bytes,
                total_alloc_bytes: m.total_alloc_bytes,
            };
            (names.file(&m.path), share)
        })
    });
    let change = |(path, [before, after]): (&str, [Share<u64>; 2])| ModuleChange {
        path: path.to_owned(),
        before,
        after,
        delta: before.change_to(after),
    };
    let mut modules: Vec<_> = matched(sides).into_iter().map(change).collect();
    modules.sort_by_key(|module| rank(&module.delta));
    modules
}

pub(super) fn sizes(before: &Report, after: &Report) -> Vec<SizeChange> {
    let mut sizes: BTreeMap<(u64, u64), [Figures<u64>; 2]> = BTreeMap::new();
    for (side, report) in [before, after].into_iter().enumerate() {
        for size in &report.sizes {
            sizes.entry((size.min_bytes, size.max_bytes)).or_default()[side].add(figures(size));
        }
    }
    let change =
        |((min_bytes, max_bytes), [first, second]): ((u64, u64), [Figures<u64>; 2])| SizeChange {
            min_bytes,
            max_bytes,
            change: Change::between(
                first.with_rates(before.duration_s),
                second.with_rates(after.duration_s),
            ),
        };
    sizes.into_iter().map(change).collect()
}

fn figures(size: &SizeClass) -> Figures<u64> {
    Figures {
        live_count: size.live_count,
        live_bytes: size.live_bytes,
        alloc_count: size.alloc_count,
        alloc_bytes: size.alloc_bytes,
        ..Figures::default()
    }
}
