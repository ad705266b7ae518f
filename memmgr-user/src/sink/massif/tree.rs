//! The tree of a snapshot: who called the allocator, who called them, and how many bytes each holds.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;

use super::text;
use crate::report::{Frame, Report, Stack};
use crate::sink::{frames, words};

/// Rows below this share of the snapshot are lumped together, as with massif's `--threshold`.
const THRESHOLD_PERCENT: f64 = 1.0;
/// Callers beyond this many are not shown. A capture takes fewer; a report may come from elsewhere.
const DEPTH_MAX: usize = 200;

const ROOT: &str = "(heap allocation functions) malloc/new/new[], --alloc-fns, etc.";

/// What is known by stack; what is missing to `total` is a row of its own.
pub(super) fn rows(report: &Report, stacks: &[&Stack], total: u64) -> String {
    let by_stack = stacks.iter().fold(0, |sum: u64, s| sum.saturating_add(s.live_bytes));
    let rest = if report.capture.filter.hides() {
        "0x0: [hidden by --min-age or --min-size]"
    } else {
        "0x0: [in no stack of the report]"
    };
    let rest = (total > by_stack).then(|| (total - by_stack, rest.to_owned()));
    let tree = Tree { threshold: total as f64 * THRESHOLD_PERCENT / 100.0 };
    let mut out = String::new();
    tree.row(&mut out, 0, (total, ROOT), stacks, rest);
    out
}

/// The row of a sum of which nothing more is known.
pub(super) fn unknown(bytes: u64) -> String {
    format!("n0: {bytes} {ROOT} [by stack only at the end: see the last snapshot]\n")
}

/// What comes next in a stack.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Step<'a> {
    Call(&'a Frame),
    Cut(String),
    /// The stack begins here, or goes deeper than is shown.
    End,
}

impl<'a> Step<'a> {
    fn of(stack: &'a Stack, depth: usize) -> Self {
        if depth >= DEPTH_MAX {
            return Step::End;
        }
        match stack.frames.get(depth) {
            Some(frame) => Step::Call(frame),
            None if depth == stack.frames.len() => {
                frames::cut(stack).map_or(Step::End, |cut| Step::Cut(cut.into_owned()))
            }
            None => Step::End,
        }
    }

    fn row(&self) -> String {
        let frame = match self {
            Step::Call(frame) => frame,
            Step::Cut(cut) => return format!("0x0: {}", text(cut)),
            Step::End => return "0x0: [no further callers]".to_owned(),
        };
        // Code without a file has an address that means nothing afterwards.
        let address = frame.module.as_ref().map_or(0, |_| frame.address);
        let function = frame.function.as_deref().map_or("???".to_owned(), text);
        let place = match (&frame.file, frame.line, &frame.module) {
            (Some(file), Some(line), _) => format!(" ({}:{line})", text(words::base_name(file))),
            (_, _, Some(module)) => format!(" (in {})", text(module)),
            _ => String::new(),
        };
        format!("{address:#X}: {function}{place}")
    }
}

struct Tree {
    /// Bytes.
    threshold: f64,
}

impl Tree {
    /// A row and everything below it. `rest` is a child that has no stack.
    fn row(
        &self,
        out: &mut String,
        depth: usize,
        (bytes, row): (u64, &str),
        stacks: &[&Stack],
        rest: Option<(u64, String)>,
    ) {
        let mut branches: HashMap<Step<'_>, (u64, Vec<&Stack>)> = HashMap::new();
        for stack in stacks {
            let (bytes, stacks) = branches.entry(Step::of(stack, depth)).or_default();
            *bytes = bytes.saturating_add(stack.live_bytes);
            stacks.push(stack);
        }
        // Where all stacks end there is nothing below.
        if branches.len() == 1 {
            branches.remove(&Step::End);
        }
        let all = branches.len();
        branches.retain(|_, (bytes, _)| *bytes as f64 >= self.threshold);
        let below = all - branches.len();

        let mut shown: Vec<(u64, String, Vec<&Stack>)> = branches
            .into_iter()
            .map(|(step, (bytes, stacks))| (bytes, step.row(), stacks))
            .chain(rest.map(|(bytes, row)| (bytes, row, Vec::new())))
            .collect();
        shown.sort_by(|(a, a_row, _), (b, b_row, _)| (Reverse(a), a_row).cmp(&(Reverse(b), b_row)));
        let children = shown.len() + usize::from(below > 0);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:depth$}n{children}: {bytes} {row}", "");
        let mut left = bytes;
        for (bytes, row, stacks) in shown {
            left = left.saturating_sub(bytes);
            self.row(out, depth + 1, (bytes, &row), &stacks, None);
        }
        if below > 0 {
            let places = if below == 1 { "1 place," } else { &format!("{below} places, all") };
            let _ = writeln!(
                out,
                "{:indent$}n0: {left} in {places} below massif's threshold ({THRESHOLD_PERCENT:.2}%)",
                "",
                indent = depth + 1
            );
        }
    }
}
