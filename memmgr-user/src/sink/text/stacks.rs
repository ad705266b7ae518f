//! The table of stacks: who holds the memory.

use std::collections::HashSet;

use super::page::{Columns, Page, Style, cut_middle, cut_start};
use crate::escape::Safe;
use crate::report::{Frame, Report, Stack, Totals};
use crate::sink::{Class, Metric, RenderOptions, moments, words};
use crate::units::human_bytes;
use unicode_width::UnicodeWidthStr;

/// Frames below a row at most; the leaf's side is what one can act on.
const FRAMES_MAX: usize = 12;
/// Blanks before a frame.
const INDENT: usize = 6;
/// A function's name is given at least this many columns before its place is cut.
const FUNCTION_WIDTH_MIN: usize = 36;

/// The section about one class of memory; nothing at all when the class never appeared.
pub(super) fn section(page: &mut Page, report: &Report, options: &RenderOptions, class: Class) {
    let totals = moments::totals(report, class);
    let metric = options.metric;
    let mut stacks: Vec<&Stack> =
        class.stacks(report).filter(|stack| metric.of(stack) > 0).collect();
    stacks.sort_by_key(|stack| (std::cmp::Reverse(metric.of(stack)), stack.id));
    let seen = totals.alloc_count > 0 || class.stacks(report).next().is_some();
    if class != Class::main_of(report) && !seen {
        return;
    }

    page.heading(match (class, metric) {
        (Class::Heap, Metric::InuseSpace | Metric::InuseObjects) => "Outstanding heap by stack",
        (Class::Heap, _) => "Heap allocations by stack",
        (Class::Resident, Metric::InuseSpace | Metric::InuseObjects) => {
            "Resident memory by the stack that touched it first"
        }
        (Class::Resident, _) => "Pages by the stack that touched them first, gone or not",
        (Class::Mapping, Metric::InuseSpace | Metric::InuseObjects) => {
            "Outstanding mappings by stack (not part of the heap figures: never add the two)"
        }
        (Class::Mapping, _) => {
            "Mappings made by stack (not part of the heap figures: never add the two)"
        }
        (Class::FileMapping, _) => "Files mapped by stack (address space, not part of the heap)",
    });
    if stacks.is_empty() {
        page.paragraph(2, Style::Plain, nothing(report, totals, class, metric));
    } else {
        table(page, report, options, &stacks, class);
    }
    outside_of_stacks(page, report, totals, class);
}

/// Why there is no row.
fn nothing(report: &Report, totals: &Totals, class: Class, metric: Metric) -> String {
    let (what, unit) = match class {
        Class::Resident => ("No page was touched for the first time", "page"),
        _ => ("No allocation was seen", "block"),
    };
    let estimate = if report.capture.estimates() {
        " Only samples were taken: a few small blocks may be there all the same."
    } else {
        ""
    };
    match metric {
        _ if totals.alloc_count == 0 => {
            format!("{what} in {}.{estimate}", words::span(report.duration_s))
        }
        Metric::InuseSpace | Metric::InuseObjects => format!(
            "Nothing is outstanding: all allocated since the attach ({}) was freed.{estimate}",
            words::counted(totals.alloc_count, unit)
        ),
        _ => "No stack was kept.".to_owned(),
    }
}

/// Outstanding bytes that no stack of the report accounts for: said, never left out.
fn outside_of_stacks(page: &mut Page, report: &Report, totals: &Totals, class: Class) {
    let held = class.stacks(report).fold(0, |sum: u64, stack| sum.saturating_add(stack.live_bytes));
    // A recording keeps the estimates of every interval, stack and size in whole bytes.
    let sizes = || class.stacks(report).map(|stack| stack.sizes.len() + 1).sum::<usize>();
    let recordings = report.processes.len().max(1);
    let rounding = if report.capture.estimates() {
        (sizes() * (report.timeline.len() + 1) * recordings) as u64
    } else {
        0
    };
    if report.capture.filter.hides() {
        let hidden = human_bytes(totals.live_bytes.saturating_sub(held));
        page.paragraph(
            2,
            Style::Dim,
            format!("{hidden} more are outstanding in blocks that --min-age or --min-size hides."),
        );
    } else if totals.live_bytes > held.saturating_add(rounding) {
        page.paragraph(
            2,
            Style::Warn,
            format!(
                "{} more are outstanding that belong to no stack of this report.",
                human_bytes(totals.live_bytes - held)
            ),
        );
    }
}

