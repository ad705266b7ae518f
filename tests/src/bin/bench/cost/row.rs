//! What stands on malloc and free while they are timed.

use std::{fmt, time::Duration};

use anyhow::Result;

use super::{SIZE, SLICE};
use crate::{
    floor::{At, Sites},
    mode::Mode,
    target::{Loop, capture, lost_percent, processor_ns},
};

/// From the attach to the first slice that counts: the first hits of every thread set things up.
const WARM_UP: Duration = Duration::from_millis(30);

/// From the attach until the governor has settled: it steers every second at most.
const SETTLE: Duration = Duration::from_millis(2_500);

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Nothing.
    Untraced,
    /// Empty programs on malloc and free; with the return of malloc or without.
    Empty(At, bool),
    /// A capture, with frame pointers or with unwind tables.
    Memmgr(Mode, Stack),
}

/// How stacks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// By frame pointers.
    FramePointers,
    /// By unwind tables.
    UnwindTables,
}

impl Stack {
    fn flag(self) -> &'static str {
        match self {
            Stack::FramePointers => "fp",
            Stack::UnwindTables => "dwarf",
        }
    }
}

impl Row {
    /// What the kernel takes for trapping where memmgr's probes stand.
    pub const FLOOR: Row = Row::Empty(At::Site, false);
    /// The same where the return of malloc is followed.
    pub const FLOOR_WITH_RETURN: Row = Row::Empty(At::Site, true);

    /// The rows of a table.
    pub fn all() -> Vec<Row> {
        use Mode::{Auto, Exact, Growth, Sample};
        use Stack::{FramePointers, UnwindTables};
        let rows = [
            Row::Untraced,
            Row::FLOOR,
            Row::FLOOR_WITH_RETURN,
            Row::Empty(At::Entry, false),
            Row::Memmgr(Growth, UnwindTables),
            Row::Memmgr(Sample, FramePointers),
            Row::Memmgr(Sample, UnwindTables),
            Row::Memmgr(Auto, UnwindTables),
            Row::Memmgr(Exact, FramePointers),
            Row::Memmgr(Exact, UnwindTables),
        ];
        let is_there = |row: &Row| match row {
            Row::Memmgr(mode, _) => mode.is_there(),
            Row::Untraced | Row::Empty(..) => true,
        };
        rows.into_iter().filter(is_there).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Row::Untraced => f.write_str("untraced"),
            Row::Empty(At::Site, false) => {
                f.write_str("floor without return: empty programs on memmgr's sites")
            }
            Row::Empty(At::Site, true) => {
                f.write_str("floor with return: the same and the return of malloc")
            }
            Row::Empty(At::Entry, _) => {
                f.write_str("naive: empty programs at the first instructions")
            }
            // It takes no stack at a call of malloc.
            Row::Memmgr(Mode::Growth, _) => f.write_str("growth"),
            Row::Memmgr(mode, Stack::FramePointers) => write!(f, "{}, frame pointers", mode.name()),
            Row::Memmgr(mode, Stack::UnwindTables) => write!(f, "{}, unwind tables", mode.name()),
        }
    }
}

/// What a pair cost, in processor time.
pub struct Cost {
    /// The program's own threads, with what the kernel does for the probes, in nanoseconds.
    pub target_ns: f64,
    /// The same in units of what an empty probe cost in the very same milliseconds.
    pub target_probes: f64,
    /// memmgr beside them, in nanoseconds.
    pub memmgr_ns: f64,
    /// Percent of the events that were lost, and so cost less than they should.
    pub lost_percent: f64,
}

/// Measures one slice of a row.
pub fn measure(target: &mut Loop, sites: &Sites, row: Row) -> Result<Cost> {
    match row {
        Row::Untraced => slice(target, None),
        Row::Empty(at, with_return) => {
            let _links = sites.attach(at, with_return)?;
            slice(target, None)
        }
        Row::Memmgr(mode, stack) => {
            let mut flags = mode.flags();
            flags.extend(["--stack", stack.flag()]);
            if mode == Mode::Exact {
                // Room for a whole slice: what is lost costs less than it should.
                flags.extend(["--ring-bytes", "256MiB"]);
            }
            let capture = capture(target.pid(), &flags);
            if mode == Mode::Auto {
                target.run(SETTLE, SIZE)?;
            }
            let cost = slice(target, Some(capture.pid()))?;
            // Not by killing it: it takes its probes away before the next row.
            let lost_percent = lost_percent(capture.interrupt().expect_report());
            Ok(Cost { lost_percent, ..cost })
        }
    }
}

fn slice(target: &mut Loop, memmgr: Option<u32>) -> Result<Cost> {
    target.run(WARM_UP, SIZE)?;
    let beside = || memmgr.map_or(Ok(0.0), processor_ns);
    let before = beside()?;
    let slice = target.run(SLICE, SIZE)?;
    let memmgr_ns = (beside()? - before) / slice.pairs;
    let target_probes = slice.pair_ns / slice.reference_ns;
    Ok(Cost { target_ns: slice.pair_ns, target_probes, memmgr_ns, lost_percent: 0.0 })
}

/// Where a row of the list is.
pub fn position(rows: &[Row], wanted: Row) -> usize {
    rows.iter().position(|row| *row == wanted).expect("every table has its floors")
}
