//! Deaths and survivors of a stack's blocks by age, in windows: the table that lifetimes are read from.

use crate::history::StackHistory;

/// By age in windows.
pub(super) struct LifeTable {
    /// Blocks freed at that age.
    freed: Vec<f64>,
    /// Blocks that had that age when the capture ended.
    censored: Vec<f64>,
    /// What became of the blocks that reached that age.
    old: Vec<Reached>,
}

/// Blocks that reached an age, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reached {
    /// How many.
    pub reached: f64,
    /// Of them freed.
    pub freed: f64,
    /// How long they were watched beyond the age, in block-windows.
    pub watched: f64,
}

/// Old blocks may be freed once in so many captures before they count as being freed at all: what is freed more
/// often comes to an end by itself soon enough to matter.
const NEVER: f64 = 40.0;
/// Deaths at more than this share of a capture's length are late: a cache that throws out its oldest has only such.
const LATE: f64 = 0.8;
/// Fewer late deaths than this may be chance, ...
const FEW: f64 = 3.0;
/// ... and so may a smaller share of all deaths of old blocks.
const MOSTLY: f64 = 0.3;

impl LifeTable {
    /// In blocks: estimates in sample mode.
    pub fn estimated(history: &StackHistory, windows: usize) -> Self {
        Self::scaled(history, windows, 1.0, 1.0)
    }

    /// In blocks that were really seen.
    pub fn seen(history: &StackHistory, windows: usize) -> Self {
        let live = seen_share(history.live_samples, &history.kept_count);
        let gone = history.alloc_samples.saturating_sub(history.live_samples);
        Self::scaled(history, windows, live, seen_share(gone, &history.free_count))
    }

    fn scaled(history: &StackHistory, windows: usize, live: f64, gone: f64) -> Self {
        let by_age = |values: &[f64], age: usize, scale: f64| {
            values.get(age).map_or(0.0, |value| value.max(0.0) * scale)
        };
        let freed: Vec<f64> =
            (0..windows).map(|age| by_age(&history.freed_at_age, age, gone)).collect();
        let censored: Vec<f64> =
            (0..windows).map(|age| by_age(&history.kept_count, windows - 1 - age, live)).collect();
        let mut at = Reached::default();
        let mut old: Vec<Reached> = freed
            .iter()
            .zip(&censored)
            .rev()
            .map(|(freed, censored)| {
                // Everybody who reached the next age was watched for a window more; who goes here, for half of one.
                at.watched += at.reached + (freed + censored) / 2.0;
                at.reached += freed + censored;
                at.freed += freed;
                at
            })
            .collect();
        old.reverse();
        LifeTable { freed, censored, old }
    }

    /// Share of the blocks that live longer than each age (Kaplan and Meier 1958). Blocks whose age the end of the
    /// capture cut off count half in their last window, as life tables have it.
    pub fn survival(&self) -> Vec<f64> {
        let mut at_risk: f64 = self.freed.iter().chain(&self.censored).sum();
        let mut share = 1.0;
        let ages = self.freed.iter().zip(&self.censored);
        ages.map(|(freed, censored)| {
            let exposed = at_risk - censored / 2.0;
            if exposed > 0.0 {
                share *= (1.0 - freed / exposed).clamp(0.0, 1.0);
            }
            at_risk = (at_risk - freed - censored).max(0.0);
            share
        })
        .collect()
    }

    /// What became of the blocks that reached `age`.
    pub fn beyond(&self, age: usize) -> Reached {
        self.old.get(age).copied().unwrap_or_default()
    }

    /// The youngest age from which on blocks are practically not freed any more, at most half of the capture.
    pub fn settled(&self) -> Option<usize> {
        let windows = self.freed.len();
        let late = self.beyond((LATE * windows as f64).ceil() as usize).freed;
        (0..=windows / 2).find(|age| {
            let old = self.beyond(*age);
            old.is_settled(windows) && (late < FEW || late < MOSTLY * old.freed)
        })
    }

    /// How many of the old blocks would have been freed, had they gone on being freed as they were before they
    /// reached `age`; without bounds when none of them was freed before.
    pub fn expected_beyond(&self, age: usize) -> f64 {
        let (all, old) = (self.beyond(0), self.beyond(age));
        let freed = all.freed - old.freed;
        let watched = all.watched - old.watched - old.reached * age as f64;
        if freed > 0.0 && watched > 0.0 { old.watched * freed / watched } else { f64::INFINITY }
    }
}

impl Reached {
    /// Whether blocks of this age are practically never freed, seen over a capture of so many windows.
    pub fn is_settled(&self, windows: usize) -> bool {
        self.watched > 0.0 && self.freed * NEVER * windows as f64 <= self.watched
    }
}

/// What part of an estimated number was seen: 1 in exact mode.
pub(super) fn seen_share(seen: u64, estimated: &[f64]) -> f64 {
    let estimated: f64 = estimated.iter().sum();
    if estimated > 0.0 { (seen as f64 / estimated).min(1.0) } else { 1.0 }
}
