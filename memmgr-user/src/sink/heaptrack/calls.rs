//! The calls: how many blocks of which size come and go, and when.

use std::io::{self, Write};

use super::PAGE_BYTES;
use crate::report::TimelinePoint;
use crate::sink::{moments, parts::Part};

/// Blocks of one trace: how many, and their bytes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    trace: usize,
    count: u64,
    bytes: u64,
}

impl Blocks {
    /// The bytes in `count` blocks, of one size or of two that differ by a byte.
    fn sizes(self) -> impl Iterator<Item = (u64, u64)> {
        let count = self.count.max(1);
        let (size, larger) = (self.bytes / count, self.bytes % count);
        [(size + 1, larger), (size, count - larger)].into_iter().filter(|(_, count)| *count > 0)
    }
}

/// Blocks of one size, with the lines that say that one comes or goes.
struct Run {
    count: u64,
    comes: String,
    goes: String,
}

impl Run {
    /// As many lines as lie between two shares of the run, from 0 to 1.
    fn write(&self, out: &mut Vec<u8>, line: &str, from: f64, to: f64) {
        let upto = |share: f64| (self.count as f64 * share) as u64;
        for _ in upto(from)..upto(to) {
            out.extend_from_slice(line.as_bytes());
        }
    }
}

/// The calls of all stacks.
pub(super) struct Calls {
    scale: u64,
    outstanding: Vec<Blocks>,
    freed: Vec<Blocks>,
}

impl Calls {
    /// No calls yet; each that is written will stand for `scale` of those added.
    pub(super) fn new(scale: u64) -> Self {
        Self { scale, outstanding: Vec::new(), freed: Vec::new() }
    }

    /// Takes in the blocks of a part of a stack.
    pub(super) fn add(&mut self, trace: usize, part: Part) {
        let (outstanding, freed) = (
            Blocks { trace, count: part.live_count, bytes: part.live_bytes },
            Blocks {
                trace,
                count: part.alloc_count.saturating_sub(part.live_count),
                bytes: part.alloc_bytes.saturating_sub(part.live_bytes),
            },
        );
        // Bytes without a block are what the rounding of estimates left.
        self.outstanding.extend((outstanding.count > 0).then_some(outstanding));
        self.freed.extend((freed.count > 0).then_some(freed));
    }

    /// Writes sizes and calls. `peak` is the most that was outstanding at any time, in bytes.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        peak: u64,
        points: &[&TimelinePoint],
        duration_s: f64,
    ) -> io::Result<()> {
        let end = self.outstanding.iter().fold(0, |sum: u64, b| sum.saturating_add(b.bytes));
        let (held, passing) = share_out(&self.freed, peak.saturating_sub(end));
        let scaled = |blocks: &Blocks| Blocks { count: self.scaled(blocks.count), ..*blocks };
        // Blocks that stand for several keep the size of one where they were never there together.
        let thinned = |blocks: &Blocks| {
            let count = self.scaled(blocks.count);
            let bytes = u128::from(blocks.bytes) * u128::from(count) / u128::from(blocks.count);
            Blocks { count, bytes: bytes as u64, ..*blocks }
        };
        let mut sizes = 0;
        let passing = runs(out, &mut sizes, passing.iter().map(thinned))?;
        let held = runs(out, &mut sizes, held.iter().map(scaled))?;
        let standing = runs(out, &mut sizes, self.outstanding.iter().map(scaled))?;

        for run in &passing {
            let pair = format!("{}{}", run.comes, run.goes);
            run.write(out, &pair, 0.0, 1.0);
        }
        let (mut there, mut gone) = (0.0, 0.0);
        for (point, (coming, going)) in points.iter().zip(shares(points)) {
            writeln!(out, "c {:x}\nR {:x}", milliseconds(point.t_s), point.rss_bytes / PAGE_BYTES)?;
            for run in standing.iter().chain(&held) {
                run.write(out, &run.comes, there, coming);
            }
            for run in &held {
                run.write(out, &run.goes, gone, going);
            }
            (there, gone) = (coming, going);
        }
        for run in standing.iter().chain(&held) {
            run.write(out, &run.comes, there, 1.0);
        }
        writeln!(out, "c {:x}", milliseconds(duration_s))?;
        for run in &held {
            run.write(out, &run.goes, gone, 1.0);
        }
        Ok(())
    }

    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 / self.scale as f64).round() as u64).max(1)
    }
}

/// Divides freed blocks into those that stood at the peak, `wanted` bytes of them, and the others.
/// Every stack gives in proportion to its bytes, to the byte; of a single block it is all or nothing.
fn share_out(freed: &[Blocks], wanted: u64) -> (Vec<Blocks>, Vec<Blocks>) {
    let total = freed.iter().fold(0, |sum: u64, blocks| sum.saturating_add(blocks.bytes));
    let wanted = wanted.min(total);
    let (mut held, mut passing) = (Vec::new(), Vec::new());
    let (mut seen, mut given) = (0_u64, 0_u64);
    for blocks in freed {
        seen = seen.saturating_add(blocks.bytes);
        let due = u128::from(wanted) * u128::from(seen) / u128::from(total.max(1));
        let due = (due as u64).saturating_sub(given).min(blocks.bytes);
        let bytes = match blocks.count {
            1 if due < blocks.bytes.div_ceil(2) => 0,
            1 => blocks.bytes,
            _ => due,
        };
        let count = if bytes == 0 {
            0
        } else if bytes == blocks.bytes {
            blocks.count
        } else {
            let share = bytes as f64 / blocks.bytes as f64;
            ((blocks.count as f64 * share).round() as u64).clamp(1, blocks.count - 1)
        };
        given += bytes;
        held.extend((count > 0).then_some(Blocks { count, bytes, ..*blocks }));
        let (count, bytes) = (blocks.count - count, blocks.bytes - bytes);
        passing.extend((count > 0).then_some(Blocks { count, bytes, ..*blocks }));
    }
    (held, passing)
}

