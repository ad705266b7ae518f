//! Tests of `merge`.

use std::sync::Arc;

use super::*;
use crate::report::{
    Age, Capture, Cgroup, Finding, Frame, Function, Growth, Host, Loss, Module, NotCovered,
    SizeClass, Stack, Target, TimelinePoint, Totals,
};

fn frame(function: &str, module: &str, line: u32) -> Arc<Frame> {
    Arc::new(Frame {
        function: Some(function.into()),
        module: Some(module.into()),
        line: Some(line),
        ..Frame::default()
    })
}

/// A stack of one function below `main` that grows by a tenth of its bytes a second.
fn stack(id: u32, function: &str, module: &str, line: u32, live_bytes: u64) -> Stack {
    Stack {
        id,
        class: "heap".into(),
        live_count: live_bytes / 100,
        live_bytes,
        alloc_count: live_bytes / 50,
        alloc_bytes: live_bytes * 2,
        live_bytes_error: 30,
        age_s: Some(Age { min: 1.0, median: live_bytes as f64, max: 9.0 }),
        frames: vec![frame(function, module, line), frame("main", module, 1)],
        sizes: vec![SizeClass { max_bytes: 127, live_bytes, ..SizeClass::default() }],
        growth: Some(Growth {
            shape: if live_bytes > 1000 { "linear" } else { "step" }.into(),
            bytes_per_s: live_bytes as f64 / 10.0,
            grown_bytes: live_bytes,
            series: vec![live_bytes / 2, live_bytes],
            ..Growth::default()
        }),
        ..Stack::default()
    }
}

/// The report of a process whose stacks these are.
fn report(pid: u32, stacks: Vec<Stack>) -> Report {
    let live_bytes = stacks.iter().map(|stack| stack.live_bytes).sum();
    let function = |stack: &Stack| Function {
        function: stack.frames[0].function.clone().unwrap(),
        module: stack.frames[0].module.clone().unwrap(),
        total_live_bytes: stack.live_bytes,
        ..Function::default()
    };
    let point = |t_s, live_bytes| TimelinePoint {
        t_s,
        live_bytes,
        rss_bytes: 5000,
        threads: Some(2),
        ..TimelinePoint::default()
    };
    Report {
        captured_at: "2026-11-29T12:00:30Z".into(),
        duration_s: 2.0,
        target: Target {
            pid,
            comm: "web".into(),
            ended: "duration".into(),
            threads: 2,
            ..Target::default()
        },
        capture: Capture { mode: "exact".into(), complete: true, ..Capture::default() },
        totals: Totals { live_bytes, peak_live_bytes: live_bytes + 7, ..Totals::default() },
        functions: stacks.iter().map(function).collect(),
        modules: vec![Module { path: "/srv/web".into(), start: 4096, ..Module::default() }],
        windows_s: vec![1.0, 2.0],
        timeline: vec![point(1.0, live_bytes / 2), point(2.0, live_bytes)],
        process: Process {
            rss_bytes: Some(5000),
            pss_bytes: Some(3000),
            threads: Some(2),
            ..Process::default()
        },
        stacks,
        ..Report::default()
    }
}

fn part(report: Report) -> Part {
    Part { report, since_s: 0.0 }
}

/// The merged stacks as `function:line bytes`.
fn shown(merged: &Report) -> Vec<String> {
    let one = |stack: &Stack| {
        let leaf = &stack.frames[0];
        let name = leaf.function.as_deref().unwrap_or("?");
        format!("{name}:{} {}", leaf.line.unwrap_or(0), stack.live_bytes)
    };
    merged.stacks.iter().map(one).collect()
}

#[test]
fn one_report_stays_as_it_is() {
    let alone = report(7, vec![stack(0, "take", "/srv/web", 5, 1000)]);
    assert_eq!(merge(vec![part(alone.clone())]), alone);
}

