//! The host.

use super::{Page, Style, counters, pressure, sum, swap, table, words};
use crate::{
    stat::{fragmentation::Zone, host::HostStat},
    units::human_bytes,
};

pub(super) fn host(page: &mut Page, host: &HostStat) {
    let memory = &host.memory;
    page.paragraph(0, Style::Bold, "Host");
    let available = memory.available_bytes.unwrap_or(memory.free_bytes);
    let style = match percent(available, memory.total_bytes) {
        left if left < 5.0 => Style::Bad,
        left if left < 10.0 => Style::Warn,
        _ => Style::Plain,
    };
    page.styled_field(
        "memory",
        style,
        format!(
            "{} used of {}, {} available ({})",
            human_bytes(memory.used_bytes),
            human_bytes(memory.total_bytes),
            human_bytes(available),
            words::share(available, memory.total_bytes)
        ),
    );
    match swap(memory) {
        None => page.styled_field("swap", Style::Dim, "none"),
        Some(swap) => page.field("swap", swap),
    }
    if let Some(zswap) = host.zswap.as_ref().filter(|zswap| zswap.stored_bytes > 0) {
        page.field(
            "zswap",
            format!(
                "holds {} in {}",
                human_bytes(zswap.stored_bytes),
                human_bytes(zswap.pool_bytes)
            ),
        );
    }
    pressure(page, memory.pressure.as_ref());
    promised(page, host);
    if let Some(pages) = &host.huge_pages {
        page.field(
            "huge pages",
            format!(
                "{} of {}, {} free, {} of them promised, {} surplus",
                words::count(pages.total),
                human_bytes(pages.size_bytes),
                words::count(pages.free),
                words::count(pages.reserved),
                words::count(pages.surplus)
            ),
        );
    }
    let written = [("dirty", host.dirty_bytes), ("being written", host.writeback_bytes)]
        .map(|(what, bytes)| format!("{} {what}", human_bytes(bytes)));
    page.field(
        "file pages",
        format!("{}, {} mapped", written.join(", "), human_bytes(host.mapped_bytes)),
    );
    if let Some(locked) = host.unevictable_bytes.filter(|bytes| *bytes > 0) {
        page.field("unevictable", human_bytes(locked));
    }
    page.heading(format!("Where the {} are", human_bytes(memory.total_bytes)));
    sum(page, &host.lines);
    zones(page, &host.zones);
    if let Some(events) = counters(&host.events) {
        page.heading("Since boot");
        page.paragraph(2, Style::Plain, events);
    }
}

/// A limit on promises counts only where the kernel keeps it.
fn promised(page: &mut Page, host: &HostStat) {
    let promised = human_bytes(host.overcommit.committed_bytes);
    let limit = host.overcommit.limit_bytes;
    let text = match (host.overcommit.policy.as_deref(), limit) {
        (Some("never"), Some(limit)) => format!(
            "{promised} of {} ({}): beyond that allocations fail (vm.overcommit_memory=2)",
            human_bytes(limit),
            words::share(host.overcommit.committed_bytes, limit)
        ),
        (Some("always"), _) => format!("{promised}, without any check (vm.overcommit_memory=1)"),
        _ => format!("{promised}, without a fixed limit (vm.overcommit_memory=0)"),
    };
    page.field("promised", text);
}

fn zones(page: &mut Page, zones: &[Zone]) {
    if zones.is_empty() {
        return;
    }
    page.heading("Free blocks");
    let rows: Vec<([String; 4], String)> = zones
        .iter()
        .map(|zone| {
            let index = match zone.fragmentation_index {
                Some(index) => format!("{index:.3}"),
                None => "-".to_owned(),
            };
            let cells = [
                human_bytes(zone.free_bytes),
                words::count(zone.huge_pages_free()),
                format!("{:.1}%", zone.unusable_for_huge_pages * 100.0),
                index,
            ];
            (cells, format!("node {} {}", zone.node, zone.name))
        })
        .collect();
    let head = ["free", "huge pages", "too small for one", "index"];
    table(page, head, "zone", &rows, usize::MAX);
    let indices = zones.iter().filter_map(|zone| zone.fragmentation_index);
    let (words, style) = match indices.reduce(f64::max) {
        None => ("index: why a huge page cannot be had; - where it can", Style::Dim),
        Some(index) => (
            "index: why a huge page cannot be had: near 0 because memory is used up, near 1 because what is free is in pieces",
            if index > 0.5 { Style::Warn } else { Style::Dim },
        ),
    };
    page.paragraph(2, style, words);
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}
