//! Whole reports, judged: made-up programs in, findings as text out.

use std::fmt::Write as _;

use super::{Suppressions, generate::Program, growth, judge, lifetime};
use crate::report::{
    Allocator, Capture, Cgroup, Finding, Frame, Host, Loss, NotCovered, Process, Reconciliation,
    Report, Stack, TimelinePoint, Totals,
};

const FOREVER: f64 = f64::INFINITY;
const LIBC: &str = "/usr/lib/libc.so.6";

/// A report without stacks, of 30 windows of a second.
fn report() -> Report {
    Report {
        duration_s: 30.0,
        windows_s: (1..=30).map(f64::from).collect(),
        capture: Capture { mode: "exact".to_owned(), complete: true, ..Capture::default() },
        host: Host {
            available_bytes: Some(4 << 30),
            max_mappings: Some(65_530),
            ..Host::default()
        },
        ..Report::default()
    }
}

/// Adds a stack that does what a program does. Frames are `function`, `function@module` or `function:line`.
fn add(report: &mut Report, class: &str, frames: &[&str], program: &Program) {
    let (windows, history) = program.history();
    let sum = |values: &[f64]| values.iter().sum::<f64>() as u64;
    let ages = program.blocks.iter().filter(|block| block.dies_s >= program.end_s);
    let oldest = ages.map(|block| program.end_s - block.born_s).reduce(f64::max);
    let stack = Stack {
        id: report.stacks.len() as u32,
        class: class.to_owned(),
        live_count: sum(&history.kept_count),
        live_bytes: sum(&history.kept_bytes),
        live_samples: history.live_samples,
        alloc_count: sum(&history.alloc_count),
        alloc_bytes: sum(&history.alloc_bytes),
        age_s: oldest.map(|max| crate::report::Age { min: 0.0, median: max / 2.0, max }),
        frames: frames.iter().map(|text| frame(text).into()).collect(),
        growth: Some(growth(&windows, &history)),
        lifetime: Some(lifetime(&windows, &history)),
        ..Stack::default()
    };
    let totals = match class {
        "heap" => &mut report.totals,
        "resident" => &mut report.resident,
        _ => &mut report.mapped,
    };
    totals.live_count += stack.live_count;
    totals.live_bytes += stack.live_bytes;
    totals.alloc_count += stack.alloc_count;
    report.capture.accounting.seen += stack.alloc_count;
    report.stacks.push(stack);
}

fn frame(text: &str) -> Frame {
    let (name, module) = text.split_once('@').unwrap_or((text, "/usr/bin/app"));
    let (function, line) = name.split_once(':').unwrap_or((name, ""));
    Frame {
        function: Some(function.to_owned()),
        module: Some(module.to_owned()),
        file: (!line.is_empty()).then(|| format!("/src/{function}.c")),
        line: line.parse().ok(),
        ..Frame::default()
    }
}

/// A program of 30 windows of a second.
fn program(add: impl FnOnce(&mut Program)) -> Program {
    Program::seeded(30, 7).with(add)
}

fn timeline(report: &mut Report, point: impl Fn(u64) -> TimelinePoint) {
    report.timeline = (0..=30).map(|t| TimelinePoint { t_s: t as f64, ..point(t) }).collect();
}

/// Judges, and writes the findings as text.
fn judged(report: &mut Report) -> String {
    judge(report, &Suppressions::default());
    let mut text = String::new();
    for finding in &report.findings {
        let about = finding.subject.as_deref().unwrap_or("-");
        let stacks: Vec<u32> = report
            .stacks
            .iter()
            .filter(|stack| {
                stack.finding.is_some_and(|at| report.findings[at as usize] == *finding)
            })
            .map(|stack| stack.id)
            .collect();
        let _ = writeln!(
            text,
            "{} {} {about} {} score {:.0} confidence {:.2} {:.0} B/s left {} stacks {stacks:?}",
            finding.severity,
            finding.kind,
            finding.shape,
            finding.score,
            finding.confidence,
            finding.growth_bytes_per_s,
            finding.time_to_limit_s.map_or("-".to_owned(), |s| format!("{s:.0} s")),
        );
        for sentence in &finding.evidence {
            let _ = writeln!(text, "  {sentence}");
        }
        let _ = writeln!(text, "  → {}", finding.recommendation);
    }
    text
}

/// Severity, kind and subject of every finding, most severe first.
fn check(report: &mut Report, expected: &[&str]) {
    let text = judged(report);
    let got: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{} {} {}", f.severity, f.kind, f.subject.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(got, expected, "\n{text}");
}

