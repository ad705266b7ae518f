//! Events a second.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{BufReader, Read, Write as _},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use memmgr::{
    allocator::open_mapped,
    modules::Modules,
    recording::{Documents, Feed},
    report::TimelinePoint,
    source::{mappings::read_mappings, process_dir::ProcessDir, roots::Roots},
    units::{KernelTime, Pid},
};
use memmgr_common::events::Kind;
use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

use super::{
    LIVE, collector, heading,
    records::{Records, Stack},
};
use crate::{heap_calls, service, statistics::Rounds};

/// Events that are timed in a round, and rounds.
const EVENTS: usize = 1_000_000;
const ROUNDS: usize = 5;
/// Events after which an interval ends: a second's.
const INTERVAL: usize = 1_000_000;
/// Bytes of records that are made at a time: half a ring buffer, as a drain reads at most.
const BATCH: usize = 4 << 20;
/// Distinct stacks, and the frames of a known one.
pub const STACKS: usize = 10_000;
const FRAMES: usize = 30;
/// Free addresses that wait to be given out again.
const SPARE: usize = 4_096;

/// What happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Pairs,
    Copied,
    Frees,
    Resizes,
}

/// A stack as the kernel part copies it.
pub struct Copied {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register.
    pub bp: u64,
    /// From the stack pointer on.
    pub bytes: Vec<u8>,
}

/// Measures and writes both tables: events a second, and how often the collector asks its allocator for memory meanwhile.
pub fn tables(text: &mut String) -> Result<()> {
    // The last processor: the first serves most interrupts.
    let mut processors = CpuSet::new();
    processors.set(std::thread::available_parallelism()?.get() - 1);
    sched_setaffinity(None, &processors)?;
    let program = Program::start()?;
    heading(text, "events")?;
    let mut calls = String::new();
    heading(&mut calls, "events")?;
    for (name, load) in [
        ("allocations and frees, known stacks of 30 frames", Load::Pairs),
        ("allocations and frees, copied stacks of 1 to 4 KiB", Load::Copied),
        ("frees", Load::Frees),
        ("resizes, of two events each", Load::Resizes),
    ] {
        write!(text, "| {name} |")?;
        write!(calls, "| {name} |")?;
        for live in LIVE {
            let (rates, per_thousand) = run(&program, load, live)?;
            write!(text, " {rates:.2} |")?;
            write!(calls, " {per_thousand:.2} |")?;
        }
        text.push('\n');
        calls.push('\n');
    }
    text.push_str("\nCalls of its own allocator by the collector, per thousand events\n\n");
    text.push_str(&calls);
    Ok(())
}

/// Millions of events a second of processor time, and calls of the allocator per thousand events.
fn run(program: &Program, load: Load, live: usize) -> Result<(Rounds, f64)> {
    let mut modules = Modules::default();
    let changed = program.map_into(&mut modules)?;
    let mut collector = collector(modules);
    collector.learn(&changed);
    let mut feed = Feed::default();
    let mut heap = Heap::new(live);
    let mut records = Records::default();
    for stack in 0..STACKS {
        records.frames(stack as u64 + 1, &frames(stack));
    }
    let mut rates = Rounds::default();
    let (mut busy_s, mut timed, mut since_cut) = (0.0, 0, 0);
    let (mut calls, mut events) = (0, 0);
    while rates.0.len() < ROUNDS {
        // What is made up between two timed parts: at first all of the heap.
        heap.fill(&mut records);
        for record in records.iter() {
            _ = collector.take(record);
        }
        records.clear();
        if heap.live.len() < live {
            continue;
        }
        while records.bytes() < BATCH && heap.step(load, &program.stacks, &mut records) {}
        let calls_before = heap_calls::of_this_thread();
        let began = clock_gettime(ClockId::ThreadCPUTime);
        for record in records.iter() {
            _ = collector.take(record);
        }
        since_cut += records.len();
        let mut entry = None;
        if since_cut >= INTERVAL {
            let now = KernelTime(records.time());
            let (point, documents) = (TimelinePoint::default(), Documents::default());
            entry = Some(feed.entry(&mut collector, now, 1.0, point, documents));
            since_cut = 0;
        }
        let ended = clock_gettime(ClockId::ThreadCPUTime);
        calls += heap_calls::of_this_thread() - calls_before;
        events += records.len();
        // The recorder's thread does that.
        drop(entry);
        busy_s +=
            (ended.tv_sec - began.tv_sec) as f64 + (ended.tv_nsec - began.tv_nsec) as f64 / 1e9;
        timed += records.len();
        records.clear();
        if timed >= EVENTS {
            rates.0.push(timed as f64 / busy_s / 1e6);
            (busy_s, timed) = (0.0, 0);
        }
    }
    let counts = collector.counts;
    ensure!(counts.received == counts.decoded, "not all was decoded: {counts:?}");
    ensure!(counts.stack_missing == 0, "stacks are missing: {counts:?}");
    ensure!(counts.stack_truncated == 0, "stacks are cut: {counts:?}");
    let odd = collector.blocks.anomalies();
    let none = odd.unknown_free + odd.implied_free + odd.table_full == 0;
    ensure!(none, "{load:?}: {odd:?}");
    ensure!(collector.blocks.len() == heap.live.len(), "blocks were lost");
    Ok((rates, calls as f64 * 1e3 / events as f64))
}

