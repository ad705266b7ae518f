//! A snapshot for a terminal: sums first, and then what explains them.

mod cgroup;
mod host;
mod process;

use super::{
    figures::{counters, of_limit, stalled, swap},
    page::{Columns, Page, Style},
    words,
};
use crate::{
    report::Pressure,
    stat::{Line, Stat},
    units::human_bytes,
};

/// The whole snapshot: at most `top` rows of each table, in at most `width` columns.
pub fn stat(stat: &Stat, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    if let Some(host) = &stat.host {
        host::host(&mut page, host);
    }
    if let Some(cgroup) = &stat.cgroup {
        cgroup::cgroup(&mut page, cgroup, top);
    }
    if let Some(process) = &stat.process {
        process::process(&mut page, process, top);
    }
    page.finish()
}

/// Lines of a sum, the largest first, what is unexplained last; those of nothing are left out.
fn sum(page: &mut Page, lines: &[Line]) {
    let all = lines.iter().map(|line| line.bytes).sum::<i64>().unsigned_abs();
    let mut lines: Vec<&Line> = lines.iter().filter(|line| line.bytes != 0).collect();
    lines.sort_by_key(|line| (line.key == "unexplained", std::cmp::Reverse(line.bytes)));
    let rows: Vec<[String; 2]> = lines
        .iter()
        .map(|line| {
            let bytes = line.bytes.unsigned_abs();
            let sign = if line.bytes < 0 { "-" } else { "" };
            [format!("{sign}{}", human_bytes(bytes)), format!("{sign}{}", words::share(bytes, all))]
        })
        .collect();
    let columns = Columns::of(&rows);
    for (line, row) in lines.iter().zip(&rows) {
        page.row(&[(Style::Plain, format!("  {}  {}", columns.line(row), line.what).into())]);
    }
}

/// A table of numbers with a text behind them, in at most `top` rows, and how many more there are.
pub(super) fn table<const N: usize>(
    page: &mut Page,
    head: [&str; N],
    title: &str,
    rows: &[([String; N], String)],
    top: usize,
) {
    let shown = &rows[..rows.len().min(top)];
    let mut cells: Vec<[String; N]> = vec![head.map(str::to_owned)];
    cells.extend(shown.iter().map(|(cells, _)| cells.clone()));
    let columns = Columns::of(&cells);
    page.row(&[(Style::Dim, format!("  {}  {title}", columns.line(&cells[0])).into())]);
    for (cells, text) in shown {
        page.row(&[(Style::Plain, format!("  {}  {text}", columns.line(cells)).into())]);
    }
    if rows.len() > shown.len() {
        let more = words::counted((rows.len() - shown.len()) as u64, "row");
        page.paragraph(2, Style::Dim, format!("and {more} more: --top {}", rows.len()));
    }
}

/// Shares of time in which tasks waited for memory.
fn pressure(page: &mut Page, pressure: Option<&Pressure>) {
    match pressure {
        Some(pressure) => {
            let worst = pressure.some.avg10.max(pressure.full.avg10);
            let style = match worst {
                worst if worst >= 10.0 => Style::Bad,
                worst if worst >= 1.0 => Style::Warn,
                _ => Style::Plain,
            };
            page.styled_field("stalled", style, stalled(pressure));
        }
        None => page.styled_field(
            "stalled",
            Style::Dim,
            "not known: this kernel keeps no pressure here (psi=1, cgroup v2)",
        ),
    }
}

/// Bytes where they are known.
fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), human_bytes)
}

#[cfg(test)]
mod tests;