#[test]
fn stacks_are_matched_by_function_file_and_line() {
    let merged = merge(vec![
        part(report(
            7,
            vec![stack(0, "take", "/srv/web", 5, 1000), stack(1, "take", "/srv/web", 6, 400)],
        )),
        part(report(
            8,
            vec![stack(4, "keep", "/srv/web", 9, 1200), stack(5, "take", "/srv/web", 5, 3000)],
        )),
    ]);
    assert_eq!(shown(&merged), ["take:5 4000", "keep:9 1200", "take:6 400"]);
    let first = &merged.stacks[0];
    assert_eq!((first.id, first.live_count, first.alloc_count), (0, 40, 80));
    // Errors of different processes are independent.
    assert_eq!(first.live_bytes_error, 42);
    assert_eq!(first.sizes[0].live_bytes, 4000);
    // 30 of 40 blocks have the median 3000.
    assert_eq!(first.age_s, Some(Age { min: 1.0, median: 3000.0, max: 9.0 }));
    let growth = first.growth.as_ref().unwrap();
    assert_eq!((growth.shape.as_str(), growth.bytes_per_s), ("linear", 400.0));
    assert_eq!((growth.grown_bytes, growth.series.as_slice()), (4000, &[2000, 4000][..]));
    let names: Vec<_> =
        merged.functions.iter().map(|f| (f.function.as_str(), f.total_live_bytes)).collect();
    assert_eq!(names, [("take", 4400), ("keep", 1200)]);
    // Each maps it at another place.
    assert_eq!((merged.modules.len(), merged.modules[0].start), (1, 0));
}

#[test]
fn files_of_containers_are_matched_by_name() {
    let merged = merge(vec![
        part(report(7, vec![stack(0, "take", "/one/web", 5, 1000)])),
        part(report(8, vec![stack(0, "take", "/two/web", 5, 500)])),
    ]);
    assert_eq!(shown(&merged), ["take:5 1500"]);
}

#[test]
fn windows_that_are_not_the_same_are_not_added() {
    let late = Report {
        windows_s: vec![0.3, 1.3],
        ..report(8, vec![stack(0, "take", "/srv/web", 5, 500), stack(1, "own", "/srv/web", 6, 100)])
    };
    let merged =
        merge(vec![part(report(7, vec![stack(0, "take", "/srv/web", 5, 1000)])), part(late)]);
    let series = |at: usize| merged.stacks[at].growth.as_ref().unwrap().series.clone();
    assert_eq!((series(0), series(1)), (vec![], vec![]));
    assert_eq!(merged.windows_s, [1.0, 2.0]);
    for (a, b, same) in [
        (&[1.0, 2.0][..], &[1.04, 2.3][..], true),
        (&[1.0, 2.0], &[1.0, 2.9], false),
        (&[1.0], &[1.0, 2.0], false),
        (&[], &[], true),
    ] {
        assert_eq!(stacks::are_same(a, b), same, "{a:?} {b:?}");
    }
}

#[test]
fn what_can_be_added_is_and_what_cannot_is_left_out() {
    let mut lossy = report(8, vec![stack(0, "take", "/srv/web", 5, 500)]);
    lossy.capture.complete = false;
    lossy.capture.loss = Loss { ring_full: 3, ..Loss::default() };
    lossy.target.comm = "db".into();
    lossy.process.pss_bytes = None;
    let gap = |what: &str| NotCovered { what: what.into(), why: "so it is".into() };
    lossy.target.not_covered = vec![gap("both"), gap("one")];
    let mut whole = report(7, vec![stack(0, "take", "/srv/web", 5, 1000)]);
    whole.target.not_covered = vec![gap("both")];
    let merged = merge(vec![part(lossy), part(whole)]);
    assert_eq!((merged.target.pid, merged.target.comm.as_str()), (0, "web, db"));
    assert_eq!((merged.totals.live_bytes, merged.totals.peak_live_bytes), (1500, 1514));
    assert!(!merged.capture.complete);
    assert_eq!(merged.capture.loss.ring_full, 3);
    // Shared memory is in the resident set of each; and a sum with something unknown in it is not known.
    let Process { rss_bytes, pss_bytes, threads, .. } = merged.process;
    assert_eq!((rss_bytes, pss_bytes, threads), (None, None, Some(4)));
    let gaps: Vec<&str> = merged.target.not_covered.iter().map(|gap| gap.what.as_str()).collect();
    assert_eq!(gaps, ["both", "db (8): one"]);
    let members: Vec<_> = merged
        .processes
        .iter()
        .map(|process| (process.pid, process.live_bytes, process.rss_bytes, process.complete))
        .collect();
    assert_eq!(members, [(7, 1000, Some(5000), true), (8, 500, Some(5000), false)]);
    let kept = merged.processes[0].report.as_ref().unwrap();
    assert_eq!((kept.target.pid, kept.stacks.len()), (7, 1));
}

