//! The process table.

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
        details::{Detail, Known},
        history::{CELLS, ShownProcess},
        processes::{Column, Line as Row},
        text::{UNKNOWN, bars, left, rate, right, size},
    },
};

/// Deeper processes are not moved any further to the right.
const DEEPEST: usize = 8;
/// Columns of a name at most, where what it was called with stands beside it.
const NAME_MOST: usize = 28;
/// Growth of this share of what a process has, in a minute, and of at least so many bytes a second deserves a look.
const GROWS: (f64, f64) = (0.02, 4096.0);

/// A column and its width; a name takes what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Pid,
    Name,
    State,
    Rss,
    Growth,
    Course,
    Threads,
    Pss,
    Uss,
    Command,
}

impl Cell {
    fn width(self) -> usize {
        match self {
            Cell::Pid => 7,
            Cell::State => 1,
            Cell::Rss | Cell::Pss | Cell::Uss => 6,
            Cell::Threads => 5,
            Cell::Growth => 9,
            Cell::Course => CELLS,
            Cell::Name | Cell::Command => 0,
        }
    }

    /// The columns for a terminal of this width.
    fn of(width: u16) -> &'static [Cell] {
        use Cell::{Command, Course, Growth, Name, Pid, Pss, Rss, State, Threads, Uss};
        match width {
            0..52 => &[Pid, Name, Rss, Growth],
            52..66 => &[Pid, Name, State, Rss, Growth, Threads],
            66..80 => &[Pid, Name, State, Rss, Growth, Course, Threads],
            80..110 => &[Pid, Name, State, Rss, Growth, Course, Threads, Pss, Uss],
            _ => &[Pid, Name, State, Rss, Growth, Course, Threads, Pss, Uss, Command],
        }
    }

    fn sorted_by(self) -> Option<Column> {
        match self {
            Cell::Pid => Some(Column::Pid),
            Cell::Name => Some(Column::Name),
            Cell::Rss => Some(Column::Rss),
            Cell::Growth => Some(Column::Growth),
            Cell::Threads => Some(Column::Threads),
            _ => None,
        }
    }

    fn title(self, app: &App) -> String {
        let title = match self {
            Cell::Pid => "PID",
            Cell::Name => "NAME",
            Cell::State => "S",
            Cell::Rss => "RSS",
            Cell::Growth => "GROWTH/S",
            Cell::Course => {
                let minutes = app.moment.as_ref().map_or(1, |moment| moment.window.as_secs() / 60);
                return format!("LAST {minutes} MIN");
            }
            Cell::Threads => "THR",
            Cell::Pss => "PSS",
            Cell::Uss => "USS",
            Cell::Command => "COMMAND",
        };
        let table = &app.table;
        let ascends = matches!(table.sort, Column::Pid | Column::Name) != table.reversed;
        let mark = match self.sorted_by() {
            Some(column) if column == table.sort => {
                if ascends {
                    "▲"
                } else {
                    "▼"
                }
            }
            _ => "",
        };
        format!("{title}{mark}")
    }
}

/// Each column with its width on a terminal of this width.
fn columns(width: u16) -> Vec<(Cell, usize)> {
    let cells = Cell::of(width);
    let fixed: usize = cells.iter().map(|cell| cell.width() + 1).sum::<usize>() - 1;
    let left = usize::from(width).saturating_sub(fixed);
    let name = if cells.contains(&Cell::Command) { left.min(NAME_MOST) } else { left };
    cells
        .iter()
        .map(|cell| match cell {
            Cell::Name => (*cell, name),
            Cell::Command => (*cell, left - name),
            _ => (*cell, cell.width()),
        })
        .collect()
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let columns = columns(area.width);
    let titles = columns.iter().map(|(cell, width)| match cell {
        Cell::Name | Cell::State | Cell::Course | Cell::Command => {
            left(&cell.title(app).into(), *width)
        }
        _ => right(&cell.title(app), *width),
    });
    let heading = titles.collect::<Vec<_>>().join(" ");
    put(buffer, area, 0, Line::styled(heading, theme.heading(app.focus == Focus::Processes)));

    let table = &app.table;
    let chosen = table.list.chosen;
    for (row, line) in (1..area.height).zip(table.lines.iter().skip(table.list.first)) {
        let process = &table.processes[line.at];
        let text = process_line(app, process, *line, &columns, theme);
        if chosen == Some(process.id()) {
            put_chosen(buffer, area, row, text, theme);
        } else {
            put(buffer, area, row, text);
        }
    }
    if table.lines.is_empty() && app.moment.is_some() {
        let text = "no process is called so: Esc shows all of them";
        put(buffer, area, 1, Line::styled(text, theme.bold()));
    }
}

