//! Levels of detail: 16 intervals become one bucket of the next level, and 16 of those one of the next.
//!
//! A long recording is read from its coarse buckets, and the finest may be dropped when they take
//! too much room, without any sum changing.

use std::collections::BTreeMap;

use crate::aggregate::{Changes, SiteDelta, add_freed};

/// Buckets of a level that make one of the next.
pub(super) const FACTOR: u32 = 16;
/// Levels, the intervals themselves included.
pub(super) const LEVELS: u32 = 4;

/// Intervals in a bucket of a level.
pub(super) fn span(level: u32) -> u32 {
    FACTOR.pow(level)
}

/// A bucket that is being put together from those of the level below.
#[derive(Default)]
pub(super) struct Merger {
    sites: BTreeMap<u32, SiteDelta>,
    /// How low every touched book went, less what it has now: 0 or below.
    lows: BTreeMap<u32, f64>,
}

impl Merger {
    /// Takes in the bucket `child` of the level below. `book_of` tells the book of a site.
    pub(super) fn add(&mut self, child: u32, changes: &Changes, book_of: &[u32]) {
        let mut net: BTreeMap<u32, f64> = BTreeMap::new();
        for delta in &changes.sites {
            let merged = self
                .sites
                .entry(delta.site)
                .or_insert_with(|| SiteDelta { site: delta.site, ..SiteDelta::default() });
            merged.allocated.add(delta.allocated);
            let change = net.entry(book_of[delta.site as usize]).or_default();
            *change += delta.allocated.bytes;
            for (age, freed) in &delta.freed {
                *change -= freed.bytes;
                let age = child / FACTOR - child.saturating_sub(*age) / FACTOR;
                add_freed(&mut merged.freed, age, *freed);
            }
        }
        for (book, dip) in &changes.dips {
            let change = net.get(book).copied().unwrap_or(0.0);
            let low = self.lows.entry(*book).or_default();
            *low = (*low - change).min(-dip);
        }
    }

    /// The bucket; begins the next.
    pub(super) fn take(&mut self) -> Changes {
        Changes {
            sites: std::mem::take(&mut self.sites).into_values().collect(),
            dips: std::mem::take(&mut self.lows)
                .into_iter()
                .map(|(book, low)| (book, (-low).max(0.0)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Amount;

    fn amount(bytes: f64) -> Amount {
        Amount { count: 1.0, bytes, samples: 1.0, variance: 0.0 }
    }

    /// A child of one site: (allocated bytes, freed bytes by age, dip).
    fn child(allocated: f64, freed: &[(u32, f64)], dip: f64) -> Changes {
        let freed = freed.iter().map(|(age, bytes)| (*age, amount(*bytes))).collect();
        Changes {
            sites: vec![SiteDelta { site: 0, allocated: amount(allocated), freed }],
            dips: vec![(0, dip)],
        }
    }

    #[test]
    fn ages_become_those_of_the_coarser_level() {
        let mut merger = Merger::default();
        // Bucket 17 of level 0 is the second of bucket 1: one age back is bucket 1, two or more are bucket 0.
        merger.add(17, &child(100.0, &[(0, 1.0), (1, 2.0), (2, 4.0), (17, 8.0)], 0.0), &[0]);
        let merged = merger.take();
        let freed: Vec<(u32, f64)> =
            merged.sites[0].freed.iter().map(|(age, amount)| (*age, amount.bytes)).collect();
        assert_eq!(freed, [(0, 3.0), (1, 12.0)]);
        assert_eq!(merger.take(), Changes::default());
    }

    #[test]
    fn the_lowest_of_all_is_the_low() {
        // Live 0, +100 (low 0), -60 (low 40), +500: at the end 540, and the low of it all is 0.
        let mut merger = Merger::default();
        merger.add(0, &child(100.0, &[], 100.0), &[0]);
        merger.add(1, &child(0.0, &[(1, 60.0)], 0.0), &[0]);
        merger.add(2, &child(500.0, &[], 500.0), &[0]);
        assert_eq!(merger.take().dips, [(0, 540.0)]);
        // A book that has 40 already and only grows never goes below them.
        merger.add(3, &child(500.0, &[], 500.0), &[0]);
        merger.add(4, &child(10.0, &[], 10.0), &[0]);
        assert_eq!(merger.take().dips, [(0, 510.0)]);
        // It falls: the low is the end.
        merger.add(5, &child(10.0, &[(3, 200.0)], 0.0), &[0]);
        assert_eq!(merger.take().dips, [(0, 0.0)]);
    }
}
