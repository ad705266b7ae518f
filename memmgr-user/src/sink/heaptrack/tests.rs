//! Tests of `heaptrack`, with a reader that does what heaptrack's own does with the same lines.

use std::collections::BTreeMap;

use super::*;
use crate::escape::is_hostile;
use crate::report::{SizeClass, Stack, TimelinePoint};
use crate::sink::{Class, fixture};

/// What a reader makes of a file.
#[derive(Default)]
struct Read {
    command: String,
    allocations: u64,
    temporary: u64,
    leaked: u64,
    peak: u64,
    /// When the peak was first reached, in milliseconds.
    peak_ms: u64,
    lines: usize,
    /// By stack, root first: allocations and leaked bytes.
    stacks: BTreeMap<String, (u64, u64)>,
}

fn read(report: &Report, options: &RenderOptions) -> Read {
    let text = String::from_utf8(render(report, options).unwrap()).unwrap();
    assert!(!text.contains(|c: char| is_hostile(c) && c != '\n'), "{text:?}");
    let mut read = Read::default();
    let (mut strings, mut ips, mut traces) = (vec![String::new()], vec![String::new()], vec![]);
    traces.push(String::new());
    let mut sizes: Vec<(u64, String)> = Vec::new();
    let (mut now, mut last) = (0, 0);
    for line in text.lines() {
        read.lines += 1;
        let (kind, rest) = line.split_at(1);
        let hex = || rest.split_whitespace().map(|n| u64::from_str_radix(n, 16).unwrap());
        let n = |i: usize| hex().nth(i).unwrap();
        match kind {
            "v" => assert_eq!(rest, " 10100 2"),
            "X" => rest[1..].clone_into(&mut read.command),
            "s" => strings.push(rest[1..].to_owned()),
            "i" => {
                let functions: Vec<u64> = hex().skip(2).step_by(3).collect();
                let names: Vec<&str> =
                    functions.iter().rev().map(|f| strings[*f as usize].as_str()).collect();
                ips.push(names.join(";"));
            }
            "t" => {
                let (ip, parent) = (&ips[n(0) as usize], &traces[n(1) as usize]);
                let separator = if parent.is_empty() { "" } else { ";" };
                traces.push(format!("{parent}{separator}{ip}"));
            }
            "a" => sizes.push((n(0), traces[n(1) as usize].clone())),
            "+" => {
                last = n(0);
                let (size, trace) = &sizes[last as usize];
                read.allocations += 1;
                read.leaked += size;
                let stack = read.stacks.entry(trace.clone()).or_default();
                *stack = (stack.0 + 1, stack.1 + size);
                if read.leaked > read.peak {
                    (read.peak, read.peak_ms) = (read.leaked, now);
                }
            }
            "-" => {
                let (size, trace) = &sizes[n(0) as usize];
                read.temporary += u64::from(last == n(0));
                last = 0;
                read.leaked -= size;
                read.stacks.get_mut(trace).unwrap().1 -= size;
            }
            "c" => now = n(0),
            "A" | "I" | "R" => {}
            _ => panic!("{line:?}"),
        }
    }
    read
}

/// The figures of a report by stack, in heaptrack's words.
fn expected(report: &Report) -> BTreeMap<String, (u64, u64)> {
    let mut stacks: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for stack in Class::Heap.stacks(report) {
        let names = frames::cut(stack)
            .into_iter()
            .chain(stack.frames.iter().rev().map(|frame| frames::name(frame)));
        let line = names.map(|name| frames::one_line(&name)).collect::<Vec<_>>().join(";");
        let sums = stacks.entry(line).or_default();
        *sums = (sums.0 + stack.alloc_count, sums.1 + stack.live_bytes);
    }
    stacks
}

#[track_caller]
fn check(report: &Report) -> Read {
    let read = read(report, &RenderOptions::default());
    assert_eq!(read.stacks, expected(report));
    assert_eq!(read.temporary, 0);
    read
}

#[test]
fn totals_are_those_of_the_report_and_of_every_stack() {
    for report in [fixture::redis(), fixture::judged()] {
        let found = check(&report);
        assert_eq!(found.allocations, report.totals.alloc_count);
        assert_eq!(found.leaked, report.totals.live_bytes);
        assert_eq!(found.peak, report.totals.peak_live_bytes);
        assert_eq!(
            found.command,
            "/usr/bin/redis-server *:6379 (captured by memmgr 0.1.0; estimated from samples, one per 512.0 KiB on average; incomplete: 2 stacks lost or cut)"
        );
    }
    let options = RenderOptions { class: Class::Mapping, ..RenderOptions::default() };
    let mapped = read(&fixture::redis(), &options);
    assert_eq!((mapped.allocations, mapped.leaked, mapped.peak), (2, 64 << 20, 128 << 20));
    check(&Report::default());
    check(&fixture::hostile());
}

#[test]
fn the_peak_is_where_the_timeline_has_it() {
    let mut report = fixture::judged();
    let peak = report.totals.peak_live_bytes;
    report.timeline = [0, peak / 2, peak, peak / 3 * 2, report.totals.live_bytes]
        .iter()
        .enumerate()
        .map(|(t, &live_bytes)| TimelinePoint {
            t_s: t as f64,
            live_bytes,
            ..TimelinePoint::default()
        })
        .collect();
    let found = check(&report);
    assert_eq!((found.peak, found.peak_ms), (peak, 2000));
}

/// One stack with as many allocations and, still outstanding, as many blocks, of 100 bytes each.
fn many(alloc_count: u64, live_count: u64) -> Report {
    let class = SizeClass {
        min_bytes: 64,
        max_bytes: 127,
        live_count,
        live_bytes: live_count * 100,
        alloc_count,
        alloc_bytes: alloc_count * 100,
    };
    let stack = Stack {
        class: "heap".to_owned(),
        live_count,
        live_bytes: class.live_bytes,
        alloc_count,
        alloc_bytes: class.alloc_bytes,
        frames: vec![fixture::frame("main").into()],
        sizes: vec![class],
        ..Stack::default()
    };
    let mut report = Report { stacks: vec![stack], ..Report::default() };
    report.totals.peak_live_bytes = live_count * 100 + 1000;
    report
}

#[test]
fn a_hundred_million_allocations_fit_into_a_file() {
    let report = many(100_000_000, 1_234_567);
    let found = read(&report, &RenderOptions::default());
    assert_eq!(found.leaked, 123_456_700);
    // A held block may stand for several here, but not the bytes.
    assert_eq!(found.peak, 123_457_700);
    assert!(found.lines < 2_200_000, "{} lines", found.lines);
    assert!(found.command.ends_with("; each call stands for 96)"), "{}", found.command);
    assert!(found.allocations.abs_diff(100_000_000 / 96) < 3, "{}", found.allocations);
    assert_eq!(found.temporary, 0);

    let few = read(&many(CALLS_MAX, 5), &RenderOptions::default());
    assert_eq!(few.allocations, CALLS_MAX);
    assert!(!few.command.contains("each call"), "{}", few.command);
}

#[test]
fn one_block_that_came_and_went_is_the_peak_and_not_temporary() {
    let mut report = many(1, 0);
    report.totals.peak_live_bytes = 100;
    let found = check(&report);
    assert_eq!((found.allocations, found.leaked, found.peak), (1, 0, 100));
}
