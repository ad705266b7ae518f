//! The report for a terminal, in the order in which a person on call needs it: what was looked at,
//! whether the figures can be trusted, the verdict, how much it is, who holds it, and then everything else.

mod context;
pub(super) mod diff;
mod figures;
mod fragmentation;
pub(super) mod go;
pub(super) mod optimize;
mod page;
pub(super) mod past;
pub(super) mod pools;
mod processes;
mod served;
mod shares;
mod stacks;
pub(super) mod stat;
pub(super) mod verdict;

use memmgr_common::limits::STACK_CLASSES;

use page::{Page, Style};

use super::{Class, RenderOptions, about, loss, words};
use crate::report::{Report, Totals};
use crate::units::human_bytes;
pub(crate) use page::cut_end;
pub(super) use stacks::{allocator_functions, is_allocator};

/// The whole report.
pub(super) fn render(report: &Report, options: &RenderOptions) -> String {
    let mut page = Page::new(options.color, options.width);
    head(&mut page, report);
    verdict::verdict(&mut page, report, usize::MAX);
    summary(&mut page, report);
    served::served(&mut page, report);
    context::resident(&mut page, report);
    fragmentation::fragmentation(&mut page, report);
    for class in Class::ALL {
        stacks::section(&mut page, report, options, class);
    }
    processes::section(&mut page, report, options.top);
    shares::functions(&mut page, report, options);
    shares::modules(&mut page, report, options);
    shares::sizes(&mut page, report);
    losses(&mut page, report);
    context::probes(&mut page, report);
    context::not_covered(&mut page, report);
    context::surroundings(&mut page, report);
    page.finish()
}

/// Findings in the table by stack; the whole report has all of them.
const FINDINGS_SHOWN: usize = 5;

/// Who mapped most; the JSON report has all of them.
const MAPPERS_SHOWN: usize = 6;

/// Who holds outstanding memory: the head, the sums, the stacks, and what was lost.
pub fn leaks_table(report: &Report, options: &RenderOptions) -> String {
    let mut page = Page::new(options.color, options.width);
    head(&mut page, report);
    verdict::verdict(&mut page, report, FINDINGS_SHOWN);
    summary(&mut page, report);
    for class in Class::ALL {
        stacks::section(&mut page, report, options, class);
    }
    processes::section(&mut page, report, options.top);
    losses(&mut page, report);
    context::not_covered(&mut page, report);
    page.finish()
}

/// The verdict alone.
pub(crate) fn verdict_text(report: &Report, width: usize) -> String {
    let mut page = Page::new(false, Some(width));
    verdict::verdict(&mut page, report, usize::MAX);
    page.finish()
}

/// What was looked at, how, and whether all of it was seen.
fn head(page: &mut Page, report: &Report) {
    let target = &report.target;
    let capture = &report.capture;
    page.paragraph(0, Style::Bold, about::target(report));
    let command =
        if target.cmdline.is_empty() { target.exe.clone() } else { target.cmdline.join(" ") };
    if !command.is_empty() {
        page.field("command", command);
    }
    if let Some(container) = &target.container_id {
        page.field("container", container.as_str());
    }
    let ended = words::ended(&target.ended);
    let margin = about::margin(capture);
    let interval = human_bytes(capture.sample_interval_bytes);
    let mode = match capture.mode.as_str() {
        "sample" => {
            format!("sample, one per {interval} on average: figures are estimates; {margin}")
        }
        "exact" if capture.observed.is_some() => {
            format!("exact within windows: figures are estimates; {margin}")
        }
        "exact" => "exact, every allocation".to_owned(),
        "auto" if capture.is_sampled() => format!(
            "auto, within the budget samples, one per up to {interval} on average: figures are estimates; {margin}"
        ),
        "auto" if capture.observed.is_some() => {
            format!(
                "auto, within the budget every allocation in windows: figures are estimates; {margin}"
            )
        }
        "auto" => "auto, the budget allowed every allocation".to_owned(),
        "growth" if capture.estimates() => format!(
            "growth, no allocator probes: mappings, and one page fault per {} on average: figures are estimates; the truth \
             lies within ± in 95 of 100 cases",
            human_bytes(capture.sample_interval_bytes)
        ),
        "growth" => "growth, no allocator probes: page faults and mappings only".to_owned(),
        "" => "unknown".to_owned(),
        other => other.to_owned(),
    };
    page.field(
        "captured",
        format!("{}{ended}, {}", words::span(report.duration_s), report.captured_at),
    );
    page.field("mode", mode);
    if let Some(sentence) = about::in_windows(capture) {
        page.styled_field("watched", Style::Warn, sentence);
    }
    if capture.complete {
        page.styled_field("complete", Style::Good, "yes, nothing was lost");
        cut_stacks(page, report);
    } else {
        let amount = loss::amount(&capture.loss);
        page.styled_field("complete", Style::Bad, format!("NO, {amount} (see Lost)"));
    }
}

/// A capture can be complete and yet show little of who asked: its stacks are cut.
fn cut_stacks(page: &mut Page, report: &Report) {
    let main = || Class::main_of(report).stacks(report);
    let cut: u64 = main().filter(|stack| stack.cut.is_some()).map(|stack| stack.alloc_bytes).sum();
    let all: u64 = main().map(|stack| stack.alloc_bytes).sum();
    // Less than one in a hundred is not worth a line at the top.
    if cut > all / 100 {
        let stack = &report.capture.stack;
        let is_short = stack.kind == "dwarf"
            && (stack.bytes as usize) < STACK_CLASSES[STACK_CLASSES.len() - 1];
        let remedy = match stack.files.iter().any(|file| file.unwind == "none") {
            true => ": they end in files that cannot be unwound",
            false if is_short => "; try --stack-bytes 64KiB",
            false => "",
        };
        page.styled_field(
            "stacks",
            Style::Warn,
            format!(
                "{} of the allocated bytes have a stack that is cut{remedy}",
                words::share(cut, all)
            ),
        );
    }
}

