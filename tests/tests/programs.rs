//! Programs that nobody prepared: their stacks are whole, their figures lose nothing, and gdb agrees.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use memmgr::report::{Report, Stack, StackChoice};
use memmgr_tests::{
    Capture, Program, Workload,
    capture::binary,
    code::changed_bytes,
    require_root,
    servers::{pgbench, postgres, postgres_backend, redis},
    take_turn,
};

/// Where a stack begins: the start of the program or of a thread.
const STARTS: [&str; 8] = [
    "main",
    "_start",
    "__libc_start_call_main",
    "__libc_start_main",
    "__libc_start_main_impl",
    "start_thread",
    "clone3",
    "clone",
];

fn is_whole(stack: &Stack) -> bool {
    let names = || stack.frames.iter().filter_map(|frame| frame.function.as_deref());
    stack.cut.is_none()
        && names().any(|name| {
            STARTS.iter().any(|start| name.trim_matches('_') == start.trim_matches('_'))
        })
}

/// At least 99 % of live heap bytes have a stack to the start of its thread.
#[track_caller]
fn check_whole(report: &Report, what: &str) {
    let bytes = |wanted: &dyn Fn(&Stack) -> bool| -> u64 {
        let heap = report.stacks.iter().filter(|stack| stack.class == "heap");
        heap.filter(|stack| wanted(stack)).map(|stack| stack.live_bytes).sum()
    };
    let (all, whole) = (bytes(&|_| true), bytes(&is_whole));
    assert!(all > 0, "{what}: nothing is outstanding");
    assert!(
        whole as f64 >= 0.99 * all as f64,
        "{what}: {whole} of {all} live bytes have a whole stack"
    );
}

/// A function of the program stands on a stack that holds memory.
#[track_caller]
fn check_function(report: &Report, function: &str) {
    let there = report
        .functions
        .iter()
        .any(|f| f.function.starts_with(function) && f.total_alloc_bytes > 0);
    assert!(there, "no {function} in {:#?}", &report.functions[..report.functions.len().min(30)]);
}

#[track_caller]
fn check_complete(report: &Report, what: &str) {
    assert!(
        report.capture.complete,
        "{what}: {:?} {:?}",
        report.capture.loss, report.capture.accounting
    );
    assert_eq!(report.capture.accounting.residual, 0, "{what}");
}

/// Captures a process for a few seconds in one mode.
fn capture(pid: u32, flags: &[&str]) -> Report {
    let capture = Capture::start(pid, &[flags, &["--duration", "5s"]].concat());
    capture.wait().expect_report().clone()
}

/// What `doctor -p` prints as JSON.
#[derive(serde::Deserialize)]
struct Outlook {
    allocators: Vec<AllocatorOutlook>,
    event_ns: u64,
    stack: StackChoice,
}

#[derive(serde::Deserialize)]
struct AllocatorOutlook {
    kind: String,
    path: String,
    functions: Vec<FunctionOutlook>,
}

#[derive(serde::Deserialize)]
struct FunctionOutlook {
    symbol: String,
    site: String,
    call_ns: u64,
}

