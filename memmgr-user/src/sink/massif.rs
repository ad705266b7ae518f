//! The output of Valgrind's massif, for ms_print and massif-visualizer.
//!
//! Snapshots follow the timeline; the last one is what the report holds by stack and has a tree, from
//! the allocation outwards to its callers. At the peak nothing is known by stack unless it is the
//! last: its tree is one row that says so. The format shows outstanding bytes and nothing else,
//! whatever metric was chosen, and times are milliseconds, the only unit of time that ms_print takes.

mod tree;

use std::fmt::Write as _;

use super::{RenderOptions, about, frames, moments};
use crate::report::{Report, Stack};

/// As massif's `--max-snapshots`.
const SNAPSHOTS_MAX: usize = 100;

/// What a snapshot shows below its sum.
enum Tree {
    Empty,
    Peak(String),
    Detailed(String),
}

/// The outstanding bytes of the chosen class.
pub(super) fn render(report: &Report, options: &RenderOptions) -> String {
    let stacks: Vec<&Stack> =
        options.class.stacks(report).filter(|stack| stack.live_bytes > 0).collect();
    let totals = moments::totals(report, options.class);
    let by_stack = stacks.iter().fold(0, |sum: u64, s| sum.saturating_add(s.live_bytes));
    // What no stack accounts for is a row of its own, so that the sum is that of the report.
    let total = totals.live_bytes.max(by_stack);
    let end_ms = milliseconds(report.duration_s);

    let mut points: Vec<(u64, u64)> = moments::moments(report, options.class, SNAPSHOTS_MAX - 1)
        .into_iter()
        .map(|point| (milliseconds(point.t_s), point.live_bytes))
        .filter(|(ms, _)| *ms < end_ms)
        .collect();
    points.push((end_ms, total));
    let last = points.len() - 1;
    // Of equal points the last one, which has a tree.
    let peak = points.iter().enumerate().max_by_key(|(_, (_, bytes))| *bytes).map(|(i, _)| i);

    let mut out = head(report, options);
    for (i, (ms, bytes)) in points.into_iter().enumerate() {
        let tree = match (i == last, Some(i) == peak) {
            (true, true) => Tree::Peak(tree::rows(report, &stacks, total)),
            (true, false) => Tree::Detailed(tree::rows(report, &stacks, total)),
            (false, true) => Tree::Peak(tree::unknown(bytes)),
            (false, false) => Tree::Empty,
        };
        snapshot(&mut out, i, ms, bytes, &tree);
    }
    out
}

fn head(report: &Report, options: &RenderOptions) -> String {
    let peak = moments::totals(report, options.class).peak_live_bytes;
    format!(
        "desc: {}; peak {peak} B\ncmd: {}\ntime_unit: ms\n",
        text(&about::remarks(report, options).join("; ")),
        text(&about::command(report))
    )
}

fn snapshot(out: &mut String, number: usize, ms: u64, bytes: u64, tree: &Tree) {
    let (kind, rows) = match tree {
        Tree::Empty => ("empty", ""),
        Tree::Peak(rows) => ("peak", rows.as_str()),
        Tree::Detailed(rows) => ("detailed", rows.as_str()),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "#-----------\nsnapshot={number}\n#-----------\ntime={ms}\nmem_heap_B={bytes}\n\
         mem_heap_extra_B=0\nmem_stacks_B=0\nheap_tree={kind}\n{rows}"
    );
}

/// A name on one line. Readers take everything behind a `#` for a comment.
fn text(name: &str) -> String {
    frames::one_line(name).replace('#', "@")
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}

#[cfg(test)]
mod tests;
