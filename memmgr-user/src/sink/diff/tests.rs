//! Tests of every format of a comparison.

use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

use super::*;
use crate::diff::diff;
use crate::escape::is_hostile;
use crate::report::{Report, SizeClass};
use crate::sink::fixture;

const OPTIONS: RenderOptions = RenderOptions {
    metric: Metric::InuseSpace,
    class: Class::Heap,
    top: 5,
    color: false,
    width: Some(80),
};

/// Redis twice: keys were expired, the dictionary grew, a session store came, a table went, and it
/// leaks now.
fn redis() -> Diff {
    let before = Report { findings: Vec::new(), ..fixture::redis() };
    let mut after = fixture::redis();
    after.captured_at = "2026-03-04T05:16:07Z".to_owned();
    after.process.rss_bytes = Some(140 << 20);
    after.stacks[0].live_bytes *= 2;
    after.stacks[0].live_count *= 2;
    after.stacks[0].live_samples = 96;
    after.stacks[0].live_bytes_error = after.stacks[0].live_bytes / 10;
    after.stacks[1].live_bytes -= 8 << 20;
    after.stacks[1].live_count = 0;
    after.stacks[1].alloc_bytes *= 3;
    after.stacks[2].live_bytes += 4096;
    let frames = ["lua_newstate", "evalCommand", "main"].map(fixture::frame);
    after.stacks[5].frames = frames.into_iter().map(Arc::new).collect();
    after.functions[0].total_live_bytes += 17 << 20;
    after.sizes = vec![SizeClass { max_bytes: 1024, live_bytes: 1 << 20, ..SizeClass::default() }];
    let heap = after.stacks.iter().filter(|stack| stack.class == "heap");
    after.totals.live_bytes = heap.map(|stack| stack.live_bytes).sum();
    after.totals.live_count += 8192;
    diff(&before, &after, None)
}

fn render(format: Format, diff: &Diff, options: &RenderOptions, widths: Widths) -> String {
    String::from_utf8(render_diff(format, diff, options, widths).unwrap()).unwrap()
}

fn text(diff: &Diff, options: &RenderOptions) -> String {
    render(Format::Text, diff, options, Widths::After)
}

fn svg(diff: &Diff, widths: Widths) -> String {
    render(Format::Svg, diff, &OPTIONS, widths)
}

/// `TITLE COLOUR` of every frame, without the share of the widths.
fn frames(svg: &str) -> Vec<String> {
    let frames = svg.split("<title>").skip(1);
    frames
        .map(|frame| {
            let (title, rest) = frame.split_once("</title>").unwrap();
            let color = rest.split("fill=\"").nth(1).unwrap().split('"').next().unwrap();
            format!("{title} {color}")
        })
        .collect()
}

#[test]
fn the_table_in_80_and_120_columns() {
    for width in [80, 120] {
        let text = text(&redis(), &RenderOptions { width: Some(width), ..OPTIONS });
        for line in text.lines() {
            assert!(line.width() <= width, "{} columns: {line:?}", line.width());
        }
        insta::assert_snapshot!(format!("table_{width}"), text);
    }
}

#[test]
fn json_reads_back_equal() {
    let check = |before: Report, after: Report, kept: Option<&Report>| {
        let diff = diff(&before, &after, kept);
        let json = render(Format::Json, &diff, &OPTIONS, Widths::After);
        assert!(!json.contains(|c: char| is_hostile(c) && c != '\n'), "{json}");
        assert_eq!(serde_json::from_str::<Diff>(&json).unwrap(), diff);
        assert!(json.contains("\"schema\": \"memmgr.diff/1\""));
    };
    check(fixture::redis(), fixture::judged(), None);
    check(fixture::redis(), fixture::hostile(), Some(&fixture::redis()));
    check(Report::default(), Report::default(), None);
}

#[test]
fn every_format_of_a_report_against_itself_says_that_nothing_changed() {
    let report = Report { findings: Vec::new(), ..fixture::redis() };
    let diff = diff(&report, &report, None);
    let shown = text(&diff, &OPTIONS);
    assert!(
        shown.contains("Nothing changed: all 8 stacks have the same figures on both sides."),
        "{shown}"
    );
    assert!(!shown.contains("Change by function"), "{shown}");
    assert!(svg(&diff, Widths::After).contains("Nothing changed (memory class: heap)."));
}