#[test]
fn the_course_is_on_one_clock() {
    // One begins a second later, and the other has ended by then.
    let mut gone = report(7, vec![stack(0, "take", "/srv/web", 5, 1000)]);
    gone.target.ended = "exited".into();
    let late = report(8, vec![stack(0, "take", "/srv/web", 5, 400)]);
    let merged = merge(vec![part(gone), Part { report: late, since_s: 1.5 }]);
    let course: Vec<_> = merged
        .timeline
        .iter()
        .map(|point| (point.t_s, point.live_bytes, point.rss_bytes, point.threads))
        .collect();
    assert_eq!(
        course,
        [
            (1.0, 500, 5000, Some(2)),
            (2.0, 1000, 5000, Some(2)),
            (2.5, 200, 5000, Some(2)),
            (3.5, 400, 5000, Some(2))
        ]
    );
    assert_eq!(merged.duration_s, 3.5);
}

/// A process with a finding about `take`.
fn finding(pid: u32, severity: &str, seconds: Option<f64>, cgroup: Option<&str>) -> Report {
    let mut report = report(pid, vec![stack(3, "take", "/srv/web", 5, 1000)]);
    report.stacks[0].finding = Some(0);
    report.findings = vec![Finding {
        kind: "leak".into(),
        subject: Some("take".into()),
        stack_id: Some(3),
        severity: severity.into(),
        score: f64::from(pid),
        confidence: 0.9,
        growth_bytes_per_s: 100.0,
        time_to_limit_s: seconds,
        evidence: vec![format!("seen in {pid}")],
        ..Finding::default()
    }];
    report.cgroup = cgroup.map(|path| Cgroup { path: path.into(), ..Cgroup::default() });
    report.host = Host { total_bytes: 1, ..Host::default() };
    report
}

#[test]
fn findings_about_one_function_are_one() {
    let other = report(9, vec![stack(0, "keep", "/srv/web", 9, 50)]);
    let merged = merge(vec![
        part(finding(7, "info", None, None)),
        part(finding(8, "warning", None, None)),
        part(other),
    ]);
    let [finding] = merged.findings.as_slice() else { panic!("{:?}", merged.findings) };
    assert_eq!((finding.severity.as_str(), finding.growth_bytes_per_s), ("warning", 200.0));
    assert_eq!(
        finding.evidence,
        [
            "In 2 of 3 processes: web (8), web (7). What follows is about web (8), the gravest of them.",
            "seen in 8"
        ]
    );
    let found = &merged.stacks[finding.stack_id.unwrap() as usize];
    assert_eq!((found.finding, found.live_bytes), (Some(0), 2000));
    assert_eq!(merged.stacks[1].finding, None);
}

#[test]
fn processes_that_share_a_limit_reach_it_sooner() {
    let check = |cgroups: [&str; 2], seconds: f64, expected: f64, severity: &str| {
        let parts = [7, 8].into_iter().zip(cgroups);
        let parts = parts
            .map(|(pid, path)| part(finding(pid, "warning", Some(seconds), Some(path))))
            .collect();
        let merged = merge(parts);
        let found = &merged.findings[0];
        let seconds = found.time_to_limit_s.map(f64::round);
        assert_eq!((seconds, found.severity.as_str()), (Some(expected), severity));
    };
    check(["/a", "/a"], 20_000.0, 10_000.0, "warning");
    check(["/a", "/b"], 20_000.0, 20_000.0, "warning");
    // Two hours alone, less than one together.
    check(["/a", "/a"], 7000.0, 3500.0, "critical");
}

#[test]
fn reports_of_files_are_put_on_one_clock_by_their_times() {
    let at = |captured_at: &str, duration_s| Report {
        captured_at: captured_at.into(),
        duration_s,
        ..Report::default()
    };
    let parts = parts_of(vec![
        at("2026-11-29T12:00:30Z", 30.0),
        at("2026-11-29T12:00:30Z", 29.2),
        at("2026-11-29T12:00:30Z", 10.0),
    ]);
    assert_eq!(parts.iter().map(|part| part.since_s).collect::<Vec<_>>(), [0.0, 0.0, 20.0]);
}
