//! A moment of a recording → [`Report`]. Pure.

use std::time::Duration;

use humantime::{format_rfc3339_seconds, parse_rfc3339};

use crate::{
    aggregate::Filter as Shown,
    judge::{growth, lifetime, subject_name},
    recording::{ModuleRecord, Recorded, StackRecord, whole},
    stacks::Outer,
    symbolize::Symbols,
    track::Class,
};

use super::{
    Age, Filter, Fragmentation, Module, NotCovered, Process, Reconciliation, Report, SCHEMA,
    SizeClass, Stack, main_class, mapped_by::mapped_by, served::Course, shares,
};

/// Makes the report. `late` are frames of addresses that the recording has none of.
pub fn build(recorded: &Recorded, late: &Symbols, shown: Shown) -> Report {
    let documents = recorded.documents.clone();
    let mut course = Course::default();
    let stacks: Vec<Stack> = recorded
        .stacks()
        .iter()
        .enumerate()
        .map(|(id, record)| stack(id as u32, record, recorded, late, &mut course))
        .collect();
    let mut capture = documents.capture;
    let main = main_class(&capture, &stacks).name();
    capture.filter = Filter { min_age_s: shown.min_age_s, min_size_bytes: shown.min_size };
    capture.observed = recorded.observed;
    let [totals, mapped, file_mapped, resident] = recorded.totals.clone();
    let mapped_by = mapped_by(&stacks, &documents.target);
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: documents.memmgr_version,
        captured_at: documents.captured_at,
        duration_s: recorded.duration_s,
        target: documents.target,
        capture,
        totals,
        mapped,
        mapped_by,
        file_mapped,
        functions: shares::functions(
            stacks.iter().zip(recorded.stacks().iter().map(|record| &record.uncertainty)),
            &recorded.coverage,
            main,
        ),
        modules: modules(recorded, &stacks, main),
        sizes: shares::sizes(&stacks, main),
        resident,
        stacks,
        windows_s: recorded.windows.ends_s.clone(),
        windows_observed_s: recorded.windows.observed_s.clone(),
        timeline: recorded.timeline.clone(),
        process: documents.process,
        cgroup: documents.cgroup,
        host: documents.host,
        reconciliation: documents.reconciliation,
        collector: documents.collector,
        fragmentation: documents.fragmentation.filter(|_| recorded.latest),
        ..Report::default()
    };
    report.served = course.served(&report);
    if let Some(found) = &mut report.fragmentation {
        name_stacks(found, recorded, &report.stacks);
    }
    if !recorded.ended {
        report.reconciliation.explanation.push(
            "The recording was not ended: it is still being written, or memmgr was killed. What explains RSS \
             is read at the end of a capture."
                .to_owned(),
        );
    }
    if recorded.before_exit {
        report.target.not_covered.push(NotCovered {
            what: "what the target freed while it ended".to_owned(),
            why: format!(
                "figures are as of {:.1} s, when it still ran, because most of it would be gone at its end; {:.1} s is the end",
                recorded.duration_s, recorded.recorded_s
            ),
        });
    } else if !recorded.latest {
        "moment".clone_into(&mut report.target.ended);
    }
    if !recorded.latest {
        as_of_then(&mut report, recorded.recorded_s - recorded.duration_s);
    }
    report
}

/// Stacks are numbered anew in each report.
fn name_stacks(found: &mut Fragmentation, recorded: &Recorded, stacks: &[Stack]) {
    found.pinned_by.retain_mut(|pinning| {
        let is_it = |stack: &StackRecord| stack.book == pinning.stack;
        let Some(id) = recorded.stacks().iter().position(is_it) else { return false };
        pinning.stack = id as u32;
        pinning.subject = subject_name(&stacks[id]);
        true
    });
}

/// A moment so many seconds before the end: what is known for the end only is taken out.
fn as_of_then(report: &mut Report, before_s: f64) {
    if let Ok(end) = parse_rfc3339(&report.captured_at) {
        let then = end - Duration::from_secs_f64(before_s.max(0.0));
        report.captured_at = format_rfc3339_seconds(then).to_string();
    }
    let moment_s = report.duration_s;
    let overhead = &mut report.capture.overhead;
    overhead.actions.retain(|action| action.t_s <= moment_s);
    // Known for all of the recording only.
    (overhead.achieved_percent, overhead.speed_in_windows_percent) = (None, None);
    let Some(then) = report.timeline.last() else { return };
    report.process = Process {
        rss_bytes: Some(then.rss_bytes),
        swap_bytes: then.swap_bytes,
        threads: then.threads,
        ..Process::default()
    };
    if let Some(cgroup) = &mut report.cgroup {
        cgroup.usage_bytes = then.cgroup_bytes;
        cgroup.stat.clear();
        cgroup.events.clear();
        cgroup.pressure = None;
    }
    report.host.pressure = None;
    report.reconciliation = Reconciliation {
        explanation: vec![
            "What explains RSS is known for the end of the recording only.".to_owned(),
        ],
        ..Reconciliation::default()
    };
}

fn stack(
    id: u32,
    record: &StackRecord,
    recorded: &Recorded,
    late: &Symbols,
    course: &mut Course,
) -> Stack {
    let frames = |address| recorded.frames.get(address).or_else(|| late.get(address));
    let [live_error, alloc_error] = record.uncertainty.errors(&recorded.coverage);
    // Whether files are mapped and stay so says nothing about leaks.
    let history = (!recorded.windows.is_empty() && record.class != Class::FileMapping)
        .then(|| recorded.history(record));
    if let Some(history) = &history {
        course.add(id, history);
    }
    Stack {
        id,
        class: record.class.name().to_owned(),
        live_count: whole(record.live.count),
        live_bytes: whole(record.live.bytes),
        live_samples: whole(record.live.samples),
        alloc_count: whole(record.allocated.count),
        alloc_bytes: whole(record.allocated.bytes),
        live_bytes_error: whole(live_error),
        alloc_bytes_error: whole(alloc_error),
        age_s: record.age_s.map(|(min, median, max)| Age { min, median, max }),
        frames: record.addresses.iter().filter_map(frames).flatten().cloned().collect(),
        cut: match record.outer {
            Outer::Whole => None,
            Outer::Cut => Some("truncated".into()),
            Outer::Missing => Some("missing".into()),
            Outer::NotKept => Some("not kept: the table of stacks was full".into()),
        },
        sizes: record
            .sizes
            .iter()
            .map(|(class, live, allocated)| SizeClass {
                min_bytes: class.min_bytes,
                max_bytes: class.max_bytes,
                live_count: whole(live.count),
                live_bytes: whole(live.bytes),
                alloc_count: whole(allocated.count),
                alloc_bytes: whole(allocated.bytes),
            })
            .collect(),
        growth: history.as_ref().map(|history| growth(&recorded.windows, history)),
        lifetime: history.as_ref().map(|history| lifetime(&recorded.windows, history)),
        ..Stack::default()
    }
}

impl From<ModuleRecord> for Module {
    fn from(record: ModuleRecord) -> Self {
        let ModuleRecord { path, build_id, start, end, file_offset, bias } = record;
        Module { path, build_id, start, end, file_offset, bias, ..Module::default() }
    }
}

fn modules(recorded: &Recorded, stacks: &[Stack], class: &str) -> Vec<Module> {
    let known = recorded.modules.iter().cloned().map(Module::from);
    shares::modules(known.collect(), stacks, class)
}