fn table(
    page: &mut Page,
    report: &Report,
    options: &RenderOptions,
    stacks: &[&Stack],
    class: Class,
) {
    let metric = options.metric;
    let sum = |stacks: &[&Stack]| {
        stacks.iter().fold(0, |sum: u64, stack| sum.saturating_add(metric.of(stack)))
    };
    let total = sum(stacks);
    let shown = &stacks[..stacks.len().min(options.top)];
    let mut rows = vec![header(metric, class)];
    let figures: Vec<(u64, u64)> = shown.iter().map(|stack| estimate(metric, stack)).collect();
    let ranked = shown.iter().zip(words::estimates(&figures)).enumerate();
    rows.extend(ranked.map(|(i, (stack, bytes))| cells(metric, i + 1, stack, bytes, total)));
    let columns = Columns::of(&rows);
    let allocators = allocator_functions(report);

    page.row(&[(Style::Dim, columns.line(&rows[0]).into())]);
    for (row, stack) in rows[1..].iter().zip(shown) {
        page.row(&[(Style::Bold, columns.line(row).into())]);
        finding(page, report, stack);
        few_samples(page, metric, stack);
        frames(page, stack, &allocators);
    }
    let rest = &stacks[shown.len()..];
    if !rest.is_empty() {
        page.paragraph(
            2,
            Style::Dim,
            format!(
                "… {} not shown: {} ({}).",
                words::counted(rest.len() as u64, "stack"),
                metric.amount(sum(rest)),
                words::share(sum(rest), total)
            ),
        );
    }
}

fn header(metric: Metric, class: Class) -> [String; 7] {
    let [blocks, came, allocs] = match class {
        Class::Resident => ["pages", "touched", "touched"],
        _ => ["blocks", "allocated", "allocs"],
    };
    match metric {
        Metric::InuseSpace | Metric::InuseObjects => {
            ["#", "live", "share", blocks, "average", allocs, "age min/med/max"]
        }
        Metric::AllocSpace | Metric::AllocObjects => {
            ["#", came, "share", allocs, "average", "live", blocks]
        }
    }
    .map(str::to_owned)
}

/// The bytes that a row begins with, and their standard error.
fn estimate(metric: Metric, stack: &Stack) -> (u64, u64) {
    match metric {
        Metric::InuseSpace | Metric::InuseObjects => (stack.live_bytes, stack.live_bytes_error),
        Metric::AllocSpace | Metric::AllocObjects => (stack.alloc_bytes, stack.alloc_bytes_error),
    }
}

fn cells(metric: Metric, rank: usize, stack: &Stack, shown: String, total: u64) -> [String; 7] {
    let (bytes, _) = estimate(metric, stack);
    let count = match metric {
        Metric::InuseSpace | Metric::InuseObjects => stack.live_count,
        Metric::AllocSpace | Metric::AllocObjects => stack.alloc_count,
    };
    let (second_last, last) = match metric {
        Metric::InuseSpace | Metric::InuseObjects => (
            words::count(stack.alloc_count),
            stack.age_s.as_ref().map_or("-".to_owned(), |age| {
                [age.min, age.median, age.max].map(words::span).join("/")
            }),
        ),
        Metric::AllocSpace | Metric::AllocObjects => {
            (human_bytes(stack.live_bytes), words::count(stack.live_count))
        }
    };
    [
        rank.to_string(),
        shown,
        words::share(metric.of(stack), total),
        words::count(count),
        bytes.checked_div(count).map_or("-".to_owned(), human_bytes),
        second_last,
        last,
    ]
}

/// Beyond this share of a figure its margin says little: fewer than ten samples of small blocks.
const ROUGH: f64 = 0.63;

/// An estimate from a handful of samples says so.
fn few_samples(page: &mut Page, metric: Metric, stack: &Stack) {
    let outstanding = matches!(metric, Metric::InuseSpace | Metric::InuseObjects);
    if outstanding && 2.0 * stack.live_bytes_error as f64 > ROUGH * stack.live_bytes as f64 {
        let samples = words::counted(stack.live_samples, "sample");
        page.row(&[
            (Style::Plain, Safe::text(&" ".repeat(INDENT))),
            (Style::Warn, format!("rough: estimated from {samples}").into()),
        ]);
    }
}

/// A judgement about this stack, if there is one.
fn finding(page: &mut Page, report: &Report, stack: &Stack) {
    if let Some(finding) = stack.finding.and_then(|index| report.findings.get(index as usize)) {
        page.paragraph(
            INDENT,
            super::verdict::severity_style(&finding.severity),
            format!("{}: {}, see the verdict", finding.severity, finding.shape),
        );
    }
}

