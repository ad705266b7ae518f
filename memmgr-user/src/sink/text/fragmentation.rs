//! What is outstanding on which resident pages.

use super::page::{Columns, Page, Style};
use crate::{
    report::{Area, Fragmentation, Report},
    sink::words,
    units::human_bytes,
};

/// Mappings and stacks that are shown.
const SHOWN: usize = 5;

pub(super) fn fragmentation(page: &mut Page, report: &Report) {
    if let Some(found) = &report.fragmentation {
        section(page, found);
    }
}

pub(super) fn section(page: &mut Page, found: &Fragmentation) {
    let all = found.total;
    if all.resident_bytes == 0 {
        return;
    }
    page.heading("Fragmentation: pages of the heap by what is outstanding on them");
    let share = |bytes: u64| words::share(bytes, all.resident_bytes);
    page.field("resident", human_bytes(all.resident_bytes));
    page.field(
        "outstanding",
        format!("{}, {}", human_bytes(all.live_bytes), share(all.live_bytes)),
    );
    let empty = if found.from_start {
        "no block is on them: the allocator keeps them"
    } else {
        "no block that was allocated since the attach is on them: older ones, or none"
    };
    page.field(
        "empty pages",
        format!("{}, {}; {empty}", human_bytes(all.empty_bytes), share(all.empty_bytes)),
    );
    page.field(
        "sparse pages",
        format!(
            "{}, {}; less than a quarter of each is outstanding, {} in all: these blocks keep {} from being given back",
            human_bytes(all.sparse_bytes),
            share(all.sparse_bytes),
            human_bytes(all.sparse_live_bytes),
            human_bytes(all.pinned_bytes()),
        ),
    );
    let pinning = found.pinned_by.iter().take(SHOWN);
    for (at, pinning) in pinning.enumerate() {
        let text = format!(
            "{}: {} kept by {}",
            pinning.subject,
            words::counted(pinning.pages, "page"),
            human_bytes(pinning.live_bytes)
        );
        page.styled_field(if at == 0 { "kept by" } else { "" }, Style::Plain, text);
    }
    mappings(page, &found.mappings);
}

fn mappings(page: &mut Page, areas: &[Area]) {
    if areas.len() < 2 {
        return;
    }
    let mut rows = vec![["resident", "outstanding", "empty", "sparse"].map(str::to_owned)];
    let shown = areas.iter().take(SHOWN);
    rows.extend(shown.clone().map(|area| {
        let pages = &area.pages;
        [pages.resident_bytes, pages.live_bytes, pages.empty_bytes, pages.sparse_bytes]
            .map(human_bytes)
    }));
    let columns = Columns::of(&rows);
    page.row(&[(Style::Dim, format!("  {}  mapping", columns.line(&rows[0])).into())]);
    for (area, row) in shown.zip(&rows[1..]) {
        let line =
            format!("  {}  {:x}-{:x} {}", columns.line(row), area.start, area.end, area.name);
        page.row(&[(Style::Plain, line.into())]);
    }
}
