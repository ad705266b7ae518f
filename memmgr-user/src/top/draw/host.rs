//! The host's memory in a few lines.

use humantime::format_rfc3339_seconds;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Theme, put};
use crate::{
    escape::Safe,
    report::{Host, Pressure},
    top::{
        app::App,
        history::Moment,
        text::{rate, size},
    },
};

/// Percent of the time in which tasks stalled from which on it is worth a look, and from which on it is trouble.
const STALLS: (f64, f64) = (1.0, 10.0);
/// From this width on there is room for what a minute's pressure was.
const WIDE: u16 = 76;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let Some(moment) = &app.moment else {
        return put(buffer, area, 0, Line::styled("memmgr top: looking …", theme.bold()));
    };
    let low = area.height < 4;
    let mut lines = Vec::new();
    if low {
        lines.push(memory(moment, area.width, theme));
        let mut line = pressure(moment.host.pressure.as_ref(), false, theme);
        line.spans.extend(flags(app, theme));
        if moment.new_oom_kills > 0 {
            let text = format!("  OOM kills +{}", moment.new_oom_kills);
            line.push_span(Span::styled(text, theme.bad()));
        }
        line.push_span(Span::raw(format!("  {}", swap(&moment.host))));
        lines.push(line);
    } else {
        lines.push(title(app, moment, area.width, theme));
        lines.push(memory(moment, area.width, theme));
        let mut line = Line::raw(swap(&moment.host));
        line.spans.extend(kills(moment, theme));
        lines.push(line);
        lines.push(pressure(moment.host.pressure.as_ref(), area.width >= WIDE, theme));
    }
    for (row, line) in lines.into_iter().enumerate() {
        put(buffer, area, row as u16, line);
    }
}

fn title(app: &App, moment: &Moment, width: u16, theme: Theme) -> Line<'static> {
    let shown = app.table.lines.len();
    let processes = if app.table.filter.is_empty() {
        format!("{shown} processes")
    } else {
        format!("{shown} of {} processes", app.table.processes.len())
    };
    let interval = humantime::format_duration(app.interval);
    let mut line = Line::from(vec![
        Span::styled("memmgr top", theme.bold()),
        Span::raw(format!("  every {interval}  {processes}")),
    ]);
    if moment.unread > 0 {
        line.push_span(Span::raw(format!(", {} unreadable", moment.unread)));
    }
    line.spans.extend(flags(app, theme));
    let time = format_rfc3339_seconds(moment.time).to_string();
    let time = time.get(11..).unwrap_or_default().to_owned();
    let blanks = usize::from(width).saturating_sub(line.width() + time.len());
    if blanks > 0 {
        line.push_span(Span::raw(format!("{}{time}", " ".repeat(blanks))));
    }
    line
}

/// What makes the lists show less than there is.
fn flags(app: &App, theme: Theme) -> Vec<Span<'static>> {
    let mut flags = Vec::new();
    if app.paused {
        flags.push(Span::raw("  "));
        flags.push(Span::styled("PAUSED", theme.chosen()));
    }
    if !app.table.filter.is_empty() {
        flags.push(Span::raw("  "));
        flags.push(Span::styled(format!("filter {}", Safe::text(&app.table.filter)), theme.bold()));
    }
    flags
}

/// The bar, and behind it what its parts are: used, cache that can be reclaimed, free.
fn memory(moment: &Moment, width: u16, theme: Theme) -> Line<'static> {
    let host = &moment.host;
    let cache = host.available_bytes.unwrap_or(host.free_bytes).saturating_sub(host.free_bytes);
    let growth =
        Span::styled(format!("  {}/s", rate(moment.growth)), style_of_growth(moment, theme));
    let text = match width {
        0..60 => format!(" {} used of {}", size(host.used_bytes), size(host.total_bytes)),
        _ => format!(
            " █ {} used  ▒ {} cache  ░ {} free  of {}",
            size(host.used_bytes),
            size(cache),
            size(host.total_bytes.saturating_sub(host.used_bytes + cache)),
            size(host.total_bytes)
        ),
    };
    let rest = text.chars().count() + growth.width() + "mem  ".len();
    let columns = usize::from(width).saturating_sub(rest).clamp(4, 40);
    Line::from(vec![
        Span::raw("mem  "),
        Span::raw(bar(&[host.used_bytes, cache], host.total_bytes, columns)),
        Span::raw(text),
        growth,
    ])
}

/// The parts of a whole, in so many columns: each in its own pattern, so that it takes no colour to tell them apart.
fn bar(parts: &[u64; 2], whole: u64, columns: usize) -> String {
    let [used, cache] = *parts;
    let ends = [used, used + cache].map(|end| {
        let end = end as f64 / whole.max(1) as f64 * columns as f64;
        end.round() as usize
    });
    let pattern = |column| match column {
        column if column < ends[0] => '█',
        column if column < ends[1] => '▒',
        _ => '░',
    };
    (0..columns).map(pattern).collect()
}

/// Growth that would use up what is available within an hour deserves a look, within ten minutes more than that.
fn style_of_growth(moment: &Moment, theme: Theme) -> Style {
    let available = moment.host.available_bytes.unwrap_or(moment.host.free_bytes) as f64;
    match moment.growth.filter(|growth| *growth > 0.0).map(|growth| available / growth) {
        Some(seconds) if seconds < 600.0 => theme.bad(),
        Some(seconds) if seconds < 3600.0 => theme.warn(),
        _ => Style::new(),
    }
}

fn swap(host: &Host) -> String {
    match host.swap_total_bytes {
        0 => "swap none".to_owned(),
        total => {
            format!("swap {} of {}", size(total.saturating_sub(host.swap_free_bytes)), size(total))
        }
    }
}

fn kills(moment: &Moment, theme: Theme) -> Vec<Span<'static>> {
    let Some(kills) = moment.oom_kills else { return Vec::new() };
    let mut spans = vec![Span::raw(format!("  OOM kills {kills}"))];
    if moment.new_oom_kills > 0 {
        spans.push(Span::styled(
            format!(" (+{} since the start)", moment.new_oom_kills),
            theme.bad(),
        ));
    }
    spans
}

fn pressure(pressure: Option<&Pressure>, minute: bool, theme: Theme) -> Line<'static> {
    let Some(pressure) = pressure else { return Line::raw("pressure not known") };
    let style = |percent: f64| match percent {
        percent if percent >= STALLS.1 => theme.bad(),
        percent if percent >= STALLS.0 => theme.warn(),
        _ => Style::new(),
    };
    let percent = |name: &str, percent: f64| {
        let mark = if percent >= STALLS.1 { "!" } else { "" };
        Span::styled(format!(" {name} {percent:.1}%{mark}"), style(percent))
    };
    let (some, full) = (&pressure.some, &pressure.full);
    let mut spans =
        vec![Span::raw("pressure"), percent("some", some.avg10), percent("full", full.avg10)];
    if minute {
        spans.push(Span::raw(" of 10 s, "));
        spans.extend([percent("some", some.avg60), percent("full", full.avg60)]);
        spans.push(Span::raw(" of a minute"));
    }
    Line::from(spans)
}