#[test]
fn a_program_with_several_leaks() {
    let mut report = report();
    let churn = program(|p| p.every(0.01, 0.02, 64.0));
    add(&mut report, "heap", &["handle_request:10", "main:1"], &churn);
    let errors = program(|p| p.every(0.5, FOREVER, 48.0));
    add(&mut report, "heap", &["zmalloc", "handle_request:33", "main:1"], &errors);
    add(&mut report, "heap", &["zmalloc", "handle_request:33", "other:1"], &errors);
    let mut buffer = program(|p| p.every(0.25, 0.0, 0.0));
    let births: Vec<f64> = buffer.blocks.iter().map(|block| block.born_s).collect();
    for (i, block) in buffer.blocks.iter_mut().enumerate() {
        block.bytes = 4096.0 * (i + 1) as f64;
        block.dies_s = births.get(i + 1).copied().unwrap_or(FOREVER);
    }
    add(&mut report, "heap", &["log_append:5", "main:1"], &buffer);
    add(
        &mut report,
        "mapping",
        &["mmap@/usr/lib/libc.so.6", "map_segment:7"],
        &program(|p| p.every(1.0, FOREVER, 3e8)),
    );
    add(
        &mut report,
        "heap",
        &["load_config:1", "main:1"],
        &program(|p| p.block(0.1, FOREVER, 1e6)),
    );
    timeline(&mut report, |t| TimelinePoint {
        rss_bytes: (50 << 20) + t * 17_000,
        threads: Some(4),
        descriptors: Some(20 + t),
        ..TimelinePoint::default()
    });
    insta::assert_snapshot!(judged(&mut report));
}

#[test]
fn small_leaks_of_one_function_add_up() {
    let mut report = report();
    for caller in 0..8 {
        let once = program(|p| p.block(2.0 + 3.5 * f64::from(caller), FOREVER, 100.0));
        add(
            &mut report,
            "heap",
            &["strdup@/usr/lib/libc.so.6", "remember:4", &format!("caller_{caller}")],
            &once,
        );
    }
    check(&mut report, &["warning leak remember"]);
    assert!(report.stacks.iter().all(|stack| stack.finding == Some(0)));
}

#[test]
fn sound_programs_have_no_findings() {
    let cache = |full: f64| {
        program(|p| (0..500).for_each(|i| p.block(f64::from(i) * full / 500.0, FOREVER, 40_960.0)))
    };
    for make in [
        program(|p| p.every(0.01, 0.02, 64.0)),
        program(|p| p.every(0.01, 3.0, 64.0)),
        program(|p| p.block(12.0, FOREVER, 1e7)),
        cache(5.0),
    ] {
        let mut report = report();
        add(&mut report, "heap", &["work:1", "main:1"], &make);
        check(&mut report, &[]);
    }
    // A large cache that was filling for most of the capture is worth a word, and no more.
    let mut report = report();
    add(&mut report, "heap", &["fill:1", "main:1"], &cache(15.0));
    check(&mut report, &["info leak fill"]);
}

#[test]
fn a_table_is_judged_with_what_it_holds() {
    let doubling = program(|p| {
        for i in 0..5 {
            let at = f64::from(1 << i) * 0.9;
            p.block(at, if i < 4 { at } else { FOREVER }, 64.0 * f64::from(1 << i));
        }
    });
    let filled = program(|p| (0..400).for_each(|i| p.block(f64::from(i) * 0.04, FOREVER, 32.0)));
    let mut report = report();
    add(&mut report, "heap", &["cache_put:1", "main:1"], &doubling);
    check(&mut report.clone(), &["warning leak cache_put"]);
    add(&mut report, "heap", &["cache_put:2", "main:1"], &filled);
    check(&mut report, &["info leak cache_put"]);
}

#[test]
fn what_an_allocator_maps_is_the_heaps() {
    let leak = program(|p| p.every(1.0, FOREVER, 1e6));
    let allocator =
        Allocator { kind: "glibc".to_owned(), path: LIBC.to_owned(), ..Allocator::default() };
    let mut report = report();
    report.target.allocators = vec![allocator];
    add(
        &mut report,
        "mapping",
        &["mmap@/usr/lib/libc.so.6", "sysmalloc@/usr/lib/libc.so.6", "work:1"],
        &leak,
    );
    add(&mut report, "file-mapping", &["mmap@/usr/lib/libc.so.6", "open_index:1"], &leak);
    check(&mut report, &[]);
    // A function of the program may be called as it likes.
    add(&mut report, "mapping", &["mmap@/usr/lib/libc.so.6", "alloc_segment:1"], &leak);
    check(&mut report, &["warning leak alloc_segment"]);
}

