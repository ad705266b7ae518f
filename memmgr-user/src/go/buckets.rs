//! The program's own sampled heap profile, as its `pprof.Lookup("heap")` would tell it: a list of call stacks with counts
//! (runtime/mprof.go).

use super::{figures::Lacks, layout::Layout, memory::Memory};
use crate::{aggregate::Amount, units::Address};

/// More than any program has.
const MOST_BUCKETS: usize = 1 << 20;
/// The deepest stack that GODEBUG=profstackdepth can ask for (runtime1.go, `maxProfStackDepth`).
const MOST_FRAMES: u64 = 1024;
/// `memProfile` of `bucketType`.
const OF_MEMORY: u64 = 1;
/// Cycles that are counted and not published yet (`memRecord.future`).
const FUTURES: usize = 3;

/// What the runtime counts of a stack and a size of objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bucket {
    /// Return addresses, the innermost first.
    pub(super) stack: Vec<Address>,
    /// What is not freed, estimated.
    pub(super) live: Amount,
    /// What was ever allocated, estimated.
    pub(super) allocated: Amount,
}

/// The profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    /// Bytes between samples on the average (`runtime.MemProfileRate`); 0 where no profile is kept.
    pub(super) rate: u64,
    /// One for each stack and size.
    pub(super) buckets: Vec<Bucket>,
}

/// Reads it. What is published is as of the last collection but one.
pub(super) fn buckets(memory: &Memory, layout: &Layout) -> Result<Buckets, Lacks> {
    let symbol = |name| layout.symbol(name).map(|at| memory.loaded(at)).ok_or(Lacks::Field(name));
    let rate = memory.word(symbol("runtime.MemProfileRate")?)?;
    // Its sign is that of an int.
    if rate == 0 || rate > i64::MAX as u64 {
        return Ok(Buckets::default());
    }
    let field = |path| layout.field("runtime.bucket", path).ok_or(Lacks::Field(path));
    let (next, kind, depth) = (field("allnext")?, field("typ")?, field("nstk")?);
    let size = field("size")?;
    let counted = Counted::of(layout)?;
    let header = layout.size("runtime.bucket");
    let cycle = memory.word(symbol("runtime.mProfCycle")?)? as u32 >> 1;
    let mut found = Vec::new();
    let mut address = memory.word(symbol("runtime.mbuckets")?)?;
    while address != 0 && found.len() < MOST_BUCKETS {
        let head = memory.words(address, header as usize / 8)?;
        let word = |offset: u64| head[offset as usize / 8];
        let frames = word(depth.offset);
        if word(kind.offset) != OF_MEMORY || frames > MOST_FRAMES {
            return Err(Lacks::Field("mbuckets"));
        }
        let record = counted.words() * (1 + FUTURES);
        let rest = memory.words(address + header, frames as usize + record)?;
        let (stack, record) = rest.split_at(frames as usize);
        found.push((stack.to_vec(), Record::of(record, counted, word(size.offset))));
        address = word(next.offset);
    }
    let is_published = found.iter().any(|(_, record)| record.active.allocs != 0);
    let is_empty = found.is_empty();
    let buckets: Vec<Bucket> = found
        .into_iter()
        .map(|(stack, record)| {
            let counts = record.counts(cycle, is_published);
            Bucket {
                stack: stack.into_iter().map(Address).collect(),
                live: estimate(
                    counts.allocs.saturating_sub(counts.frees),
                    counts.alloc_bytes.saturating_sub(counts.free_bytes),
                    rate,
                ),
                allocated: estimate(counts.allocs, counts.alloc_bytes, rate),
            }
        })
        .filter(|bucket| bucket.allocated.count > 0.0)
        .collect();
    // A stack is there because something was allocated.
    if buckets.is_empty() && !is_empty {
        return Err(Lacks::Field("memRecord"));
    }
    Ok(Buckets { rate, buckets })
}

/// `memRecordCycle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    allocs: u64,
    frees: u64,
    alloc_bytes: u64,
    free_bytes: u64,
}

/// What of them the runtime keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Objects and bytes.
    Both,
    /// Objects; all of a bucket have its size (Go 1.27).
    Objects,
}

impl Counted {
    fn of(layout: &Layout) -> Result<Self, Lacks> {
        let has = |path| layout.field("runtime.memRecordCycle", path).is_some();
        match (has("frees"), has("alloc_bytes")) {
            (true, true) => Ok(Counted::Both),
            (true, false) => Ok(Counted::Objects),
            (false, _) => Err(Lacks::Field("memRecordCycle")),
        }
    }

