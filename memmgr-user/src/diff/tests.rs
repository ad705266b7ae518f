//! Tests of `diff`.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::report::{
    Finding, Frame, Function, Module, Observed, SCHEMA as REPORT, SizeClass, Stack,
};

fn frame(name: &str) -> Frame {
    Frame {
        function: Some(name.to_owned()),
        module: Some("/usr/bin/app".to_owned()),
        line: Some(1),
        ..Frame::default()
    }
}

fn stack(live_bytes: u64, leaf_first: &[&str]) -> Stack {
    Stack {
        class: "heap".to_owned(),
        live_bytes,
        live_count: live_bytes.div_ceil(100),
        live_samples: live_bytes.div_ceil(100),
        alloc_bytes: live_bytes * 2,
        alloc_count: live_bytes.div_ceil(50),
        frames: leaf_first.iter().map(|name| Arc::new(frame(name))).collect(),
        ..Stack::default()
    }
}

/// A complete exact capture of 30 s.
fn report(stacks: Vec<Stack>) -> Report {
    let mut report = Report {
        schema: REPORT.to_owned(),
        captured_at: "2026-03-04T05:06:07Z".to_owned(),
        duration_s: 30.0,
        ..Report::default()
    };
    report.target.pid = 7;
    report.target.comm = "app".to_owned();
    report.target.exe = "/usr/bin/app".to_owned();
    report.capture.mode = "exact".to_owned();
    report.capture.complete = true;
    for stack in &stacks {
        report.totals.live_bytes = report.totals.live_bytes.saturating_add(stack.live_bytes);
        report.totals.live_count = report.totals.live_count.saturating_add(stack.live_count);
    }
    report.stacks = stacks;
    report
}

/// `NAME STATUS DELTA` of every stack, in order.
fn lines(diff: &Diff) -> Vec<String> {
    let line = |stack: &StackChange| {
        let names: Vec<_> =
            stack.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect();
        format!("{} {} {:+}", names.join("<"), stack.status.name(), stack.change.delta.live_bytes)
    };
    diff.stacks.iter().map(line).collect()
}

#[track_caller]
fn check(before: Vec<Stack>, after: Vec<Stack>, expected: &[&str]) {
    assert_eq!(lines(&diff(&report(before), &report(after), None)), expected);
}

#[test]
fn stacks_are_matched_by_their_functions() {
    check(
        vec![stack(100, &["a", "main"]), stack(50, &["b"]), stack(9, &["c"]), stack(1, &["e"])],
        vec![stack(1, &["e"]), stack(10, &["c"]), stack(40, &["d"]), stack(400, &["a", "main"])],
        &["a<main grown +300", "b gone -50", "d new +40", "c grown +1", "e same +0"],
    );
    check(vec![stack(5, &["a"])], vec![stack(2, &["a"])], &["a shrunk -3"]);
    check(vec![], vec![], &[]);
}

#[test]
fn classes_and_cut_stacks_are_others() {
    let other = |class: &str, cut: Option<&str>| Stack {
        class: class.to_owned(),
        cut: cut.map(str::to_owned),
        ..stack(10, &["a"])
    };
    check(
        vec![other("heap", None)],
        vec![other("heap", Some("truncated")), other("mapping", None)],
        &["a gone -10", "a new +10", "a new +10"],
    );
}

#[test]
fn stacks_that_differ_by_address_or_line_become_one() {
    let at = |line, address| Stack {
        frames: vec![Frame { line: Some(line), address, ..frame("a") }.into()],
        ..stack(10, &[])
    };
    let compared = diff(&report(vec![at(1, 0x10), at(2, 0x20)]), &report(vec![at(3, 0x55)]), None);
    assert_eq!(lines(&compared), ["a shrunk -10"]);
    assert_eq!(compared.stacks[0].frames[0].line, Some(3));
    let back = diff(&report(vec![at(3, 0x55)]), &report(vec![at(1, 0x10), at(2, 0x20)]), None);
    assert_eq!(back.stacks[0].frames[0].line, None);
}

#[test]
fn code_without_a_name_is_known_by_its_place() {
    let at = |module: Option<&str>, address| Stack {
        frames: vec![
            Frame { module: module.map(str::to_owned), address, ..Frame::default() }.into(),
        ],
        ..stack(10, &[])
    };
    for (before, after, rows) in [
        (at(Some("/a/x.so"), 1), at(Some("/b/x.so"), 1), 1),
        (at(Some("/a/x.so"), 1), at(Some("/a/x.so"), 2), 2),
        (at(Some("/a/x.so"), 1), at(Some("/a/y.so"), 1), 2),
    ] {
        let compared = diff(&report(vec![before.clone()]), &report(vec![after.clone()]), None);
        assert_eq!(compared.stacks.len(), rows, "{before:?} {after:?}");
    }
    // Generated code: an address says something within one process only.
    let (before, mut after) = (report(vec![at(None, 1)]), report(vec![at(None, 2)]));
    assert_eq!(diff(&before, &after, None).stacks.len(), 2);
    after.target.pid = 8;
    assert_eq!(diff(&before, &after, None).stacks.len(), 1);
}

