//! A program and its allocator, watched through windows of time, for tests: what happens outside of the windows is
//! not seen. Everything from the tracker on is the real thing.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use super::{Suppressions, generate::Random, judge};
use crate::{
    aggregate::{Filter, Ledger},
    recording::{Documents, Entry, Node, Query, Recording},
    report::{Capture, Frame, Report, TimelinePoint, build::build},
    stacks::StackHandle,
    symbolize::Symbols,
    track::{Blocks, Change, NewBlock},
    units::{Address, KernelTime},
};

/// What one stack of the program does.
#[derive(Clone, Copy)]
pub(super) struct Habit {
    pub stack: u32,
    pub size: u64,
    /// Allocations a second, at random times.
    pub per_s: f64,
    /// How long its blocks live, on average ...
    pub life_s: f64,
    /// ... and by which share of that at most longer or shorter.
    pub spread: f64,
}

/// How it is watched.
#[derive(Clone, Copy)]
pub(super) struct Watch {
    /// Seconds of every second in which the probes are in place.
    pub window_s: f64,
    pub seconds: u32,
    /// Mean distance between samples, 0 for every call.
    pub sampling: u64,
}

/// A capture as it goes on.
struct Watcher {
    random: Random,
    watch: Watch,
    blocks: Blocks,
    ledger: Ledger,
    /// The kernel's table of sampled addresses.
    sampled: HashSet<u64>,
}

impl Watcher {
    fn allocated(&mut self, at_s: f64, address: u64, habit: &Habit) {
        let Watch { sampling, .. } = self.watch;
        let chance = 1.0 - (-(habit.size as f64) / sampling as f64).exp();
        if sampling > 0 && self.random.uniform() >= chance {
            return;
        }
        self.sampled.insert(address);
        let new = NewBlock {
            address: Address(address),
            size: habit.size,
            interval: sampling,
            stack: StackHandle(4 + habit.stack),
            time: time(at_s),
        };
        let ledger = &mut self.ledger;
        self.blocks.apply(Change::Alloc(new), &mut |delta| ledger.apply(&delta));
    }

    /// The free of whatever block: by its address it may be taken for another that was sampled there before.
    fn freed(&mut self, address: u64) {
        if self.sampled.remove(&address) || self.watch.sampling == 0 {
            let ledger = &mut self.ledger;
            self.blocks.apply(Change::Free(Address(address)), &mut |delta| ledger.apply(&delta));
        }
    }
}

fn time(at_s: f64) -> KernelTime {
    KernelTime((at_s * 1e9) as u64)
}

/// The judged report of a program that has run for a while when it begins to be watched.
pub(super) fn watched(habits: &[Habit], watch: Watch, seed: u64) -> Report {
    const BEFORE_S: f64 = 15.0;
    let mut random = Random(seed);
    let mut watcher = Watcher {
        random: Random(seed ^ 0xa5a5),
        watch,
        blocks: Blocks::new(KernelTime(0), usize::MAX),
        ledger: Ledger::new(0),
        sampled: HashSet::new(),
    };
    let scale = 256;
    let mut recording = Recording::in_memory(scale).expect("a recording in memory");
    // Times in nanoseconds since the program began; what is freed comes before what is allocated at the same time.
    let ns = |at_s: f64| (at_s * 1e9) as u64;
    let mut births: BinaryHeap<Reverse<(u64, usize)>> = (0..habits.len())
        .map(|habit| Reverse((ns(random.exponential(1.0 / habits[habit].per_s)), habit)))
        .collect();
    let mut deaths: BinaryHeap<Reverse<(u64, u64, u64)>> = BinaryHeap::new();
    // The allocator: freed blocks of a size are handed out again, the last one first.
    let mut free: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut fresh = 0x10_0000;
    let mut seconds = 0_u32;
    let mut begin_s = None;
    let end = ns(BEFORE_S + f64::from(watch.seconds));
    loop {
        let birth = births.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        let death = deaths.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        let at_s = birth.min(death).min(end) as f64 / 1e9 - BEFORE_S;
        while f64::from(seconds + 1) <= at_s {
            seconds += 1;
            let point = TimelinePoint {
                t_s: f64::from(seconds),
                observed_s: (watch.window_s < 1.0).then_some(watch.window_s),
                ..TimelinePoint::default()
            };
            let interval = watcher.ledger.cut(time(point.t_s), 1.0 / watch.window_s);
            recording.write(&entry(point, interval, seconds == 1, watch)).expect("an interval");
            begin_s = None;
        }
        if birth.min(death) >= end {
            break;
        }
        // Every window begins at a moment of its own within its second.
        let within_s = at_s.rem_euclid(1.0);
        let window_s = *begin_s.get_or_insert_with(|| {
            let begin_s = random.between(0.0, 1.0 - watch.window_s);
            watcher.blocks.resume(time(at_s.max(0.0) - within_s + begin_s));
            begin_s
        });
        let seen = at_s >= 0.0 && (window_s..window_s + watch.window_s).contains(&within_s);
        if death <= birth {
            let Some(Reverse((_, address, size))) = deaths.pop() else { break };
            free.entry(size).or_default().push(address);
            if seen {
                watcher.freed(address);
            }
        } else {
            let Some(Reverse((at, habit))) = births.pop() else { break };
            let one = &habits[habit];
            births.push(Reverse((at + ns(random.exponential(1.0 / one.per_s)).max(1), habit)));
            let address = free.entry(one.size).or_default().pop().unwrap_or_else(|| {
                fresh += one.size.next_multiple_of(16);
                fresh
            });
            if one.life_s.is_finite() {
                let life_s = one.life_s * random.between(1.0 - one.spread, 1.0 + one.spread);
                deaths.push(Reverse((at + ns(life_s), address, one.size)));
            }
            if seen {
                watcher.allocated(at_s, address, one);
            }
        }
    }
    let recorded = recording.read(&Query::default()).expect("it was just written");
    let symbols: Symbols = (0..8_u64)
        .map(|stack| {
            let function = Some(format!("stack_{stack}"));
            let module = Some("/usr/bin/app".to_owned());
            (Address(stack + 1), vec![Frame { function, module, ..Frame::default() }.into()])
        })
        .collect();
    let mut report = build(&recorded, &symbols, Filter::default());
    judge(&mut report, &Suppressions::default());
    report
}

fn entry(
    point: TimelinePoint,
    interval: crate::aggregate::Interval,
    first: bool,
    watch: Watch,
) -> Entry {
    let node = |i| Node {
        handle: StackHandle(4 + i),
        parent: StackHandle(0),
        address: Address(u64::from(i) + 1),
    };
    let mode = if watch.sampling == 0 { "exact" } else { "sample" };
    let capture = Capture {
        mode: mode.to_owned(),
        sample_interval_bytes: watch.sampling,
        complete: true,
        ..Capture::default()
    };
    Entry {
        point,
        interval,
        nodes: (0..if first { 8_u32 } else { 0 }).map(node).collect(),
        documents: Documents { capture, ..Documents::default() },
        ..Entry::default()
    }
}
