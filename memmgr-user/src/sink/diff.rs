//! A comparison of two reports to bytes: what its formats share.

use std::cmp::Reverse;

use super::{Class, Format, Metric, RenderOptions, json, svg, text, words};
use crate::diff::{Change, Diff, Figures, Gauge, Side, StackChange, delta};
use crate::escape::Safe;
use crate::report::Stack;
use crate::units::human_bytes;

/// The formats in which a comparison can be written.
pub const DIFF_FORMATS: [Format; 3] = [Format::Text, Format::Json, Format::Svg];

/// Which side gives a differential flame graph its widths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Widths {
    /// The second report: what is there now. What is gone has no width.
    #[default]
    After,
    /// The first report: what was there. What is new has no width.
    Before,
}

/// Writes a comparison in one of [`DIFF_FORMATS`].
///
/// # Errors
/// When the format is another one, or the figures do not fit it.
pub fn render_diff(
    format: Format,
    diff: &Diff,
    options: &RenderOptions,
    widths: Widths,
) -> anyhow::Result<Vec<u8>> {
    #[allow(
        clippy::match_wildcard_for_single_variants,
        reason = "a format that reports gain is none of comparisons by itself"
    )]
    match format {
        Format::Text => Ok(text::diff::render(diff, options).into_bytes()),
        Format::Json => json::render(diff),
        Format::Svg => svg::diff::render(diff, options, widths),
        other => anyhow::bail!("a comparison cannot be written as {other}; take text, json or svg"),
    }
}

/// A comparison by one metric.
pub(super) struct View<'a> {
    pub(super) diff: &'a Diff,
    pub(super) metric: Metric,
    /// True when what was kept is shown in place of the difference.
    pub(super) kept: bool,
    /// What the first side's figures are multiplied by.
    pub(super) scale: f64,
}

impl<'a> View<'a> {
    pub(super) fn new(diff: &'a Diff, metric: Metric) -> Self {
        let outstanding = matches!(metric, Metric::InuseSpace | Metric::InuseObjects);
        let scale = if outstanding { 1.0 } else { diff.alloc_scale() };
        Self { diff, metric, kept: diff.kept && outstanding, scale }
    }

    pub(super) fn before(&self, change: &Change) -> u64 {
        let figure = of(self.metric, &change.before);
        // Beyond 2^53 a float would change the figure.
        if self.scale == 1.0 { figure } else { (figure as f64 * self.scale).round() as u64 }
    }

    pub(super) fn after(&self, change: &Change) -> u64 {
        of(self.metric, &change.after)
    }

    /// What was kept, or else second less first.
    pub(super) fn moved(&self, change: &Change) -> i64 {
        match change.kept.filter(|_| self.kept) {
            Some(kept) if self.metric == Metric::InuseObjects => delta(0, kept.count),
            Some(kept) => delta(0, kept.bytes),
            None => delta(self.before(change), self.after(change)),
        }
    }

    /// The stacks of a class that changed, most changed first, and how many did not.
    pub(super) fn changed(&self, class: Class) -> (Vec<&'a StackChange>, usize) {
        let (mut changed, still): (Vec<&StackChange>, Vec<_>) = (self.diff.stacks.iter())
            .filter(|stack| stack.class == class.name())
            .partition(|stack| self.moved(&stack.change) != 0);
        changed.sort_by_key(|stack| Reverse(self.moved(&stack.change).unsigned_abs()));
        (changed, still.len())
    }
}

fn of(metric: Metric, figures: &Figures<u64>) -> u64 {
    match metric {
        Metric::InuseSpace => figures.live_bytes,
        Metric::InuseObjects => figures.live_count,
        Metric::AllocSpace => figures.alloc_bytes,
        Metric::AllocObjects => figures.alloc_count,
    }
}

/// The stack as the sinks of reports take it.
pub(super) fn as_stack(change: &StackChange) -> Stack {
    Stack {
        class: change.class.clone(),
        frames: change.frames.clone(),
        cut: change.cut.clone(),
        ..Stack::default()
    }
}

/// `redis-server (1234)`, and both where they differ.
pub(super) fn targets(diff: &Diff) -> Safe {
    let name = |side: &Side| format!("{} ({})", side.comm, side.pid);
    let (before, after) = (name(&diff.before), name(&diff.after));
    if before == after { after.into() } else { format!("{before} → {after}").into() }
}

/// `+1.5 MiB`, `-3`, `0 B`: a change with its sign.
pub(super) fn signed(change: i64, amount: impl Fn(u64) -> String) -> String {
    let sign = match change {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", amount(change.unsigned_abs()))
}

/// A bare figure of the metric.
pub(super) fn figure(metric: Metric) -> fn(u64) -> String {
    match metric {
        Metric::InuseSpace | Metric::AllocSpace => human_bytes,
        Metric::InuseObjects | Metric::AllocObjects => words::count,
    }
}

/// A change in percent of what was: `+20.8%`; `-` where nothing was, and no word where nothing changed.
pub(super) fn percent(before: u64, change: i64) -> String {
    match (before, change) {
        (_, 0) => String::new(),
        (0, _) => "-".to_owned(),
        _ => format!("{:+.1}%", change as f64 * 100.0 / before as f64),
    }
}

/// A figure that may be unknown.
pub(super) fn gauge(gauge: &Gauge) -> Option<(u64, u64, i64)> {
    Some((gauge.before?, gauge.after?, gauge.delta?))
}

#[cfg(test)]
mod tests;
