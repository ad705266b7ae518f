//! The figures of every site and book over a span of a recording, added up bucket by bucket.

use super::level::span;
use crate::{
    aggregate::{Amount, Changes},
    estimate::{Coverage, Uncertainty},
    history::{StackHistory, Windows},
    track::Class,
};

/// A bucket that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Its level.
    pub(super) level: u32,
    /// Its number within the level.
    pub(super) number: u32,
}

impl Bucket {
    /// The first of its intervals.
    pub(super) fn first(self) -> u32 {
        self.number * span(self.level)
    }

    /// The first interval behind it.
    pub(super) fn end(self) -> u32 {
        self.first() + span(self.level)
    }
}

/// Windows into which intervals are put: at most this many.
pub(super) const MOST_WINDOWS: u32 = 64;

/// The coarsest buckets that cover `0..intervals` without a coarser one than `most_level`, of those that
/// `is_there`. Where a fine one was dropped, a coarser one that holds it takes its place, unless it
/// reaches beyond the end: then `None`.
pub(super) fn cover(
    intervals: u32,
    most_level: u32,
    levels: u32,
    is_there: impl Fn(Bucket) -> bool,
) -> Option<Vec<Bucket>> {
    let mut buckets = Vec::new();
    let mut at = 0;
    while at < intervals {
        let fits = |level: &u32| {
            let bucket = Bucket { level: *level, number: at / span(*level) };
            bucket.first() == at && bucket.end() <= intervals && is_there(bucket)
        };
        let level =
            (0..=most_level).rev().find(fits).or_else(|| (most_level + 1..levels).find(fits))?;
        buckets.push(Bucket { level, number: at / span(level) });
        at += span(level);
    }
    Some(buckets)
}

#[derive(Default)]
struct SiteSeries {
    /// Window, what was allocated and what was freed in it; ascending, with gaps.
    windows: Vec<(u32, Amount, Amount)>,
    /// Of what was allocated in a bucket, what is not freed: index of the bucket, ascending, with gaps.
    kept: Vec<(u32, Amount)>,
    /// Blocks freed, as many as were really seen, and the sum of their squares, by age in windows.
    freed_at_age: Vec<[f64; 3]>,
    allocated: Amount,
}

#[derive(Clone, Default)]
struct BookSeries {
    live_bytes: f64,
    /// Window, least bytes outstanding in it, bytes outstanding at its end; ascending, with gaps.
    windows: Vec<(u32, f64, f64)>,
}

/// The figures, put together.
pub(super) struct Series {
    /// The buckets, in order.
    pub(super) buckets: Vec<Bucket>,
    /// Intervals in a window.
    pub(super) window: u32,
    /// Allocations count from the bucket of this index on.
    from: u32,
    sites: Vec<SiteSeries>,
    books: Vec<BookSeries>,
    book_of: Vec<u32>,
}

/// Whether nothing is left. Estimates leave a few bytes of rounding behind; of a mapping that is taken apart, its whole pages
/// come before the number of its parts is right again.
fn is_nothing(left: Amount) -> bool {
    left.samples.abs() < 0.5 && left.bytes.abs() < 4096.0
}

impl Series {
    /// Empty series over these buckets, for sites that belong to these books. Allocations count from the
    /// bucket of index `from` on.
    pub(super) fn new(buckets: Vec<Bucket>, window: u32, from: u32, book_of: Vec<u32>) -> Self {
        let books = book_of.iter().max().map_or(0, |last| *last as usize + 1);
        Series {
            buckets,
            window,
            from,
            sites: book_of.iter().map(|_| SiteSeries::default()).collect(),
            books: vec![BookSeries::default(); books],
            book_of,
        }
    }

