//! A process.

use super::{Page, Style, bytes, of_limit, sum, table, words};
use crate::{stat::process::ProcessStat, units::human_bytes};

pub(super) fn process(page: &mut Page, stat: &ProcessStat, top: usize) {
    let figures = &stat.figures;
    page.paragraph(0, Style::Bold, format!("{} ({})", stat.comm, stat.pid));
    let exe = stat.exe.clone().unwrap_or_default();
    let command = if stat.cmdline.is_empty() { exe } else { stat.cmdline.join(" ") };
    if !command.is_empty() {
        page.field("command", command);
    }
    for note in &stat.notes {
        page.styled_field("note", Style::Warn, note.as_str());
    }
    if let Some(rss) = figures.rss_bytes {
        let peak = figures
            .rss_peak_bytes
            .map_or_else(String::new, |peak| format!(", {} at most so far", human_bytes(peak)));
        page.field("RSS", format!("{}{peak}", human_bytes(rss)));
    }
    let kinds = [
        (figures.anon_bytes, "anonymous"),
        (figures.file_bytes, "of files"),
        (figures.shmem_bytes, "shared memory"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter_map(|(bytes, what)| Some(format!("{} {what}", human_bytes((*bytes)?))))
        .collect();
    if !kinds.is_empty() {
        page.field("of it", kinds.join(", "));
    }
    let sets = [
        ("PSS", figures.pss_bytes, "shared pages divided by who shares them"),
        ("USS", figures.uss_bytes, "what ends with it"),
        ("swapped out", figures.swap_bytes.filter(|bytes| *bytes > 0), ""),
        ("page tables", figures.page_tables_bytes, ""),
        ("locked", figures.locked_bytes.filter(|bytes| *bytes > 0), ""),
        ("hugetlbfs", figures.hugetlb_bytes.filter(|bytes| *bytes > 0), "not part of RSS"),
        ("address space", figures.virtual_bytes, ""),
    ];
    for (name, bytes, what) in sets {
        if let Some(bytes) = bytes {
            let what = if what.is_empty() { String::new() } else { format!(", {what}") };
            page.field(name, format!("{}{what}", human_bytes(bytes)));
        }
    }
    if let Some(faults) = figures.minor_faults.zip(figures.major_faults) {
        page.field(
            "page faults",
            format!("{} minor, {} major", words::count(faults.0), words::count(faults.1)),
        );
    }
    if let Some(threads) = figures.threads {
        let mappings = figures
            .mappings
            .map_or_else(String::new, |count| format!(", {}", words::counted(count, "mapping")));
        page.field("threads", format!("{}{mappings}", words::count(threads)));
    }
    if let Some(cgroup) = &stat.cgroup {
        page.field(
            "cgroup",
            format!(
                "{} ({}): {}",
                cgroup.path,
                cgroup.version,
                of_limit(cgroup.usage_bytes, cgroup.limit_bytes)
            ),
        );
    }
    if !stat.lines.is_empty() {
        page.heading(format!("Where the resident {} are", bytes(figures.rss_bytes)));
        sum(page, &stat.lines);
    }
    if stat.groups.is_empty() {
        return;
    }
    page.heading("Mappings");
    let rows: Vec<([String; 6], String)> = stat
        .groups
        .iter()
        .map(|group| {
            let cells = [
                human_bytes(group.rss_bytes),
                human_bytes(group.pss_bytes),
                human_bytes(group.private_bytes),
                human_bytes(group.swap_bytes),
                human_bytes(group.size_bytes),
                words::count(group.mappings),
            ];
            let kind = group.kind.key().replace('_', " ");
            (cells, format!("{kind} {}", group.name).trim_end().to_owned())
        })
        .collect();
    table(page, ["rss", "pss", "own", "swapped", "size", "n"], "what", &rows, top);
}
