//! Reading: one stack at a moment, put together from its sites.

use hashbrown::HashMap;

use super::{
    Recording, class_of, outer_of,
    schema::{RecordingError, shown},
    series::Series,
};
use crate::{
    aggregate::{Amount, Filter, SizeClass},
    estimate::{Coverage, Uncertainty},
    stacks::{Outer, StackHandle},
    track::Class,
    units::Address,
};

/// One stack at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct StackRecord {
    /// Its number in the recording.
    pub book: u32,
    /// Kind of memory.
    pub class: Class,
    /// Return addresses, leaf first.
    pub addresses: Vec<Address>,
    /// How the stack ends.
    pub outer: Outer,
    /// Outstanding, as far as the filter shows it.
    pub live: Amount,
    /// Allocated.
    pub allocated: Amount,
    /// Both by size, smallest first.
    pub sizes: Vec<(SizeClass, Amount, Amount)>,
    /// Ages of what is outstanding in seconds: youngest, median, oldest; as exact as an interval.
    pub age_s: Option<(f64, f64, f64)>,
    /// What the errors of the bytes are made of.
    pub uncertainty: Uncertainty,
    pub(super) sites: Vec<u32>,
}

impl Recording {
    /// Every stack that has anything to show, and what the errors of the totals of each class are made of.
    pub(super) fn stack_records(
        &self,
        sites: &[(u32, SizeClass)],
        series: &Series,
        pick: &Pick<'_>,
    ) -> Result<(Vec<StackRecord>, [Uncertainty; Class::COUNT]), RecordingError> {
        let sqlite = |error: rusqlite::Error| self.error(&error);
        let damaged = |what: &str| RecordingError::Damaged(shown(&self.path), what.to_owned());
        let nodes = self.nodes().map_err(sqlite)?;
        let mut by_book: HashMap<u32, Vec<u32>> = HashMap::new();
        for (site, (book, _)) in sites.iter().enumerate() {
            by_book.entry(*book).or_default().push(site as u32);
        }
        let mut records = Vec::new();
        let mut totals = Class::ALL.map(|class| Uncertainty::none(class, pick.coverage));
        for (book, class, node) in self.books().map_err(sqlite)? {
            let class =
                class_of(&class).ok_or_else(|| damaged("it has an unknown class of memory"))?;
            let (addresses, outer) =
                walk(&nodes, node).ok_or_else(|| damaged("a stack has no beginning"))?;
            let mut own = by_book.remove(&book).unwrap_or_default();
            own.sort_unstable_by_key(|site| sites[*site as usize].1);
            let mut record = StackRecord {
                book,
                class,
                addresses,
                outer,
                live: Amount::default(),
                allocated: Amount::default(),
                sizes: Vec::new(),
                age_s: None,
                uncertainty: Uncertainty::none(class, pick.coverage),
                sites: own,
            };
            let mut kept: Vec<(u32, f64)> = Vec::new();
            for site in &record.sites {
                let size = sites[*site as usize].1;
                let allocated = series.allocated(*site);
                let mut live = Amount::default();
                let total = &mut totals[class as usize];
                for (bucket, amount) in series.kept(*site) {
                    let window = series.window_of(*bucket);
                    if *bucket >= pick.born_after {
                        total.add_live(window, *amount);
                    }
                    if pick.shows(*bucket, size) {
                        live.add(*amount);
                        kept.push((*bucket, amount.count));
                        record.uncertainty.add_live(window, *amount);
                    }
                }
                for (window, amount) in series.allocated_in_windows(*site) {
                    total.add_allocated(window, amount);
                    record.uncertainty.add_allocated(window, amount);
                }
                record.live.add(live);
                record.allocated.add(allocated);
                if allocated != Amount::default() || live != Amount::default() {
                    record.sizes.push((size, live, allocated));
                }
            }
            if record.sizes.is_empty() {
                continue;
            }
            record.age_s = pick.ages(kept);
            records.push(record);
        }
        Ok((records, totals))
    }
}

/// Which blocks count as outstanding.
pub(super) struct Pick<'a> {
    pub(super) filter: Filter,
    pub(super) end_s: f64,
    /// Buckets from this index on.
    pub(super) born_after: u32,
    /// Where the buckets end, in seconds.
    pub(super) ends: &'a [f64],
    /// When the allocator probes were in place.
    pub(super) coverage: &'a Coverage,
}

impl Pick<'_> {
    /// Whether blocks of this bucket and size pass. Young by a part of a bucket is young.
    fn shows(&self, bucket: u32, size: SizeClass) -> bool {
        bucket >= self.born_after
            && size.min_bytes >= self.filter.min_size
            && (self.filter.min_age_s == 0.0
                || self.end_s - self.ends[bucket as usize] >= self.filter.min_age_s)
    }

    /// Youngest, median and oldest of blocks by bucket.
    fn ages(&self, mut kept: Vec<(u32, f64)>) -> Option<(f64, f64, f64)> {
        kept.sort_unstable_by_key(|(bucket, _)| *bucket);
        let ended = |bucket: u32| self.end_s - self.ends[bucket as usize];
        let began = |bucket: u32| {
            self.end_s - bucket.checked_sub(1).map_or(0.0, |before| self.ends[before as usize])
        };
        let (oldest, youngest) = (kept.first()?.0, kept.last()?.0);
        let half = kept.iter().map(|(_, count)| count).sum::<f64>() / 2.0;
        let mut seen = 0.0;
        let middle = kept.iter().find(|(_, count)| {
            seen += count;
            seen >= half
        })?;
        Some((ended(youngest), f64::midpoint(began(middle.0), ended(middle.0)), began(oldest)))
    }
}

fn walk(nodes: &[(u32, Address)], mut node: u32) -> Option<(Vec<Address>, Outer)> {
    let mut addresses = Vec::new();
    loop {
        if let Some(outer) = outer_of(StackHandle(node)) {
            return Some((addresses, outer));
        }
        let (parent, address) = nodes.get((node - ROOTS) as usize)?;
        // Parents come before their children: this ends.
        if *parent >= node {
            return None;
        }
        addresses.push(*address);
        node = *parent;
    }
}

/// Handles below this are roots.
const ROOTS: u32 = Outer::NotKept as u32 + 1;
