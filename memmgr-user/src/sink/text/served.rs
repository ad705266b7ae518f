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
        let estimated = report.capture.estimates() || !report.capture.complete;
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
        let about = if estimated { "about " } else { "" };
        // A call can be made for several allocations; and there may be more calls.
        let bound = match (&served.uncounted, served.kernel_calls) {
            (Some(_), _) => "at most ",
            (None, 1..) if !estimated => "at least ",
            (None, _) => "",
        };
        let least = format!("{bound}{about}");
        let of = words::counted(served.allocations, "allocation");
        let hits = served.allocations.saturating_sub(served.kernel_calls);
        let text = if served.uncounted.is_some() && served.kernel_calls == 0 {
            format!("not known, of {about}{of}")
        } else {
            format!("{least}{} of {about}{of}{}", words::rate(hit_rate), rate(hits))
        };
        page.field("hits", text);
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
    let least = if served.uncounted.is_some() { "at least " } else { "" };
    page.field(
        "misses",
        match served.kernel_calls {
            0 if served.uncounted.is_some() => "none was seen".to_owned(),
            0 => "none: the allocator took no memory of the kernel".to_owned(),
            calls => format!(
                "{least}{}{ways}{} for {}{returned}",
                words::counted(calls, "call"),
                rate(calls),
                human_bytes(served.kernel_bytes)
            ),
        },
    );
    let subjects = by_subject(served);
    for (at, subject) in subjects.iter().take(NAMED).enumerate() {
        let calls = words::counted(subject.calls, "call");
        let stacks = if subject.stacks > 1 {
            format!(", by {} stacks", words::count(subject.stacks))
        } else {
            String::new()
        };
        let text = format!("{}: {calls} for {}{stacks}", subject.name, human_bytes(subject.bytes));
        page.styled_field(if at == 0 { "for" } else { "" }, Style::Plain, text);
    }
    let more = subjects.len().saturating_sub(NAMED);
    if more > 0 {
        let more = words::counted(more as u64, "more function");
        page.styled_field("", Style::Dim, format!("… and {more}"));
    }
    if let Some(uncounted) = &served.uncounted {
        page.styled_field("", Style::Dim, uncounted.clone());
    }
}

/// The misses of one function.
struct Subject<'a> {
    name: &'a str,
    calls: u64,
    bytes: u64,
    stacks: u64,
}

/// The stacks that made most calls by the function to look at, most calls first.
fn by_subject(served: &Served) -> Vec<Subject<'_>> {
    let mut subjects: Vec<Subject<'_>> = Vec::new();
    for missing in &served.stacks {
        let name = missing.subject.as_str();
        let at = subjects.iter().position(|subject| subject.name == name).unwrap_or_else(|| {
            subjects.push(Subject { name, calls: 0, bytes: 0, stacks: 0 });
            subjects.len() - 1
        });
        subjects[at].calls += missing.calls;
        subjects[at].bytes += missing.bytes;
        subjects[at].stacks += 1;
    }
    subjects.sort_by_key(|subject| std::cmp::Reverse(subject.calls));
    subjects
}

/// The window with the lowest share of hits, where it is lower than that of all.
fn lowest(served: &Served) -> Option<(usize, f64)> {
    let rates = served.rates().enumerate().filter_map(|(at, rate)| Some((at, rate?)));
    let lowest = rates.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (lowest.1 < served.hit_rate?).then_some(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Missing;

    /// How hits and misses begin.
    fn check(calls: u64, estimated: bool, uncounted: bool, hits: &str, misses: &str) {
        let served = Served {
            allocations: 1000,
            kernel_calls: calls,
            hit_rate: Some(1.0 - calls as f64 / 1000.0),
            uncounted: uncounted.then(|| "some are not counted".to_owned()),
            ..Served::default()
        };
        let mut page = Page::new(false, None);
        section(&mut page, &served, 10.0, &[], estimated);
        let text = page.finish();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.trim_start().trim_start_matches(name).trim_start().to_owned()
        };
        for (name, expected) in [("hits", hits), ("misses", misses)] {
            assert!(field(name).starts_with(expected), "{calls} {estimated} {uncounted}: {text}");
        }
    }

    #[test]
    fn figures_are_bounds_where_calls_are_not_counted() {
        check(50, false, false, "at least 95.00 % of 1,000", "50 calls");
        check(50, false, true, "at most 95.00 % of 1,000", "at least 50 calls");
        check(50, true, false, "about 95.00 % of about 1,000", "50 calls");
        check(50, true, true, "at most about 95.00 %", "at least 50 calls");
        check(0, false, false, "all of 1,000", "none: the allocator");
        check(0, true, true, "not known, of about 1,000", "none was seen");
    }

    #[test]
    fn stacks_of_a_function_are_one_line() {
        let missing = |stack, subject: &str, calls, bytes| Missing {
            stack,
            subject: subject.to_owned(),
            calls,
            bytes,
        };
        let stacks =
            vec![missing(1, "load", 5, 50), missing(2, "index", 4, 9), missing(3, "index", 3, 1)];
        let served = Served { stacks, ..Served::default() };
        let told: Vec<_> =
            by_subject(&served).iter().map(|s| (s.name, s.calls, s.bytes, s.stacks)).collect();
        assert_eq!(told, [("index", 7, 10, 2), ("load", 5, 50, 1)]);
    }
}
