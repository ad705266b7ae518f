//! The reports of several processes → one. Pure.
//!
//! What can be added is: bytes, counts, losses, proportional sets. Resident sets hold shared memory once for each process, and
//! what explains them is known by process: they stay in the reports of the processes, which the merged one keeps.

mod findings;
mod setting;
mod stacks;
mod sums;
mod timeline;

use std::{cmp::Reverse, time::SystemTime};

use super::Part;
use crate::{
    diff::{identity::Names, side::began},
    report::{Collector, Member, Process, Reconciliation, Report, SCHEMA},
    sink::verdict_line,
};

/// Makes one report. Of one process it is that of the process.
pub fn merge(mut parts: Vec<Part>) -> Report {
    parts.sort_by_key(|part| (Reverse(part.report.totals.live_bytes), part.report.target.pid));
    if let [_] = parts.as_slice() {
        return parts.remove(0).report;
    }
    let merged = merged(&parts);
    Report { processes: parts.into_iter().map(member).collect(), ..merged }
}

/// Reports of which only the times say when they were captured, to a second.
pub fn parts_of(reports: Vec<Report>) -> Vec<Part> {
    /// The times of a report are whole seconds.
    const EXACT_S: f64 = 2.0;
    let begins: Vec<Option<SystemTime>> = reports.iter().map(began).collect();
    let first = begins.iter().flatten().min().copied();
    let since = |begin: Option<SystemTime>| {
        let after = first.zip(begin).and_then(|(first, begin)| begin.duration_since(first).ok());
        let since = after.map_or(0.0, |after| after.as_secs_f64());
        if since < EXACT_S { 0.0 } else { since }
    };
    reports
        .into_iter()
        .zip(begins)
        .map(|(report, begin)| Part { report, since_s: since(begin) })
        .collect()
}

/// How a process is called in a sentence.
fn name(report: &Report) -> String {
    format!("{} ({})", report.target.comm, report.target.pid)
}

/// The value that all have, if there is one.
fn common<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

fn merged(parts: &[Part]) -> Report {
    let reports: Vec<&Report> = parts.iter().map(|part| &part.report).collect();
    let names = Names::common_to_processes(reports.iter().copied());
    let Some(latest) = reports.iter().copied().max_by_key(|report| &report.captured_at) else {
        return Report { schema: SCHEMA.to_owned(), ..Report::default() };
    };
    let cgroup = common(reports.iter().map(|report| report.cgroup.as_ref().map(|c| &c.path)))
        .and_then(|_| latest.cgroup.clone());
    let course = timeline::course(parts);
    let (stacks, places) = stacks::stacks(&names, &reports, &course.windows_s);
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: latest.memmgr_version.clone(),
        captured_at: latest.captured_at.clone(),
        duration_s: parts
            .iter()
            .map(|part| part.since_s + part.report.duration_s)
            .fold(0.0, f64::max),
        target: setting::target(&reports),
        capture: setting::capture(&reports),
        totals: sums::totals(reports.iter().map(|report| &report.totals)),
        mapped: sums::totals(reports.iter().map(|report| &report.mapped)),
        file_mapped: sums::totals(reports.iter().map(|report| &report.file_mapped)),
        resident: sums::totals(reports.iter().map(|report| &report.resident)),
        stacks,
        functions: sums::functions(&names, &reports),
        modules: sums::modules(&names, &reports),
        sizes: sums::sizes(reports.iter().flat_map(|report| &report.sizes)),
        suppressions: sums::suppressions(&reports),
        windows_s: course.windows_s,
        timeline: course.timeline,
        process: process(&reports),
        cgroup,
        host: latest.host.clone(),
        reconciliation: Reconciliation {
            explanation: vec![
                "What explains resident memory is known for each process by itself: the JSON report holds the reports of all, \
                 and FILE#PID shows one of them."
                    .to_owned(),
            ],
            ..Reconciliation::default()
        },
        collector: collector(&reports),
        ..Report::default()
    };
    findings::findings(&mut report, &reports, &places);
    report
}

/// Figures that add up.
fn process(reports: &[&Report]) -> Process {
    let sum = |figure: fn(&Process) -> Option<u64>| {
        // One that is not known makes the sum unknown; a process that has ended has none any more.
        let living = reports.iter().filter(|report| report.target.ended != "exited");
        living.map(|report| figure(&report.process)).sum::<Option<u64>>()
    };
    Process {
        pss_bytes: sum(|process| process.pss_bytes),
        uss_bytes: sum(|process| process.uss_bytes),
        threads: sum(|process| process.threads),
        mappings: sum(|process| process.mappings),
        minor_faults: sum(|process| process.minor_faults),
        major_faults: sum(|process| process.major_faults),
        ..Process::default()
    }
}

/// One memmgr captured all of them.
fn collector(reports: &[&Report]) -> Collector {
    let all = || reports.iter().map(|report| &report.collector);
    let most = |figure: fn(&Collector) -> f64| all().map(figure).fold(0.0, f64::max);
    Collector {
        rss_peak_bytes: all().map(|own| own.rss_peak_bytes).max().unwrap_or(0),
        cpu_s: most(|own| own.cpu_s),
        attach_s: most(|own| own.attach_s),
        detach_s: most(|own| own.detach_s),
        first_event_s: all().filter_map(|own| own.first_event_s).reduce(f64::min),
    }
}

fn member(part: Part) -> Member {
    let Part { mut report, since_s } = part;
    report.drop_flat_series();
    let totals = &report.totals;
    Member {
        pid: report.target.pid,
        comm: report.target.comm.clone(),
        since_s,
        duration_s: report.duration_s,
        ended: report.target.ended.clone(),
        live_count: totals.live_count,
        live_bytes: totals.live_bytes,
        live_bytes_error: totals.live_bytes_error,
        alloc_bytes: totals.alloc_bytes,
        rss_bytes: report.process.rss_bytes,
        pss_bytes: report.process.pss_bytes,
        complete: report.capture.complete,
        overhead_percent: report.capture.overhead.achieved_percent,
        verdict: verdict_line(&report),
        report: Some(Box::new(report)),
    }
}

#[cfg(test)]
mod tests;
