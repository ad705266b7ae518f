//! What watches an application while its speed is measured.

use anyhow::Result;
use memmgr_tests::{Capture, host::has_program};

use super::{heaptrack::Heaptrack, leak::Seed};
use crate::{
    mode::Mode,
    target::{capture, lost_percent},
};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    /// None at all: what the method itself makes of the noise of the machine.
    Control,
    /// memmgr, with the budget that it has by default where the mode has one.
    Memmgr(Mode),
    /// heaptrack, injected by gdb.
    Heaptrack,
}

impl Tracer {
    /// All of them.
    pub const ALL: [Tracer; 6] = [
        Tracer::Control,
        Tracer::Memmgr(Mode::Growth),
        Tracer::Memmgr(Mode::Sample),
        Tracer::Memmgr(Mode::Auto),
        Tracer::Memmgr(Mode::Exact),
        Tracer::Heaptrack,
    ];

    /// As a filter names it.
    pub fn name(self) -> &'static str {
        match self {
            Tracer::Control => "control",
            Tracer::Memmgr(mode) => mode.name(),
            Tracer::Heaptrack => "heaptrack",
        }
    }

    /// Whether it is installed, and memmgr has the mode.
    pub fn is_there(self) -> bool {
        match self {
            Tracer::Control => true,
            Tracer::Memmgr(mode) => mode.is_there(),
            Tracer::Heaptrack => ["heaptrack", "gdb"].into_iter().all(has_program),
        }
    }

    /// Attaches to a process, and returns once it is traced.
    pub fn attach(self, pid: u32, seed: &Seed) -> Result<Attached> {
        match self {
            Tracer::Control => Ok(Attached::Nothing),
            Tracer::Memmgr(mode) => Ok(Attached::Memmgr(capture(pid, &mode.flags()))),
            Tracer::Heaptrack => Heaptrack::inject(pid, seed).map(Attached::Heaptrack),
        }
    }
}

/// A tracer at work. It ends when this is dropped.
pub enum Attached {
    /// No tracer.
    Nothing,
    /// memmgr.
    Memmgr(Capture),
    /// heaptrack.
    Heaptrack(Heaptrack),
}

impl Attached {
    /// The process beside the target whose time is measured.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Attached::Memmgr(capture) => Some(capture.pid()),
            // heaptrack is a script, gdb, and a pipe of programs that read what the target writes.
            Attached::Nothing | Attached::Heaptrack(_) => None,
        }
    }

    /// Detaches, and gives the percent of the events that were lost, where the tracer says it.
    pub fn end(self) -> Result<Option<f64>> {
        match self {
            Attached::Nothing => Ok(None),
            Attached::Memmgr(capture) => {
                Ok(Some(lost_percent(capture.interrupt().expect_report())))
            }
            Attached::Heaptrack(heaptrack) => heaptrack.end().map(|()| None),
        }
    }
}