    /// Adds the changes of the bucket at this index. `None` when they name a site that is not there.
    pub(super) fn add(&mut self, index: usize, changes: &Changes) -> Option<()> {
        let bucket = self.buckets[index];
        let window = bucket.first() / self.window;
        let mut net: Vec<(u32, f64)> = Vec::with_capacity(changes.sites.len());
        for delta in &changes.sites {
            let site = self.sites.get_mut(delta.site as usize)?;
            let mut all_freed = Amount::default();
            if delta.allocated != Amount::default() {
                site.kept.push((index as u32, delta.allocated));
                if index as u32 >= self.from {
                    site.allocated.add(delta.allocated);
                }
            }
            for (age, freed) in &delta.freed {
                all_freed.add(*freed);
                let born = bucket.number.checked_sub(*age)? * span(bucket.level);
                let age = window.saturating_sub(born / self.window) as usize;
                if site.freed_at_age.len() <= age {
                    site.freed_at_age.resize(age + 1, [0.0; 3]);
                }
                let more = [freed.count, freed.samples, freed.samples * freed.samples];
                for (sum, more) in site.freed_at_age[age].iter_mut().zip(more) {
                    *sum += more;
                }
                let holder = self.buckets.partition_point(|bucket| bucket.first() <= born) - 1;
                let at = site.kept.binary_search_by_key(&(holder as u32), |(of, _)| *of).ok()?;
                site.kept[at].1.take(*freed);
                if is_nothing(site.kept[at].1) {
                    site.kept.remove(at);
                }
            }
            match site.windows.last_mut() {
                Some((last, allocated, freed)) if *last == window => {
                    allocated.add(delta.allocated);
                    freed.add(all_freed);
                }
                _ => site.windows.push((window, delta.allocated, all_freed)),
            }
            net.push((self.book_of[delta.site as usize], delta.allocated.bytes - all_freed.bytes));
        }
        for (book, change) in net {
            self.books[book as usize].live_bytes += change;
        }
        for (book, dip) in &changes.dips {
            let book = self.books.get_mut(*book as usize)?;
            let (end, low) = (book.live_bytes, (book.live_bytes - dip).max(0.0));
            match book.windows.last_mut() {
                Some((last, lowest, at_end)) if *last == window => {
                    *lowest = lowest.min(low);
                    *at_end = end;
                }
                _ => book.windows.push((window, low, end)),
            }
        }
        Some(())
    }

    /// Of what this site allocated, what is outstanding at the end, by the index of the bucket of its birth.
    pub(super) fn kept(&self, site: u32) -> &[(u32, Amount)] {
        &self.sites[site as usize].kept
    }

    /// All that this site allocated.
    pub(super) fn allocated(&self, site: u32) -> Amount {
        self.sites[site as usize].allocated
    }

    /// What this site allocated by window.
    pub(super) fn allocated_in_windows(&self, site: u32) -> impl Iterator<Item = (u32, Amount)> {
        // Where allocations count from a later bucket on, from its window on.
        let from = self.buckets.get(self.from as usize).map_or(0, |b| b.first() / self.window);
        let windows = self.sites[site as usize].windows.iter();
        windows.filter(move |(window, ..)| *window >= from).map(|(window, a, _)| (*window, *a))
    }

    /// The window of a bucket.
    pub(super) fn window_of(&self, bucket: u32) -> u32 {
        self.buckets[bucket as usize].first() / self.window
    }

