//! What memmgr makes of the figures: one line first, then every finding with its evidence.

use super::page::{Page, Style};
use crate::judge::doubt;
use crate::report::{Finding, Report};
use crate::sink::words;
use crate::units::human_bytes;

/// How a severity looks.
pub(super) fn severity_style(severity: &str) -> Style {
    match severity {
        "critical" => Style::Bad,
        "warning" => Style::Warn,
        _ => Style::Plain,
    }
}

/// What a finding is about, in a few words.
pub(super) fn subject(finding: &Finding) -> String {
    match (&finding.subject, finding.stack_id) {
        (Some(subject), _) => subject.clone(),
        (None, Some(id)) => format!("stack {id}"),
        (None, None) => "the process".to_owned(),
    }
}

/// The verdict with `most` findings at most.
pub(super) fn verdict(page: &mut Page, report: &Report, most: usize) {
    page.heading("Verdict");
    headline(page, report);
    if !report.capture.complete {
        let text = "Not all was seen: what was lost, and what that means, stands at the end.";
        page.paragraph(2, Style::Warn, text);
    }
    for at in report.findings.iter().take(most) {
        finding(page, at);
    }
    let more = report.findings.len().saturating_sub(most);
    if more > 0 {
        let text =
            format!("… {} in the whole report.", words::counted(more as u64, "more finding"));
        page.paragraph(2, Style::Dim, text);
    }
    for suppression in report.suppressions.iter().filter(|suppression| suppression.stacks > 0) {
        let text = format!(
            "Suppressed by leak:{}: {} outstanding in {}.",
            suppression.pattern,
            human_bytes(suppression.live_bytes),
            words::counted(suppression.stacks, "stack"),
        );
        page.paragraph(2, Style::Dim, text);
    }
}

/// What a person who reads one line should know.
pub fn verdict_line(report: &Report) -> String {
    headline_of(report).1
}

fn headline(page: &mut Page, report: &Report) {
    let (style, text) = headline_of(report);
    page.paragraph(2, style, text);
    let is_grave = report.findings.iter().any(|finding| finding.severity != "info");
    if let Some(doubt) = doubt(report).filter(|_| !is_grave) {
        page.paragraph(2, Style::Warn, doubt);
    }
}

fn headline_of(report: &Report) -> (Style, String) {
    let mut grave = report.findings.iter().filter(|finding| finding.severity != "info");
    if let Some(first) = grave.next() {
        let grows = if first.growth_bytes_per_s > 0.0 {
            format!(" grows by {}/s", human_bytes(first.growth_bytes_per_s.round() as u64))
        } else {
            String::new()
        };
        let until = first.time_to_limit_s.map_or(String::new(), |seconds| {
            format!("; the limit is reached in {}", words::span(seconds))
        });
        let more = match grave.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let text = format!("{}: {}{grows}{until}{more}.", first.severity, subject(first));
        return (severity_style(&first.severity), text);
    }
    let text = match (report.windows_s.is_empty(), report.capture.complete) {
        (true, _) => "Not judged: the report holds no course over time.",
        (false, true) if doubt(report).is_some() => "No leak found, but little was seen.",
        (false, true) => "No leak found.",
        (false, false) => "No leak found in what was seen.",
    };
    (Style::Bold, text.to_owned())
}

pub(super) fn finding(page: &mut Page, finding: &Finding) {
    let shape = if finding.shape.is_empty() { &finding.kind } else { &finding.shape };
    page.paragraph(
        2,
        severity_style(&finding.severity),
        format!(
            "{}: {}: {shape} (score {:.0} of 100, confidence {:.0}%)",
            finding.severity,
            subject(finding),
            finding.score,
            finding.confidence * 100.0
        ),
    );
    for sentence in &finding.evidence {
        page.paragraph(4, Style::Plain, sentence.as_str());
    }
    if !finding.recommendation.is_empty() {
        page.paragraph(4, Style::Bold, format!("→ {}", finding.recommendation));
    }
}
