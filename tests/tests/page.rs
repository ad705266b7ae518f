//! The page that `memmgr report -o page.html` writes, used in a browser as a person uses it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memmgr::report::{
    Age, Allocator, Capture, Cgroup, Finding, Frame, Function, Growth, Lifetime, ProbedFunction,
    Reconciliation, Report, SCHEMA, Stack, Survival, Target, TimelinePoint, Totals,
};
use memmgr_tests::{browser::Browser, capture::binary, host::has_program};
use serde_json::json;
use tempfile::TempDir;

/// A name that tries to run, to hide and to reorder the line.
const EVIL: &str = "</script><img src=x onerror=\"window.pwned=1;alert(1)\">\u{202e}\u{200b}\u{9b}";
const EVIL_SHOWN: &str =
    "</script><img src=x onerror=\"window.pwned=1;alert(1)\">\\u{202e}\\u{200b}\\u{9b}";

fn frame(function: &str, module: &str) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        module: Some(module.to_owned()),
        file: Some("/build/server.c".to_owned()),
        line: Some(7),
        ..Frame::default()
    }
}

/// A stack of `depth` frames: `malloc`, then what `i` tells apart, then what all share.
fn stack(i: u32, depth: u32) -> Stack {
    let function = |level: u32| match level {
        0 => "malloc".to_owned(),
        1 => format!("allocate_{i}"),
        _ if level + 1 == depth => "main".to_owned(),
        _ => format!("call_{level}_{}", i % (1 + depth - level)),
    };
    let live_bytes = 64_000_000 / u64::from(i + 1);
    Stack {
        id: i,
        class: "heap".to_owned(),
        live_count: live_bytes / 64,
        live_bytes,
        live_samples: 40,
        live_bytes_error: live_bytes / 6,
        alloc_count: 1000 + u64::from(i),
        alloc_bytes: live_bytes + 1_000_000,
        age_s: Some(Age { min: 0.5, median: 5.0, max: 9.5 }),
        frames: (0..depth).map(|level| frame(&function(level), "/usr/bin/server").into()).collect(),
        ..Stack::default()
    }
}

/// A judged report: stack 0 grows, stack 2 has a hostile name.
fn report(stacks: u32, depth: u32) -> Report {
    let mut stacks: Vec<Stack> = (0..stacks).map(|i| stack(i, depth)).collect();
    stacks[0].finding = Some(0);
    stacks[0].growth = Some(Growth {
        shape: "linear".to_owned(),
        confidence: 0.95,
        bytes_per_s: 6_400_000.0,
        grown_bytes: 42_000_000,
        series: (1..=10).map(|window| window * 6_400_000).collect(),
        ..Growth::default()
    });
    stacks[0].lifetime = Some(Lifetime {
        freed_count: 10,
        censored_count: 1_000_000,
        median_s: None,
        immortal: 0.9,
        survival: [(0.5, 0.99), (1.0, 0.95), (2.0, 0.9)]
            .map(|(age_s, share)| Survival { age_s, share })
            .to_vec(),
        ..Lifetime::default()
    });
    stacks[2].frames[1] = frame(EVIL, EVIL).into();
    let live_bytes = stacks.iter().map(|stack| stack.live_bytes).sum();
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: "0.1.0".to_owned(),
        captured_at: "2026-03-04T05:06:07Z".to_owned(),
        duration_s: 10.0,
        target: Target {
            pid: 77,
            comm: EVIL.to_owned(),
            cmdline: vec!["server".to_owned(), EVIL.to_owned()],
            allocators: vec![Allocator {
                functions: vec![ProbedFunction {
                    symbol: "malloc=__libc_malloc".to_owned(),
                    ..ProbedFunction::default()
                }],
                ..Allocator::default()
            }],
            ..Target::default()
        },
        capture: Capture { mode: "exact".to_owned(), complete: true, ..Capture::default() },
        totals: Totals { live_bytes, live_count: 9, alloc_bytes: live_bytes, ..Totals::default() },
        functions: vec![Function { function: EVIL.to_owned(), ..Function::default() }],
        findings: vec![Finding {
            kind: "leak".to_owned(),
            stack_id: Some(0),
            subject: Some("allocate_0".to_owned()),
            shape: "linear".to_owned(),
            severity: "critical".to_owned(),
            score: 93.0,
            confidence: 0.95,
            growth_bytes_per_s: 6_400_000.0,
            time_to_limit_s: Some(75.0),
            evidence: vec![format!("nothing of it is freed {EVIL}")],
            recommendation: "Free it.".to_owned(),
        }],
        windows_s: (1..=10).map(f64::from).collect(),
        timeline: (0..=10)
            .map(|t| TimelinePoint {
                t_s: f64::from(t),
                live_bytes: u64::from(t as u32) * 6_400_000,
                rss_bytes: 80_000_000 + u64::from(t as u32) * 6_400_000,
                cgroup_bytes: Some(90_000_000),
                ..TimelinePoint::default()
            })
            .collect(),
        cgroup: Some(Cgroup {
            version: "v2".to_owned(),
            path: EVIL.to_owned(),
            usage_bytes: Some(90_000_000),
            limit_bytes: Some(200_000_000),
            ..Cgroup::default()
        }),
        reconciliation: Reconciliation {
            rss_bytes: 144_000_000,
            tracked_live_bytes: 64_000_000,
            allocator_retained_bytes: 80_000_000,
            ..Reconciliation::default()
        },
        stacks,
        ..Report::default()
    }
}

