//! The files that memmgr writes for other tools, opened by those tools: their figures are ours.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::Arc};

use memmgr::report::{
    Capture, Frame, Module, Report, SCHEMA, SizeClass, Stack, Target, TimelinePoint, Totals,
};
use memmgr_tests::capture::binary;
use tempfile::TempDir;

/// Files that are not on this machine: pprof looks for functions in those that are.
const SHOP: &str = "/opt/shop/bin/shop";
const LIBRARY: &str = "/opt/shop/lib/libbasket.so.1";
const SHOP_BUILD_ID: &str = "1f0c5d7a9e3b4f60718293a4b5c6d7e8f9012345";
const LIBRARY_BUILD_ID: &str = "abcdef0123456789abcdef0123456789abcdef01";
/// What a name that wants to rule a terminal or a page becomes in formats for people.
const HOSTILE: &str = "</script>\"'; 12\n\u{1b}[2J\u{9b}31m\u{202e}";
const HOSTILE_SHOWN: &str = "</script>\"'; 12\\u{a}\\u{1b}[2J\\u{9b}31m\\u{202e}";

/// A figure of a stack.
type Figure = fn(&Stack) -> u64;

fn frame(function: &str, module: &str, address: u64) -> Frame {
    let source = function.split("::").next().unwrap_or(function);
    Frame {
        function: Some(function.to_owned()),
        module: Some(module.to_owned()),
        file: Some(format!("/src/{source}.cc")),
        line: Some(address as u32 & 0xff),
        address,
        ..Frame::default()
    }
}

fn stack(id: u32, live: (u64, u64), alloc: (u64, u64), leaf_first: Vec<Frame>) -> Stack {
    Stack {
        id,
        class: "heap".to_owned(),
        live_count: live.0,
        live_bytes: live.1,
        alloc_count: alloc.0,
        alloc_bytes: alloc.1,
        frames: leaf_first.into_iter().map(Arc::new).collect(),
        ..Stack::default()
    }
}

fn module(path: &str, build_id: &str, start: u64) -> Module {
    Module {
        path: path.to_owned(),
        build_id: build_id.to_owned(),
        start,
        end: start + 0x1_0000,
        file_offset: 0x1000,
        bias: start - 0x1000,
        ..Module::default()
    }
}

/// An exact report: inlined, nameless and hostile frames, a cut stack, two sizes, a peak before the end.
fn report() -> Report {
    let main = || frame("main", SHOP, 0x1010);
    let serve = || frame("serve", SHOP, 0x1120);
    let inlined = Frame { inlined: true, ..frame("Basket::grow", LIBRARY, 0x2230) };
    let nameless = Frame {
        function: None,
        file: None,
        line: None,
        reason: Some("no symbol covers it".to_owned()),
        ..frame("", SHOP, 0x3340)
    };
    let class = |max_bytes, live: (u64, u64), alloc: (u64, u64)| SizeClass {
        min_bytes: 0,
        max_bytes,
        live_count: live.0,
        live_bytes: live.1,
        alloc_count: alloc.0,
        alloc_bytes: alloc.1,
    };
    let mut stacks = vec![
        stack(1, (20, 20_480), (24, 24_576), {
            vec![inlined, frame("Basket::fill", LIBRARY, 0x2230), serve(), main()]
        }),
        stack(2, (12, 4_900), (112, 14_900), vec![frame("cache", SHOP, 0x1450), serve(), main()]),
        stack(3, (0, 0), (5_000, 1_280_000), vec![frame("parse", SHOP, 0x1560), main()]),
        stack(4, (3, 3_000), (3, 3_000), vec![nameless, main()]),
        stack(5, (1, 777), (1, 777), vec![frame("worker", SHOP, 0x1670)]),
        stack(6, (2, 64), (2, 64), vec![frame(HOSTILE, SHOP, 0x1780), main()]),
    ];
    stacks[1].sizes =
        vec![class(64, (2, 100), (102, 5_100)), class(1024, (10, 4_800), (10, 9_800))];
    stacks[4].cut = Some("truncated".to_owned());
    let sum = |of: Figure| stacks.iter().map(of).sum::<u64>();
    let totals = Totals {
        alloc_count: sum(|s| s.alloc_count),
        alloc_bytes: sum(|s| s.alloc_bytes),
        free_count: sum(|s| s.alloc_count - s.live_count),
        free_bytes: sum(|s| s.alloc_bytes - s.live_bytes),
        live_count: sum(|s| s.live_count),
        live_bytes: sum(|s| s.live_bytes),
        peak_live_bytes: 40_000,
        ..Totals::default()
    };
    let live = [0, 10_000, 38_000, totals.live_bytes];
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: "0.1.0".to_owned(),
        captured_at: "2026-03-04T05:06:07Z".to_owned(),
        duration_s: 30.0,
        target: Target {
            pid: 1234,
            comm: "shop".to_owned(),
            exe: SHOP.to_owned(),
            cmdline: vec![SHOP.to_owned(), "--port".to_owned(), "8080".to_owned()],
            ..Target::default()
        },
        capture: Capture { mode: "exact".to_owned(), complete: true, ..Capture::default() },
        totals,
        stacks,
        modules: vec![
            module(LIBRARY, LIBRARY_BUILD_ID, 0x7f12_0000_1000),
            module(SHOP, SHOP_BUILD_ID, 0x5555_0000_1000),
        ],
        timeline: live
            .iter()
            .enumerate()
            .map(|(i, &live_bytes)| TimelinePoint {
                t_s: i as f64 * 10.0,
                live_bytes,
                rss_bytes: 50 << 20,
                ..TimelinePoint::default()
            })
            .collect(),
        ..Report::default()
    }
}

