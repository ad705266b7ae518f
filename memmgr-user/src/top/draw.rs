//! State → screen. Pure: the same state is the same screen.

mod capture;
mod groups;
mod help;
mod host;
mod processes;
#[cfg(test)]
mod tests;
mod theme;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    app::{App, Typing},
    layout::Areas,
};

pub use theme::Theme;

/// The smallest terminal on which anything can be read.
const SMALLEST: (u16, u16) = (30, 6);

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme) {
    let size = frame.area();
    let buffer = frame.buffer_mut();
    if size.width < SMALLEST.0 || size.height < SMALLEST.1 {
        put(buffer, size, 0, "memmgr: make this terminal larger".into());
    } else if app.help {
        help::draw(buffer, size, app.capture.is_some(), theme);
    } else if let Some(capture) = &app.capture {
        capture::draw(buffer, size, capture, app.notice.as_ref(), theme);
    } else {
        let areas = Areas::of(size, app.tree.lines.len(), app.focus);
        host::draw(buffer, areas.host, app, theme);
        if let Some(area) = areas.groups {
            groups::draw(buffer, area, app, theme);
        }
        if let Some(area) = areas.processes {
            processes::draw(buffer, area, app, theme);
        }
        if let Some(area) = areas.detail {
            put(buffer, area, 0, Line::styled(processes::detail(app), theme.dim()));
        }
        put(buffer, areas.footer, 0, footer(app, size.width, theme));
    }
}

/// A line of an area, cut at its end.
fn put(buffer: &mut Buffer, area: Rect, row: u16, line: Line<'_>) {
    if row < area.height {
        buffer.set_line(area.x, area.y + row, &line, area.width);
    }
}

/// The same, and the whole row is marked as chosen.
fn put_chosen(buffer: &mut Buffer, area: Rect, row: u16, line: Line<'_>, theme: Theme) {
    put(buffer, area, row, line);
    if row < area.height {
        buffer.set_style(Rect { y: area.y + row, height: 1, ..area }, theme.chosen());
    }
}

fn footer(app: &App, width: u16, theme: Theme) -> Line<'static> {
    if let Some(prompt) = &app.prompt {
        let (name, typed) = match prompt.what {
            Typing::Filter => ("filter", &app.table.filter),
            Typing::Search => ("search", &app.table.search),
        };
        let typed = crate::escape::Safe::text(typed);
        let said = app
            .notice
            .as_ref()
            .map_or("Enter keeps it, Esc does not", |notice| notice.text.as_str());
        return Line::from(vec![
            Span::styled(format!("{name}: "), theme.bold()),
            Span::raw(format!("{typed}█  ")),
            Span::styled(said.to_owned(), theme.dim()),
        ]);
    }
    if let Some(line) = notice(app.notice.as_ref(), theme) {
        return line;
    }
    let keys: &[(&str, &str)] = &[
        ("?", "help"),
        ("q", "quit"),
        ("Enter", "attach"),
        ("f", "filter"),
        ("/", "search"),
        ("s", "sort"),
        ("Tab", "groups"),
        ("Space", if app.paused { "go on" } else { "pause" }),
        ("t", "tree"),
    ];
    hints(keys, width, theme)
}

fn notice(notice: Option<&super::app::Notice>, theme: Theme) -> Option<Line<'static>> {
    notice.map(|notice| {
        let style = if notice.trouble { theme.bad() } else { theme.bold() };
        Line::styled(notice.text.to_string(), style)
    })
}

/// As many keys as there is room for.
fn hints(keys: &[(&str, &str)], width: u16, theme: Theme) -> Line<'static> {
    let mut line = Line::default();
    for (key, meaning) in keys {
        let (key, meaning) = (format!("{key} "), format!("{meaning}  "));
        let part = Line::from(vec![Span::styled(key, theme.bold()), Span::raw(meaning)]);
        if line.width() + part.width() > usize::from(width) + 2 {
            break;
        }
        line.spans.extend(part.spans);
    }
    line
}
