//! The first witness of a leak: blocks born all through the capture that nobody frees.

use crate::history::StackHistory;

use super::{
    life_table::{LifeTable, Reached, seen_share},
    shape::{Trend, enough_windows},
    spread::{Spread, laplace, spread},
    statistics::theil_sen,
};

/// What each window's births left behind.
#[derive(Clone, Debug)]
pub(super) struct Survivors {
    /// Blocks that stayed, by window of birth, as many as were really seen.
    pub seen: Vec<f64>,
    /// Their bytes.
    pub bytes: Vec<f64>,
    /// Blocks born in the window, as many as were really seen.
    pub born: Vec<f64>,
    /// The age in windows from which blocks are not freed any more; absent when they are freed at every age.
    pub settled: Option<usize>,
    /// What became of the blocks of that age.
    pub old: Reached,
    /// How many of them would have been freed, had they gone on being freed as younger ones are.
    pub expected: f64,
    /// Whether every block was seen.
    pub exact: bool,
}

/// Deaths that are missing among the old for two in three odds that they are not freed like the young.
const CHANGED: f64 = 6.0;
/// Of so many blocks born in the first window some must stay when most of the later ones do.
const CROWD: f64 = 5.0;

/// With fewer blocks than this, ...
const FEW: f64 = 8.0;
/// ... most of them early, in standard errors, there is no telling a leak from a pool.
const FRONT: f64 = -1.3;

impl Survivors {
    /// Reads them from a history of `windows` windows.
    pub fn of(history: &StackHistory, windows: usize, table: LifeTable) -> Self {
        let scaled =
            |values: &[f64], share: f64| values[..windows].iter().map(|v| v * share).collect();
        let settled = table.settled();
        let born = seen_share(history.alloc_samples, &history.alloc_count);
        Survivors {
            seen: scaled(
                &history.kept_count,
                seen_share(history.live_samples, &history.kept_count),
            ),
            bytes: scaled(&history.kept_bytes, 1.0),
            born: scaled(&history.alloc_count, born),
            old: settled.map(|age| table.beyond(age)).unwrap_or_default(),
            expected: settled.map_or(0.0, |age| table.expected_beyond(age)),
            settled,
            exact: born > 0.999,
        }
    }

    /// The growth by blocks that stay, when they were born all through the capture and do not die. `ends_s` is
    /// where the windows end.
    pub fn trend(&self, ends_s: &[f64]) -> Option<Trend> {
        let windows = self.seen.len();
        let settled = self.settled?;
        // What the first window left is the filling of caches and pools; what the last ones left may be in use.
        let mature = usize::from(windows >= 4)..windows - settled;
        if mature.len() < 2 {
            return None;
        }
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        let share = sum(&self.seen[mature.clone()]) / sum(&self.born[mature.clone()]).max(1.0);
        if share > 0.5 && self.born[0] >= CROWD && self.seen[0] < 0.2 * share * self.born[0] {
            // Blocks stay, but those of the first window are gone: they are all freed at some time.
            return None;
        }
        // Where blocks die young or never, an early window without survivors is one before the leak began.
        let dies_young = settled <= (windows / 10).max(2) && share < 0.5;
        let begin = self.seen[mature.clone()].iter().position(|seen| *seen >= 0.5).unwrap_or(0);
        let mature = if dies_young && begin * 3 <= windows * 2 && mature.len() - begin >= 8 {
            mature.start + begin..mature.end
        } else {
            mature
        };
        let Spread::Steady(ratio) = spread(&self.seen[mature.clone()], &self.born[mature.clone()])
        else {
            return None;
        };
        let seen = sum(&self.seen[mature.clone()]);
        if seen < FEW && laplace(&self.seen[mature.clone()]) < FRONT {
            // A handful of large blocks, most of them early: a pool that fills.
            return None;
        }
        let enough = if self.exact { 1.0 - 1.0 / (1.0 + seen) } else { 1.0 - 1.0 / seen.sqrt() };
        // Had the blocks lived for about a capture, would one have been seen to die?
        let immortal = 1.0 - (-self.old.watched / windows as f64).exp();
        let changed = 1.0 - (-self.expected / CHANGED).exp();
        let slowing = 0.7 + 0.3 * ratio.min(1.0);
        let mut total = 0.0;
        let sums: Vec<f64> = self.bytes[mature.clone()]
            .iter()
            .map(|bytes| {
                total += bytes;
                total
            })
            .collect();
        Some(Trend {
            confidence: enough_windows(windows) * enough * immortal * changed * slowing,
            bytes_per_s: theil_sen(&ends_s[mature], &sums).max(0.0),
        })
    }
}
