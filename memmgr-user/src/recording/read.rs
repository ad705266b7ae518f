//! Reading: the figures of a recording at one moment, or between two.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{
    Documents, Location, ModuleRecord, Recording, changes, class_of,
    level::{LEVELS, span},
    outer_of,
    schema::{RecordingError, shown},
    series::{Bucket, MOST_WINDOWS, Series, cover},
    write::totals,
};
use crate::{
    aggregate::{Amount, Filter, SizeClass, Sums},
    history::{StackHistory, Windows},
    pipeline::Ended,
    report::{Frame, TimelinePoint, Totals},
    stacks::{Outer, StackHandle},
    track::Class,
    units::Address,
};

/// Points of a timeline at most; more tell a person nothing.
const MOST_POINTS: usize = 1_200;

/// What of a recording is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Query {
    /// Only what was allocated after this moment, in seconds since counting began.
    pub since_s: Option<f64>,
    /// As of this moment; else of the end.
    pub until_s: Option<f64>,
    /// Which outstanding blocks.
    pub filter: Filter,
}

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
    sites: Vec<u32>,
}

/// What a recording holds of that moment.
pub struct Recorded {
    /// Everything that is not by stack.
    pub documents: Documents,
    /// Whether the capture ended as it should: false while it is written, and for ever after a kill -9.
    pub ended: bool,
    /// Whether the moment is the last of the recording.
    pub latest: bool,
    /// Whether the moment is the one before the target ended, because it freed much as it ended.
    pub before_exit: bool,
    /// Seconds since counting began at the end of the recording.
    pub recorded_s: f64,
    /// And at the moment.
    pub duration_s: f64,
    /// By class.
    pub totals: [Totals; Class::COUNT],
    /// The windows of the histories; none between two moments.
    pub windows: Windows,
    /// Figures over time.
    pub timeline: Vec<TimelinePoint>,
    /// The files with code.
    pub modules: Vec<ModuleRecord>,
    /// What is known about every address.
    pub frames: HashMap<Address, Vec<Arc<Frame>>>,
    /// Where the others are.
    pub unresolved: Vec<Location>,
    stacks: Vec<StackRecord>,
    series: Series,
}

impl Recorded {
    /// Every stack, most outstanding bytes first.
    pub fn stacks(&self) -> &[StackRecord] {
        &self.stacks
    }

    /// How a stack's bytes moved.
    pub fn history(&self, stack: &StackRecord) -> StackHistory {
        self.series.history(stack.class, stack.book, &stack.sites, &self.windows)
    }
}

impl Recording {
    /// Reads it.
    pub fn read(&self, query: &Query) -> Result<Recorded, RecordingError> {
        // One transaction: a writer may go on, and this sees one moment.
        let transaction = self.connection.unchecked_transaction().map_err(|e| self.error(&e))?;
        let recorded = self.read_moment(query);
        drop(transaction);
        recorded
    }

    fn read_moment(&self, query: &Query) -> Result<Recorded, RecordingError> {
        let sqlite = |error: rusqlite::Error| self.error(&error);
        let (points, mut totals) = self.points().map_err(sqlite)?;
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return Err(RecordingError::Empty(shown(&self.path)));
        };
        let (first, last) = (first.t_s, last.t_s);
        let moment = |asked: f64| {
            let distance = last / points.len() as f64;
            if asked < 0.0 || asked > last + distance {
                return Err(RecordingError::NoSuchMoment(shown(&self.path), first, last, asked));
            }
            // The nearest end of an interval; 0 is before the first.
            let after = points.partition_point(|point| point.t_s < asked);
            let before = after.checked_sub(1).map_or(0.0, |at| points[at].t_s);
            let nearer_before =
                points.get(after).is_none_or(|point| asked - before < point.t_s - asked);
            Ok(if nearer_before { after } else { after + 1 } as u32)
        };
        let documents = self.documents()?;
        let mut intervals = query.until_s.map_or(Ok(points.len() as u32), moment)?;
        // What a program frees as it ends says nothing about what it held while it ran.
        let before_exit = query.until_s.is_none()
            && documents.target.ended == Ended::Exited.name()
            && tears_down(&points);
        intervals -= u32::from(before_exit);
        let since = query.since_s.map(moment).transpose()?;
        if intervals == 0 {
            let asked = query.until_s.unwrap_or(0.0);
            return Err(RecordingError::NoSuchMoment(shown(&self.path), first, last, asked));
        }