fn process_line(
    app: &App,
    process: &ShownProcess,
    line: Row,
    columns: &[(Cell, usize)],
    theme: Theme,
) -> Line<'static> {
    let row = &process.row;
    let known = app.details.get(&process.id());
    let detail = match known {
        Some(Known::Here(detail)) => Some(detail),
        _ => None,
    };
    let set = |bytes: fn(&crate::source::process::Sets) -> u64| match known {
        None => UNKNOWN.to_owned(),
        Some(Known::Hangs) => "hangs".to_owned(),
        Some(Known::Here(Detail { sets, .. })) => {
            sets.as_ref().map_or("-".to_owned(), |sets| size(bytes(sets)))
        }
    };
    let cell = |cell: Cell, width: usize| match cell {
        Cell::Pid => Span::raw(right(&row.pid.to_string(), width)),
        Cell::Name => Span::raw(left(&name(&row.comm, line.depth), width)),
        Cell::State => Span::raw(row.state.to_string()),
        Cell::Rss => Span::raw(right(&size(row.rss_bytes), width)),
        Cell::Growth => {
            Span::styled(right(&rate(process.growth), width), growth_style(process, theme))
        }
        Cell::Course => Span::raw(bars(&process.course, 1).concat()),
        Cell::Threads => Span::raw(right(&row.threads.to_string(), width)),
        Cell::Pss => Span::raw(right(&set(|sets| sets.pss_bytes), width)),
        Cell::Uss => Span::raw(right(&set(|sets| sets.uss_bytes), width)),
        Cell::Command => {
            let command = detail.and_then(|detail| detail.command.as_deref()).unwrap_or_default();
            Span::raw(left(&Safe::text(command), width))
        }
    };
    let mut spans = Vec::new();
    for (at, width) in columns {
        if !spans.is_empty() {
            spans.push(Span::raw(" "));
        }
        spans.push(cell(*at, *width));
    }
    Line::from(spans)
}

fn name(comm: &str, depth: usize) -> Safe {
    match depth.min(DEEPEST) {
        0 => Safe::text(comm),
        depth => Safe::from(format!("{}└ {comm}", "  ".repeat(depth - 1))),
    }
}

fn growth_style(process: &ShownProcess, theme: Theme) -> Style {
    let (share, least) = GROWS;
    let growth = process.growth.unwrap_or(0.0);
    if growth >= least && growth * 60.0 >= share * process.row.rss_bytes as f64 {
        theme.warn()
    } else {
        Style::new()
    }
}

/// The chosen process or group in a line: what the table has no room for.
pub(super) fn detail(app: &App) -> String {
    if app.focus == Focus::Groups {
        return app
            .tree
            .chosen()
            .map_or(String::new(), |group| Safe::text(&group.row.path).to_string());
    }
    let Some(process) = app.table.chosen() else {
        return "↑ ↓ choose a process, Enter shows which code holds its memory".to_owned();
    };
    let row = &process.row;
    let mut text = format!("{} {}", row.pid, Safe::text(&row.comm));
    match app.details.get(&process.id()) {
        Some(Known::Here(Detail { sets, group, command })) => {
            if let Some(sets) = sets.filter(|sets| sets.swap_bytes > 0) {
                text.extend(["  swapped ", &size(sets.swap_bytes)]);
            }
            for (name, value) in [("cgroup", group), ("command", command)] {
                if let Some(value) = value {
                    text.extend(["  ", name, " ", Safe::text(value).as_str()]);
                }
            }
        }
        Some(Known::Hangs) => text.push_str(
            "  does not answer: a thread of it waits in the kernel with the lock of its mappings held",
        ),
        None => {}
    }
    text
}