/// For each moment the share of the blocks of the peak that has come, and the share of those freed
/// after it that has gone. Both only grow.
fn shares(points: &[&TimelinePoint]) -> Vec<(f64, f64)> {
    let top = moments::peak(points).unwrap_or_default();
    let bytes = |i: usize| points.get(i).map_or(0.0, |point| point.live_bytes as f64);
    let (highest, last) = (bytes(top), bytes(points.len().saturating_sub(1)));
    let (mut coming, mut going) = (0.0_f64, 0.0_f64);
    (0..points.len())
        .map(|i| {
            coming = if i < top { coming.max(bytes(i) / highest) } else { 1.0 };
            if i > top && highest > last {
                going = going.max(((highest - bytes(i)) / (highest - last)).min(1.0));
            }
            (coming, going)
        })
        .collect()
}

/// Writes the sizes of blocks and gives the lines for their calls. A size stands there twice, once
/// for allocations and once for frees: heaptrack calls a block temporary when a free
/// names the same entry as the allocation before it.
fn runs(
    out: &mut Vec<u8>,
    sizes: &mut usize,
    blocks: impl Iterator<Item = Blocks>,
) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for blocks in blocks {
        for (size, count) in blocks.sizes() {
            writeln!(out, "a {size:x} {0:x}\na {size:x} {0:x}", blocks.trace)?;
            let (comes, goes) = (format!("+ {:x}\n", *sizes), format!("- {:x}\n", *sizes + 1));
            runs.push(Run { count, comes, goes });
            *sizes += 2;
        }
    }
    Ok(runs)
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_share_out(freed: &[(u64, u64)], wanted: u64, held: &[(u64, u64)]) {
        let blocks = |&(count, bytes)| Blocks { trace: 1, count, bytes };
        let freed: Vec<Blocks> = freed.iter().map(blocks).collect();
        let (found, passing) = share_out(&freed, wanted);
        assert_eq!(found, held.iter().map(blocks).collect::<Vec<_>>());
        let sum = |blocks: &[Blocks]| {
            blocks.iter().fold((0, 0), |(n, bytes), b| (n + b.count, bytes + b.bytes))
        };
        let (held, passing, all) = (sum(&found), sum(&passing), sum(&freed));
        assert_eq!((held.0 + passing.0, held.1 + passing.1), all, "nothing is lost");
    }

    #[test]
    fn the_peak_is_shared_out_to_the_byte() {
        check_share_out(&[], 100, &[]);
        check_share_out(&[(10, 1000)], 0, &[]);
        check_share_out(&[(10, 1000)], 333, &[(3, 333)]);
        check_share_out(&[(10, 1000), (30, 3000)], 1001, &[(3, 250), (8, 751)]);
        // Of single blocks all or nothing; the next stack makes up for it.
        check_share_out(&[(1, 100), (100, 900)], 300, &[(33, 300)]);
        check_share_out(&[(1, 100), (100, 900)], 700, &[(1, 100), (67, 600)]);
        // More than was ever freed.
        check_share_out(&[(2, 7)], 99, &[(2, 7)]);
        // A part of every block's bytes is still a block.
        check_share_out(&[(2, 1000)], 1, &[(1, 1)]);
        check_share_out(&[(2, 1000)], 999, &[(1, 999)]);
    }

    #[test]
    fn sizes_keep_the_sum() {
        let sizes = |count, bytes| Blocks { trace: 1, count, bytes }.sizes().collect::<Vec<_>>();
        assert_eq!(sizes(3, 300), [(100, 3)]);
        assert_eq!(sizes(3, 302), [(101, 2), (100, 1)]);
        assert_eq!(sizes(3, 1), [(1, 1), (0, 2)]);
    }

    #[test]
    fn shares_follow_the_timeline() {
        let shares = |bytes: &[u64]| {
            let points: Vec<TimelinePoint> = bytes
                .iter()
                .map(|&live_bytes| TimelinePoint { live_bytes, ..TimelinePoint::default() })
                .collect();
            shares(&points.iter().collect::<Vec<_>>())
        };
        assert_eq!(shares(&[]), []);
        assert_eq!(shares(&[0, 0]), [(1.0, 0.0), (1.0, 0.0)]);
        assert_eq!(
            shares(&[0, 50, 25, 100, 80, 90, 60]),
            [(0.0, 0.0), (0.5, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.5), (1.0, 0.5), (1.0, 1.0)]
        );
    }
}