/// A report of mode growth, in which 1 MiB a second is touched.
fn growing() -> Report {
    let mut report = report();
    "growth".clone_into(&mut report.capture.mode);
    timeline(&mut report, |t| TimelinePoint {
        rss_bytes: (50 + t) << 20,
        ..TimelinePoint::default()
    });
    report
}

/// 1 MiB a second, as pages.
fn touching() -> Program {
    program(|p| p.every(1.0 / 256.0, FOREVER, 4096.0))
}

#[test]
fn pages_that_are_touched_and_stay() {
    let mut report = growing();
    let frames = ["memset@/usr/lib/libc.so.6", "fill_cache:12", "main:1"];
    add(&mut report, "resident", &frames, &touching());
    // What the allocator maps for it is no finding of its own, and the process's growth is explained.
    add(
        &mut report,
        "mapping",
        &["sbrk@/usr/lib/libc.so.6", "sysmalloc@/usr/lib/libc.so.6", "make_key:1"],
        &program(|p| p.every(0.5, FOREVER, 524_288.0)),
    );
    add(&mut report, "resident", &["parse:3", "main:1"], &program(|p| p.every(0.01, 0.02, 4096.0)));
    insta::assert_snapshot!(judged(&mut report));
}

#[test]
fn a_function_is_named_once() {
    let mut report = growing();
    add(&mut report, "resident", &["fill_cache:12", "main:1"], &touching());
    check(&mut report.clone(), &["warning leak fill_cache"]);
    // Who allocates what it touches, or maps it, is told by the heap or the mapping.
    for (class, leaf) in [("heap", "malloc"), ("mapping", "mmap")] {
        let mut report = report.clone();
        let frames = [&format!("{leaf}@{LIBC}"), "fill_cache:9", "main:1"];
        add(&mut report, class, &frames, &touching());
        check(&mut report, &["warning leak fill_cache"]);
        let finding = &report.findings[0];
        assert_eq!(finding.stack_id, Some(1), "{class}: {finding:?}");
    }
    // A heap that says less leaves the pages their say.
    add(&mut report, "heap", &["fill_cache:9"], &program(|p| p.block(12.0, FOREVER, 4096.0)));
    check(&mut report, &["warning leak fill_cache"]);
    assert_eq!(report.findings[0].stack_id, Some(0));
}

#[test]
fn pages_of_a_leak_of_the_heap_are_not_told_again() {
    let check_beside = |blocks_per_s: f64, expected: &[&str]| {
        let mut report = growing();
        add(&mut report, "resident", &["copy:12", "main:1"], &touching());
        let leak = program(|p| p.every(1.0 / blocks_per_s, FOREVER, 4096.0));
        add(&mut report, "heap", &["open_session:9", "main:1"], &leak);
        check(&mut report, expected);
    };
    check_beside(256.0, &["warning leak open_session"]);
    // Much less than the pages that come: somebody else holds the rest.
    check_beside(50.0, &["warning leak copy", "warning leak open_session"]);
}

#[test]
fn losses_qualify_or_withhold() {
    let judged = |implied_free| {
        let mut report = report();
        let leak = program(|p| {
            p.every(0.5, FOREVER, 100.0);
            p.every(0.005, 0.002, 100.0);
        });
        add(&mut report, "heap", &["work:1"], &leak);
        report.capture.complete = implied_free == 0;
        report.capture.loss = Loss { implied_free, ..Loss::default() };
        judge(&mut report, &Suppressions::default());
        report.findings.remove(0)
    };
    let doubt =
        |finding: &Finding| finding.evidence.iter().any(|s| s.starts_with("Events were lost"));
    let whole = judged(0);
    assert_eq!((whole.severity.as_str(), doubt(&whole)), ("warning", false));
    // Of 60 blocks that stay, one might be outstanding because its free was lost.
    let qualified = judged(1);
    assert_eq!((qualified.severity.as_str(), doubt(&qualified)), ("warning", true));
    assert!(qualified.confidence < whole.confidence);
    // More may have been freed unseen than stayed.
    let withheld = judged(300);
    assert_eq!((withheld.severity.as_str(), doubt(&withheld)), ("info", true));
}