    /// One stack over the windows.
    pub(super) fn history(
        &self,
        class: Class,
        book: u32,
        sites: &[u32],
        windows: &Windows,
        coverage: &Coverage,
    ) -> StackHistory {
        let mut history = StackHistory::empty(class, windows.len());
        let (mut live_samples, mut alloc_samples) = (0.0, 0.0);
        let mut uncertainty = Uncertainty::none(class, coverage);
        for site in sites.iter().map(|site| &self.sites[*site as usize]) {
            for (window, allocated, freed) in &site.windows {
                let window = *window as usize;
                history.alloc_count[window] += allocated.count;
                history.alloc_bytes[window] += allocated.bytes;
                history.free_count[window] += freed.count;
                history.free_bytes[window] += freed.bytes;
                alloc_samples += allocated.samples;
            }
            for (bucket, kept) in &site.kept {
                let window = self.window_of(*bucket);
                history.kept_count[window as usize] += kept.count;
                history.kept_bytes[window as usize] += kept.bytes;
                history.kept_samples[window as usize] += kept.samples;
                uncertainty.add_live(window, *kept);
                live_samples += kept.samples;
            }
            let oldest = history.freed_at_age.len().max(site.freed_at_age.len());
            history.freed_at_age.resize(oldest, 0.0);
            history.samples_freed_at_age.resize(oldest, 0.0);
            history.freed_together_at_age.resize(oldest, 0.0);
            for (age, [freed, samples, together]) in site.freed_at_age.iter().enumerate() {
                history.freed_at_age[age] += freed;
                history.samples_freed_at_age[age] += samples;
                history.freed_together_at_age[age] += together;
            }
        }
        // A window without a change has what the one before had at its end.
        let mut changed = self.books[book as usize].windows.iter().peekable();
        let mut live = 0.0;
        for (window, low) in history.low_bytes.iter_mut().enumerate() {
            *low = live;
            if let Some((_, lowest, end)) = changed.next_if(|(of, ..)| *of as usize == window) {
                *low = lowest.min(live);
                live = *end;
            }
        }
        [history.kept_bytes_error, _] = uncertainty.errors(coverage);
        history.live_samples = live_samples.round() as u64;
        history.alloc_samples = alloc_samples.round() as u64;
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::SiteDelta;

    fn check_cover(intervals: u32, most_level: u32, dropped: &[(u32, u32)], expected: &str) {
        let buckets = cover(intervals, most_level, 4, |bucket| {
            !dropped.contains(&(bucket.level, bucket.number))
        });
        let shown = buckets.map(|buckets| {
            let words: Vec<String> =
                buckets.iter().map(|b| format!("{}.{}", b.level, b.number)).collect();
            words.join(" ")
        });
        assert_eq!(shown.as_deref().unwrap_or("none"), expected);
    }

    /// One site of one book; what is freed in each bucket after the first, by count and bytes.
    fn kept_after(freed: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
        let amount = |(count, bytes)| Amount { count, bytes, samples: count, variance: 0.0 };
        let buckets = (0..=freed.len() as u32).map(|number| Bucket { level: 0, number });
        let mut series = Series::new(buckets.collect(), 1, 0, vec![0]);
        for bucket in 0..=freed.len() {
            let mut delta = SiteDelta::default();
            match bucket.checked_sub(1) {
                None => delta.allocated = amount((1.0, 12_288.0)),
                Some(at) => delta.freed = vec![(bucket as u32, amount(freed[at]))],
            }
            series.add(bucket, &Changes { sites: vec![delta], dips: Vec::new() })?;
        }
        Some(series.kept(0).iter().map(|(_, left)| (left.count, left.bytes)).collect())
    }

    #[test]
    fn a_mapping_may_be_taken_apart_in_any_order() {
        // The middle is unmapped, which makes two of one; its call ends after both are gone.
        let apart = [(1.0, 4096.0), (1.0, 4096.0), (-1.0, 4096.0)];
        assert_eq!(kept_after(&apart[..1]), Some(vec![(0.0, 8192.0)]));
        assert_eq!(kept_after(&apart[..2]), Some(vec![(-1.0, 4096.0)]));
        assert_eq!(kept_after(&apart), Some(vec![]));
        assert_eq!(kept_after(&[(1.0, 12_288.0), (1.0, 1.0)]), None);
    }

    #[test]
    fn buckets_cover_what_is_asked_for() {
        check_cover(3, 0, &[], "0.0 0.1 0.2");
        check_cover(35, 1, &[], "1.0 1.1 0.32 0.33 0.34");
        check_cover(18, 0, &[(0, 3)], "none");
        // The first interval is gone: the bucket that holds it takes its place.
        check_cover(18, 0, &[(0, 0)], "1.0 0.16 0.17");
        check_cover(15, 0, &[(0, 0)], "none");
        check_cover(272, 2, &[], "2.0 1.16");
    }
}