        let there = self.buckets_there().map_err(sqlite)?;
        let (buckets, window) = self.choose(intervals, since, &there, &points)?;
        let ends: Vec<f64> =
            buckets.iter().map(|bucket| points[bucket.end() as usize - 1].t_s).collect();
        let sites = self.sites().map_err(sqlite)?;
        let min_size = query.filter.min_size;
        let divided = |class: &SizeClass| class.min_bytes < min_size && min_size <= class.max_bytes;
        if let Some((_, class)) = sites.iter().find(|(_, class)| divided(class)) {
            let (from, to) = (class.min_bytes, class.max_bytes + 1);
            return Err(RecordingError::Sizes(shown(&self.path), from, to));
        }
        let born_after = since
            .map_or(0, |since| buckets.partition_point(|bucket| bucket.first() < since) as u32);
        let book_of = sites.iter().map(|(book, _)| *book).collect();
        let mut series = Series::new(buckets, window, born_after, book_of);
        for index in 0..series.buckets.len() {
            let bytes = self.changes(series.buckets[index]).map_err(sqlite)?;
            let changes = changes::decode(&bytes, self.scale);
            changes.ok().and_then(|changes| series.add(index, &changes)).ok_or_else(|| {
                RecordingError::Damaged(shown(&self.path), "an interval does not add up".into())
            })?;
        }
        let end_s = points[intervals as usize - 1].t_s;
        let pick = Pick { filter: query.filter, end_s, born_after, ends: &ends };
        let mut stacks = self.stack_records(&sites, &series, &pick)?;
        stacks.sort_by(|a, b| {
            (b.live.bytes.total_cmp(&a.live.bytes))
                .then(b.allocated.bytes.total_cmp(&a.allocated.bytes))
                .then(a.book.cmp(&b.book))
        });
        let frames = self.frames().map_err(sqlite)?;
        let latest = intervals as usize == points.len();
        let totals = match since {
            Some(_) => totals_of(&stacks),
            None => std::mem::take(&mut totals[intervals as usize - 1]),
        };
        Ok(Recorded {
            documents,
            before_exit,
            recorded_s: last,
            ended: self.ended().map_err(sqlite)?,
            latest,
            duration_s: end_s,
            totals,
            windows: if since.is_some() {
                Windows::default()
            } else {
                windows(&points, intervals, window)
            },
            timeline: thinned(&points[..intervals as usize]),
            modules: self.modules().map_err(sqlite)?,
            unresolved: self.unresolved(&frames).map_err(sqlite)?,
            frames,
            stacks,
            series,
        })
    }

    /// The buckets to read, and the intervals in a window.
    fn choose(
        &self,
        intervals: u32,
        since: Option<u32>,
        there: &HashSet<(u32, u32)>,
        points: &[TimelinePoint],
    ) -> Result<(Vec<Bucket>, u32), RecordingError> {
        let is_there = |bucket: Bucket| there.contains(&(bucket.level, bucket.number));
        // Between two moments what was born before the first must be told apart: no bucket may reach over it.
        let within = |bucket: Bucket| {
            is_there(bucket) && since.is_none_or(|since| bucket.end() <= since || bucket.level == 0)
        };
        let wanted = intervals.div_ceil(MOST_WINDOWS);
        let level = match since {
            Some(_) => 0,
            None => (0..LEVELS).rev().find(|level| span(*level) <= wanted).unwrap_or(0),
        };
        if let Some(buckets) = cover(intervals, level, LEVELS, within) {
            let most = buckets.iter().map(|bucket| span(bucket.level)).max().unwrap_or(1);
            return Ok((buckets, wanted.next_multiple_of(most)));
        }
        let oldest = there.iter().filter(|(level, _)| *level == 0).map(|(_, number)| *number).min();
        let from =
            oldest.and_then(|oldest| points.get(oldest as usize)).map_or(0.0, |point| point.t_s);
        Err(RecordingError::Merged(shown(&self.path), from, span(1)))
    }

    fn stack_records(
        &self,
        sites: &[(u32, SizeClass)],
        series: &Series,
        pick: &Pick<'_>,
    ) -> Result<Vec<StackRecord>, RecordingError> {
        let sqlite = |error: rusqlite::Error| self.error(&error);
        let damaged = |what: &str| RecordingError::Damaged(shown(&self.path), what.to_owned());
        let nodes = self.nodes().map_err(sqlite)?;
        let mut by_book: HashMap<u32, Vec<u32>> = HashMap::new();
        for (site, (book, _)) in sites.iter().enumerate() {
            by_book.entry(*book).or_default().push(site as u32);
        }
        let mut records = Vec::new();
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
                sites: own,
            };
            let mut kept: Vec<(u32, f64)> = Vec::new();
            for site in &record.sites {
                let size = sites[*site as usize].1;
                let allocated = series.allocated(*site);
                let mut live = Amount::default();
                for (bucket, amount) in series.kept(*site) {
                    if pick.shows(*bucket, size) {
                        live.add(*amount);
                        kept.push((*bucket, amount.count));
                    }
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
        Ok(records)
    }

    pub(super) fn error(&self, error: &rusqlite::Error) -> RecordingError {
        RecordingError::from_sqlite(&self.path, error)
    }
}

/// Which blocks count as outstanding.
struct Pick<'a> {
    filter: Filter,
    end_s: f64,
    /// Buckets from this index on.
    born_after: u32,
    /// Where the buckets end, in seconds.
    ends: &'a [f64],
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

/// Sums of what is shown, for a span of time that no running total covers.
fn totals_of(stacks: &[StackRecord]) -> [Totals; Class::COUNT] {
    Class::ALL.map(|class| {
        let mut sums = Sums::default();
        for stack in stacks.iter().filter(|stack| stack.class == class) {
            sums.alloc_count += stack.allocated.count;
            sums.alloc_bytes += stack.allocated.bytes;
            sums.free_count += stack.allocated.count - stack.live.count;
            sums.free_bytes += stack.allocated.bytes - stack.live.bytes;
        }
        sums.peak_live_bytes = sums.live_bytes();
        totals(sums)
    })
}

/// Whether a target that ended gave back a good part of what it held while it ended.
fn tears_down(points: &[TimelinePoint]) -> bool {
    match points {
        [.., before, last] => last.live_bytes < before.live_bytes / 10 * 9,
        _ => false,
    }
}

fn windows(points: &[TimelinePoint], intervals: u32, window: u32) -> Windows {
    let ends = (0..intervals.div_ceil(window))
        .map(|i| points[((i + 1) * window).min(intervals) as usize - 1].t_s)
        .collect();
    Windows { ends_s: ends }
}

fn thinned(points: &[TimelinePoint]) -> Vec<TimelinePoint> {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    // The last of every stride, so that the end is the end.
    points.rchunks(stride).filter_map(|chunk| chunk.last().cloned()).rev().collect()
}
