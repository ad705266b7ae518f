//! A comparison for a terminal: what is compared, whether that is fair, how much changed, and who did it.

use std::collections::HashSet;

use super::page::{Columns, Page, Style, cut_middle};
use super::{stacks, verdict::severity_style};
use crate::diff::{Diff, FindingChange, Relation, Share, Side, StackChange, Status};
use crate::escape::Safe;
use crate::sink::diff::{View, as_stack, figure, gauge, percent, signed, targets};
use crate::sink::{Class, Metric, RenderOptions, words};
use crate::units::human_bytes;

/// Blanks before what stands below a row.
const INDENT: usize = 6;

/// The whole comparison.
pub(in crate::sink) fn render(diff: &Diff, options: &RenderOptions) -> String {
    let mut page = Page::new(options.color, options.width);
    let view = View::new(diff, options.metric);
    head(&mut page, diff);
    cautions(&mut page, diff);
    totals(&mut page, diff);
    if view.scale != 1.0 {
        page.paragraph(
            2,
            Style::Dim,
            format!(
                "The captures lasted differently: below, the first side's figures are multiplied by {:.3}.",
                view.scale
            ),
        );
    }
    findings(&mut page, diff);
    for class in Class::ALL {
        section(&mut page, &view, options, class);
    }
    functions(&mut page, &view, options);
    files(&mut page, &view, options);
    sizes(&mut page, &view);
    page.finish()
}

fn head(page: &mut Page, diff: &Diff) {
    page.paragraph(0, Style::Bold, targets(diff));
    page.field("before", side(&diff.before));
    page.field("after", side(&diff.after));
    let relation = match diff.relation {
        Relation::OneCapture => {
            let apart = diff.after.duration_s - diff.before.duration_s;
            format!("two moments of one capture, {} apart", words::span(apart.abs()))
        }
        Relation::OneProcess => "two captures of one process".to_owned(),
        Relation::OneProgram => "two processes of one program".to_owned(),
        Relation::Different => "two programs".to_owned(),
    };
    page.field("compared", relation);
}

/// `30.0s until 2026-03-04T05:06:07Z, sample 512.0 KiB, complete`
fn side(side: &Side) -> String {
    let mode = match (side.mode.as_str(), side.sample_interval_bytes) {
        ("", _) => "unknown mode".to_owned(),
        (mode, 0) => mode.to_owned(),
        (mode, interval) => format!("{mode} {}", human_bytes(interval)),
    };
    let complete = if side.complete { "complete" } else { "incomplete" };
    let until = match side.captured_at.as_str() {
        "" => String::new(),
        time => format!(" until {time}"),
    };
    format!("{}{until}, {mode}, {complete}", words::span(side.duration_s))
}

fn cautions(page: &mut Page, diff: &Diff) {
    if diff.cautions.is_empty() {
        return;
    }
    page.heading("Compare with caution");
    for caution in &diff.cautions {
        page.paragraph(2, Style::Warn, caution.as_str());
    }
}

