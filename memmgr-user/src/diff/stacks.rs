//! Stacks matched across two reports.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Change, Figures, Held,
    identity::{Key, Names},
    noise::{self, Estimate},
};
use crate::report::{Frame, Report, Stack};

/// A difference below this many standard errors is no more than chance makes one time in twenty.
const NOISE_ERRORS: f64 = 2.0;

/// What became of the outstanding bytes of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing was outstanding before.
    New,
    /// Nothing is outstanding any more.
    Gone,
    /// More is outstanding.
    Grown,
    /// Less is outstanding.
    Shrunk,
    /// As much is outstanding as before.
    #[default]
    Same,
}

impl Status {
    /// What became of a figure.
    pub(crate) fn of(before: u64, after: u64) -> Self {
        match (before, after) {
            (before, after) if before == after => Status::Same,
            (0, _) => Status::New,
            (_, 0) => Status::Gone,
            (before, after) if before < after => Status::Grown,
            _ => Status::Shrunk,
        }
    }

    /// The word in the JSON and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Status::New => "new",
            Status::Gone => "gone",
            Status::Grown => "grown",
            Status::Shrunk => "shrunk",
            Status::Same => "same",
        }
    }
}

/// One stack on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackChange {
    /// `heap`, `mapping` or `file-mapping`.
    pub class: String,
    /// What became of its outstanding bytes.
    pub status: Status,
    /// The figures.
    #[serde(flatten)]
    pub change: Change,
    /// Standard error of the change in outstanding bytes, where a side was sampled; 0 otherwise.
    pub standard_error_bytes: f64,
    /// True when the change is within two standard errors: chance explains it.
    pub within_noise: bool,
    /// The frames, leaf first, as the second report has them, or else the first. Where stacks of one report
    /// became one here, frames whose lines differ have no line.
    pub frames: Vec<Arc<Frame>>,
    /// Why the stack is not whole: `truncated`, `missing`.
    pub cut: Option<String>,
}

/// All stacks, and where each identity is.
pub(super) struct Compared<'a> {
    pub(super) changes: Vec<StackChange>,
    pub(super) keys: Vec<Key<'a>>,
}

/// What one identity gathers.
#[derive(Default)]
struct Pair {
    before: One,
    after: One,
    kept: Held,
}

#[derive(Default)]
struct One {
    figures: Figures<u64>,
    estimate: Estimate,
    frames: Option<Vec<Arc<Frame>>>,
}

impl One {
    fn add(&mut self, stack: &Stack) {
        self.figures.add(Figures {
            live_count: stack.live_count,
            live_bytes: stack.live_bytes,
            alloc_count: stack.alloc_count,
            alloc_bytes: stack.alloc_bytes,
            ..Figures::default()
        });
        if stack.class == "heap" {
            self.estimate.add(stack);
        }
        match &mut self.frames {
            None => self.frames = Some(stack.frames.clone()),
            Some(frames) => {
                for (mine, other) in frames.iter_mut().zip(&stack.frames) {
                    if (&mine.file, mine.line) != (&other.file, other.line) {
                        Arc::make_mut(mine).line = None;
                    }
                }
            }
        }
    }
}

pub(super) fn compare<'a>(
    names: &Names<'_>,
    before: &'a Report,
    after: &'a Report,
    kept: Option<&'a Report>,
) -> Compared<'a> {
    let mut pairs: BTreeMap<Key<'a>, Pair> = BTreeMap::new();
    for stack in &before.stacks {
        pairs.entry(names.stack(stack)).or_default().before.add(stack);
    }
    for stack in &after.stacks {
        pairs.entry(names.stack(stack)).or_default().after.add(stack);
    }
    for stack in kept.into_iter().flat_map(|kept| &kept.stacks) {
        let pair = pairs.entry(names.stack(stack)).or_default();
        pair.kept.count = pair.kept.count.saturating_add(stack.live_count);
        pair.kept.bytes = pair.kept.bytes.saturating_add(stack.live_bytes);
        pair.after.frames.get_or_insert_with(|| stack.frames.clone());
    }
    let mut compared: Vec<(Key<'a>, StackChange)> = pairs
        .into_iter()
        .map(|(key, pair)| {
            let change = change(names, &key, pair, [before, after], kept.is_some());
            (key, change)
        })
        .collect();
    // The map gave them in the order of their names, which breaks ties.
    compared.sort_by_key(|(_, stack)| {
        let delta = &stack.change.delta;
        let shown = stack.change.kept.map_or(delta.live_bytes.unsigned_abs(), |kept| kept.bytes);
        Reverse((shown, delta.alloc_bytes.unsigned_abs()))
    });
    let (keys, changes) = compared.into_iter().unzip();
    Compared { changes, keys }
}

fn change(
    names: &Names<'_>,
    key: &Key<'_>,
    pair: Pair,
    [before, after]: [&Report; 2],
    kept: bool,
) -> StackChange {
    let change = Change {
        kept: kept.then_some(pair.kept),
        ..Change::between(
            pair.before.figures.with_rates(before.duration_s),
            pair.after.figures.with_rates(after.duration_s),
        )
    };
    let shares = noise::independent(names.relation, &change.before, &change.after);
    let estimates = [pair.before.estimate, pair.after.estimate];
    let error = noise::standard_error([before, after], estimates, shares);
    let moved = change.delta.live_bytes.unsigned_abs() as f64;
    StackChange {
        class: key.class().to_owned(),
        status: Status::of(change.before.live_bytes, change.after.live_bytes),
        within_noise: moved > 0.0 && moved <= NOISE_ERRORS * error,
        standard_error_bytes: error.round(),
        change,
        frames: pair.after.frames.or(pair.before.frames).unwrap_or_default(),
        cut: key.cut().map(str::to_owned),
    }
}
