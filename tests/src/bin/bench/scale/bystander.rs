//! What captures of one program cost another one on the same host.

use std::{fmt::Write, process::Command};

use anyhow::{Context, Result, bail};
use memmgr_tests::{Program, Workload};

use super::bursts;
use crate::{
    mode::Mode,
    statistics::{Rounds, marked},
    target::capture,
};

/// What the program does that is not captured, and in words.
const WORK: [(&str, &str); 3] = [
    ("allocations", "malloc and free of the same C library"),
    ("calls", "the cheapest system call"),
    ("mappings", "mmap, a page fault, munmap"),
];
/// The modes that must let it work.
const MODES: [Mode; 4] = [Mode::Growth, Mode::Sample, Mode::Auto, Mode::Exact];
const ROUNDS: usize = 5;
/// Length of a slice.
const SLICE_MS: u32 = 200;
/// The least percent of its speed that it keeps.
const LEAST: f64 = 98.0;

/// Measures, and writes a line for each kind of work.
pub fn table() -> Result<String> {
    let modes: Vec<Mode> = MODES.into_iter().filter(|mode| mode.is_there()).collect();
    let threads = std::thread::available_parallelism()?.get().saturating_sub(1).max(1);
    let captured = bursts(threads, 0);
    let mut bystander =
        Workload::start_command(Command::new(Program::c("minds-its-business").build()));
    let mut kept: Vec<[Kept; WORK.len()]> = modes.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        let mut before = speeds(&mut bystander)?;
        for (mode, kept) in modes.iter().zip(&mut kept) {
            let capture = capture(captured.pid(), &mode.flags());
            let during = speeds(&mut bystander)?;
            capture.interrupt().expect_report();
            let after = speeds(&mut bystander)?;
            for (number, kept) in kept.iter_mut().enumerate() {
                kept.push(before[number], during[number], after[number]);
            }
            before = after;
        }
    }
    write(&modes, &kept)
}

fn write(modes: &[Mode], kept: &[[Kept; WORK.len()]]) -> Result<String> {
    let mut text = format!(
        "Percent of its operations per processor time, and of its throughput, that a program keeps while \
         another one is captured that allocates all the time, on all processors but one; at least {LEAST:.0} % of the \
         former, bold where it is less.\n\n| |"
    );
    for mode in modes {
        write!(text, " {0}, per processor time | {0}, throughput |", mode.name())?;
    }
    write!(text, "\n|---|{}\n", "---:|---:|".repeat(modes.len()))?;
    for (number, (_, what)) in WORK.iter().enumerate() {
        write!(text, "| {what} |")?;
        for Kept { efficiency, throughput } in kept.iter().map(|kept| &kept[number]) {
            let judged = marked(&format!("{efficiency:.1}"), efficiency.median() >= LEAST);
            write!(text, " {judged} | {throughput:.1} |")?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Operations by processor time and by time.
#[derive(Clone, Copy)]
struct Speed {
    efficiency: f64,
    throughput: f64,
}

/// Percent of speeds that were left, by round.
#[derive(Default)]
struct Kept {
    efficiency: Rounds,
    throughput: Rounds,
}

impl Kept {
    /// Compares a slice with the mean of those before and after it.
    fn push(&mut self, before: Speed, during: Speed, after: Speed) {
        let kept = |of: fn(Speed) -> f64| 100.0 * of(during) / f64::midpoint(of(before), of(after));
        self.efficiency.0.push(kept(|speed| speed.efficiency));
        self.throughput.0.push(kept(|speed| speed.throughput));
    }
}

/// A slice of each kind of work.
fn speeds(bystander: &mut Workload) -> Result<[Speed; WORK.len()]> {
    let mut speeds = Vec::new();
    for (work, _) in WORK {
        bystander.send(&format!("{work} {SLICE_MS}"));
        let line = bystander.line();
        let numbers: Vec<f64> = line
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("the bystander said {line:?}"))?;
        let &[operations, processor_ns, elapsed_ns] = numbers.as_slice() else {
            bail!("the bystander said {line:?}")
        };
        speeds.push(Speed {
            efficiency: operations / processor_ns,
            throughput: operations / elapsed_ns,
        });
    }
    Ok(speeds.try_into().unwrap_or_else(|_| unreachable!("one for each kind of work")))
}