/// How much changed over all.
fn totals(page: &mut Page, diff: &Diff) {
    let bytes = |name: &str, before: u64, after: u64, change: i64| {
        [
            name.to_owned(),
            human_bytes(before),
            human_bytes(after),
            signed(change, human_bytes),
            percent(before, change),
        ]
    };
    let heap = &diff.totals;
    let mut rows = vec![["", "before", "after", "change", ""].map(str::to_owned)];
    rows.push(bytes(
        "heap outstanding",
        heap.before.live_bytes,
        heap.after.live_bytes,
        heap.delta.live_bytes,
    ));
    rows.push([
        "heap blocks".to_owned(),
        words::count(heap.before.live_count),
        words::count(heap.after.live_count),
        signed(heap.delta.live_count, words::count),
        percent(heap.before.live_count, heap.delta.live_count),
    ]);
    let rates = [heap.before, heap.after].map(|side| side.alloc_bytes_per_s);
    if let ([Some(before), Some(after)], Some(change)) = (rates, heap.delta.alloc_bytes_per_s) {
        let (before, after) = (before.round() as u64, after.round() as u64);
        rows.push(bytes("heap allocated/s", before, after, change.round() as i64));
    }
    let others = [
        ("touched and resident", &diff.resident),
        ("mapped", &diff.mapped),
        ("files mapped", &diff.file_mapped),
    ];
    for (name, class) in others {
        let (before, after) = (class.before.live_bytes, class.after.live_bytes);
        if before > 0 || after > 0 {
            rows.push(bytes(name, before, after, class.delta.live_bytes));
        }
    }
    for (name, known) in [("RSS", &diff.rss_bytes), ("cgroup", &diff.cgroup_bytes)] {
        if let Some((before, after, change)) = gauge(known) {
            rows.push(bytes(name, before, after, change));
        }
    }
    // Columns are set to the right; names belong to the left.
    let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
    for row in &mut rows {
        row[0] = format!("{:<width$}", row[0]);
    }
    let columns = Columns::of(&rows);
    page.heading("Totals");
    for (i, row) in rows.iter().enumerate() {
        let style = if i == 0 { Style::Dim } else { Style::Plain };
        page.row(&[(style, format!("  {}", columns.line(row).trim_end()).into())]);
    }
    if let Some(kept) = heap.kept {
        page.field(
            "kept",
            format!(
                "{} in {}, allocated after the first and outstanding at the second",
                human_bytes(kept.bytes),
                words::counted(kept.count, "block")
            ),
        );
    }
}

fn findings(page: &mut Page, diff: &Diff) {
    for (appeared, heading) in [(true, "Findings that appeared"), (false, "Findings that are gone")]
    {
        let changes: Vec<&FindingChange> =
            diff.findings.iter().filter(|change| change.appeared == appeared).collect();
        if changes.is_empty() {
            continue;
        }
        page.heading(heading);
        for change in changes {
            let finding = &change.finding;
            let words = [&finding.kind, finding.subject.as_deref().unwrap_or(""), &finding.shape];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let style = if appeared { severity_style(&finding.severity) } else { Style::Good };
            page.paragraph(
                2,
                style,
                format!(
                    "{}: {} (score {:.0} of 100)",
                    finding.severity,
                    words.join(", "),
                    finding.score
                ),
            );
            if appeared {
                for sentence in &finding.evidence {
                    page.paragraph(4, Style::Plain, sentence.as_str());
                }
            }
        }
    }
}

/// What changed in one class of memory; classes without any stack are left out.
fn section(page: &mut Page, view: &View<'_>, options: &RenderOptions, class: Class) {
    let (changed, still) = view.changed(class);
    if changed.is_empty() && still == 0 && class != Class::Heap {
        return;
    }
    page.heading(heading(view, class));
    if changed.is_empty() {
        let stacks = words::counted(still as u64, "stack");
        let sentence = match (still, view.kept) {
            (0, _) => "Nothing to compare: neither side has a stack.".to_owned(),
            (_, true) => "Nothing: all that was allocated after the first was freed by the second."
                .to_owned(),
            (1, _) => {
                "Nothing changed: the one stack has the same figure on both sides.".to_owned()
            }
            _ => format!("Nothing changed: all {stacks} have the same figures on both sides."),
        };
        page.paragraph(2, Style::Good, sentence);
        return;
    }
    table(page, view, options, &changed);
    if still > 0 {
        let stacks = words::counted(still as u64, "more stack");
        page.paragraph(2, Style::Dim, format!("{stacks} did not change."));
    }
}