#[test]
fn new_blocks_in_the_place_of_old_ones() {
    let mut report = report();
    add(&mut report, "heap", &["set_value:1"], &program(|p| p.every(0.02, FOREVER, 65_536.0)));
    report.capture.loss.unknown_free = report.totals.live_count;
    timeline(&mut report, |t| TimelinePoint {
        rss_bytes: (900 << 20) + (t % 3) * 4096,
        ..TimelinePoint::default()
    });
    check(&mut report.clone(), &["info leak set_value"]);
    // When the process grows as well, they do not.
    timeline(&mut report, |t| TimelinePoint {
        rss_bytes: (900 << 20) + t * 50 * 65_536,
        ..TimelinePoint::default()
    });
    check(&mut report, &["critical leak set_value"]);
}

#[test]
fn suppressed_stacks_are_counted_and_not_judged() {
    let mut report = report();
    let leak = program(|p| p.every(0.5, FOREVER, 100.0));
    add(&mut report, "heap", &["known:1"], &leak);
    add(&mut report, "heap", &["unknown:1"], &leak);
    let suppressions = Suppressions::parse("leak:^known$\nleak:never\n").unwrap();
    judge(&mut report, &suppressions);
    let once = report.clone();
    judge(&mut report, &suppressions);
    assert_eq!(report, once);
    let used: Vec<String> = report
        .suppressions
        .iter()
        .map(|s| format!("{} {} {} {}", s.pattern, s.stacks, s.live_count, s.live_bytes))
        .collect();
    assert_eq!(used, ["^known$ 1 60 6000", "never 0 0 0"]);
    assert_eq!(report.stacks[0].suppressed.as_deref(), Some("^known$"));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].subject.as_deref(), Some("unknown"));
}

#[test]
fn the_process_as_a_whole() {
    let mib = |n: u64| n << 20;
    let mut report = report();
    report.target.allocators = vec![Allocator { kind: "glibc".to_owned(), ..Allocator::default() }];
    report.target.not_covered = vec![NotCovered {
        what: "libown.so".to_owned(),
        why: "an allocator of its own".to_owned(),
    }];
    report.totals = Totals { live_bytes: mib(1), ..Totals::default() };
    report.process = Process { mappings: Some(60_000), threads: Some(34), ..Process::default() };
    report.cgroup = Some(Cgroup {
        usage_bytes: Some(mib(990)),
        limit_bytes: Some(mib(1000)),
        events: [("oom_kill".to_owned(), 2)].into(),
        ..Cgroup::default()
    });
    timeline(&mut report, |t| TimelinePoint {
        rss_bytes: mib(100 + 2 * t),
        threads: Some(4 + t),
        descriptors: Some(10 + t / 6),
        swap_bytes: Some(mib(t)),
        ..TimelinePoint::default()
    });
    insta::assert_snapshot!(judged(&mut report));
}

#[test]
fn a_process_that_only_moves_is_left_alone() {
    let mib = |n: u64| n << 20;
    const SEEDS: u64 = 2000;
    let mut random = super::generate::Random(3);
    let mut warned = 0;
    for seed in 0..SEEDS {
        random.0 = seed;
        let mut level = 100_i64;
        let mut walk = Vec::new();
        for _ in 0..=30 {
            level = (level + (random.uniform() * 11.0) as i64 - 5).max(1);
            walk.push(level as u64);
        }
        let mut report = report();
        timeline(&mut report, |t| TimelinePoint {
            rss_bytes: mib(walk[t as usize] * 10),
            threads: Some(walk[t as usize]),
            descriptors: Some(20 + (3.0 * (t as f64 + seed as f64).sin().abs()) as u64),
            ..TimelinePoint::default()
        });
        judge(&mut report, &Suppressions::default());
        warned += u64::from(report.findings.iter().any(|finding| finding.severity != "info"));
    }
    // Some walks look like climbs, and nothing in them says otherwise.
    assert!(warned * 500 <= SEEDS, "{warned} of {SEEDS}");
}

#[test]
fn memory_that_an_allocator_keeps_is_no_leak() {
    let mib = |n: u64| n << 20;
    let mut report = report();
    report.target.allocators = vec![Allocator { kind: "glibc".to_owned(), ..Allocator::default() }];
    report.reconciliation =
        Reconciliation { allocator_retained_bytes: mib(190), ..Reconciliation::default() };
    timeline(&mut report, |t| TimelinePoint {
        live_bytes: mib(if t < 15 { t * 14 } else { 10 }),
        rss_bytes: mib(50 + t.min(15) * 14),
        ..TimelinePoint::default()
    });
    check(&mut report, &["info retention memory kept by the allocator"]);
    // With the heap of a JVM in the same mappings, whose it is cannot be told.
    report.reconciliation.runtime_heap = Some("the JVM's heap".to_owned());
    check(&mut report, &[]);
}