/// The heap of a made-up program.
pub struct Heap {
    most: usize,
    live: Vec<u64>,
    spare: VecDeque<u64>,
    random: u64,
}

impl Heap {
    /// An empty one that will hold so many blocks.
    pub fn new(most: usize) -> Self {
        // In an order that has nothing to do with the addresses, as after a while in a real heap.
        let mut heap = Heap { most, live: Vec::new(), spare: VecDeque::new(), random: 1 };
        let mut addresses: Vec<u64> =
            (0..most as u64 + SPARE as u64).map(|n| 0x5555_0000_0000 + n * 64).collect();
        for i in (1..addresses.len()).rev() {
            addresses.swap(i, heap.below(i + 1));
        }
        heap.spare = addresses.into();
        heap
    }

    fn below(&mut self, end: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 32) as usize * end) >> 32
    }

    /// Allocates until it is full or the batch is.
    fn fill(&mut self, records: &mut Records) {
        while self.live.len() < self.most && records.bytes() < BATCH {
            self.allocate(None, records);
        }
    }

    /// Adds what happens next; false when nothing is left that can happen.
    fn step(&mut self, load: Load, copied: &[Copied], records: &mut Records) -> bool {
        match load {
            Load::Pairs => {
                self.free(records);
                self.allocate(None, records);
            }
            Load::Copied => {
                self.free(records);
                self.allocate(Some(copied), records);
            }
            Load::Frees => {
                if self.live.is_empty() {
                    return false;
                }
                self.free(records);
            }
            Load::Resizes => {
                let at = self.below(self.live.len());
                let (old, new) = (self.live[at], self.spare.pop_front().expect("some are spare"));
                records.free(Kind::ResizeBegin, old);
                let stack = self.below(STACKS);
                records.block(Kind::ResizeEnd, new, size(stack), Stack::Known(stack as u64 + 1));
                self.live[at] = new;
                self.spare.push_back(old);
            }
        }
        true
    }

    fn free(&mut self, records: &mut Records) {
        let at = self.below(self.live.len());
        let address = self.live.swap_remove(at);
        records.free(Kind::Free, address);
        self.spare.push_back(address);
    }

    fn allocate(&mut self, copied: Option<&[Copied]>, records: &mut Records) {
        let address = self.spare.pop_front().expect("some are spare");
        let stack = self.below(STACKS);
        let from = match copied {
            Some(copied) => Stack::Copied(&copied[stack % copied.len()]),
            None => Stack::Known(stack as u64 + 1),
        };
        records.block(Kind::Alloc, address, size(stack), from);
        self.live.push(address);
    }
}

/// Every stack allocates blocks of one size.
pub fn size(stack: usize) -> u64 {
    24 << (stack % 9)
}

/// The frames of a known stack, of which the outer third is shared by all.
pub fn frames(stack: usize) -> Vec<u64> {
    let own = |depth: usize| (stack * 31 + depth * 977) % 20_000;
    (0..FRAMES)
        .map(|depth| {
            0x40_0000 + if depth < FRAMES * 2 / 3 { own(depth) } else { depth } as u64 * 16
        })
        .collect()
}

/// A running program and copies of stacks that it has.
struct Program {
    child: Child,
    stacks: Vec<Copied>,
}

impl Program {
    fn start() -> Result<Self> {
        let mut child = Command::new(service::build(service::SMALL)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        writeln!(child.stdin.as_mut().context("no stdin")?, "copy {STACKS}")?;
        let mut answers = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut program = Program { child, stacks: Vec::new() };
        let mut ready = [0; 6];
        answers.read_exact(&mut ready)?;
        while program.stacks.len() < STACKS {
            let mut numbers = [0; 32];
            answers.read_exact(&mut numbers)?;
            let number = |at: usize| {
                u64::from_le_bytes(numbers[at * 8..][..8].try_into().expect("eight bytes"))
            };
            let mut bytes = vec![0; usize::try_from(number(3))?];
            answers.read_exact(&mut bytes)?;
            program.stacks.push(Copied { ip: number(0), sp: number(1), bp: number(2), bytes });
        }
        Ok(program)
    }

    /// Reads its mappings, as an attach does.
    fn map_into(&self, modules: &mut Modules) -> Result<Vec<u64>> {
        let roots = Roots::default();
        let pid = Pid(self.child.id());
        let mappings = read_mappings(&ProcessDir::open(&roots, pid)?)?;
        Ok(modules.update(&mappings, |file| open_mapped(&roots.proc, pid, file)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