/// The page of a report, rendered by the binary under test.
fn page(report: &Report) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let [json, html] = ["report.json", "page.html"].map(|name| directory.path().join(name));
    fs::write(&json, serde_json::to_vec(report).expect("a report is JSON")).expect("a file");
    let status = Command::new(binary())
        .arg("report")
        .arg(&json)
        .arg("-o")
        .arg(&html)
        .stdout(Stdio::null())
        .status()
        .expect("memmgr cannot be started");
    assert!(status.success());
    (directory, html)
}

const READY: &str = "document.documentElement?.dataset.ready === 'yes'";

/// The report, opened; nothing at all where there is no browser.
fn opened(report: &Report) -> Option<(TempDir, Browser)> {
    if !has_program("chromium") {
        return None;
    }
    let (directory, file) = page(report);
    let mut browser = Browser::start(1440, 1000);
    browser.open(&file);
    browser.wait_until(READY);
    Some((directory, browser))
}

#[track_caller]
fn no_problems(browser: &mut Browser) {
    assert_eq!(browser.problems(), [] as [&str; 0]);
}

#[test]
fn the_verdict_comes_first_and_leads_to_its_stack() {
    let Some((_directory, mut browser)) = opened(&report(40, 8)) else { return };
    assert_eq!(
        browser.text("#verdict .headline"),
        "■ allocate_0 grows by 6.1 MiB/s; the limit is reached in 1m15s"
    );
    assert_eq!(browser.text(".facts .good"), "✓ complete, nothing was lost");
    browser.click("#verdict .actions button", None);
    let frames = browser.text("#tables .detail .frames");
    assert!(frames.contains("malloc") && frames.contains("allocate_0"), "{frames}");
    assert!(browser.text("#tables .detail").contains("linear, confidence 95%: 6.1 MiB/s"));
    let curves = browser.value("document.querySelectorAll('#tables .detail svg').length");
    assert_eq!(curves, 2, "growth and lifetime");
    no_problems(&mut browser);
}

#[test]
fn a_verdict_without_findings_says_how_far_it_goes() {
    let calm = |complete: bool, judged: bool| {
        let mut report = report(10, 6);
        report.findings.clear();
        report.stacks[0].finding = None;
        report.capture.complete = complete;
        if !judged {
            report.windows_s.clear();
            report.stacks[0].growth = None;
        }
        report
    };
    for (report, headline, qualified) in [
        (calm(true, true), "✓ No leak found.", false),
        (calm(false, true), "No leak found in what was seen.", true),
        (calm(true, false), "Not judged: the report holds no course over time.", false),
    ] {
        let Some((_directory, mut browser)) = opened(&report) else { return };
        assert_eq!(browser.text("#verdict .headline"), headline);
        let words = browser.text("#verdict");
        assert_eq!(words.contains("Not all was seen: cause unknown."), qualified, "{words}");
        no_problems(&mut browser);
    }
}

#[test]
fn names_of_the_target_are_text() {
    let Some((_directory, mut browser)) = opened(&report(10, 6)) else { return };
    assert!(browser.text("h1").starts_with(EVIL_SHOWN));
    for expression in [
        "document.querySelector('#flame canvas').focus()",
        "document.querySelectorAll('#tables .opener').forEach((opener) => opener.click())",
        "document.querySelectorAll('[role=tab]').forEach((tab) => tab.click())",
        "document.querySelectorAll('details').forEach((details) => { details.open = true; })",
    ] {
        browser.value(expression);
    }
    assert_eq!(browser.value("typeof window.pwned"), "undefined");
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.value("document.title"), format!("memmgr: {EVIL_SHOWN} (77)"));
    let invisible = browser.value(r"/[\u202e\u200b\u009b]/.test(document.body.innerText)");
    assert_eq!(invisible, false);
    no_problems(&mut browser);
}

#[test]
fn the_flame_graph_zooms_by_mouse_and_keyboard() {
    let Some((_directory, mut browser)) = opened(&report(40, 8)) else { return };
    let zoomed = |browser: &mut Browser| browser.text("#flame .crumbs");
    assert_eq!(zoomed(&mut browser), "all");
    // The second row is main, the third its largest callee.
    browser.click("#flame canvas", Some((20.0, 50.0)));
    let deep = zoomed(&mut browser);
    assert!(deep.starts_with("all\nmain\ncall_6"), "{deep:?}");
    browser.press("Escape");
    assert_eq!(zoomed(&mut browser), "all");
    for key in ["ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft"] {
        browser.press(key);
    }
    assert!(browser.text("#flame [aria-live]").starts_with("call_6"));
    let tip = browser.text("#flame [role=tooltip]");
    assert!(tip.contains("% of all") && tip.contains("server.c:7 · /usr/bin/server"), "{tip}");
    browser.press("Enter");
    assert_eq!(zoomed(&mut browser), deep);
    browser.click("#flame .crumbs button", None);
    assert_eq!(zoomed(&mut browser), "all");
    no_problems(&mut browser);
}

