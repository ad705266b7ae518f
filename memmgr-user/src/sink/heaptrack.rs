//! The data file of heaptrack, which `heaptrack_print` and `heaptrack_gui` open. Format version 2.
//!
//! heaptrack records calls; a report is a summary of them. The file holds calls that add up to the
//! summary:
//!
//! - Allocations, outstanding ("leaked") bytes and the peak are those of the report, the first two for
//!   every stack. No allocation is "temporary": whether a free followed at once is not known.
//! - Sizes are means: blocks of a stack are as large as the mean of their size class.
//! - The sum of outstanding bytes follows the timeline, and every stack takes part in proportion.
//!   What was outstanding at the peak beyond what is at the end is shared out among the stacks in
//!   proportion to what they freed. Blocks that are in neither stand at the beginning, allocated and
//!   freed one by one.
//! - Each call is a line, so that there is a limit of [`CALLS_MAX`]. Beyond it every call stands for the
//!   same number of calls, and the command line in the file says for how many: heaptrack's counts
//!   are then too low by that factor, and rounded. Outstanding bytes and the peak are right all the same:
//!   a block that stands for several has the bytes of all of them.
//!
//! heaptrack always shows all figures, whatever metric was chosen.

mod calls;
mod code;

use std::io::Write as _;

use self::calls::Calls;
use self::code::Code;
use super::parts::parts;
use super::{RenderOptions, about, frames, moments};
use crate::report::Report;

/// Allocations in the file at most, apart from one more a stack: below 20 MB with their frees.
const CALLS_MAX: u64 = 1 << 20;
/// Points of the timeline at most.
const MOMENTS_MAX: usize = 100;
/// What sizes of memory are given in.
const PAGE_BYTES: u64 = 4096;

/// The calls of the chosen class.
///
/// # Errors
/// When it cannot be written.
pub(super) fn render(report: &Report, options: &RenderOptions) -> anyhow::Result<Vec<u8>> {
    let stacks = || options.class.stacks(report);
    let count = stacks().fold(0, |sum: u64, stack| sum.saturating_add(stack.alloc_count));
    let scale = count.div_ceil(CALLS_MAX).max(1);

    let mut out = Vec::new();
    // The version of heaptrack whose format it is, and the format.
    writeln!(out, "v 10100 2")?;
    writeln!(out, "X {}", debuggee(report, options, scale))?;
    writeln!(out, "A")?;
    writeln!(out, "I {:x} {:x}", PAGE_BYTES, report.host.total_bytes / PAGE_BYTES)?;

    let mut code = Code::default();
    let mut calls = Calls::new(scale);
    for stack in stacks() {
        let trace = code.trace(&mut out, stack)?;
        for part in parts(stack) {
            calls.add(trace, part);
        }
    }
    let peak = moments::totals(report, options.class).peak_live_bytes;
    let moments = moments::moments(report, options.class, MOMENTS_MAX);
    calls.write(&mut out, peak, &moments, report.duration_s)?;
    Ok(out)
}

/// The command, and behind it what a reader must know about the figures.
fn debuggee(report: &Report, options: &RenderOptions, scale: u64) -> String {
    let mut remarks = about::remarks(report, options);
    if scale > 1 {
        remarks.push(format!("each call stands for {scale}"));
    }
    frames::one_line(&format!("{} ({})", about::command(report), remarks.join("; ")))
}

#[cfg(test)]
mod tests;
