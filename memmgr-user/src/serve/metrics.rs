//! `/metrics`: the last look, as Prometheus reads it. Names, labels and their bounds are in docs/serve.md.

use std::collections::HashSet;

use super::{
    Bounds,
    choice::{Choice, Sort},
    exposition::{
        Exposition, Figure, Format,
        Kind::{Counter, Gauge},
    },
    looker::{Seen, since_boot_s},
    own::{Own, processor_time},
    reports::{Entry, SEVERITIES, Shelf, TopStack},
};
use crate::{
    report::{Host, Pressure},
    source::{groups::GroupRow, processes::Row},
};

/// The text. Without a look, only what the server says of itself: old figures are not told as new ones.
pub fn metrics(
    seen: Option<&Seen>,
    shelf: Option<&Shelf>,
    own: &Own,
    bounds: Bounds,
    format: Format,
) -> String {
    let mut out = Exposition::new(format);
    out.family(Gauge, "memmgr_build_info", "The version of memmgr; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    out.family(Gauge, "memmgr_up", "Whether the host could be looked at.")
        .sample(&[], u64::from(seen.is_some()));
    if let Some(seen) = seen {
        host(&mut out, &seen.look.host);
        pressure(&mut out, seen.look.host.pressure.as_ref());
        out.family(
            Counter,
            "memmgr_host_oom_kills_total",
            "Processes that the kernel killed for lack of memory.",
        )
        .maybe(&[], seen.look.oom_kills);
        groups(&mut out, seen, bounds.groups);
        processes(&mut out, seen, bounds.processes);
        if let Some(shelf) = shelf {
            reports(&mut out, seen, shelf);
        }
    }
    exporter(&mut out, seen, own);
    out.finish()
}

fn host(out: &mut Exposition, host: &Host) {
    let mut gauge =
        |name, help, bytes: Option<u64>| out.family(Gauge, name, help).maybe(&[], bytes);
    gauge("memmgr_host_memory_size_bytes", "Memory of the host.", Some(host.total_bytes));
    gauge(
        "memmgr_host_memory_available_bytes",
        "Memory that could be used without swapping.",
        host.available_bytes,
    );
    gauge("memmgr_host_memory_free_bytes", "Memory that holds nothing.", Some(host.free_bytes));
    gauge(
        "memmgr_host_memory_used_bytes",
        "Memory of the host less what is available.",
        Some(host.used_bytes),
    );
    gauge("memmgr_host_swap_size_bytes", "Swap of the host.", Some(host.swap_total_bytes));
    gauge("memmgr_host_swap_free_bytes", "Swap that holds nothing.", Some(host.swap_free_bytes));
}

fn pressure(out: &mut Exposition, pressure: Option<&Pressure>) {
    let Some(pressure) = pressure else { return };
    let shares = [("some", &pressure.some), ("full", &pressure.full)];
    let mut ratio = out.family(
        Gauge,
        "memmgr_host_memory_pressure_ratio",
        "Share of time in which some or all tasks waited for memory.",
    );
    for (share, line) in shares {
        for (window, percent) in [("10s", line.avg10), ("60s", line.avg60), ("300s", line.avg300)] {
            // Two decimals of a percent are what the kernel tells.
            let of_one = (percent * 100.0).round() / 10_000.0;
            ratio.sample(&[("share", share), ("window", window)], of_one);
        }
    }
    let mut stalled = out.family(
        Counter,
        "memmgr_host_memory_stalled_seconds_total",
        "Time in which some or all tasks waited for memory.",
    );
    for (share, line) in shares {
        stalled.sample(&[("share", share)], line.total_s);
    }
}

fn groups(out: &mut Exposition, seen: &Seen, most: usize) {
    let choice = Choice::groups(seen, most, Sort::Size).with_distinct_paths(seen);
    out.family(Gauge, "memmgr_cgroups", "Cgroups that account memory.")
        .sample(&[], seen.look.groups.len());
    out.family(
        Gauge,
        "memmgr_cgroups_omitted",
        "Cgroups that are not among those with a series of their own.",
    )
    .sample(&[], choice.omitted);
    let mut family = |kind, name, help, figure: fn(&GroupRow) -> Option<u64>| {
        let mut family = out.family(kind, name, help);
        for group in choice.places.iter().map(|place| &seen.look.groups[*place]) {
            family.maybe(&[("path", &group.path)], figure(group));
        }
    };
    family(
        Gauge,
        "memmgr_cgroup_memory_usage_bytes",
        "Memory charged to a cgroup and those below it, page cache included.",
        |group| Some(group.usage_bytes),
    );
    family(
        Gauge,
        "memmgr_cgroup_memory_limit_bytes",
        "Hard limit of a cgroup, if it has one.",
        |group| group.limit_bytes,
    );
    family(
        Counter,
        "memmgr_cgroup_limit_hits_total",
        "How often a cgroup was at its limit.",
        |group| group.events.max,
    );
    family(
        Counter,
        "memmgr_cgroup_oom_kills_total",
        "Processes of a cgroup that the kernel killed for lack of memory.",
        |group| group.events.oom_kill,
    );
}

fn processes(out: &mut Exposition, seen: &Seen, most: usize) {
    let rows = &seen.look.processes.rows;
    let choice = Choice::processes(seen, most, Sort::Size);
    out.family(Gauge, "memmgr_processes", "Processes, without threads of the kernel.")
        .sample(&[], rows.len());
    out.family(
        Gauge,
        "memmgr_processes_omitted",
        "Processes that are not among those with a series of their own.",
    )
    .sample(&[], choice.omitted);
    out.family(
        Gauge,
        "memmgr_processes_unread",
        "Processes that ended while they were read, or are hidden.",
    )
    .sample(&[], seen.look.processes.unread);
    let labels: Vec<(String, &str)> = choice
        .places
        .iter()
        .map(|place| (rows[*place].pid.to_string(), rows[*place].comm.as_str()))
        .collect();
    let mut family = |kind, name, help, figure: fn(&Row) -> Figure| {
        let mut family = out.family(kind, name, help);
        for ((pid, comm), place) in labels.iter().zip(&choice.places) {
            family.sample(&[("pid", pid), ("comm", comm)], figure(&rows[*place]));
        }
    };
    family(
        Gauge,
        "memmgr_process_resident_memory_bytes",
        "Resident memory of a process, shared pages included.",
        |row| row.rss_bytes.into(),
    );
    family(Gauge, "memmgr_process_virtual_memory_bytes", "Address space of a process.", |row| {
        row.virtual_bytes.into()
    });
    family(Gauge, "memmgr_process_threads", "Threads of a process.", |row| row.threads.into());
    family(
        Gauge,
        "memmgr_process_start_since_boot_seconds",
        "When a process began, since boot: with its number what it is known by.",
        |row| since_boot_s(row).into(),
    );
    family(
        Counter,
        "memmgr_process_minor_page_faults_total",
        "Page faults of a process that read nothing from disk.",
        |row| row.minor_faults.into(),
    );
    family(
        Counter,
        "memmgr_process_major_page_faults_total",
        "Page faults of a process that read from disk.",
        |row| row.major_faults.into(),
    );
}

/// What the last capture of each process that is still there has found.
fn reports(out: &mut Exposition, seen: &Seen, shelf: &Shelf) {
    let mut known = HashSet::new();
    let is_there = |entry: &Entry| {
        let mut rows = seen.look.processes.rows.iter();
        // A start is told in hundredths of a second.
        rows.any(|row| {
            row.pid.0 == entry.pid && (since_boot_s(row) - entry.start_time_s).abs() < 0.02
        })
    };
    let last: Vec<(String, &Entry)> = shelf
        .reports
        .iter()
        .filter(|entry| is_there(entry) && known.insert(entry.pid))
        .map(|entry| (entry.pid.to_string(), entry))
        .collect();
    out.family(Gauge, "memmgr_reports_unread", "Files among the reports that cannot be read.")
        .sample(&[], shelf.unread.len());
    let mut findings =
        out.family(Gauge, "memmgr_report_findings", "Findings of the last capture of a process.");
    for (pid, entry) in &last {
        for (severity, count) in SEVERITIES.iter().zip(entry.findings) {
            let labels: [(&str, &str); 3] =
                [("pid", pid), ("comm", &entry.comm), ("severity", severity)];
            findings.sample(&labels, count);
        }
    }
    let mut family = |name, help, figure: fn(&TopStack) -> Option<Figure>| {
        let mut family = out.family(Gauge, name, help);
        for (pid, entry) in &last {
            for stack in &entry.stacks {
                let labels: [(&str, &str); 4] = [
                    ("pid", pid),
                    ("comm", &entry.comm),
                    ("stack", &stack.id),
                    ("function", &stack.function),
                ];
                family.maybe(&labels, figure(stack));
            }
        }
    };
    family(
        "memmgr_stack_live_bytes",
        "Memory that a stack held when the last capture of its process ended.",
        |stack| Some(stack.live_bytes.into()),
    );
    family(
        "memmgr_stack_growth_bytes_per_second",
        "How fast that grew during the capture.",
        |stack| stack.growth_bytes_per_s.map(Figure::Real),
    );
}

fn exporter(out: &mut Exposition, seen: Option<&Seen>, own: &Own) {
    let pid = std::process::id();
    let row = seen.and_then(|seen| seen.look.processes.rows.iter().find(|row| row.pid.0 == pid));
    out.family(Gauge, "memmgr_exporter_resident_memory_bytes", "Resident memory of memmgr itself.")
        .maybe(&[], row.map(|row| row.rss_bytes));
    out.family(Gauge, "memmgr_exporter_threads", "Threads of memmgr itself.")
        .maybe(&[], row.map(|row| row.threads));
    out.family(Counter, "memmgr_exporter_cpu_seconds_total", "Processor time of memmgr itself.")
        .sample(&[], processor_time().as_secs_f64());
    out.family(Counter, "memmgr_exporter_looks_total", "Looks at the host.")
        .sample(&[], own.looks());
    out.family(Counter, "memmgr_exporter_failed_looks_total", "Looks at the host that failed.")
        .sample(&[], own.failed_looks());
    out.family(Gauge, "memmgr_exporter_last_look_seconds", "How long the last look took.")
        .sample(&[], own.last_look().as_secs_f64());
    out.family(Gauge, "memmgr_exporter_look_age_seconds", "How long ago the figures were taken.")
        .maybe(&[], seen.map(|seen| seen.taken.elapsed().as_secs_f64()));
    out.family(
        Counter,
        "memmgr_exporter_cut_connections_total",
        "Connections that a limit on their number or time ended.",
    )
    .sample(&[], own.cuts());
    let mut answers =
        out.family(Counter, "memmgr_exporter_http_answers_total", "Answers by status.");
    for (status, count) in own.answers() {
        answers.sample(&[("code", &status.to_string())], count);
    }
}

#[cfg(test)]
mod tests;