#[test]
fn a_report_against_itself_has_no_difference() {
    let one = report(vec![stack(100, &["a"]), stack(20, &["b"])]);
    let compared = diff(&one, &one, None);
    assert!(compared.is_empty());
    assert_eq!(compared.cautions, [""; 0]);
    assert_eq!(compared.relation, Relation::OneCapture);
    assert!(!diff(&one, &report(vec![stack(100, &["a"])]), None).is_empty());
    assert!(diff(&Report::default(), &Report::default(), None).is_empty());
}

#[test]
fn rates_make_captures_of_different_length_comparable() {
    let before = report(vec![stack(300, &["a"])]);
    let after = Report { duration_s: 60.0, ..report(vec![stack(600, &["a"])]) };
    let compared = diff(&before, &after, None);
    assert_eq!(compared.stacks[0].change.delta.alloc_bytes, 600);
    assert_eq!(compared.stacks[0].change.delta.alloc_bytes_per_s, Some(0.0));
    assert_eq!(compared.alloc_scale(), 2.0);
    let whole = Report { captured_at: "2026-03-04T05:06:37Z".to_owned(), ..after };
    let compared = diff(&before, &whole, None);
    assert_eq!((compared.relation, compared.alloc_scale()), (Relation::OneCapture, 1.0));
    let none = diff(&Report::default(), &Report::default(), None);
    assert_eq!(none.totals.before.alloc_bytes_per_s, None);
}

#[test]
fn differences_that_chance_explains_are_marked() {
    let sampled = |bytes: u64, samples: u64| {
        let blocks = Stack {
            live_bytes: bytes,
            live_count: bytes / 64,
            live_samples: samples,
            live_bytes_error: ((samples as f64).sqrt() * f64::from(1 << 20)) as u64,
            ..stack(0, &["a"])
        };
        let mut report = report(vec![blocks]);
        report.capture.mode = "sample".to_owned();
        report.capture.sample_interval_bytes = 1 << 20;
        report
    };
    for ((bytes, samples), (later, more), noise) in [
        ((9 << 20, 9), (12 << 20, 12), true),
        ((9 << 20, 9), (40 << 20, 40), false),
        ((0, 0), (1 << 20, 1), true),
        ((0, 0), (20 << 20, 20), false),
        ((9 << 20, 9), (9 << 20, 9), false),
    ] {
        // Another capture of the same process: two of one capture would share their samples.
        let mut after = sampled(later, more);
        after.captured_at = "2026-03-04T06:00:00Z".to_owned();
        let stack = &diff(&sampled(bytes, samples), &after, None).stacks[0];
        assert_eq!(stack.within_noise, noise, "{stack:?}");
    }
    let exact = diff(&report(vec![stack(1, &["a"])]), &report(vec![stack(2, &["a"])]), None);
    assert!(!exact.stacks[0].within_noise && exact.stacks[0].standard_error_bytes == 0.0);
}

#[test]
fn what_makes_a_comparison_unfair_is_said() {
    fn with(change: impl Fn(&mut Report)) -> Report {
        let mut report = report(vec![]);
        change(&mut report);
        report
    }
    let module = |id: &str| Module {
        path: "/lib/x.so".to_owned(),
        build_id: id.to_owned(),
        ..Module::default()
    };
    let before = with(|report| report.modules = vec![module("aa")]);
    for (after, caution) in vec![
        (with(|r| r.target.comm = "other".into()), "The programs differ: app and other."),
        (
            with(|r| r.target.exe = "/x/other".into()),
            "The programs differ: app is /usr/bin/app and /x/other.",
        ),
        (with(|r| r.capture.mode = "sample".into()), "The modes differ: exact and sample. An"),
        (with(|r| r.capture.mode.clear()), "The modes differ: exact and unknown."),
        (
            with(|r| r.capture.sample_interval_bytes = 4096),
            "The sampling intervals differ: 0 B and 4.0 KiB.",
        ),
        (
            with(|r| r.capture.observed = Some(Observed { share: 0.031, windows: 30 })),
            "Allocator probes were in place for 100 % and 3.1 % of the time: a block that",
        ),
        (with(|r| r.capture.complete = false), "The second capture lost events or stacks"),
        (
            with(|r| r.capture.filter.min_age_s = 5.0),
            "The stacks of the first show blocks at least 0s old and 0 B, those of the second blocks at least 5s old",
        ),
        (
            with(|r| r.captured_at = "2026-03-04T04:00:00Z".into()),
            "The second report is older than the first",
        ),
        (
            with(|r| r.modules = vec![module("bb")]),
            "Different builds of x.so: functions are matched by name",
        ),
        (
            with(|r| r.duration_s = 60.0),
            "The captures lasted 30.0s and 60.0s: the longer one had more time",
        ),
    ] {
        let cautions = diff(&before, &after, None).cautions;
        assert!(
            cautions.len() == 1 && cautions[0].starts_with(caution),
            "{caution:?} is not what is said: {cautions:?}"
        );
    }
    let lossy = with(|report| report.capture.complete = false);
    assert!(diff(&lossy, &before, None).cautions[0].starts_with("The first capture lost"));
    assert!(diff(&lossy, &lossy, None).cautions[0].starts_with("Both captures lost"));
    let (moved, same) = (with(|r| r.target.exe = "/opt/2/app".into()), with(|r| r.target.pid = 8));
    for fair in [moved, same, with(|report| report.modules = vec![module("")])] {
        assert_eq!(diff(&before, &fair, None).cautions, [""; 0]);
    }
}

