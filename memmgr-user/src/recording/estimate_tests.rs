//! Random programs, sampled, tracked, recorded and read: what is estimated, and whether its error is as stated.

use super::*;
use crate::{
    aggregate::Ledger,
    judge::generate::Random,
    track::{Blocks, Change, NewBlock},
    units::KernelTime,
};

const MS: u64 = 1_000_000;
const STACKS: usize = 4;

/// How a program allocates and how it is sampled.
struct Program {
    /// Sizes of its blocks: between these, all logarithms of sizes equally likely.
    sizes: (f64, f64),
    /// Blocks an interval.
    births: u32,
    intervals: u32,
    /// Mean distance between samples in the first and in the second half of the capture.
    sampling: (u64, u64),
}

/// Bytes by stack and in total.
#[derive(Default)]
struct Sums {
    live: [f64; STACKS + 1],
    allocated: [f64; STACKS + 1],
}

impl Sums {
    fn add(&mut self, stack: usize, bytes: f64, allocated: bool, sign: f64) {
        for at in [stack, STACKS] {
            self.live[at] += sign * bytes;
            self.allocated[at] += if allocated { bytes } else { 0.0 };
        }
    }
}

struct Outcome {
    truth: Sums,
    /// The variance of the sampled blocks, added up without any books.
    variance: Sums,
    read: Recorded,
}

fn run(program: &Program, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut blocks = Blocks::new(KernelTime(0), usize::MAX);
    let mut ledger = Ledger::new(0);
    let mut recording = Recording::in_memory(256).unwrap();
    let (mut truth, mut variance) = (Sums::default(), Sums::default());
    // Interval of death, address, stack, size, and whether it is sampled with which variance.
    let mut living: Vec<(u32, u64, usize, f64, Option<f64>)> = Vec::new();
    let mut address = 0;
    for interval in 0..program.intervals {
        let mut take =
            |blocks: &mut Blocks, change| blocks.apply(change, &mut |d| ledger.apply(&d));
        let rate =
            if interval * 2 < program.intervals { program.sampling.0 } else { program.sampling.1 };
        for _ in 0..program.births {
            address += 16;
            let stack = (random.uniform() * STACKS as f64) as usize;
            let (low, high) = program.sizes;
            let size = random.between(low.ln(), high.ln()).exp().floor();
            // A third stays for good, a third dies at once.
            let life =
                [0.0, random.exponential(5.0), f64::INFINITY][(random.uniform() * 3.0) as usize];
            truth.add(stack, size, true, 1.0);
            let chance = 1.0 - (-size / rate as f64).exp();
            let sampled = (random.uniform() < chance).then(|| {
                let weighted = size / chance;
                let new = NewBlock {
                    address: Address(address),
                    size: size as u64,
                    interval: rate,
                    stack: StackHandle(4 + stack as u32),
                    time: KernelTime(u64::from(interval) * 1000 * MS + MS),
                };
                take(&mut blocks, Change::Alloc(new));
                variance.add(stack, weighted * weighted * (1.0 - chance), true, 1.0);
                weighted * weighted * (1.0 - chance)
            });
            living.push((interval + life.min(1e6) as u32, address, stack, size, sampled));
        }
        living.retain(|(dies, address, stack, size, sampled)| {
            if *dies > interval {
                return true;
            }
            truth.add(*stack, *size, false, -1.0);
            if let Some(of) = sampled {
                take(&mut blocks, Change::Free(Address(*address)));
                variance.add(*stack, *of, false, -1.0);
            }
            false
        });
        let nodes = if interval == 0 { STACKS as u32 } else { 0 };
        let node = |i| Node {
            handle: StackHandle(4 + i),
            parent: StackHandle(0),
            address: Address(u64::from(i) + 1),
        };
        let end = f64::from(interval + 1);
        let entry = Entry {
            point: TimelinePoint { t_s: end, ..TimelinePoint::default() },
            interval: ledger.cut(KernelTime(u64::from(interval + 1) * 1000 * MS), 1.0),
            nodes: (0..nodes).map(node).collect(),
            ..Entry::default()
        };
        recording.write(&entry).unwrap();
    }
    Outcome { truth, variance, read: recording.read(&Query::default()).unwrap() }
}

