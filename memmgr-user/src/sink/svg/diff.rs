//! The differential flame graph: widths are one report, colours are the change to the other.
//!
//! Every frame has the colour of all that changed in it and in what it called. The library colours the
//! last frame of a line only, so that every frame gets a line of its own.

use std::collections::BTreeMap;

use anyhow::Context;
use inferno::flamegraph::color::{BackgroundColor, Color};
use inferno::flamegraph::{self, TextTruncateDirection};

use super::{INLINED, TITLE_CHARS_MAX, page};
use crate::diff::Diff;
use crate::sink::diff::{View, Widths, as_stack, figure, signed, targets};
use crate::sink::{Class, RenderOptions, folded, words};

/// The library scales colours by 150 in 64 bits; beyond this that would overflow. It is 16 PiB.
const SUM_MAX: u64 = 1 << 54;
/// A light grey.
const BACKGROUND: Color = Color { r: 0xe4, g: 0xe6, b: 0xea };
/// Frames narrower than this share of the picture are not drawn.
const DRAWN_SHARE_MIN: f64 = 0.0001;

/// One side of a stack and how it changed.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    before: u64,
    after: u64,
    width: u64,
    change: i64,
}

/// A frame of the picture: the path to it is the beginning of a folded stack.
struct Node<'a> {
    path: &'a str,
    /// The width that no frame above it has.
    own: u64,
    width: u64,
    change: i64,
}

/// The flame graph of the chosen class and metric; a page that says so when there is nothing to draw.
///
/// # Errors
/// When the values are too large to be drawn.
pub(in crate::sink) fn render(
    diff: &Diff,
    options: &RenderOptions,
    widths: Widths,
) -> anyhow::Result<Vec<u8>> {
    let view = View::new(diff, options.metric);
    let stacks = fold(&view, options.class, widths);
    let sum = |of: fn(&Value) -> u64| {
        let sum = stacks.values().try_fold(0_u64, |sum, value| sum.checked_add(of(value)));
        sum.filter(|sum| *sum <= SUM_MAX).with_context(|| {
            format!("the {} are more than a picture can show", options.metric.words())
        })
    };
    let (before, after) = (sum(|value| value.before)?, sum(|value| value.after)?);
    let total = sum(|value| value.width)?;
    if stacks.values().all(|value| value.change == 0) {
        let sentence = if view.kept { "Nothing was kept" } else { "Nothing changed" };
        let sentence = format!("{sentence} (memory class: {}).", options.class);
        return Ok(page(&title(&view), &sentence));
    }
    if total == 0 {
        let sentence = match widths {
            Widths::After => "Everything is gone: --gone draws what was there.",
            Widths::Before => "Everything is new: without --gone it is drawn.",
        };
        return Ok(page(&title(&view), sentence));
    }

    let mut graph = flamegraph::Options::default();
    graph.text_truncate_direction = TextTruncateDirection::Right;
    // White is "the same"; the library's usual background is as warm as "more".
    graph.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    // Takes the lines from the last to the first as they are; any other way they would be sorted by
    // characters, which tears callers apart.
    graph.flame_chart = true;
    options.metric.unit().clone_into(&mut graph.count_name);
    graph.title = title(&view);
    let unseen = stacks.values().filter(|value| value.width == 0 && value.change != 0).count();
    graph.subtitle = Some(subtitle(&view, options, widths, [before, after], unseen));
    let lines = lines(&stacks, total);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut graph, lines.iter().rev().map(String::as_str), &mut svg)
        .context("the flame graph could not be drawn")?;
    svg.push(b'\n');
    Ok(svg)
}

/// Every distinct folded stack of a class.
fn fold(view: &View<'_>, class: Class, widths: Widths) -> BTreeMap<String, Value> {
    let mut folded: BTreeMap<String, Value> = BTreeMap::new();
    for stack in view.diff.stacks.iter().filter(|stack| stack.class == class.name()) {
        let (before, after) = (view.before(&stack.change), view.after(&stack.change));
        let change = view.moved(&stack.change);
        let width = match widths {
            _ if view.kept => change.unsigned_abs(),
            Widths::After => after,
            Widths::Before => before,
        };
        let sum = folded.entry(folded::line(&as_stack(stack), INLINED)).or_default();
        sum.before = sum.before.saturating_add(before);
        sum.after = sum.after.saturating_add(after);
        sum.width = sum.width.saturating_add(width);
        sum.change = sum.change.saturating_add(change);
    }
    folded
}