    /// Of a cycle.
    fn words(self) -> usize {
        match self {
            Counted::Both => 4,
            Counted::Objects => 2,
        }
    }
}

impl Counts {
    fn of(words: &[u64], counted: Counted, size: u64) -> Self {
        let (allocs, frees) = (words[0], words[1]);
        let [alloc_bytes, free_bytes] = match counted {
            Counted::Both => [words[2], words[3]],
            Counted::Objects => [allocs, frees].map(|count| count.wrapping_mul(size)),
        };
        Counts { allocs, frees, alloc_bytes, free_bytes }
    }

    fn add(self, more: Counts) -> Counts {
        // What the target has there may be anything.
        Counts {
            allocs: self.allocs.wrapping_add(more.allocs),
            frees: self.frees.wrapping_add(more.frees),
            alloc_bytes: self.alloc_bytes.wrapping_add(more.alloc_bytes),
            free_bytes: self.free_bytes.wrapping_add(more.free_bytes),
        }
    }
}

/// `memRecord`: what is published, and what is counted for later cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    active: Counts,
    future: [Counts; FUTURES],
}

impl Record {
    fn of(words: &[u64], counted: Counted, size: u64) -> Self {
        let mut cycles =
            words.chunks(counted.words()).map(|words| Counts::of(words, counted, size));
        let active = cycles.next().unwrap_or_default();
        Record { active, future: std::array::from_fn(|_| cycles.next().unwrap_or_default()) }
    }

    /// As `MemProfile` has it: with the cycle that is due to be published, and everything before the first publication.
    fn counts(self, cycle: u32, is_published: bool) -> Counts {
        if is_published {
            self.active.add(self.future[cycle as usize % FUTURES])
        } else {
            self.future.into_iter().fold(self.active, Counts::add)
        }
    }
}

/// What samples stand for (runtime/pprof, `scaleHeapSample`): each object of S bytes is sampled with probability
/// p = 1 − exp(−S / rate).
fn estimate(count: u64, bytes: u64, rate: u64) -> Amount {
    let (count, bytes) = (count as f64, bytes as f64);
    if count == 0.0 || bytes == 0.0 {
        return Amount::default();
    }
    if rate <= 1 {
        return Amount { count, bytes, samples: count, variance: 0.0 };
    }
    let size = bytes / count;
    let p = -(-size / rate as f64).exp_m1();
    let whole = |value: f64| (value / p).trunc();
    let variance = count * (size / p).powi(2) * (1.0 - p);
    Amount { count: whole(count), bytes: whole(bytes), samples: count, variance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_counts_and_what_is_later_does_not() {
        let mut words = vec![0; 16];
        words[..4].copy_from_slice(&[10, 4, 1000, 400]);
        words[4..8].copy_from_slice(&[1, 0, 100, 0]);
        words[8..12].copy_from_slice(&[2, 1, 200, 100]);
        words[12..].copy_from_slice(&[5, 5, 500, 500]);
        let both = Counted::Both;
        let check = |cycle, is_published, expected: [u64; 4]| {
            let found = Record::of(&words, both, 100).counts(cycle, is_published);
            assert_eq!(found, Counts::of(&expected, both, 100));
        };
        check(0, true, [11, 4, 1100, 400]);
        check(4, true, [12, 5, 1200, 500]);
        check(5, true, [15, 9, 1500, 900]);
        check(0, false, [18, 10, 1800, 1000]);
        // The same where only objects are counted.
        let objects = [10, 4, 1, 0, 2, 1, 5, 5];
        let found = Record::of(&objects, Counted::Objects, 100).counts(4, true);
        assert_eq!(found, Counts::of(&[12, 5, 1200, 500], both, 100));
    }

    #[test]
    fn samples_stand_for_more_the_smaller_they_are() {
        let check = |count, bytes, rate, expected: (f64, f64)| {
            let found = estimate(count, bytes, rate);
            assert_eq!((found.count, found.bytes), expected, "{count} {bytes} {rate}");
        };
        check(0, 0, 524_288, (0.0, 0.0));
        check(3, 48, 1, (3.0, 48.0));
        // 1 − exp(−1/512) = 0.0019512
        check(10, 10_240, 524_288, (5125.0, 5_248_001.0));
        // Larger than the rate: nearly all of them are sampled.
        check(2, 20 << 20, 524_288, (2.0, 20_971_520.0));
        let small = estimate(100, 1600, 524_288);
        assert!((small.variance.sqrt() / small.bytes - 0.1).abs() < 0.001, "{small:?}");
    }
}