/// A report rendered by the binary under test into a file of a name, whose end chooses the format.
struct Rendered {
    directory: TempDir,
    path: PathBuf,
}

impl Rendered {
    #[track_caller]
    fn new(report: &Report, name: &str) -> Self {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let json = directory.path().join("report.json");
        fs::write(&json, serde_json::to_vec(report).unwrap()).expect("no room");
        let path = directory.path().join(name);
        run(Command::new(binary()).arg("report").arg(json).arg("-o").arg(&path));
        Rendered { directory, path }
    }
}

/// Runs a reader and gives what it printed; panics with its complaints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{errors}");
    String::from_utf8(output.stdout).expect("readers print text")
}

/// The figures of functions from the stacks themselves: as the leaf, and anywhere.
fn by_function(report: &Report, of: Figure) -> BTreeMap<String, (u64, u64)> {
    let mut figures: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for stack in report.stacks.iter().filter(|stack| of(stack) > 0) {
        let mut names: Vec<String> = stack.frames.iter().map(|frame| shown(frame)).collect();
        names.extend(stack.cut.iter().map(|cut| format!("[{cut}]")));
        for (i, name) in names.into_iter().enumerate() {
            let (own, total) = figures.entry(name).or_default();
            *own += if i == 0 { of(stack) } else { 0 };
            *total += of(stack);
        }
    }
    figures
}

fn shown(frame: &Frame) -> String {
    match frame.function.as_deref() {
        Some(HOSTILE) => HOSTILE_SHOWN.to_owned(),
        Some(name) => name.to_owned(),
        None => "[shop]".to_owned(),
    }
}

fn pprof(file: &Rendered, flags: &[&str]) -> String {
    run(Command::new("go")
        .args(["tool", "pprof"])
        .args(flags)
        .arg(&file.path)
        .env("HOME", file.directory.path())
        .env("PPROF_TMPDIR", file.directory.path()))
}

#[test]
fn pprof_has_our_figures_by_function() {
    let report = report();
    let file = Rendered::new(&report, "shop.pb.gz");
    let types: [(&str, Figure); 4] = [
        ("alloc_objects", |stack| stack.alloc_count),
        ("alloc_space", |stack| stack.alloc_bytes),
        ("inuse_objects", |stack| stack.live_count),
        ("inuse_space", |stack| stack.live_bytes),
    ];
    for (name, of) in types {
        let index = format!("-sample_index={name}");
        let top = pprof(&file, &["-top", "-unit=B", "-nodefraction=0", &index]);
        let rows = top.lines().skip_while(|line| !line.contains("flat%")).skip(1);
        let found: BTreeMap<String, (u64, u64)> = rows.map(top_row).collect();
        assert_eq!(found, by_function(&report, of), "{name}:\n{top}");
    }
    let default = pprof(&file, &["-top"]);
    assert!(default.contains("\nType: inuse_space\n"), "{default}");
}

/// `FLAT FLAT% SUM% CUM CUM%  NAME`
fn top_row(line: &str) -> (String, (u64, u64)) {
    let mut rest = line;
    let words: Vec<&str> = (0..5)
        .map(|_| {
            let (word, behind) = rest.trim_start().split_once(' ').expect("a figure");
            rest = behind;
            word
        })
        .collect();
    let figure = |i: usize| -> u64 {
        words[i].trim_end_matches('B').parse().unwrap_or_else(|_| panic!("{line}"))
    };
    (rest.trim_start().trim_end_matches(" (inline)").to_owned(), (figure(0), figure(3)))
}

#[test]
fn pprof_knows_the_mappings_and_the_sizes() {
    let file = Rendered::new(&report(), "shop.pprof");
    let raw = pprof(&file, &["-raw"]);
    for expected in [
        "PeriodType: space bytes\nPeriod: 1\n",
        "Time: 2026-03-04 05:06:07 +0000 UTC\nDuration: 30s\n",
        "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]\n",
        &format!("\n1: 0x555500001000/0x555500011000/0x1000 {SHOP} {SHOP_BUILD_ID}"),
        &format!("\n2: 0x7f1200001000/0x7f1200011000/0x1000 {LIBRARY} {LIBRARY_BUILD_ID} [FN]"),
        // Two sizes of one stack.
        "bytes:[50 bytes]",
        "bytes:[980 bytes]",
    ] {
        assert!(raw.contains(expected), "{expected:?} is not in\n{raw}");
    }
    // An inlined function shares the place of the one that holds it.
    let grow = raw.lines().position(|line| line.contains("0x7f1200002230 M=2 Basket::grow"));
    let next = raw.lines().nth(grow.expect("Basket::grow has its place in the library") + 1);
    assert!(next.is_some_and(|line| line.trim_start().starts_with("Basket::fill")), "{raw}");
}

