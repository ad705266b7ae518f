//! What stands around the stacks: resident memory, probes, gaps, cgroup and host.

use super::figures::{counters, of_limit, stalled, swap};
use super::page::{Columns, Page, Style};
use crate::report::{Pressure, Report};
use crate::sink::words;
use crate::units::human_bytes;

/// What explains the resident set, line by line.
pub(super) fn resident(page: &mut Page, report: &Report) {
    let lines = &report.reconciliation;
    if lines.rss_bytes == 0 && lines.explanation.is_empty() {
        return;
    }
    page.heading("Resident memory");
    if lines.rss_bytes == 0 {
        for sentence in &lines.explanation {
            page.paragraph(2, Style::Dim, sentence.as_str());
        }
        return;
    }
    // What is outstanding may be untouched or swapped out: only the part that can be resident is a share of RSS.
    let others = lines.allocator_retained_bytes
        + lines.own_mappings_bytes
        + lines.thread_stacks_bytes
        + lines.file_bytes
        + lines.shmem_bytes
        + lines.untracked_bytes;
    let heap = lines.tracked_live_bytes.min(lines.rss_bytes.saturating_sub(others));
    let rest = lines.runtime_heap.as_ref().map_or_else(
        || "rest of the allocator: older, kept or fragmented".to_owned(),
        |heap| format!("{heap}, and what else the allocator has"),
    );
    let parts = [
        ("all of it (RSS)", lines.rss_bytes),
        ("outstanding heap, seen by memmgr, at most", heap),
        (&rest, lines.allocator_retained_bytes),
        ("mapped by the program itself since the attach", lines.own_mappings_bytes),
        ("thread stacks", lines.thread_stacks_bytes),
        ("file pages", lines.file_bytes),
        ("shared memory", lines.shmem_bytes),
        ("everything else", lines.untracked_bytes),
    ];
    let rows: Vec<[String; 2]> = parts
        .iter()
        .map(|(_, bytes)| [human_bytes(*bytes), words::share(*bytes, lines.rss_bytes)])
        .collect();
    let columns = Columns::of(&rows);
    for ((what, _), row) in parts.iter().zip(&rows) {
        page.row(&[(Style::Plain, format!("  {}  {what}", columns.line(row)).into())]);
    }
    for sentence in &lines.explanation {
        page.paragraph(2, Style::Dim, sentence.as_str());
    }
    if let Some(swap) = report.process.swap_bytes.filter(|bytes| *bytes > 0) {
        page.paragraph(
            2,
            Style::Warn,
            format!("{} are swapped out and not in RSS.", human_bytes(swap)),
        );
    }
}

/// Where the probes stand, what they saw and what the capture cost.
pub(super) fn probes(page: &mut Page, report: &Report) {
    let capture = &report.capture;
    page.heading("Probes");
    if report.target.allocators.is_empty() {
        page.paragraph(2, Style::Plain, "No allocator function was probed.");
    }
    for allocator in &report.target.allocators {
        page.paragraph(2, Style::Plain, format!("{}: {}", allocator.kind, allocator.path));
        let rows: Vec<[String; 1]> =
            allocator.functions.iter().map(|function| [words::count(function.hits)]).collect();
        let columns = Columns::of(&rows);
        for (function, row) in allocator.functions.iter().zip(&rows) {
            page.row(&[
                (
                    Style::Plain,
                    format!("    {} hits  {}  ", columns.line(row), function.symbol).into(),
                ),
                (Style::Dim, function.site.as_str().into()),
            ]);
        }
    }
    if !capture.attach.is_empty() {
        let rate = words::count(capture.probes_per_s.max(0.0).round() as u64);
        page.field("attached as", format!("{}, {rate} hits/s", capture.attach));
    }
    if !capture.stack.kind.is_empty() {
        let copied = match capture.stack.bytes {
            0 => String::new(),
            bytes => format!(", {} copied", human_bytes(bytes.into())),
        };
        page.field("stacks", format!("{}{copied}: {}", capture.stack.kind, capture.stack.why));
    }
    for file in capture.stack.files.iter().filter(|file| file.unwind == "none") {
        page.styled_field(
            "",
            Style::Warn,
            format!("stacks end in {}: it cannot be unwound", file.path),
        );
    }
    let overhead = &capture.overhead;
    let percent =
        |name: &str, percent: Option<f64>| percent.map(|percent| format!("{name} {percent:.1}%"));
    let known = [
        percent("measured", overhead.achieved_percent),
        overhead.budget_percent.map(|percent| format!("allowed {percent}%")),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    if !known.is_empty() {
        page.field("overhead", known.join(", "));
    }
    for action in &overhead.actions {
        page.field("", format!("{} {}", words::span(action.t_s), action.what));
    }
    let own = &report.collector;
    if own.rss_peak_bytes > 0 {
        page.field(
            "memmgr itself",
            format!(
                "{} resident at most, {} of processor time, attach {}, detach {}",
                human_bytes(own.rss_peak_bytes),
                words::span(own.cpu_s),
                words::span(own.attach_s),
                words::span(own.detach_s)
            ),
        );
    }
}

/// What was found and could not be covered.
pub(super) fn not_covered(page: &mut Page, report: &Report) {
    if report.target.not_covered.is_empty() {
        return;
    }
    page.heading("Not covered");
    for gap in &report.target.not_covered {
        page.paragraph(2, Style::Warn, format!("{}: {}", gap.what, gap.why));
    }
}

/// The cgroup that bounds the target, and the host.
pub(super) fn surroundings(page: &mut Page, report: &Report) {
    if let Some(cgroup) = &report.cgroup {
        page.heading(format!("Memory cgroup ({})", cgroup.version));
        page.field("path", cgroup.path.as_str());
        page.field("usage", of_limit(cgroup.usage_bytes, cgroup.limit_bytes));
        if let Some(events) = counters(&cgroup.events) {
            page.styled_field("events", Style::Warn, events);
        }
        pressure(page, cgroup.pressure.as_ref());
    }
    let host = &report.host;
    if host.total_bytes > 0 {
        page.heading("Host");
        let available = host
            .available_bytes
            .map_or(String::new(), |bytes| format!(", {} available", human_bytes(bytes)));
        page.field(
            "memory",
            format!(
                "{} used of {}{available}",
                human_bytes(host.used_bytes),
                human_bytes(host.total_bytes)
            ),
        );
        if let Some(swap) = swap(host) {
            page.field("swap", swap);
        }
        pressure(page, host.pressure.as_ref());
    }
}

fn pressure(page: &mut Page, pressure: Option<&Pressure>) {
    if let Some(pressure) = pressure {
        page.field("stalled", stalled(pressure));
    }
}