#[test]
fn the_search_says_what_matches() {
    let Some((_directory, mut browser)) = opened(&report(40, 8)) else { return };
    browser.press("/");
    browser.insert("allocate_0");
    let share = browser.text("#flame .found-share");
    assert!(share.starts_with("1 function in 1 stack: 61.0 MiB, "), "{share}");
    browser.press("Escape");
    assert_eq!(browser.text("#flame .found-share"), "");
    browser.press("/");
    browser.insert("no such function");
    assert_eq!(browser.text("#flame .found-share"), "Nothing is named like “no such function”");
    no_problems(&mut browser);
}

#[test]
fn the_table_sorts_filters_and_turns_pages() {
    let Some((_directory, mut browser)) = opened(&report(45, 8)) else { return };
    let first = |browser: &mut Browser| browser.text("#panel-0 tbody .name b");
    let status = |browser: &mut Browser| browser.text("#panel-0 output");
    assert_eq!(first(&mut browser), "allocate_0");
    assert_eq!(status(&mut browser), "1–20 of 45");
    browser.click("#panel-0 th:nth-child(3) button", None);
    assert_eq!(first(&mut browser), "allocate_44");
    let sorted = "document.querySelector('#panel-0 th:nth-child(3)').getAttribute('aria-sort')";
    assert_eq!(browser.value(sorted), "ascending");
    browser.click("#panel-0 .pager button:last-child", None);
    assert_eq!(status(&mut browser), "21–40 of 45");
    browser.click("#panel-0 input", None);
    browser.insert("allocate_3");
    assert_eq!(status(&mut browser), "1–11 of 11 (45 in all)");
    browser.value("document.querySelector('#panel-0 .opener').focus()");
    browser.press("Enter");
    assert!(browser.text("#panel-0 .detail").contains("the allocation first"));
    browser.press("Enter");
    assert_eq!(browser.value("document.querySelectorAll('#panel-0 .detail').length"), 0);
    no_problems(&mut browser);
}

#[test]
fn the_theme_follows_the_system_until_it_is_chosen() {
    let Some((_directory, mut browser)) = opened(&report(10, 6)) else { return };
    let paper = "getComputedStyle(document.body).backgroundColor";
    browser.prefer("dark");
    let dark = browser.value(paper);
    browser.prefer("light");
    assert_eq!(browser.value(paper), json!("rgb(255, 255, 255)"));
    browser.click("#theme", None);
    assert_eq!(browser.value(paper), dark);
    assert_ne!(dark, json!("rgb(255, 255, 255)"));
    no_problems(&mut browser);
}

#[test]
fn the_limit_is_drawn_where_it_is_near() {
    let mut near = report(10, 6);
    for (limit, words, lines) in [
        (200_000_000, "The limit is 190.7 MiB; 104.9 MiB are left.", 1),
        (
            2_000_000_000,
            "The limit of 1.9 GiB is 13.9 times the highest value and not in the picture.",
            0,
        ),
    ] {
        near.cgroup.as_mut().expect("it has one").limit_bytes = Some(limit);
        let Some((_directory, mut browser)) = opened(&near) else { return };
        assert!(browser.text("#timeline").contains(words), "{}", browser.text("#timeline"));
        let drawn = browser.value("document.querySelectorAll('#timeline .chart .limit').length");
        assert_eq!(drawn, lines);
        browser.value("document.querySelector('#timeline .chart svg').focus()");
        browser.press("Home");
        assert!(browser.text("#timeline .readout").starts_with("at 0ms · tracked heap 0 B"));
        no_problems(&mut browser);
    }
}

/// 50,000 stacks of 30 frames: a page of bounded size that answers soon.
#[test]
fn fifty_thousand_stacks_are_no_burden() {
    if !has_program("chromium") {
        return;
    }
    let (_directory, file) = page(&report(50_000, 30));
    let size = fs::metadata(&file).expect("it was written").len();
    assert!(size <= 15 << 20, "{size} bytes");
    let mut browser = Browser::start(1440, 1000);
    let begin = Instant::now();
    browser.open(&file);
    browser.wait_until(READY);
    let ready = begin.elapsed();
    browser.press("/");
    browser.insert("allocate_49999");
    assert!(browser.text("#flame .found-share").starts_with("1 function in 1 stack: "));
    browser.click("#panel-0 th:nth-child(8) button", None);
    assert_eq!(browser.text("#panel-0 tbody .name b"), "allocate_49999");
    println!("{size} bytes, ready in {ready:?}");
    // Two seconds on a machine to itself; the tests share theirs.
    assert!(ready < Duration::from_secs(20), "{ready:?}");
    no_problems(&mut browser);
}