/// Estimates and errors, outstanding and allocated, by stack and in total.
fn estimates(read: &Recorded) -> [Vec<[f64; 2]>; STACKS + 1] {
    let mut found: [Vec<[f64; 2]>; STACKS + 1] = Default::default();
    for stack in read.stacks() {
        let [live, allocated] = stack.uncertainty.errors(&read.coverage);
        found[stack.addresses[0].0 as usize - 1] =
            vec![[stack.live.bytes, live], [stack.allocated.bytes, allocated]];
    }
    let totals = &read.totals[0];
    found[STACKS] = vec![
        [totals.live_bytes as f64, totals.live_bytes_error as f64],
        [totals.alloc_bytes as f64, totals.alloc_bytes_error as f64],
    ];
    found
}

/// The truth lies within two stated standard errors in 90 to 99 of 100 cases, and the stated ones are those of the
/// blocks that were sampled.
#[track_caller]
fn check(program: &Program, runs: u64) {
    let (mut within, mut cases) = (0_u32, 0_u32);
    for seed in 0..runs {
        let Outcome { truth, variance, read } = run(program, seed * 7919 + 1);
        for (at, found) in estimates(&read).iter().enumerate() {
            let truths = [truth.live[at], truth.allocated[at]];
            let variances = [variance.live[at], variance.allocated[at]];
            for (i, [estimate, error]) in found.iter().enumerate() {
                let stated = variances[i].sqrt();
                assert!((error - stated).abs() <= 1e-3 * stated + 1.0, "{error} is not {stated}");
                within += u32::from((estimate - truths[i]).abs() <= 2.0 * error);
                cases += 1;
            }
        }
    }
    let share = f64::from(within) / f64::from(cases);
    assert!((0.90..=0.99).contains(&share), "{share} of {cases} cases are within two errors");
}

const SMALL: Program =
    Program { sizes: (1024.0, 2048.0), births: 400, intervals: 20, sampling: (1 << 16, 1 << 16) };

#[test]
fn small_blocks() {
    check(&SMALL, 60);
}

#[test]
fn the_sampling_interval_changes_in_the_middle() {
    check(&Program { sampling: (1 << 14, 1 << 17), ..SMALL }, 60);
    check(&Program { sampling: (1 << 17, 1 << 14), ..SMALL }, 60);
}

#[test]
fn blocks_of_all_sizes() {
    check(&Program { sizes: (64.0, 1e6), births: 200, ..SMALL }, 60);
}

/// So many intervals that they are read from sums over 16 of them.
#[test]
fn levels_keep_errors() {
    let long = Program { births: 8, intervals: 1100, ..SMALL };
    assert!(run(&long, 1).read.windows.len() <= 64);
    check(&long, 4);
}

#[test]
fn where_every_call_is_counted_nothing_is_uncertain() {
    let mut ledger = Ledger::new(0);
    let mut blocks = Blocks::new(KernelTime(0), usize::MAX);
    let new = NewBlock {
        address: Address(16),
        size: 100,
        interval: 0,
        stack: StackHandle(0),
        time: KernelTime(0),
    };
    blocks.apply(Change::Alloc(new), &mut |delta| ledger.apply(&delta));
    let mut recording = Recording::in_memory(1).unwrap();
    let point = TimelinePoint { t_s: 1.0, ..TimelinePoint::default() };
    let interval = ledger.cut(KernelTime(1000 * MS), 1.0);
    recording.write(&Entry { point, interval, ..Entry::default() }).unwrap();
    let read = recording.read(&Query::default()).unwrap();
    assert_eq!((read.totals[0].live_bytes, read.totals[0].live_bytes_error), (100, 0));
    assert_eq!(read.stacks()[0].uncertainty.errors(&read.coverage), [0.0, 0.0]);
}