#[test]
fn what_a_capture_would_probe_is_told_without_one() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let (server, _) = redis(&[]);
    let pid = server.pid().to_string();
    let doctor = |flags: &[&str]| {
        let output = Command::new(binary()).args(["doctor", "-p", &pid]).args(flags).output();
        let output = output.expect("memmgr starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let outlook: Outlook = serde_json::from_str(&doctor(&["--json"])).expect("JSON");
    let text = doctor(&[]);
    assert_eq!(changed_bytes(server.pid()), 0, "it was touched");

    let told: Vec<_> = outlook
        .allocators
        .iter()
        .flat_map(|a| a.functions.iter().map(|f| (&*a.kind, &*a.path, &*f.symbol, &*f.site)))
        .collect();
    let report = capture(server.pid(), &EXACT);
    let probed: Vec<_> = report
        .target
        .allocators
        .iter()
        .flat_map(|a| a.functions.iter().map(|f| (&*a.kind, &*a.path, &*f.symbol, &*f.site)))
        .collect();
    assert_eq!(told, probed);
    assert!(told.iter().any(|(kind, ..)| *kind == "jemalloc"), "{told:?}");
    let sentence = report.capture.stack.why;
    assert_eq!((outlook.stack.kind, outlook.stack.why), (report.capture.stack.kind, sentence));

    // What the kernel single-steps is several times as dear as what it emulates.
    let prices = |emulated: bool| -> Vec<u64> {
        let functions = outlook.allocators.iter().flat_map(|a| &a.functions);
        functions.filter(|f| f.site.contains("(emulated)") == emulated).map(|f| f.call_ns).collect()
    };
    let (cheap, dear) = (prices(true), prices(false));
    assert!(cheap.iter().chain([&outlook.event_ns]).all(|&ns| ns > 100), "{cheap:?}");
    assert!(dear.iter().all(|ns| ns > cheap.iter().max().expect("there are some")), "{dear:?}");
    for (_, path, symbol, site) in told {
        let is_it = |line: &str| line.contains(symbol) && line.ends_with(site);
        assert!(text.contains(path) && text.lines().any(is_it), "{symbol} {site}: {text}");
    }
}

const SAMPLE: [&str; 6] =
    ["--mode", "sample", "--sample-interval", "64KiB", "--max-overhead", "off"];
/// Bursts of copied stacks on a busy machine; the ring buffer is memory of the kernel.
const EXACT: [&str; 6] = ["--mode", "exact", "--ring-bytes", "256MiB", "--max-overhead", "off"];

#[test]
fn redis_under_load() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let (server, port) = redis(&[]);
    for (flags, requests) in [(SAMPLE, "200000"), (EXACT, "20000")] {
        let capture = Capture::start(server.pid(), &[&flags[..], &["--duration", "5s"]].concat());
        let mut load = Command::new("redis-benchmark")
            .args([
                "-q",
                "-t",
                "set",
                "-r",
                "100000",
                "-d",
                "300",
                "-n",
                requests,
                "-p",
                &port.to_string(),
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-benchmark starts");
        let report = capture.wait().expect_report().clone();
        load.wait().expect("our own child");
        check_complete(&report, "redis");
        check_whole(&report, "redis");
        check_function(&report, "setCommand");
        let kinds: Vec<&str> = report.target.allocators.iter().map(|a| a.kind.as_str()).collect();
        assert!(kinds.contains(&"jemalloc"), "{kinds:?}");
    }
}

#[test]
fn postgres_under_load() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let server = postgres(&[]);
    let mut load = pgbench(&server, &["-c", "1", "-T", "25"]).spawn().expect("pgbench starts");
    let backend = postgres_backend(&server);
    for flags in [SAMPLE, EXACT] {
        let report = capture(backend, &flags);
        check_complete(&report, "postgres");
        if report.totals.live_bytes > 0 {
            check_whole(&report, "postgres");
        }
        // What a backend allocates per statement is freed with it: all of it has whole stacks too.
        let whole: u64 = report.stacks.iter().filter(|s| is_whole(s)).map(|s| s.alloc_bytes).sum();
        let all: u64 = report.stacks.iter().map(|s| s.alloc_bytes).sum();
        assert!(
            whole as f64 >= 0.99 * all as f64,
            "{whole} of {all} allocated bytes have a whole stack"
        );
        check_function(&report, "PostgresMain");
    }
    load.kill().expect("our own child");
    load.wait().expect("our own child");
}

#[test]
fn python_keeps_byte_arrays() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let script = "import sys, time\nprint('ready', flush=True)\nkept = []\n\
                  while True:\n    kept.append(bytearray(5000))\n    time.sleep(0.001)\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]);
    let workload = Workload::start_command(command);
    for flags in [SAMPLE, EXACT] {
        let report = capture(workload.pid(), &flags);
        check_complete(&report, "python3");
        check_whole(&report, "python3");
        check_function(&report, "PyByteArray_Resize");
        check_function(&report, "Py_RunMain");
    }
}

