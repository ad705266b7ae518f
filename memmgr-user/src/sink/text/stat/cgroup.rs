//! A cgroup.

use super::{Page, Style, bytes, counters, of_limit, pressure, sum, table, words};
use crate::{
    stat::cgroup::{CgroupStat, Meaning},
    units::human_bytes,
};

pub(super) fn cgroup(page: &mut Page, stat: &CgroupStat, top: usize) {
    let cgroup = &stat.cgroup;
    page.paragraph(0, Style::Bold, format!("Memory cgroup {} ({})", cgroup.path, cgroup.version));
    page.field("usage", of_limit(cgroup.usage_bytes, cgroup.limit_bytes));
    // mem_cgroup_usage in mm/memcontrol-v1.c (before Linux 6.11 mm/memcontrol.c): the root of v1 has no counter of its own.
    if cgroup.version == "v1" && cgroup.path == "/" {
        let text = "the root of v1 counts pages of files and anonymous memory, not the kernel's own: groups below can have more";
        page.styled_field("note", Style::Dim, text);
    }
    if let Some(high) = stat.high_bytes {
        page.field("high", format!("{}: above it the group is slowed down", human_bytes(high)));
    }
    if let Some(peak) = stat.peak_bytes {
        page.field("peak", human_bytes(peak));
    }
    if stat.swap_bytes.is_some() {
        page.field("swap", of_limit(stat.swap_bytes, stat.swap_limit_bytes));
    }
    pressure(page, cgroup.pressure.as_ref());
    match counters(&cgroup.events) {
        // v2 counts what happens below a group with it, v1 does not.
        None if cgroup.version == "v1" => {
            page.styled_field(
                "events",
                Style::Dim,
                "none of its own, those of groups below are theirs",
            );
        }
        None => page.styled_field("events", Style::Dim, "none"),
        Some(events) => page.styled_field("events", Style::Warn, events),
    }
    if !stat.lines.is_empty() {
        page.heading(format!("Where its {} are", bytes(cgroup.usage_bytes)));
        sum(page, &stat.lines);
    }
    if !stat.groups.is_empty() {
        page.heading("Groups below");
        let rows: Vec<([String; 2], String)> = stat
            .groups
            .iter()
            .map(|group| ([bytes(group.usage_bytes), bytes(group.limit_bytes)], group.name.clone()))
            .collect();
        table(page, ["usage", "limit"], "group", &rows, top);
    }
    if !stat.processes.is_empty() {
        page.heading("Processes, with what they share");
        let rows: Vec<([String; 2], String)> = stat
            .processes
            .iter()
            .map(|member| ([bytes(member.rss_bytes), member.pid.to_string()], member.comm.clone()))
            .collect();
        table(page, ["rss", "pid"], "name", &rows, top);
    }
    if stat.processes_unread > 0 {
        let unread = words::count(stat.processes_unread);
        page.paragraph(
            2,
            Style::Dim,
            format!(
                "{unread} more were not read: ended meanwhile, hidden, or of another PID namespace"
            ),
        );
    }
    for meaning in Meaning::ALL {
        figures(page, stat, meaning);
    }
}

/// What `memory.stat` says, without figures of 0.
fn figures(page: &mut Page, stat: &CgroupStat, meaning: Meaning) {
    let rows: Vec<([String; 1], String)> = stat
        .cgroup
        .stat
        .iter()
        .filter(|(name, value)| **value > 0 && Meaning::of(name) == meaning)
        // Limits stand above, where there are any.
        .filter(|(name, _)| !name.starts_with("hierarchical_"))
        .map(|(name, value)| {
            let cell = match meaning {
                Meaning::Activity => words::count(*value),
                Meaning::Memory | Meaning::Lists => human_bytes(*value),
            };
            ([cell], name.clone())
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    page.heading(match meaning {
        Meaning::Memory => "memory.stat: what it is",
        Meaning::Lists => "memory.stat: how the kernel would reclaim it",
        Meaning::Activity => "memory.stat: what happened, counts since the group was made",
    });
    let columns =
        super::Columns::of(&rows.iter().map(|(cell, _)| cell.clone()).collect::<Vec<_>>());
    for (cell, name) in &rows {
        page.row(&[(Style::Plain, format!("  {}  {name}", columns.line(cell)).into())]);
    }
}