/// The library's input: each frame before those that it called, with two numbers, of which it takes the
/// second for the width and second less first for the change.
fn lines(stacks: &BTreeMap<String, Value>, total: u64) -> Vec<String> {
    let drawn =
        |node: &&Node<'_>| node.own > 0 || node.width as f64 >= total as f64 * DRAWN_SHARE_MIN;
    let line = |node: &Node<'_>| {
        // The change of a frame may be larger than its own width. The library subtracts the numbers as
        // 64-bit integers with a sign, so that one below zero is written as its two's complement.
        let first = node.own.wrapping_sub(node.change as u64);
        format!("{} {first} {}", node.path, node.own)
    };
    nodes(stacks).iter().filter(drawn).map(line).collect()
}

fn nodes(stacks: &BTreeMap<String, Value>) -> Vec<Node<'_>> {
    let mut sorted: Vec<(&str, &Value)> =
        stacks.iter().map(|(stack, value)| (stack.as_str(), value)).collect();
    // By frames and not by characters, or stacks of one caller would not stand together.
    sorted.sort_by(|(a, _), (b, _)| a.split(';').cmp(b.split(';')));
    let mut nodes: Vec<Node<'_>> = Vec::new();
    let mut open: Vec<(&str, usize)> = Vec::new();
    for (stack, value) in sorted {
        let shared = open.iter().zip(stack.split(';')).take_while(|((a, _), b)| a == b).count();
        open.truncate(shared);
        let mut end = 0;
        for (depth, frame) in stack.split(';').enumerate() {
            end += frame.len() + usize::from(depth > 0);
            if depth >= shared {
                open.push((frame, nodes.len()));
                nodes.push(Node { path: &stack[..end], own: 0, width: 0, change: 0 });
            }
            let node = &mut nodes[open[depth].1];
            node.width += value.width;
            node.change = node.change.saturating_add(value.change);
        }
        if let Some((_, last)) = open.last() {
            nodes[*last].own += value.width;
        }
    }
    nodes
}

/// `redis-server (1234): change of outstanding bytes, 2026-03-04T05:06:07Z → 2026-03-04T05:16:07Z`
fn title(view: &View<'_>) -> String {
    let diff = view.diff;
    let what = if view.kept { "kept," } else { "change of" };
    let times = [&diff.before, &diff.after].map(|side| match side.captured_at.as_str() {
        "" => "unknown time".to_owned(),
        time => time.to_owned(),
    });
    let title = format!("{}: {what} {}, {}", targets(diff), view.metric.words(), times.join(" → "));
    crate::escape::Safe::from(title).as_str().chars().take(TITLE_CHARS_MAX).collect()
}

/// What the widths and the colours are.
fn subtitle(
    view: &View<'_>,
    options: &RenderOptions,
    widths: Widths,
    [before, after]: [u64; 2],
    without_width: usize,
) -> String {
    let class = match options.class {
        Class::Heap => "Heap",
        Class::Resident => "Resident",
        Class::Mapping => "Mapped",
        Class::FileMapping => "Files mapped",
    };
    let show = figure(view.metric);
    let mut text = format!(
        "{class}: {} → {} ({})",
        show(before),
        show(after),
        signed(crate::diff::delta(before, after), show)
    );
    text.push_str(match widths {
        _ if view.kept => "; widths: allocated after the first, not freed by the second",
        Widths::After => "; widths: the second; red: more than in the first, blue: less",
        Widths::Before => "; widths: the first; red: more in the second, blue: less",
    });
    let hidden = |what: &str, flag: &str| {
        let stacks = words::counted(without_width as u64, "stack");
        format!("; {stacks} {what}: {flag}")
    };
    match widths {
        _ if view.kept || without_width == 0 => {}
        Widths::After => text.push_str(&hidden("gone", "see --gone")),
        Widths::Before => text.push_str(&hidden("new", "see without --gone")),
    }
    if view.scale != 1.0 {
        text.push_str("; the first scaled to the time of the second");
    }
    if !view.diff.cautions.is_empty() {
        let cautions = words::counted(view.diff.cautions.len() as u64, "caution");
        text.extend(["; ", &cautions, " in the table"]);
    }
    text
}