/// gdb's frames at the malloc of this size, leaf first, without malloc itself.
fn gdb_frames(program: &std::path::Path, size: u32) -> Vec<String> {
    let script = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(script.path(), "go\n").expect("written");
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-ex",
            "set debuginfod enabled off",
            "-ex",
            "set breakpoint pending on",
        ])
        .args(["-ex", &format!("break malloc if $rdi == {size}")])
        .args(["-ex", &format!("run < {}", script.path().display()), "-ex", "backtrace"])
        .arg(program)
        .output()
        .expect("gdb starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let frames: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            // "#3  0x... in store_order (id=0) at ..." or "#0  malloc (...) at ..."
            let rest = line.split_once("  ").map_or(line, |(_, rest)| rest);
            let rest = rest.split_once(" in ").map_or(rest, |(_, rest)| rest);
            plain(rest)
        })
        .collect();
    assert!(
        frames.len() > 3,
        "gdb found no stack:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    frames.into_iter().skip(1).collect()
}

/// A function's name without arguments, template arguments and the type that a template returns.
fn plain(name: &str) -> String {
    let (mut depth, mut without) = (0, String::new());
    for c in name.replace("operator()", "operator call").chars() {
        match c {
            '(' if depth == 0 => break,
            '<' => depth += 1,
            '>' => depth -= 1,
            c if depth == 0 => without.push(c),
            _ => {}
        }
    }
    // `std::x std::make_unique`: the last word, but for operators.
    let name = without.trim();
    match name.rsplit_once(' ') {
        Some((before, last)) if !before.ends_with("operator") => last.to_owned(),
        _ => name.to_owned(),
    }
}

#[test]
fn gdb_sees_the_same_stacks() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::cpp("serves-requests").flags(&["-fomit-frame-pointer"]);
    let mut workload = Workload::start(&program, &[]);
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    let _: serde_json::Value = workload.ask("go");
    sleep(Duration::from_millis(50));
    let report = capture.interrupt().expect_report().clone();
    check_complete(&report, "the service");
    check_whole(&report, "the service");
    for (size, function, blocks) in [(77777, "store_order", 50), (33333, "compare_and_keep", 50)] {
        // qsort calls back from several depths: one function, several stacks.
        let stacks: Vec<&Stack> = report
            .stacks
            .iter()
            .filter(|stack| stack.class == "heap" && stack.live_count > 0)
            .filter(|stack| stack.live_bytes == size * stack.live_count)
            .collect();
        assert_eq!(stacks.iter().map(|stack| stack.live_count).sum::<u64>(), blocks, "{function}");
        let ours: Vec<Vec<String>> = stacks
            .iter()
            .map(|stack| {
                stack.frames.iter().map(|f| plain(f.function.as_deref().unwrap_or("?"))).collect()
            })
            .collect();
        let gdb = gdb_frames(&program.build(), size as u32);
        // The outermost frames are the C library's start of a thread, which it names in different ways.
        let from_start = |frames: &[String]| -> Vec<String> {
            let end = frames.iter().position(|f| f == "start_thread").unwrap_or(frames.len());
            frames[..end].iter().filter(|name| !name.starts_with('?')).cloned().collect()
        };
        let gdb = from_start(&gdb);
        assert!(gdb.iter().any(|name| name == function), "{gdb:?}");
        let ours: Vec<Vec<String>> = ours.iter().map(|frames| from_start(frames)).collect();
        assert!(ours.contains(&gdb), "gdb saw {gdb:#?}\nmemmgr saw {ours:#?}");
    }
}