/// The frames of a stack, leaf first, without those of the allocator.
pub(super) fn frames(page: &mut Page, stack: &Stack, allocators: &HashSet<&str>) {
    let inside = stack.frames.iter().take_while(|frame| is_allocator(frame, allocators)).count();
    // An allocator that allocates for itself has nothing else to show.
    let inside = if inside == stack.frames.len() { 0 } else { inside };
    let indent = || (Style::Plain, Safe::text(&" ".repeat(INDENT)));
    if inside > 0 {
        let via: Vec<&str> =
            stack.frames[..inside].iter().filter_map(|frame| frame.function.as_deref()).collect();
        page.row(&[indent(), (Style::Dim, format!("via {}", via.join(", ")).into())]);
    }
    let useful = &stack.frames[inside..];
    for frame in useful.iter().take(FRAMES_MAX) {
        let (function, place) = frame_text(page, frame);
        let style = if frame.function.is_some() { Style::Plain } else { Style::Dim };
        page.row(&[indent(), (style, function), (Style::Dim, place)]);
    }
    if useful.len() > FRAMES_MAX {
        let more = useful.len() - FRAMES_MAX;
        page.row(&[indent(), (Style::Dim, format!("… {more} more").into())]);
    }
    let cut = match stack.cut.as_deref() {
        None if stack.frames.is_empty() => "[stack lost]: no stack was taken".to_owned(),
        None => return,
        Some("truncated") => "[truncated]: the callers beyond are not known".to_owned(),
        Some("missing") => "[stack lost]: no stack was taken".to_owned(),
        Some(other) => format!("[{other}]"),
    };
    page.row(&[indent(), (Style::Warn, cut.into())]);
}

/// The function, and the place behind it, so that both fit.
fn frame_text(page: &Page, frame: &Frame) -> (Safe, Safe) {
    let function = match (&frame.function, &frame.reason) {
        (Some(function), _) => function.clone(),
        (None, Some(reason)) => format!("?? ({reason})"),
        (None, None) => "??".to_owned(),
    };
    let (function, mark) = (Safe::from(function), if frame.inlined { " (inlined)" } else { "" });
    let [longest, .., shortest] = places(frame);
    let (function, place) = match page.room(INDENT + mark.len()) {
        None => (function, longest),
        Some(room) => {
            let wanted = function.as_str().width();
            let place = places(frame)
                .into_iter()
                .find(|place| place.as_str().width() + wanted <= room)
                .unwrap_or_else(|| {
                    cut_start(&shortest, room - wanted.min(FUNCTION_WIDTH_MIN).min(room))
                });
            (cut_middle(&function, room - place.as_str().width()), place)
        }
    };
    (Safe::from(format!("{function}{mark}")), place)
}

/// `  module  file:line` from the longest form to the shortest; the offset in the module where there
/// is no name for it. Addresses of code without a file mean nothing outside of the process and are
/// only in the JSON report.
fn places(frame: &Frame) -> [Safe; 4] {
    let module = match (&frame.module, &frame.function) {
        (Some(module), Some(_)) => format!("  {}", words::base_name(module)),
        (Some(module), None) => format!("  {}+{:#x}", words::base_name(module), frame.address),
        (None, _) => String::new(),
    };
    let Some(file) = frame.file.as_deref() else {
        return std::array::from_fn(|_| Safe::text(&module));
    };
    let line = frame.line.map_or(String::new(), |line| format!(":{line}"));
    let base = words::base_name(file);
    let folder = words::base_name(file.strip_suffix(base).unwrap_or(""));
    let near = if folder.is_empty() { base.to_owned() } else { format!("{folder}/{base}") };
    [
        format!("{module}  {file}{line}"),
        format!("{module}  {near}{line}"),
        format!("{module}  {base}{line}"),
        format!("  {base}{line}"),
    ]
    .map(Safe::from)
}

/// The names of all probed functions, aliases too.
pub(in crate::sink) fn allocator_functions(report: &Report) -> HashSet<&str> {
    let functions = report.target.allocators.iter().flat_map(|allocator| &allocator.functions);
    functions.flat_map(|function| function.symbol.split('=')).collect()
}

/// True for the allocator itself and for the thin layer of a language above it, which everyone calls
/// and nobody can act on.
pub(in crate::sink) fn is_allocator(frame: &Frame, allocators: &HashSet<&str>) -> bool {
    const LAYERS: [&str; 10] = [
        "operator new",
        "std::allocator",
        "std::__new_allocator",
        "__gnu_cxx::new_allocator",
        "__rust_alloc",
        "__rust_realloc",
        "__rdl_",
        "alloc::alloc::",
        "<alloc::alloc::Global",
        "__libc_malloc",
    ];
    frame.function.as_deref().is_some_and(|function| {
        allocators.contains(function) || LAYERS.iter().any(|layer| function.starts_with(layer))
    })
}
