//! A running capture: what grows, and who holds it.

use std::time::Duration;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::{Paragraph, Widget, Wrap},
};

use super::{Theme, hints, notice, put, put_chosen};
use crate::{
    escape::Safe,
    report::{Report, TimelinePoint},
    sink::span,
    top::{
        app::Notice,
        capture_view::{CaptureView, Page, Stage},
        layout::CaptureAreas,
        stacks::{By, StackLine},
        text::{bars, cells, left, rate, right, size},
    },
};

/// A figure of a moment.
type Figure = fn(&TimelinePoint) -> u64;
/// Columns before the functions of a stack, each with a blank behind it: outstanding bytes, share, growth, allocated, blocks.
const WIDTHS: [usize; 5] = [6, 4, 9, 8, 8];
/// Columns of the functions at least.
const FUNCTIONS: usize = 18;

pub(super) fn draw(
    buffer: &mut Buffer,
    size: Rect,
    view: &CaptureView,
    said: Option<&Notice>,
    theme: Theme,
) {
    let lines = view.verdict(size.width);
    let areas = CaptureAreas::of(size, view.page, lines.len());
    head(buffer, areas.head, view, theme);
    put(
        buffer,
        areas.footer,
        0,
        notice(said, theme).unwrap_or_else(|| footer(view, size.width, theme)),
    );
    let Some(report) = &view.report else {
        let text = match &view.stage {
            Stage::Attaching => "The probes are put in place …",
            Stage::Counting => "The first figures come after the first second …",
            Stage::Ended(_) => "It ended before there were any figures.",
            Stage::Failed(why) => why.as_str(),
        };
        let top = areas.head.y + areas.head.height;
        let below = Rect { y: top, height: areas.footer.y.saturating_sub(top), ..size };
        return Paragraph::new(text).wrap(Wrap { trim: true }).render(below, buffer);
    };
    timeline(buffer, areas.timeline, report);
    let scroll = if view.page == Page::Verdict { view.scroll } else { 0 };
    verdict(buffer, areas.verdict, &lines, scroll, theme);
    stacks(buffer, areas.stacks, view, theme);
    frames(buffer, areas.frames, view, theme);
}

fn head(buffer: &mut Buffer, area: Rect, view: &CaptureView, theme: Theme) {
    let (stage, style) = match &view.stage {
        Stage::Attaching => ("attaching …".into(), Style::new()),
        Stage::Counting => (
            Safe::from(format!("captured for {}", span(view.elapsed().as_secs_f64()))),
            Style::new(),
        ),
        Stage::Ended(why) => (why.clone(), theme.warn()),
        Stage::Failed(_) => ("not captured".into(), theme.bad()),
    };
    let first = Line::from(vec![
        Span::styled(format!("{}  ", view.title), theme.bold()),
        Span::styled(stage.to_string(), style),
    ]);
    put(buffer, area, 0, first);
    if !view.elapsed().is_zero() {
        put(buffer, area, 1, figures(view, theme));
    }
    if let Some(step) = view.pulse.steps.last() {
        put(buffer, area, 2, Line::styled(Safe::text(step).to_string(), theme.dim()));
    }
}

fn figures(view: &CaptureView, theme: Theme) -> Line<'static> {
    let pulse = &view.pulse;
    let mut spans =
        vec![Span::raw(format!("live {}  RSS {}", size(pulse.live_bytes), size(pulse.rss_bytes)))];
    if pulse.lost > 0 {
        spans.push(Span::styled(format!("  LOST {}", pulse.lost), theme.bad()));
    }
    if let Some(events) = view.events_per_s {
        spans.push(Span::raw(format!("  {events:.0} events/s")));
    }
    if let Some(percent) = pulse.overhead_percent {
        spans.push(Span::raw(format!("  costs it {percent:.1}%")));
    }
    // The report knows more than the counters: stacks that were cut, hits that the kernel did not deliver.
    spans.push(Span::raw(match &view.report {
        Some(report) if !report.capture.complete => "  incomplete",
        _ if pulse.lost == 0 => "  nothing lost",
        _ => "",
    }));
    Line::from(spans)
}

/// Resident memory and the heap over the whole capture, each from its least to its largest.
fn timeline(buffer: &mut Buffer, area: Rect, report: &Report) {
    let rows = usize::from(area.height / 2);
    if rows == 0 {
        return;
    }
    let series: [(&str, Figure); 2] =
        [("RSS", |point| point.rss_bytes), ("live", |point| point.live_bytes)];
    let window = Duration::from_secs_f64(report.duration_s.max(1.0));
    for (number, (name, figure)) in (0..).zip(series) {
        let points = || {
            report
                .timeline
                .iter()
                .map(|point| (Duration::from_secs_f64(point.t_s.max(0.0)), figure(point)))
        };
        let least = points().map(|(_, figure)| figure).min().unwrap_or(0);
        let largest = points().map(|(_, figure)| figure).max().unwrap_or(0);
        let range = format!(" {}…{}", size(least), size(largest));
        let width = usize::from(area.width).saturating_sub(5 + range.chars().count());
        let bars = bars(&cells(points(), window, window, width), rows);
        for (row, bar) in (0..).zip(&bars) {
            let last = usize::from(row) + 1 == rows;
            let (name, range) = if last { (name, range.as_str()) } else { ("", "") };
            put(buffer, area, number * rows as u16 + row, format!("{name:<5}{bar}{range}").into());
        }
    }
}

