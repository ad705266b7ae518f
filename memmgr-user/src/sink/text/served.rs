//! Where the memory of allocations came from.

use super::page::{Page, Style};
use crate::{
    report::{Report, Served},
    sink::words,
    units::human_bytes,
};

/// Stacks that are named.
const NAMED: usize = 5;

pub(super) fn served(page: &mut Page, report: &Report) {
    if let Some(served) = &report.served {
        let estimated = report.capture.estimates();
        section(page, served, report.duration_s, &report.windows_s, estimated);
    }
}

/// Over so many seconds, of which the windows end at those; `estimated` says that allocations are.
pub(super) fn section(
    page: &mut Page,
    served: &Served,
    duration_s: f64,
    windows_s: &[f64],
    estimated: bool,
) {
    page.heading("Hit and miss: allocations without and with a call to the kernel");
    let rate = |count: u64| {
        words::per_second(count, duration_s)
            .map_or_else(String::new, |rate| format!(", {}/s", words::count(rate)))
    };
    if let Some(hit_rate) = served.hit_rate {
        let estimated = if estimated { "about " } else { "" };
        let of = words::counted(served.allocations, "allocation");
        let hits = served.allocations.saturating_sub(served.kernel_calls);
        page.field(
            "hits",
            format!("at least {} of {estimated}{of}{}", words::rate(hit_rate), rate(hits)),
        );
        if let Some((window, lowest)) = lowest(served) {
            let end = windows_s.get(window).copied().unwrap_or(duration_s);
            let begin = window.checked_sub(1).and_then(|before| windows_s.get(before));
            let begin = begin.copied().unwrap_or(0.0);
            page.field(
                "",
                format!(
                    "lowest {}, from {} to {}",
                    words::rate(lowest),
                    words::span(begin),
                    words::span(end)
                ),
            );
        }
    }
    let ways: Vec<String> =
        served.ways.iter().map(|way| format!("{} {}", words::count(way.calls), way.name)).collect();
    let ways = if ways.len() > 1 { format!(" ({})", ways.join(", ")) } else { String::new() };
    let returned = match served.returned_bytes {
        0 => String::new(),
        bytes => format!(", {} given back", human_bytes(bytes)),
    };
    page.field(
        "misses",
        match served.kernel_calls {
            0 => "none: the allocator took no memory of the kernel".to_owned(),
            calls => format!(
                "{}{ways}{} for {}{returned}",
                words::counted(calls, "call"),
                rate(calls),
                human_bytes(served.kernel_bytes)
            ),
        },
    );
    for (at, missing) in served.stacks.iter().take(NAMED).enumerate() {
        let calls = words::counted(missing.calls, "call");
        let text = format!("{}: {calls} for {}", missing.subject, human_bytes(missing.bytes));
        page.styled_field(if at == 0 { "for" } else { "" }, Style::Plain, text);
    }
    let more = served.stacks.len().saturating_sub(NAMED);
    if more > 0 {
        page.styled_field(
            "",
            Style::Dim,
            format!("… and {}", words::counted(more as u64, "more stack")),
        );
    }
}

/// The window with the lowest share of hits, where it is lower than that of all.
fn lowest(served: &Served) -> Option<(usize, f64)> {
    let rates = served.rates().enumerate().filter_map(|(at, rate)| Some((at, rate?)));
    let lowest = rates.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (lowest.1 < served.hit_rate?).then_some(lowest)
}