#[test]
fn what_was_kept_ranks_when_it_is_known() {
    let before = report(vec![stack(1000, &["a"]), stack(100, &["b"])]);
    let after = report(vec![stack(10, &["a"]), stack(100, &["b"])]);
    // All old blocks of `b` were freed, and as many new ones are there.
    let kept = report(vec![stack(100, &["b"])]);
    let compared = diff(&before, &after, Some(&kept));
    assert_eq!(lines(&compared), ["b same +0", "a shrunk -990"]);
    assert_eq!(compared.stacks[0].change.kept, Some(Held { count: 1, bytes: 100 }));
    assert_eq!(compared.totals.kept, Some(Held { count: 1, bytes: 100 }));
    assert!(compared.kept);
}

#[test]
fn findings_come_and_go() {
    let finding = |severity: &str, stack_id: Option<u32>| Finding {
        kind: "leak".to_owned(),
        severity: severity.to_owned(),
        stack_id,
        ..Finding::default()
    };
    let with = |id, findings| Report {
        findings,
        ..report(vec![Stack { id, ..stack(10, &["a"]) }, stack(50, &["b"])])
    };
    let before = with(3, vec![finding("warning", Some(3)), finding("info", None)]);
    let same = with(9, vec![finding("warning", Some(9)), finding("info", None)]);
    assert_eq!(diff(&before, &same, None).findings, []);
    let worse = with(9, vec![finding("critical", Some(9))]);
    let changes = diff(&before, &worse, None).findings;
    let shown: Vec<_> = changes
        .iter()
        .map(|change| (change.appeared, change.finding.severity.as_str(), change.stack))
        .collect();
    assert_eq!(
        shown,
        [(true, "critical", Some(0)), (false, "warning", Some(0)), (false, "info", None)]
    );
}

#[test]
fn functions_files_and_sizes_are_matched() {
    let with = |path: &str, live: u64| Report {
        functions: vec![Function {
            function: "f".to_owned(),
            module: path.to_owned(),
            total_live_bytes: live,
            ..Function::default()
        }],
        modules: vec![Module { path: path.to_owned(), self_live_bytes: live, ..Module::default() }],
        sizes: vec![SizeClass { max_bytes: 64, live_bytes: live, ..SizeClass::default() }],
        ..report(vec![])
    };
    let compared = diff(&with("/releases/1/x.so", 10), &with("/releases/2/x.so", 4), None);
    assert_eq!(compared.functions.len(), 1);
    assert_eq!(compared.functions[0].delta.total_live_bytes, -6);
    assert_eq!(compared.modules.len(), 1);
    assert_eq!(compared.modules[0].delta.self_live_bytes, -6);
    assert_eq!(compared.sizes[0].change.delta.live_bytes, -6);
}

fn any_stack() -> impl Strategy<Value = Stack> {
    let names = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..4);
    (names, prop::sample::select(vec!["heap", "mapping"]), 0..1_u64 << 40, 0..9_u64).prop_map(
        |(names, class, live_bytes, live_samples)| Stack {
            class: class.to_owned(),
            live_samples,
            ..stack(live_bytes, &names)
        },
    )
}

proptest! {
    #[test]
    fn changes_add_up(
        before in prop::collection::vec(any_stack(), 0..20),
        after in prop::collection::vec(any_stack(), 0..20),
    ) {
        let sum = |stacks: &[Stack], of: fn(&Stack) -> u64| stacks.iter().map(of).sum::<u64>() as i64;
        let (first, second) = (report(before), report(after));
        let compared = diff(&first, &second, None);
        let moved = |of: fn(&Figures<i64>) -> i64| {
            compared.stacks.iter().map(|stack| of(&stack.change.delta)).sum::<i64>()
        };
        for (moved, of) in [
            (moved(|delta| delta.live_bytes), (|stack| stack.live_bytes) as fn(&Stack) -> u64),
            (moved(|delta| delta.live_count), |stack| stack.live_count),
            (moved(|delta| delta.alloc_bytes), |stack| stack.alloc_bytes),
            (moved(|delta| delta.alloc_count), |stack| stack.alloc_count),
        ] {
            prop_assert_eq!(moved, sum(&second.stacks, of) - sum(&first.stacks, of));
        }
        prop_assert_eq!(compared.totals.delta.live_bytes, moved(|delta| delta.live_bytes));
        // And the other way round everything has the other sign.
        let back = diff(&second, &first, None);
        let (there, back): (i64, i64) = (
            compared.stacks.iter().map(|stack| stack.change.delta.live_bytes.abs()).sum(),
            back.stacks.iter().map(|stack| stack.change.delta.live_bytes.abs()).sum(),
        );
        prop_assert_eq!(there, back);
    }
}
