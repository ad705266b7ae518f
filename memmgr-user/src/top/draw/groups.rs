//! The tree of cgroups.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Theme, put, put_chosen};
use crate::{
    escape::Safe,
    top::{
        app::{App, Focus},
        groups::Line as Group,
        text::{left, rate, right, size, until},
    },
};

/// Columns behind the name, each with a blank before it: usage, limit, percent of it, growth, time to the limit, kills.
const WIDTHS: [usize; 6] = [6, 6, 5, 9, 7, 4];
/// Deeper groups are not moved any further to the right.
const DEEPEST: usize = 8;
/// Columns of a name at least.
const NAME: usize = 14;
/// And at most: figures far from their name are read in the wrong line.
const NAME_MOST: usize = 72;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let columns = columns(usize::from(area.width));
    let name = usize::from(area.width) - columns.iter().map(|width| width + 1).sum::<usize>();
    let name = name.min(NAME_MOST);
    let titles = ["USAGE", "LIMIT", "FULL", "GROWTH/S", "FULL IN", "OOM"];
    let mut heading = left(&"CGROUP".into(), name);
    for (title, width) in titles.iter().zip(columns) {
        heading.push_str(&right(title, width + 1));
    }
    let style = theme.heading(app.focus == Focus::Groups);
    put(buffer, area, 0, Line::styled(heading, style));

    let chosen = app.tree.place();
    let places = app.tree.lines.iter().enumerate().skip(app.tree.list.first);
    for (row, (place, line)) in (1..area.height).zip(places) {
        let line = group(app, line, name, columns, theme);
        if chosen == Some(place) {
            put_chosen(buffer, area, row, line, theme);
        } else {
            put(buffer, area, row, line);
        }
    }
}

/// As many columns as leave room for a name.
fn columns(width: usize) -> &'static [usize] {
    let fits = |count: &usize| {
        WIDTHS[..*count].iter().map(|width| width + 1).sum::<usize>() + NAME <= width
    };
    &WIDTHS[..(0..=WIDTHS.len()).rev().find(fits).unwrap_or(0)]
}

fn group(app: &App, line: &Group, name: usize, columns: &[usize], theme: Theme) -> Line<'static> {
    let group = &app.tree.groups[line.at];
    let mark = match line.open {
        None => "  ",
        Some(true) => "▾ ",
        Some(false) => "▸ ",
    };
    let indent = " ".repeat(line.depth.min(DEEPEST) * 2);
    let text = Safe::from(format!("{indent}{mark}{}", app.tree.name(line)));
    let row = &group.row;
    let full = row.limit_bytes.filter(|limit| *limit > 0).map(|limit| {
        let percent = row.usage_bytes as f64 * 100.0 / limit as f64;
        let style = match percent {
            90.0.. => theme.bad(),
            75.0.. => theme.warn(),
            _ => Style::new(),
        };
        (format!("{percent:.0}%"), style)
    });
    let (full, full_style) = full.unwrap_or_default();
    let until_style = match group.full_in_s {
        Some(0.0..600.0) => theme.bad(),
        Some(600.0..3600.0) => theme.warn(),
        _ => Style::new(),
    };
    let kills = row.events.oom_kill.filter(|kills| *kills > 0);
    let cells = [
        (size(row.usage_bytes), Style::new()),
        (row.limit_bytes.map_or(String::new(), size), Style::new()),
        (full, full_style),
        (rate(group.growth), Style::new()),
        (until(group.full_in_s), until_style),
        (kills.map_or(String::new(), |kills| kills.to_string()), theme.bad()),
    ];
    let mut spans = vec![Span::raw(left(&text, name))];
    for ((cell, style), width) in cells.into_iter().zip(columns) {
        spans.push(Span::raw(" "));
        spans.push(Span::styled(right(&cell, *width), style));
    }
    Line::from(spans)
}