fn heading(view: &View<'_>, class: Class) -> String {
    let what = match class {
        Class::Heap => "heap",
        Class::Resident => {
            "pages by the stack that touched them first (never add them to the heap)"
        }
        Class::Mapping => "mappings (not part of the heap: never add the two)",
        Class::FileMapping => "mapped files (address space, not part of the heap)",
    };
    match (view.kept, view.metric) {
        (true, _) => {
            format!("Kept by stack, allocated after the first and not freed by the second: {what}")
        }
        (_, Metric::InuseSpace | Metric::InuseObjects) => {
            format!("Change by stack, outstanding {what}")
        }
        _ => format!("Change by stack, allocated {what}"),
    }
}

fn table(page: &mut Page, view: &View<'_>, options: &RenderOptions, changed: &[&StackChange]) {
    let allocators: HashSet<&str> =
        view.diff.allocator_functions.iter().map(String::as_str).collect();
    let shown = &changed[..changed.len().min(options.top)];
    let mut rows = vec![header(view)];
    rows.extend(shown.iter().enumerate().map(|(i, stack)| cells(view, i + 1, stack)));
    let columns = Columns::of(&rows);
    page.row(&[(Style::Dim, columns.line(&rows[0]).into())]);
    for (row, stack) in rows[1..].iter().zip(shown) {
        page.row(&[(style(view, stack), columns.line(row).into())]);
        if noisy(view, stack) {
            let error = human_bytes((2.0 * stack.standard_error_bytes) as u64);
            let text = format!("within the noise of the samples (±{error})");
            page.paragraph(INDENT, Style::Warn, text);
        }
        stacks::frames(page, &as_stack(stack), &allocators);
    }
    let rest = &changed[shown.len()..];
    if !rest.is_empty() {
        let sum =
            rest.iter().fold(0, |sum: i64, stack| sum.saturating_add(view.moved(&stack.change)));
        page.paragraph(
            2,
            Style::Dim,
            format!(
                "… {} not shown: {} together.",
                words::counted(rest.len() as u64, "changed stack"),
                signed(sum, figure(view.metric))
            ),
        );
    }
}

fn header(view: &View<'_>) -> [String; 6] {
    let moved = if view.kept { "kept" } else { "change" };
    let beside = match view.metric {
        Metric::InuseSpace => "blocks",
        Metric::AllocSpace => "allocs",
        Metric::InuseObjects | Metric::AllocObjects => "bytes",
    };
    ["#", moved, "before", "after", beside, "status"].map(str::to_owned)
}

fn cells(view: &View<'_>, rank: usize, stack: &StackChange) -> [String; 6] {
    let change = &stack.change;
    let show = figure(view.metric);
    let (beside, unit) = match view.metric {
        Metric::InuseSpace => (Metric::InuseObjects, "count"),
        Metric::InuseObjects => (Metric::InuseSpace, "bytes"),
        Metric::AllocSpace => (Metric::AllocObjects, "count"),
        Metric::AllocObjects => (Metric::AllocSpace, "bytes"),
    };
    let beside = View { diff: view.diff, metric: beside, ..*view }.moved(change);
    [
        rank.to_string(),
        signed(view.moved(change), show),
        show(view.before(change)),
        show(view.after(change)),
        if unit == "count" { signed(beside, words::count) } else { signed(beside, human_bytes) },
        status(view, stack).to_owned(),
    ]
}

/// The status by the metric that is shown.
fn status(view: &View<'_>, stack: &StackChange) -> &'static str {
    Status::of(view.before(&stack.change), view.after(&stack.change)).name()
}

fn noisy(view: &View<'_>, stack: &StackChange) -> bool {
    let outstanding = matches!(view.metric, Metric::InuseSpace | Metric::InuseObjects);
    outstanding && !view.kept && stack.within_noise
}

fn style(view: &View<'_>, stack: &StackChange) -> Style {
    match view.moved(&stack.change) {
        _ if noisy(view, stack) => Style::Plain,
        1.. => Style::Bad,
        _ => Style::Good,
    }
}

/// Which half of a share a metric is about, as (total, self).
fn halves<T: Copy>(metric: Metric, share: &Share<T>) -> (T, T) {
    match metric {
        Metric::InuseSpace | Metric::InuseObjects => {
            (share.total_live_bytes, share.self_live_bytes)
        }
        Metric::AllocSpace | Metric::AllocObjects => {
            (share.total_alloc_bytes, share.self_alloc_bytes)
        }
    }
}

/// One line of a table by name: before, after, the change, the change in itself.
struct Line<'a> {
    before: u64,
    after: u64,
    total: i64,
    own: i64,
    name: &'a str,
    place: &'a str,
}