#[test]
fn empty_reports_are_compared() {
    let diff = diff(&Report::default(), &Report::default(), None);
    assert!(text(&diff, &OPTIONS).contains("Nothing to compare: neither side has a stack."));
    assert!(svg(&diff, Widths::Before).contains("Nothing changed"));
}

#[test]
fn colours_show_what_changed_below_each_frame() {
    fn side(figures: [u64; 3]) -> Report {
        let paths =
            [&["grown", "parent", "main"][..], &["shrunk", "parent", "main"], &["same", "main"]];
        let stacks = paths.into_iter().zip(figures).filter(|(_, bytes)| *bytes > 0);
        Report {
            stacks: stacks
                .map(|(names, live_bytes)| Stack {
                    class: "heap".to_owned(),
                    live_bytes,
                    frames: names.iter().map(|name| fixture::frame(name).into()).collect(),
                    ..Stack::default()
                })
                .collect(),
            ..Report::default()
        }
    }
    let check = |before, after, widths, expected: &[&str]| {
        let mut found = frames(&svg(&diff(&side(before), &side(after), None), widths));
        found.retain(|frame| !frame.starts_with("all "));
        found.sort();
        assert_eq!(found, expected);
    };
    check(
        [100, 40, 30],
        [200, 20, 30],
        Widths::After,
        &[
            "grown (200 bytes, 80.00%; +40.00%) rgb(255,100,100)",
            "main (250 bytes, 100.00%; +32.00%) rgb(255,130,130)",
            "parent (220 bytes, 88.00%; +32.00%) rgb(255,130,130)",
            "same (30 bytes, 12.00%; 0.00%) rgb(250,250,250)",
            "shrunk (20 bytes, 8.00%; -8.00%) rgb(220,220,255)",
        ],
    );
    // What is gone has a width only among what was there.
    check(
        [0, 60, 40],
        [10, 0, 40],
        Widths::Before,
        &[
            "main (100 bytes, 100.00%; -50.00%) rgb(125,125,255)",
            "parent (60 bytes, 60.00%; -50.00%) rgb(125,125,255)",
            "same (40 bytes, 40.00%; 0.00%) rgb(250,250,250)",
            "shrunk (60 bytes, 60.00%; -60.00%) rgb(100,100,255)",
        ],
    );
    let gone = svg(&diff(&side([0, 60, 40]), &side([10, 0, 40]), None), Widths::After);
    assert!(gone.contains("1 stack gone: see --gone"), "{gone}");
}