fn verdict(buffer: &mut Buffer, area: Rect, lines: &[String], scroll: usize, theme: Theme) {
    let line = |line: &String| {
        let severity = line.trim_start().split(':').next().unwrap_or_default();
        Line::styled(line.clone(), theme.severity(severity))
    };
    some(buffer, area, scroll, lines.iter().map(line).collect());
}

/// As many lines as there is room for, from one of them on; the last one says how many more there are.
fn some(buffer: &mut Buffer, area: Rect, first: usize, mut lines: Vec<Line<'static>>) {
    let height = usize::from(area.height);
    lines.drain(..first.min(lines.len().saturating_sub(height)));
    let more = lines.len().saturating_sub(height);
    if more > 0 && height > 1 {
        lines[height - 1] = format!("  … {} more lines", more + 1).into();
    }
    for (row, line) in (0..area.height).zip(lines) {
        put(buffer, area, row, line);
    }
}

fn stacks(buffer: &mut Buffer, area: Rect, view: &CaptureView, theme: Theme) {
    if area.height == 0 {
        return;
    }
    let total: usize = WIDTHS.iter().map(|width| width + 1).sum();
    let mut columns = WIDTHS.len();
    let mut before = total;
    while columns > 1 && before + FUNCTIONS + 2 > usize::from(area.width) {
        columns -= 1;
        before -= WIDTHS[columns] + 1;
    }
    let mark = |by| if view.by == by { "▼" } else { "" };
    let titles = [
        format!("LIVE{}", mark(By::Live)),
        "%".to_owned(),
        format!("GROWTH/S{}", mark(By::Growth)),
        format!("ALLOC/S{}", mark(By::Allocated)),
        "BLOCKS".to_owned(),
    ];
    let mut heading = String::new();
    for (title, width) in titles.iter().zip(&WIDTHS[..columns]) {
        heading.push_str(&right(title, *width));
        heading.push(' ');
    }
    let what = format!("  {} BY STACK", view.class.name().to_uppercase());
    heading.push_str(&left(&what.into(), usize::from(area.width) - before));
    put(buffer, area, 0, Line::styled(heading, theme.heading(true)));
    if view.stacks.is_empty() {
        let text = "nothing of this kind was allocated yet";
        return put(buffer, area, 1, text.into());
    }
    let chosen = view.list.chosen;
    for (row, stack) in (1..area.height).zip(view.stacks.iter().skip(view.list.first)) {
        let line = stack_line(stack, columns, usize::from(area.width) - before, theme);
        if chosen == Some(stack.key) {
            put_chosen(buffer, area, row, line, theme);
        } else {
            put(buffer, area, row, line);
        }
    }
}

fn stack_line(stack: &StackLine, columns: usize, room: usize, theme: Theme) -> Line<'static> {
    let figures = [
        size(stack.live_bytes),
        format!("{:.0}", stack.share * 100.0),
        rate(Some(stack.growth)),
        size(stack.allocated_per_s as u64),
        stack.blocks.to_string(),
    ];
    let mut text = String::new();
    for (figure, width) in figures.iter().zip(&WIDTHS[..columns]) {
        text.push_str(&right(figure, *width));
        text.push(' ');
    }
    let severity = stack.severity.as_deref().unwrap_or_default();
    let mark = match severity {
        "" => "  ",
        "info" => "i ",
        _ => "! ",
    };
    Line::from(vec![
        Span::raw(text),
        Span::styled(mark, theme.severity(severity)),
        Span::raw(left(&stack.functions, room.saturating_sub(2))),
    ])
}

fn frames(buffer: &mut Buffer, area: Rect, view: &CaptureView, theme: Theme) {
    let Some(stack) = view.stacks.get(view.place()).filter(|_| area.height > 0) else { return };
    let title = format!("{} in {} blocks", size(stack.live_bytes), stack.blocks);
    put(
        buffer,
        area,
        0,
        Line::styled(left(&title.into(), usize::from(area.width)), theme.heading(false)),
    );
    let below = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let lines = stack.frames.iter().map(|frame| Line::raw(format!("  {frame}"))).collect();
    some(buffer, below, if view.page == Page::Stack { view.scroll } else { 0 }, lines);
}

fn footer(view: &CaptureView, width: u16, theme: Theme) -> Line<'static> {
    let keys: &[(&str, &str)] = match view.page {
        _ if matches!(view.stage, Stage::Failed(_)) => &[("Esc", "back"), ("q", "quit")],
        Page::Overview => &[
            ("?", "help"),
            ("Esc", "detach"),
            ("w", "write"),
            ("Enter", "whole stack"),
            ("v", "verdict"),
            ("s", "sort"),
            ("c", "kind of memory"),
            ("q", "quit"),
        ],
        Page::Stack | Page::Verdict => {
            &[("Esc", "back"), ("↑ ↓", "scroll"), ("w", "write"), ("q", "quit")]
        }
    };
    hints(keys, width, theme)
}