/// `heaptrack_print` with one of its figures by stack.
fn heaptrack(file: &Rendered, cost: &str) -> (String, BTreeMap<String, u64>) {
    let stacks = file.directory.path().join(cost);
    let text = run(Command::new("heaptrack_print")
        .args(["--print-leaks", "1", "--flamegraph-cost-type", cost, "--print-flamegraph"])
        .arg(&stacks)
        .arg("--file")
        .arg(&file.path));
    let stacks = fs::read_to_string(stacks).expect("heaptrack_print writes stacks");
    let mut by_leaf = BTreeMap::new();
    for line in stacks.lines() {
        let (stack, figure) = line.rsplit_once("; ").expect("a stack and a figure");
        // `name (file.cc)`, or just the name. The hostile one has semicolons of its own, and what
        // stands between angle brackets is left out.
        let leaf = match stack.rsplit(';').next().expect("a leaf") {
            hostile if hostile.contains("\\u{9b}31m") => HOSTILE_SHOWN,
            leaf => leaf.split(" (").next().expect("a name"),
        };
        *by_leaf.entry(leaf.to_owned()).or_default() += figure.parse::<u64>().expect(line);
    }
    (text, by_leaf)
}

#[test]
fn heaptrack_has_our_figures_by_stack() {
    let report = report();
    let file = Rendered::new(&report, "shop.heaptrack");
    let by_leaf = |of: Figure| {
        let mut figures: BTreeMap<String, u64> = BTreeMap::new();
        for stack in &report.stacks {
            *figures.entry(leaf_of(stack)).or_default() += of(stack);
        }
        figures
    };
    let (text, leaked) = heaptrack(&file, "leaked");
    assert_eq!(leaked, by_leaf(|stack| stack.live_bytes), "{text}");
    assert_eq!(heaptrack(&file, "allocations").1, by_leaf(|stack| stack.alloc_count), "{text}");
    assert_eq!(heaptrack(&file, "peak").1.values().sum::<u64>(), 40_000, "{text}");
    for expected in [
        "Debuggee command was: /opt/shop/bin/shop --port 8080 (captured by memmgr 0.1.0)\n",
        "calls to allocation functions: 5142 (",
        "temporary memory allocations: 0 (",
        "peak heap memory consumption: 40.00K\n",
        "total memory leaked: 29.22K\n",
        "20.48K leaked over 24 calls from\nBasket::grow\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

/// The last name of a stack as heaptrack writes it: of functions inlined into each other the outermost.
fn leaf_of(stack: &Stack) -> String {
    let leaf = stack.frames.iter().find(|frame| !frame.inlined).expect("no stack is all inlined");
    match leaf.function.as_deref() {
        None => "[shop+0x3340]".to_owned(),
        Some(_) => shown(leaf),
    }
}

#[test]
fn ms_print_has_our_figures_and_the_peak() {
    let report = report();
    let file = Rendered::new(&report, "massif.out.1234");
    let text = run(Command::new("ms_print").arg("--threshold=0").arg(&file.path));
    let total = report.totals.live_bytes;
    assert_eq!(total, 29_221);
    for expected in [
        "Command:            /opt/shop/bin/shop --port 8080\n",
        "Number of snapshots: 4\n Detailed snapshots: [2 (peak), 3]\n",
        "100.00% (38,000B) (heap allocation functions)",
        "100.00% (29,221B) (heap allocation functions)",
        "->70.09% (20,480B) 0x2230: Basket::grow (Basket.cc:48)\n",
        "->70.09% (20,480B) 0x2230: Basket::fill (Basket.cc:48)\n",
        "->16.77% (4,900B) 0x1450: cache (cache.cc:80)\n",
        "->10.27% (3,000B) 0x3340: ??? (in /opt/shop/bin/shop)\n",
        "->02.66% (777B) 0x1670: worker (worker.cc:112)\n",
        "->02.66% (777B) 0x0: [truncated]\n",
        "->00.22% (64B) in 1 place, below massif's threshold (1.00%)\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    let snapshots: Vec<&str> = text
        .lines()
        .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    for (ms, bytes) in
        [("0", "0"), ("10,000", "10,000"), ("20,000", "38,000"), ("30,000", "29,221")]
    {
        let row = |line: &&&str| line.split_whitespace().skip(1).take(2).eq([ms, bytes]);
        assert!(snapshots.iter().any(|line| row(&line)), "no {ms} {bytes} in\n{text}");
    }
}