#[test]
fn names_that_sort_between_a_caller_and_its_callees_tear_nothing_apart() {
    let side = |scale: u64| Report {
        stacks: [(&["x", "f"][..], 10), (&["f!"], 20), (&["y", "f"], 30), (&["f"], 40)]
            .into_iter()
            .map(|(names, bytes)| Stack {
                class: "heap".to_owned(),
                live_bytes: bytes * scale,
                frames: names.iter().map(|name| fixture::frame(name).into()).collect(),
                ..Stack::default()
            })
            .collect(),
        ..Report::default()
    };
    let found = frames(&svg(&diff(&side(1), &side(2), None), Widths::After));
    assert_eq!(
        found.iter().filter(|frame| frame.starts_with("f (160 bytes")).count(),
        1,
        "{found:?}"
    );
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn titles_say_what_is_compared() {
    for (diff, widths, expected) in [
        (
            redis(),
            Widths::After,
            &[
                "redis-server (1234): change of outstanding bytes, 2026-03-04T05:06:07Z → 2026-03-04T05:16:07Z",
                "Heap: 33.1 MiB → 49.1 MiB (+16.0 MiB); widths: the second; red: more than in the first, blue: less; 2 stacks gone: see --gone; 1 caution in the table",
            ][..],
        ),
        (
            redis(),
            Widths::Before,
            &[
                "widths: the first; red: more in the second, blue: less; 1 stack new: see without --gone",
            ],
        ),
        (
            diff(&fixture::redis(), &fixture::redis(), Some(&fixture::redis())),
            Widths::After,
            &[
                "redis-server (1234): kept, outstanding bytes",
                "widths: allocated after the first, not freed by the second",
            ],
        ),
    ] {
        let svg = svg(&diff, widths);
        for expected in expected {
            assert!(
                svg.contains(expected),
                "{expected:?} is not in {:?}",
                &svg[svg.find("id=\"title\"").unwrap()..][..900]
            );
        }
    }
}

#[test]
fn kept_blocks_take_the_place_of_the_difference() {
    let report = fixture::redis();
    let diff = diff(&report, &report, Some(&report));
    let text = text(&diff, &RenderOptions { top: 1, width: None, ..OPTIONS });
    for expected in [
        "Kept by stack, allocated after the first and not freed by the second: heap\n",
        "1  +24.0 MiB",
        "33.1 MiB in 40,968 blocks, allocated after the first and outstanding at the second",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let none = Report::default();
    let nothing = crate::diff::diff(&report, &report, Some(&none));
    assert!(
        self::text(&nothing, &OPTIONS).contains("all that was allocated after the first was freed")
    );
    assert!(svg(&nothing, Widths::After).contains("Nothing was kept"));
}

#[test]
fn other_metrics_rank_by_their_figures() {
    for (metric, expected) in [
        (Metric::InuseObjects, "1  +24,576  24,576  49,152  +24.0 MiB   grown"),
        (Metric::AllocSpace, "1  +16.0 MiB  8.0 MiB  24.0 MiB       0   grown"),
    ] {
        let text = text(&redis(), &RenderOptions { metric, top: 1, ..OPTIONS });
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let mut later = fixture::redis();
    later.duration_s = 60.0;
    let compared = diff(&fixture::redis(), &later, None);
    let text =
        text(&compared, &RenderOptions { metric: Metric::AllocSpace, width: None, ..OPTIONS });
    assert!(text.contains("the first side's figures are multiplied by 2.000."), "{text}");
}

#[test]
fn nothing_hostile_gets_out_of_its_place() {
    for (before, after) in [
        (fixture::hostile(), Report::default()),
        (Report::default(), fixture::hostile()),
        (fixture::redis(), fixture::hostile()),
    ] {
        let diff = diff(&before, &after, None);
        for width in [None, Some(80), Some(40)] {
            let text = text(&diff, &RenderOptions { width, top: 100, ..OPTIONS });
            assert!(!text.contains(|c: char| is_hostile(c) && c != '\n'), "{text:?}");
            assert!(text.lines().all(|line| line.width() <= width.unwrap_or(usize::MAX)), "{text}");
        }
        for widths in [Widths::After, Widths::Before] {
            let svg = svg(&diff, widths);
            assert!(!svg.contains(|c: char| is_hostile(c) && !c.is_ascii_whitespace()));
            assert!(!svg.contains("<script>alert"), "{svg}");
        }
    }
    let diff = diff(&Report::default(), &fixture::hostile(), None);
    let svg = svg(&diff, Widths::After);
    assert!(svg.contains("&lt;/text&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{svg}");
}

#[test]
fn colour_changes_no_character() {
    let plain = text(&redis(), &OPTIONS);
    let color = text(&redis(), &RenderOptions { color: true, ..OPTIONS });
    assert!(color.contains("\x1b[1;31m") && color.contains("\x1b[32m"));
    let stripped: String = color
        .split("\x1b[")
        .enumerate()
        .map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 })
        .collect();
    assert_eq!(stripped, plain);
}

#[test]
fn sums_that_no_picture_can_show_are_an_error() {
    let report = Report {
        stacks: vec![Stack {
            class: "heap".to_owned(),
            live_bytes: u64::MAX,
            frames: vec![fixture::frame("a").into()],
            ..Stack::default()
        }],
        ..Report::default()
    };
    let diff = diff(&Report::default(), &report, None);
    let error = render_diff(Format::Svg, &diff, &OPTIONS, Widths::After).unwrap_err();
    assert_eq!(error.to_string(), "the outstanding bytes are more than a picture can show");
    assert!(text(&diff, &OPTIONS).contains("+8.0 EiB"));
}

#[test]
fn other_formats_are_refused() {
    let error = render_diff(Format::Folded, &redis(), &OPTIONS, Widths::After).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a comparison cannot be written as folded; take text, json or svg"
    );
}
