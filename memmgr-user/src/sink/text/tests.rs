//! Tests of `text`.

use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

use super::*;
use crate::escape::is_hostile;
use crate::report::{Observed, Stack};
use crate::sink::{Metric, fixture};

const TERMINAL: RenderOptions = RenderOptions {
    metric: Metric::InuseSpace,
    class: Class::Heap,
    top: 5,
    color: false,
    width: Some(80),
};

#[track_caller]
fn check_fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(line.width() <= width, "{} columns: {line:?}", line.width());
        assert_eq!(line, line.trim_end(), "blanks at the end");
    }
}

#[track_caller]
fn check_has(text: &str, expected: &[&str]) {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in expected {
        assert!(flat.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn report_in_80_columns() {
    let text = render(&fixture::redis(), &TERMINAL);
    check_fits(&text, 80);
    insta::assert_snapshot!("report_80", text);
}

#[test]
fn report_as_wide_as_it_is() {
    let options = RenderOptions { top: 100, width: None, ..TERMINAL };
    insta::assert_snapshot!("report_wide", render(&fixture::redis(), &options));
}

#[test]
fn an_estimate_beyond_what_is_there_is_told() {
    let told = |observed, rss_bytes| {
        let mut report = fixture::redis();
        report.capture.observed = observed;
        report.process.rss_bytes = Some(rss_bytes);
        report.process.swap_bytes = Some(1 << 20);
        render(&report, &RenderOptions { width: None, ..TERMINAL })
    };
    let live = fixture::redis().totals.live_bytes;
    let windows = Some(Observed { share: 0.1, ..Observed::default() });
    let is_told = |text: String| text.contains("more than is there");
    assert!(is_told(told(windows, live - (2 << 20))));
    // With what is swapped out it may be there.
    assert!(!is_told(told(windows, live - (1 << 19))));
    // What is exact and was never touched is no mistake.
    assert!(!is_told(told(None, live - (2 << 20))));
}

#[test]
fn leaks_in_80_columns() {
    let text = leaks_table(&fixture::redis(), &TERMINAL);
    check_fits(&text, 80);
    insta::assert_snapshot!("leaks_80", text);
}

#[test]
fn growth_is_about_resident_memory() {
    let text = render(&fixture::growing(), &TERMINAL);
    check_fits(&text, 80);
    check_has(
        &text,
        &[
            "growth, no allocator probes: mappings, and one page fault per 512.0 KiB on average: figures are estimates; the truth lies within ± in 95 of 100 cases",
            "Touched for the first time since the attach resident 34.4 MiB ±24% in 8,800 pages (peak 34.4 MiB) touched 35.2 MiB ±23% in 9,000 pages",
            "gone again 800.0 KiB in 200 pages",
            "Resident memory by the stack that touched it first # live share pages average touched",
            "1 33.6 MiB ±67% 97.7% 8,600 4.0 KiB 8,600 20ms/14.5s/29.8s rough: estimated from 9 samples sdsnewlen",
            "Outstanding mappings by stack",
        ],
    );
    for absent in ["Heap since the attach", "Outstanding heap by stack"] {
        assert!(!text.contains(absent), "{absent}:\n{text}");
    }
    // Where nothing was touched that is said of pages.
    let mut idle = fixture::growing();
    idle.stacks.clear();
    idle.resident = crate::report::Totals::default();
    check_has(&render(&idle, &TERMINAL), &["No page was touched for the first time in 30.0s."]);
    // Beside a heap it is a class of its own.
    let mut both = fixture::growing();
    both.stacks.extend(fixture::redis().stacks);
    check_has(
        &render(&both, &TERMINAL),
        &["Outstanding heap by stack", "partly by the heap's blocks (never add the two)"],
    );
}

#[test]
fn allocations_rank_by_what_was_allocated() {
    let options = RenderOptions { metric: Metric::AllocSpace, top: 2, ..TERMINAL };
    let text = leaks_table(&fixture::redis(), &options);
    check_fits(&text, 80);
    check_has(
        &text,
        &[
            "Heap allocations by stack # allocated share allocs average live blocks",
            "1 24.0 MiB 46.6% 24,600 1.0 KiB 24.0 MiB 24,576",
            "2 11.2 MiB 21.8% 90,000 131 B 0 B 0",
            "… 6 stacks not shown: 16.3 MiB (31.6%).",
        ],
    );
}

#[test]
fn objects_rank_by_blocks() {
    let options = RenderOptions { metric: Metric::InuseObjects, top: 1, ..TERMINAL };
    check_has(
        &leaks_table(&fixture::redis(), &options),
        &["1 24.0 MiB ±67% 60.0% 24,576 1.0 KiB", "… 6 stacks not shown: 16,392 blocks (40.0%)."],
    );
}

#[test]
fn hits_misses_and_pages_are_told() {
    let text = render(&fixture::judged(), &TERMINAL);
    for words in [
        "about 99.98 % of about 128,000",
        "lowest 99.60 %, from 15.0s to 16.0s",
        "20 calls (16 mmap, 4 mmap for an arena)",
        "sdsnewlen: 16 calls for 4.0 MiB",
        "40.0 MiB, 40.0%",
        "createObject: 3,072 pages kept by 1.5 MiB",
        "7f5c10000000-7f5c14000000",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn sizes_and_modules_are_there_when_the_report_has_them() {
    let text = render(&fixture::judged(), &TERMINAL);
    check_fits(&text, 80);
    check_has(
        &text,
        &[
            "By module self live total live self alloc total alloc module",
            "32.1 MiB 32.1 MiB 32.1 MiB 49.5 MiB …/lib/x86_64-linux-gnu/libc.so.6 0 B 32.1 MiB 0 B 49.5 MiB /usr/bin/redis-server",
            "By size blocks from live share blocks allocated allocs",
            "512 B 8.0 MiB 24.2% 16,384 8.0 MiB 16,384",
            "64.0 KiB 1.1 MiB 3.2% 2 2.1 MiB 21",
        ],
    );
    let text = render(&fixture::redis(), &TERMINAL);
    assert!(!text.contains("By module") && !text.contains("By size"), "{text}");
    let mut hostile = fixture::judged();
    hostile.modules[0].path = "\u{9b}31m\u{202e}/lib.so".to_owned();
    let text = render(&hostile, &TERMINAL);
    check_has(&text, &["\\u{9b}31m\\u{202e}/lib.so"]);
}

#[test]
fn without_anything_it_says_so() {
    let mut report = Report::default();
    report.capture.complete = true;
    for text in [render(&report, &TERMINAL), leaks_table(&report, &TERMINAL)] {
        check_fits(&text, 80);
        check_has(&text, &["No allocation was seen in 0ms.", "yes, nothing was lost"]);
        assert!(!text.contains("mapping"), "a class that never appeared is not mentioned:\n{text}");
    }
    report.totals.alloc_count = 1234;
    report.totals.free_count = 1234;
    check_has(
        &leaks_table(&report, &TERMINAL),
        &["Nothing is outstanding: all allocated since the attach (1,234 blocks) was freed."],
    );
    report.capture.mode = "sample".to_owned();
    check_has(
        &leaks_table(&report, &TERMINAL),
        &["was freed. Only samples were taken: a few small blocks may be there all the same."],
    );
}

#[test]
fn what_was_lost_is_said_in_words() {
    let mut report = Report::default();
    check_has(
        &leaks_table(&report, &TERMINAL),
        &["NO, cause unknown (see Lost)", "do not trust the figures"],
    );
    report.capture.loss.ring_full = 1204;
    report.capture.accounting.residual = -3;
    check_has(
        &leaks_table(&report, &TERMINAL),
        &[
            "NO, 1,204 events lost (see Lost)",
            "Events that found no room in the ring buffer: 1,204; figures are too low, or too high where a free was lost; a larger --ring-bytes or --mode sample mends it.",
            "Probe hits accounted for by nothing: -3",
        ],
    );
}

#[test]
fn bytes_outside_of_any_stack_are_said() {
    let mut report = fixture::redis();
    report.totals.live_bytes += 4096;
    check_has(
        &leaks_table(&report, &TERMINAL),
        &["4.0 KiB more are outstanding that belong to no stack of this report."],
    );
}

#[test]
fn modes_and_ends_are_said() {
    for (mode, ended, expected) in [
        ("sample", "duration", "mode sample, one per 512.0 KiB on average: figures are estimates"),
        ("exact", "exited", "captured 30.0s, until the target exited"),
        ("exact", "duration", "mode exact, every allocation"),
        ("growth", "interrupted", "no allocator probes"),
        ("exact", "other", "captured 30.0s, ended: other"),
        ("growth", "interrupted", "interrupted by the user"),
    ] {
        let mut report = fixture::redis();
        mode.clone_into(&mut report.capture.mode);
        ended.clone_into(&mut report.target.ended);
        check_has(&leaks_table(&report, &TERMINAL), &[expected]);
    }
}

#[test]
fn long_stacks_keep_the_leaf_and_count_the_rest() {
    let frames = ["malloc", "operator new(unsigned long)"].map(fixture::frame).map(Arc::new);
    let mut stack = Stack {
        class: "heap".to_owned(),
        live_bytes: 1,
        live_count: 1,
        frames: frames.to_vec(),
        ..Stack::default()
    };
    let mut report = fixture::redis();
    report.stacks = vec![stack.clone()];
    let text = leaks_table(&report, &TERMINAL);
    assert!(text.contains("      malloc\n      operator new(unsigned long)\n"), "{text}");

    stack.frames.extend((0..20).map(|i| fixture::frame(&format!("caller_{i}")).into()));
    report.stacks = vec![stack];
    let text = leaks_table(&report, &TERMINAL);
    assert!(
        text.contains("      via malloc, operator new(unsigned long)\n      caller_0\n"),
        "{text}"
    );
    assert!(text.contains("      caller_11\n      … 8 more\n"), "{text}");
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    for width in [None, Some(80), Some(40)] {
        let options = RenderOptions { width, top: 100, ..TERMINAL };
        let report = fixture::hostile();
        for text in [render(&report, &options), leaks_table(&report, &options)] {
            assert!(!text.contains(|c: char| is_hostile(c) && c != '\n'), "{text:?}");
            check_fits(&text, width.unwrap_or(usize::MAX));
        }
    }
    check_has(&leaks_table(&fixture::hostile(), &TERMINAL), &["evil\\u{1b}[2J 7 (1234)"]);
}

#[test]
fn colour_changes_no_character() {
    let plain = render(&fixture::redis(), &TERMINAL);
    let color = render(&fixture::redis(), &RenderOptions { color: true, ..TERMINAL });
    assert!(color.contains("\x1b[1;31m"));
    let mut stripped = String::new();
    let mut rest = color.as_str();
    while let Some(start) = rest.find("\x1b[") {
        stripped.push_str(&rest[..start]);
        rest = &rest[start..];
        rest = &rest[rest.find('m').unwrap() + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}