/// How much it is.
fn summary(page: &mut Page, report: &Report) {
    let blocks = ["outstanding", "allocated", "freed", "block"];
    if Class::main_of(report) == Class::Heap {
        page.heading("Heap since the attach");
        sums(page, report, &report.totals, blocks);
        excess(page, report);
    }
    let pages = ["resident", "touched", "gone again", "page"];
    if Class::main_of(report) == Class::Resident {
        page.heading("Touched for the first time since the attach");
        sums(page, report, &report.resident, pages);
    } else if report.resident.alloc_count > 0 {
        page.heading("Touched since the attach, partly by the heap's blocks (never add the two)");
        sums(page, report, &report.resident, pages);
    }
    if report.mapped.alloc_count > 0 {
        page.heading("Mapped since the attach (partly by the allocator: never add the two)");
        sums(page, report, &report.mapped, blocks);
        for row in report.mapped_by.iter().filter(|row| row.live_bytes > 0).take(MAPPERS_SHOWN) {
            let amount = words::counted(row.live_count, "mapping");
            let module = row.module.rsplit('/').next().unwrap_or_default();
            let place = if module.is_empty() { String::new() } else { format!(", {module}") };
            page.paragraph(
                4,
                Style::Plain,
                format!("{} in {amount}: {}{place}", human_bytes(row.live_bytes), row.what),
            );
        }
    }
}

/// What is there, what came and what went, by these names, in so many of those.
fn sums(
    page: &mut Page,
    report: &Report,
    totals: &Totals,
    [there, came, went, unit]: [&'static str; 4],
) {
    page.styled_field(
        there,
        Style::Bold,
        format!(
            "{} in {} ({} {})",
            words::estimate(totals.live_bytes, totals.live_bytes_error),
            words::counted(totals.live_count, unit),
            if report.processes.is_empty() { "peak" } else { "peaks added up" },
            human_bytes(totals.peak_live_bytes)
        ),
    );
    let moved = |bytes, error, count| {
        let sum = format!("{} in {}", words::estimate(bytes, error), words::counted(count, unit));
        let seconds = report.duration_s;
        match (words::per_second(bytes, seconds), words::per_second(count, seconds)) {
            (Some(bytes), Some(count)) => {
                format!("{sum}, {}/s, {}/s", human_bytes(bytes), words::counted(count, unit))
            }
            _ => sum,
        }
    };
    page.field(came, moved(totals.alloc_bytes, totals.alloc_bytes_error, totals.alloc_count));
    page.field(went, moved(totals.free_bytes, 0, totals.free_count));
}

/// An estimate that is too high, or mostly of memory that was never touched.
fn excess(page: &mut Page, report: &Report) {
    let held = held_at_most(report).filter(|held| *held < report.totals.live_bytes);
    if let Some(held) = held {
        page.styled_field(
            "",
            Style::Warn,
            format!(
                "more than is there: {} are resident or swapped out. What was freed between windows counts until its address is seen again",
                human_bytes(held)
            ),
        );
    }
}

/// What an estimate from windows of time cannot exceed, but for memory that was never touched; `None` where figures are no such estimate.
fn held_at_most(report: &Report) -> Option<u64> {
    report.capture.observed.as_ref().filter(|_| report.processes.is_empty())?;
    let swapped = report.process.swap_bytes.unwrap_or(0);
    report.process.rss_bytes.map(|resident| resident + swapped)
}

/// What was lost, by cause; also what looks like a loss and is none.
fn losses(page: &mut Page, report: &Report) {
    let loss = &report.capture.loss;
    let causes = loss::causes(loss);
    let residual = report.capture.accounting.residual;
    if report.capture.complete
        && causes.is_empty()
        && residual == 0
        && loss.unknown_free + loss.hidden_free == 0
    {
        return;
    }
    page.heading(if report.capture.complete { "Not counted" } else { "Lost" });
    for cause in &causes {
        let text = format!("{}: {}; {}.", cause.what, words::count(cause.count), cause.effect);
        page.paragraph(2, Style::Bad, text);
    }
    if residual != 0 {
        page.paragraph(
            2,
            Style::Bad,
            format!("Probe hits accounted for by nothing: {residual}; the books do not balance."),
        );
    }
    if causes.is_empty() && residual == 0 {
        let (style, text) = if report.capture.complete {
            (Style::Good, "Nothing.")
        } else {
            (Style::Bad, "Something, but the cause is not known: do not trust the figures.")
        };
        page.paragraph(2, style, text);
    }
    if loss.unknown_free > 0 {
        page.paragraph(
            2,
            Style::Dim,
            format!(
                "Frees of blocks unknown to memmgr, mostly older than the attach{}: {}; no loss by itself.",
                if report.capture.observed.is_some() { " or allocated between windows" } else { "" },
                words::count(loss.unknown_free)
            ),
        );
    }
    if loss.hidden_free > 0 {
        let text = format!(
            "Frees between windows, known because their address was handed out again: {}; no loss.",
            words::count(loss.hidden_free)
        );
        page.paragraph(2, Style::Dim, text);
    }
}

#[cfg(test)]
mod tests;
