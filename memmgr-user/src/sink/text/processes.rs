//! The processes of a merged report: how much each of them holds.

use super::page::{Columns, Page, Style};
use super::verdict::severity_style;
use crate::report::{Member, Report};
use crate::sink::words;
use crate::units::human_bytes;

/// The table, largest first; nothing in the report of one process.
pub(super) fn section(page: &mut Page, report: &Report, most: usize) {
    let processes = &report.processes;
    if processes.is_empty() {
        return;
    }
    page.heading("Processes (each with the resident memory that it shares)");
    let total = processes.iter().map(|process| process.live_bytes).fold(0, u64::saturating_add);
    let shown = &processes[..processes.len().min(most)];
    let figures: Vec<(u64, u64)> =
        shown.iter().map(|process| (process.live_bytes, process.live_bytes_error)).collect();
    let mut rows =
        vec![["pid", "live", "share", "blocks", "allocated", "RSS", "captured"].map(str::to_owned)];
    let cells = shown.iter().zip(words::estimates(&figures));
    rows.extend(cells.map(|(process, live)| cells_of(process, live, total)));
    let columns = Columns::of(&rows);
    page.row(&[(Style::Dim, columns.line(&rows[0]).into())]);
    for (row, process) in rows[1..].iter().zip(shown) {
        page.row(&[
            (Style::Bold, columns.line(row).into()),
            (Style::Plain, format!("  {}{}", process.comm, fate(process)).into()),
        ]);
        if !process.complete {
            page.paragraph(6, Style::Bad, "not all of it was seen");
        }
        let worst = process.report.as_ref().and_then(|report| report.findings.first());
        if let Some(worst) = worst.filter(|worst| worst.severity != "info") {
            page.paragraph(6, severity_style(&worst.severity), process.verdict.as_str());
        }
    }
    let rest = &processes[shown.len()..];
    if !rest.is_empty() {
        let bytes = rest.iter().map(|process| process.live_bytes).fold(0, u64::saturating_add);
        let text = format!(
            "… {} not shown: {} ({}).",
            words::processes(rest.len()),
            human_bytes(bytes),
            words::share(bytes, total)
        );
        page.paragraph(2, Style::Dim, text);
    }
}

fn cells_of(process: &Member, live: String, total: u64) -> [String; 7] {
    [
        process.pid.to_string(),
        live,
        words::share(process.live_bytes, total),
        words::count(process.live_count),
        human_bytes(process.alloc_bytes),
        process.rss_bytes.map_or("-".to_owned(), human_bytes),
        words::span(process.duration_s),
    ]
}

/// When it came and how it went, where that is not when all did.
fn fate(process: &Member) -> String {
    /// Those who were there first begin to count within less.
    const TOGETHER_S: f64 = 0.5;
    let came = if process.since_s < TOGETHER_S {
        String::new()
    } else {
        format!(", joined after {}", words::span(process.since_s))
    };
    let went = match process.ended.as_str() {
        "exited" => ", has ended",
        "exec" => ", executed another program",
        _ => "",
    };
    came + went
}

#[cfg(test)]
mod tests {
    use crate::{
        group::{Part, merge::merge},
        sink::{RenderOptions, fixture, leaks_table},
    };

    fn text(top: usize) -> String {
        let part = |pid: u32, live_bytes: u64, since_s: f64| {
            let mut report = fixture::redis();
            report.target.pid = pid;
            report.totals.live_bytes = live_bytes;
            Part { report, since_s }
        };
        let mut gone = part(44, 1 << 20, 3.0);
        gone.report.target.comm = "re\u{1b}dis".to_owned();
        gone.report.target.ended = "exited".to_owned();
        gone.report.capture.complete = false;
        let merged = merge(vec![part(42, 6 << 20, 0.0), part(43, 9 << 20, 0.01), gone]);
        leaks_table(&merged, &RenderOptions { top, ..RenderOptions::default() })
    }

    #[track_caller]
    fn check(text: &str, lines: &[&str]) {
        let mut rest = text.lines();
        for expected in lines {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(rest.any(|line| words(line).starts_with(expected)), "{expected:?} in\n{text}");
        }
    }

    #[test]
    fn every_process_has_a_row() {
        let text = text(20);
        check(
            &text,
            &[
                "redis-server, re\\u{1b}dis: 3 processes",
                "complete NO",
                "outstanding 16.0 MiB",
                "Processes",
                "pid live",
                "43 9.0 MiB",
                "42 6.0 MiB",
                "44 1.0 MiB",
                "not all of it was seen",
            ],
        );
        assert!(text.contains("re\\u{1b}dis, joined after 3.0s, has ended"), "{text}");
        assert!(text.contains("peaks added up"), "{text}");
    }

    #[test]
    fn rows_beyond_the_limit_are_counted() {
        check(&text(1), &["Processes", "43 9.0 MiB", "… 2 processes not shown: 7.0 MiB (43.8%)."]);
    }
}
