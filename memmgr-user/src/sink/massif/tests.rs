//! Tests of `massif`.

use super::*;
use crate::escape::is_hostile;
use crate::report::{Filter, TimelinePoint, Totals};
use crate::sink::{Class, fixture};

/// A row of a tree: depth, children, bytes, text.
fn rows(out: &str) -> Vec<(usize, usize, u64, &str)> {
    let is_row = |line: &&str| line.trim_start().starts_with('n') && line.contains(": ");
    out.lines()
        .filter(is_row)
        .map(|line| {
            let row = line.trim_start();
            let (children, rest) = row[1..].split_once(": ").unwrap();
            let (bytes, text) = rest.split_once(' ').unwrap();
            (line.len() - row.len(), children.parse().unwrap(), bytes.parse().unwrap(), text)
        })
        .collect()
}

/// Every row has as many children as it says, and they add up to it.
#[track_caller]
fn check_sums(out: &str) {
    let rows = rows(out);
    for (i, &(depth, children, bytes, text)) in rows.iter().enumerate() {
        let below = rows[i + 1..].iter().take_while(|row| row.0 > depth);
        let below: Vec<u64> = below.filter(|row| row.0 == depth + 1).map(|row| row.2).collect();
        assert_eq!(below.len(), children, "children of {text}");
        assert!(below.is_empty() || below.iter().sum::<u64>() == bytes, "sum of {text}");
    }
}

fn stack(live_bytes: u64, leaf_first: &[&str]) -> Stack {
    Stack {
        class: "heap".to_owned(),
        live_bytes,
        frames: leaf_first.iter().map(|name| fixture::frame(name).into()).collect(),
        ..Stack::default()
    }
}

fn report(stacks: Vec<Stack>) -> Report {
    let live_bytes = stacks.iter().map(|stack| stack.live_bytes).sum();
    let totals = Totals { live_bytes, ..Totals::default() };
    Report { totals, stacks, ..Report::default() }
}

#[test]
fn the_report_as_a_file() {
    let out = render(&fixture::redis(), &RenderOptions::default());
    insta::assert_snapshot!("redis.massif", out);
}

#[test]
fn rows_add_up() {
    for report in [fixture::redis(), fixture::judged(), Report::default()] {
        check_sums(&render(&report, &RenderOptions::default()));
    }
}

#[test]
fn rows_below_the_threshold_are_one() {
    let out = render(
        &report(vec![
            stack(991, &["a", "main"]),
            stack(4, &["b", "main"]),
            stack(3, &["c", "main"]),
            stack(2, &["d"]),
        ]),
        &RenderOptions::default(),
    );
    check_sums(&out);
    let rows: Vec<_> = rows(&out)
        .into_iter()
        .map(|(depth, n, bytes, text)| (depth, n, bytes, text.to_owned()))
        .collect();
    assert_eq!(
        rows[1..],
        [
            (1, 1, 991, "0x0: a".to_owned()),
            (2, 0, 991, "0x0: main".to_owned()),
            (1, 0, 9, "in 3 places, all below massif's threshold (1.00%)".to_owned()),
        ]
    );
}

#[test]
fn a_stack_that_ends_where_others_go_on_is_a_row() {
    let cut = Stack { cut: Some("truncated".to_owned()), ..stack(30, &["a"]) };
    let out = render(
        &report(vec![stack(50, &["a", "main"]), stack(20, &["a"]), cut]),
        &RenderOptions::default(),
    );
    check_sums(&out);
    let texts: Vec<_> = rows(&out).into_iter().map(|row| (row.0, row.3.to_owned())).collect();
    let row = |depth, text: &str| (depth, text.to_owned());
    assert_eq!(
        texts[1..],
        [
            row(1, "0x0: a"),
            row(2, "0x0: main"),
            row(2, "0x0: [truncated]"),
            row(2, "0x0: [no further callers]"),
        ]
    );
}

#[test]
fn bytes_that_no_stack_holds_are_a_row() {
    let mut report = report(vec![stack(60, &["main"])]);
    report.totals.live_bytes = 100;
    let row = |report: &Report| {
        let out = render(report, &RenderOptions::default());
        check_sums(&out);
        assert!(out.contains("mem_heap_B=100\n"), "{out}");
        rows(&out)[2].3.to_owned()
    };
    assert_eq!(row(&report), "0x0: [in no stack of the report]");
    report.capture.filter = Filter { min_age_s: 10.0, min_size_bytes: 0 };
    assert_eq!(row(&report), "0x0: [hidden by --min-age or --min-size]");
}

#[test]
fn the_peak_is_marked_where_it_is() {
    let mut report = report(vec![stack(60, &["main"])]);
    report.duration_s = 3.0;
    report.timeline = [10, 90, 20, 60]
        .iter()
        .enumerate()
        .map(|(t, &live_bytes)| TimelinePoint {
            t_s: t as f64,
            live_bytes,
            ..TimelinePoint::default()
        })
        .collect();
    let trees = |report: &Report, class| {
        let out = render(report, &RenderOptions { class, ..RenderOptions::default() });
        check_sums(&out);
        let values = |key: &str| -> Vec<String> {
            out.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect()
        };
        (values("mem_heap_B=").join(" "), values("heap_tree=").join(" "))
    };
    let pair = |bytes: &str, trees: &str| (bytes.to_owned(), trees.to_owned());
    assert_eq!(trees(&report, Class::Heap), pair("10 90 20 60", "empty peak empty detailed"));
    report.timeline[1].live_bytes = 60;
    assert_eq!(trees(&report, Class::Heap), pair("10 60 20 60", "empty empty empty peak"));
    // The timeline is the heap's.
    assert_eq!(trees(&report, Class::Mapping), pair("0", "peak"));
}

#[test]
fn names_cannot_break_a_line() {
    let out = render(&fixture::hostile(), &RenderOptions::default());
    assert!(!out.contains(|c: char| is_hostile(c) && c != '\n'), "{out:?}");
    check_sums(&out);
    let closure = report(vec![stack(5, &["main::{closure#0}", "n9: 5 x\nsnapshot=7"])]);
    let out = render(&closure, &RenderOptions::default());
    check_sums(&out);
    assert!(out.contains(" n1: 5 0x0: main::{closure@0}\n"), "{out}");
    assert!(out.contains("  n0: 5 0x0: n9: 5 x\\u{a}snapshot=7\n"), "{out}");
}

#[test]
fn callers_beyond_the_limit_are_left_out() {
    let out = render(&report(vec![stack(5, &["f"; 5000])]), &RenderOptions::default());
    check_sums(&out);
    assert!(rows(&out).len() < 300);
}
