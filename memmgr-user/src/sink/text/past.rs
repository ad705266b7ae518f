//! What a watch has kept, for a terminal.

use super::{
    page::{Columns, Page, Style},
    words,
};
use crate::{
    units::human_bytes,
    watch::{
        alert::Status,
        config::Severity,
        history::{Past, PastSeries},
    },
};

/// Steps of a course.
const STEPS: usize = 24;
/// From the least to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Alerts and courses: at most `top` of each, in at most `width` columns.
pub fn past(past: &Past, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    page.paragraph(0, Style::Bold, "Alerts");
    let first = past.alerts.len().saturating_sub(top);
    if past.alerts.is_empty() {
        page.paragraph(2, Style::Dim, "none");
    }
    if first > 0 {
        page.paragraph(
            2,
            Style::Dim,
            format!("{} before these", words::counted(first as u64, "alert")),
        );
    }
    for alert in &past.alerts[first..] {
        let style = match (alert.state, alert.severity) {
            (Status::Cleared, _) => Style::Dim,
            (_, Severity::Critical) => Style::Bad,
            (_, Severity::Warning) => Style::Warn,
            (_, Severity::Info) => Style::Plain,
        };
        page.paragraph(2, style, alert.line());
    }
    page.heading("Courses, from the least to the most of each");
    let mut rows = vec![["now", "least", "most", "change"].map(str::to_owned)];
    let mut texts = vec![(String::new(), "what".to_owned())];
    let mut of_a_kind = std::collections::HashMap::new();
    for series in &past.series {
        let count = of_a_kind.entry(series.kind.as_str()).or_insert(0_usize);
        *count += 1;
        let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else {
            continue;
        };
        if *count > top {
            continue;
        }
        let bytes = |bytes: f64| human_bytes(bytes.max(0.0) as u64);
        let change = last.mean - first.mean;
        let low = series.points.iter().map(|point| point.low).min().unwrap_or(0);
        let high = series.points.iter().map(|point| point.high).max().unwrap_or(0);
        rows.push([
            bytes(last.mean),
            human_bytes(low),
            human_bytes(high),
            format!("{}{}", if change < 0.0 { "-" } else { "+" }, bytes(change.abs())),
        ]);
        texts.push((course(series), name(series)));
    }
    let columns = Columns::of(&rows);
    for (row, (course, name)) in rows.iter().zip(&texts) {
        let style = if course.is_empty() { Style::Dim } else { Style::Plain };
        page.row(&[(style, format!("  {}  {course:<STEPS$}  {name}", columns.line(row)).into())]);
    }
    page.finish()
}

fn name(series: &PastSeries) -> String {
    match (series.kind.as_str(), series.pid) {
        ("process", pid) => format!("{} ({pid})", series.name),
        ("cgroup", _) => format!("cgroup {}", series.name),
        (kind, _) => format!("host {kind}"),
    }
}

/// Means over equal steps of time; a step without a figure is a gap.
fn course(series: &PastSeries) -> String {
    let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else {
        return String::new();
    };
    let span = (last.at_ms - first.at_ms + 1) as f64;
    let mut sums = [(0.0, 0_u32); STEPS];
    for point in &series.points {
        let step =
            (((point.at_ms - first.at_ms) as f64 / span * STEPS as f64) as usize).min(STEPS - 1);
        sums[step] = (sums[step].0 + point.mean, sums[step].1 + 1);
    }
    let means: Vec<Option<f64>> =
        sums.iter().map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count))).collect();
    let low = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |mean: f64| {
        let share = if high > low { (mean - low) / (high - low) } else { 0.0 };
        BARS[((share * BARS.len() as f64) as usize).min(BARS.len() - 1)]
    };
    means.iter().map(|mean| mean.map_or(' ', bar)).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::watch::{
        alert::{Alert, SCHEMA, Subject},
        history::Point,
    };

    fn series(kind: &str, name: &str, pid: u32, means: &[f64]) -> PastSeries {
        let point = |(at, mean): (usize, &f64)| Point {
            at_ms: at as i64 * 1000,
            mean: *mean,
            low: *mean as u64 / 2,
            high: *mean as u64 * 2,
        };
        PastSeries {
            kind: kind.to_owned(),
            name: name.to_owned(),
            pid,
            points: means.iter().enumerate().map(point).collect(),
        }
    }

    #[test]
    fn courses_are_bars() {
        let check = |means: &[f64], expected: &str| {
            assert_eq!(course(&series("used", "", 0, means)).trim_end(), expected);
        };
        let rising: Vec<f64> = (0..STEPS).map(|step| step as f64).collect();
        check(&rising, "▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███");
        check(&[5.0; STEPS], &"▁".repeat(STEPS));
        check(&[7.0], "▁");
        check(&[], "");
        // The second half is higher, with gaps between so few points.
        assert_eq!(course(&series("used", "", 0, &[1.0, 2.0])), format!("▁{}█", " ".repeat(22)));
    }

    #[test]
    fn a_history_in_80_columns() {
        let alert = |state, severity| Alert {
            schema: SCHEMA.to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
            state,
            rule: "leaks".to_owned(),
            severity,
            subject: Subject {
                kind: "process".to_owned(),
                name: "web\u{1b}[2J".to_owned(),
                pid: Some(7),
            },
            what: "grows by 2.0 MiB/s > 1.0 MiB/s".to_owned(),
            value: None,
            untold: 0,
            capture: None,
        };
        let whole = Past {
            series: vec![
                series("used", "", 0, &[1e9, 2e9, 3e9]),
                series("cgroup", "/a", 0, &[3e6, 2e6]),
                series("process", "web\n", 7, &[1e6; 40]),
                series("process", "other", 8, &[1e6]),
            ],
            alerts: vec![
                alert(Status::Raised, Severity::Info),
                alert(Status::Raised, Severity::Critical),
                alert(Status::Cleared, Severity::Critical),
            ],
        };
        let text = past(&whole, 2, false, Some(80));
        assert!(text.lines().all(|line| line.width() <= 80), "{text}");
        insta::assert_snapshot!("past_80", text);
    }
}
