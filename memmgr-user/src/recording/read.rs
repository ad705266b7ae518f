//! Reading: the figures of a recording at one moment, or between two.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{
    Documents, Location, ModuleRecord, Recording, changes,
    level::{LEVELS, span},
    schema::{RecordingError, shown},
    series::{Bucket, MOST_WINDOWS, Series, cover},
    stacks::{Pick, StackRecord},
    write::{totals, whole},
};
use crate::{
    aggregate::{Filter, SizeClass, Sums},
    estimate::Coverage,
    history::{StackHistory, Windows},
    pipeline::Ended,
    report::{Frame, Observed, TimelinePoint, Totals},
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
    /// When the allocator probes were in place, if not all the time.
    pub observed: Option<Observed>,
    /// By class.
    pub totals: [Totals; Class::COUNT],
    /// The windows of the histories; none between two moments.
    pub windows: Windows,
    /// When the allocator probes were in place: what errors are read with.
    pub coverage: Coverage,
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
        let StackRecord { class, book, ref sites, .. } = *stack;
        self.series.history(class, book, sites, &self.windows, &self.coverage)
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
        let points_then = &points[..intervals as usize];
        let coverage = Coverage::of(lengths(points_then), window as usize);
        let pick =
            Pick { filter: query.filter, end_s, born_after, ends: &ends, coverage: &coverage };
        let (mut stacks, uncertainties) = self.stack_records(&sites, &series, &pick)?;
        stacks.sort_by(|a, b| {
            (b.live.bytes.total_cmp(&a.live.bytes))
                .then(b.allocated.bytes.total_cmp(&a.allocated.bytes))
                .then(a.book.cmp(&b.book))
        });
        let frames = self.frames().map_err(sqlite)?;
        let latest = intervals as usize == points.len();
        let mut totals = match since {
            Some(_) => totals_of(&stacks),
            None => std::mem::take(&mut totals[intervals as usize - 1]),
        };
        for (totals, uncertainty) in totals.iter_mut().zip(uncertainties) {
            [totals.live_bytes_error, totals.alloc_bytes_error] =
                uncertainty.errors(&coverage).map(whole);
        }
        Ok(Recorded {
            documents,
            before_exit,
            recorded_s: last,
            ended: self.ended().map_err(sqlite)?,
            latest,
            duration_s: end_s,
            observed: observed(points_then),
            totals,
            windows: if since.is_some() {
                Windows::default()
            } else {
                windows(points_then, window)
            },
            timeline: thinned(points_then),
            modules: self.modules().map_err(sqlite)?,
            unresolved: self.unresolved(&frames).map_err(sqlite)?,
            frames,
            stacks,
            series,
            coverage,
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

    pub(super) fn error(&self, error: &rusqlite::Error) -> RecordingError {
        RecordingError::from_sqlite(&self.path, error)
    }
}

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

/// Length of every interval, and how much of it the allocator probes saw.
fn lengths(points: &[TimelinePoint]) -> impl Iterator<Item = (f64, Option<f64>)> {
    let begins = std::iter::once(0.0).chain(points.iter().map(|point| point.t_s));
    points.iter().zip(begins).map(|(point, begin_s)| (point.t_s - begin_s, point.observed_s))
}

/// How much of all the time they saw.
fn observed(points: &[TimelinePoint]) -> Option<Observed> {
    points.iter().find_map(|point| point.observed_s)?;
    let all_s: f64 = lengths(points).map(|(seconds, _)| seconds).sum();
    let observed = || lengths(points).map(|(seconds, observed)| observed.unwrap_or(seconds));
    let windows = observed().filter(|seconds| *seconds > 0.0).count() as u64;
    Some(Observed { share: observed().sum::<f64>() / all_s.max(f64::MIN_POSITIVE), windows })
}

fn windows(points: &[TimelinePoint], window: u32) -> Windows {
    let ends = points.chunks(window as usize).filter_map(<[TimelinePoint]>::last);
    let ends_s = ends.map(|point| point.t_s).collect();
    let lengths: Vec<_> = lengths(points).collect();
    let observed_s = match observed(points) {
        None => Vec::new(),
        Some(_) => lengths
            .chunks(window as usize)
            .map(|window| window.iter().map(|(all, observed)| observed.unwrap_or(*all)).sum())
            .collect(),
    };
    Windows { ends_s, observed_s }
}

fn thinned(points: &[TimelinePoint]) -> Vec<TimelinePoint> {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    // The last of every stride, so that the end is the end.
    let mut thinned: Vec<TimelinePoint> = points
        .rchunks(stride)
        .filter_map(|chunk| {
            let observed_s: f64 = chunk.iter().filter_map(|point| point.observed_s).sum();
            let last = chunk.last()?.clone();
            Some(TimelinePoint { observed_s: last.observed_s.map(|_| observed_s), ..last })
        })
        .collect();
    thinned.reverse();
    thinned
}