fn functions(page: &mut Page, view: &View<'_>, options: &RenderOptions) {
    let lines = view.diff.functions.iter().map(|function| {
        let (total, own) = halves(view.metric, &function.delta);
        Line {
            before: halves(view.metric, &function.before).0,
            after: halves(view.metric, &function.after).0,
            total,
            own,
            name: &function.function,
            place: words::base_name(&function.module),
        }
    });
    by_name(page, options, ["Change by function", "function"], lines.collect());
}

fn files(page: &mut Page, view: &View<'_>, options: &RenderOptions) {
    let lines = view.diff.modules.iter().map(|module| {
        let (total, own) = halves(view.metric, &module.delta);
        Line {
            before: halves(view.metric, &module.before).0,
            after: halves(view.metric, &module.after).0,
            total,
            own,
            name: &module.path,
            place: "",
        }
    });
    by_name(page, options, ["Change by file", "file"], lines.collect());
}

fn by_name(
    page: &mut Page,
    options: &RenderOptions,
    [title, kind]: [&str; 2],
    mut lines: Vec<Line<'_>>,
) {
    lines.retain(|line| line.total != 0 || line.own != 0);
    if lines.is_empty() {
        return;
    }
    lines.sort_by_key(|line| {
        std::cmp::Reverse((line.total.unsigned_abs(), line.own.unsigned_abs()))
    });
    page.heading(title);
    let shown = &lines[..lines.len().min(options.top)];
    let mut rows = vec![["total change", "self change", "before", "after"].map(str::to_owned)];
    rows.extend(shown.iter().map(|line| {
        [
            signed(line.total, human_bytes),
            signed(line.own, human_bytes),
            human_bytes(line.before),
            human_bytes(line.after),
        ]
    }));
    let columns = Columns::of(&rows);
    page.row(&[(Style::Dim, format!("{}  {kind}", columns.line(&rows[0])).into())]);
    for (row, line) in rows[1..].iter().zip(shown) {
        let numbers = columns.line(row) + "  ";
        let name = Safe::text(line.name);
        let name = match page.room(numbers.len()) {
            Some(room) => cut_middle(&name, room),
            None => name,
        };
        page.row(&[
            (Style::Plain, numbers.into()),
            (Style::Plain, name),
            (Style::Dim, format!("  {}", line.place).into()),
        ]);
    }
    if lines.len() > shown.len() {
        let more = words::count((lines.len() - shown.len()) as u64);
        page.paragraph(2, Style::Dim, format!("… {more} more"));
    }
}

fn sizes(page: &mut Page, view: &View<'_>) {
    let view = View { kept: false, diff: view.diff, ..*view };
    let changed = view.diff.sizes.iter().filter(|size| view.moved(&size.change) != 0);
    let show = figure(view.metric);
    let mut rows = vec![["blocks from", "change", "before", "after"].map(str::to_owned)];
    rows.extend(changed.map(|size| {
        [
            human_bytes(size.min_bytes),
            signed(view.moved(&size.change), show),
            show(view.before(&size.change)),
            show(view.after(&size.change)),
        ]
    }));
    if rows.len() == 1 {
        return;
    }
    let columns = Columns::of(&rows);
    page.heading("Change by size of the block");
    for (i, row) in rows.iter().enumerate() {
        let style = if i == 0 { Style::Dim } else { Style::Plain };
        page.row(&[(style, columns.line(row).into())]);
    }
}
