//! The program that is timed, and memmgr beside it.

use std::{process::Command, thread::sleep, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use memmgr::{allocator::Family, report::Report, source::cpu_clock::CpuClock, units::Pid};
use memmgr_tests::{Capture, Program, Workload};

/// What malloc and free of the loop are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// That of the C library.
    Glibc,
    /// jemalloc in its place, by `LD_PRELOAD`.
    Jemalloc,
}

impl Allocator {
    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Allocator::Glibc => "glibc",
            Allocator::Jemalloc => "jemalloc",
        }
    }

    /// As memmgr's plan calls it.
    pub fn family(self) -> Family {
        match self {
            Allocator::Glibc => Family::Glibc,
            Allocator::Jemalloc => Family::Jemalloc,
        }
    }

    /// What the dynamic loader has to load first.
    fn preload(self) -> Option<&'static str> {
        match self {
            Allocator::Glibc => None,
            Allocator::Jemalloc => Some("libjemalloc.so.2"),
        }
    }
}

/// A running loop of malloc and free; ends when it is dropped.
pub struct Loop(Workload);

/// What a slice of the loop took.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Pairs of all threads.
    pub pairs: f64,
    /// Processor time of a pair.
    pub pair_ns: f64,
    /// Processor time of a call of `reference`, which has the same empty program on it all the time.
    pub reference_ns: f64,
}

impl Loop {
    /// Compiles the workload and starts it with this many threads.
    pub fn start(allocator: Allocator, threads: usize) -> Self {
        let program = Program::c("malloc-free-loop")
            .flags(&["-fno-omit-frame-pointer", "-fno-builtin"])
            .build();
        let mut command = Command::new(program);
        command.arg(threads.to_string());
        if let Some(library) = allocator.preload() {
            command.env("LD_PRELOAD", library);
        }
        Loop(Workload::start_command(command))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Lets every thread run pairs of blocks of this size for so long.
    pub fn run(&mut self, time: Duration, size: u64) -> Result<Slice> {
        self.0.send(&format!("{} {size}", time.as_millis()));
        let line = self.0.line();
        let numbers: Vec<f64> = line
            .split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("the loop said {line:?}"))?;
        let &[pairs, pairs_ns, references, references_ns, _elapsed_ns] = numbers.as_slice() else {
            bail!("the loop said {line:?}")
        };
        ensure!(numbers.iter().all(|number| *number > 0.0), "the loop said {line:?}");
        Ok(Slice { pairs, pair_ns: pairs_ns / pairs, reference_ns: references_ns / references })
    }
}

/// Starts memmgr on a process and returns once it counts.
pub fn capture(pid: u32, flags: &[&str]) -> Capture {
    let capture = Capture::start(pid, flags);
    // It says so just before counting begins.
    sleep(Duration::from_millis(100));
    capture
}

/// Percent of the events of a capture that were lost.
pub fn lost_percent(report: &Report) -> f64 {
    let accounting = &report.capture.accounting;
    let events = (accounting.submitted + accounting.lost).max(1);
    100.0 * accounting.lost as f64 / events as f64
}

/// Processor time that a process has taken, with its threads that have ended, in nanoseconds.
pub fn processor_ns(pid: u32) -> Result<f64> {
    let time = CpuClock::of(Pid(pid)).and_then(CpuClock::read);
    Ok(time.context("the process has ended")?.as_nanos() as f64)
}
