//! A Go program's figures are those that its own runtime tells.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use memmgr::go::GoStat;
use memmgr_tests::{
    Workload, capture::binary, go::toolchains, host::has_program, require_root, take_turn,
};
use serde::Deserialize;
use tempfile::TempDir;

const PROGRAM: &str = "tells-memstats";

/// What the program tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    heap_alloc: u64,
    heap_objects: u64,
    total_alloc: u64,
    mallocs: u64,
    frees: u64,
    heap_inuse: u64,
    heap_idle: u64,
    heap_released: u64,
    stack_inuse: u64,
    stack_sys: u64,
    sys: u64,
    #[serde(rename = "NumGC")]
    num_gc: u64,
    #[serde(rename = "NumForcedGC")]
    num_forced_gc: u64,
    pause_total_ns: u64,
    #[serde(rename = "NextGC")]
    next_gc: u64,
    #[serde(rename = "GCCPUFractionPpb")]
    gc_cpu_fraction_ppb: u64,
    num_goroutine: u64,
}

impl Told {
    /// The same, as memmgr sees it.
    fn of(stat: &GoStat) -> Self {
        let (heap, gc) = (&stat.figures.heap, &stat.figures.gc);
        Told {
            heap_alloc: heap.alloc_bytes,
            heap_objects: heap.objects,
            total_alloc: heap.total_alloc_bytes,
            mallocs: heap.mallocs,
            frees: heap.frees,
            heap_inuse: heap.in_use_bytes,
            heap_idle: heap.idle_bytes,
            heap_released: heap.released_bytes,
            stack_inuse: stat.figures.stacks_in_use_bytes,
            stack_sys: stat.figures.stacks_bytes,
            sys: stat.figures.sys_bytes,
            num_gc: gc.cycles,
            num_forced_gc: gc.forced,
            pause_total_ns: (gc.pause_total_s * 1e9).round() as u64,
            next_gc: gc.next_goal_bytes.unwrap_or(u64::MAX),
            gc_cpu_fraction_ppb: (gc.cpu_fraction * 1e9) as u64,
            num_goroutine: stat.goroutines.count,
        }
    }
}

fn look(pid: u32, more: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["go", "-p", &pid.to_string()]).args(more);
    command.output().expect("memmgr runs")
}

fn stat(pid: u32) -> GoStat {
    let output = look(pid, &["--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn tell(workload: &mut Workload, lines: &[&str]) {
    for line in lines {
        workload.send(line);
        assert_eq!(workload.line(), "done", "{line}");
    }
}

/// Both at one quiet moment: what the program tells is the same before and after.
fn compare(workload: &mut Workload, what: &str) -> GoStat {
    for _ in 0..20 {
        sleep(Duration::from_millis(500));
        let before: Told = workload.ask("stats");
        let stat = stat(workload.pid());
        let after: Told = workload.ask("stats");
        // The scavenger and the collector work on their own.
        if before == after {
            assert_eq!(Told::of(&stat), before, "{what}");
            return stat;
        }
    }
    panic!("{what}: no quiet moment");
}

#[test]
fn figures_of_every_version_are_the_runtimes_own() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let all = toolchains();
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    assert!(!is_ci || all.len() == 8, "`cargo xtask test` fetches seven toolchains");
    for toolchain in all {
        let program = toolchain.build(PROGRAM, &[]);
        let mut workload = Workload::start_command(Command::new(program));
        tell(&mut workload, &["keep 30", "large 16", "drop", "keep 20", "collect", "release"]);
        let quiet = compare(&mut workload, &toolchain.name);
        assert!(quiet.go_version.starts_with("go1."), "{}", quiet.go_version);
        assert!(
            toolchain.name == "host" || quiet.go_version == format!("go{}", toolchain.name),
            "{}",
            quiet.go_version
        );
        assert_eq!(
            (quiet.figures.gc.gogc_percent, quiet.figures.gc.memory_limit_bytes),
            (Some(100), None)
        );
        tell(
            &mut workload,
            &["percent 50", "limit 90", "keep 20", "collect", "collect", "release"],
        );
        let limited = compare(&mut workload, &toolchain.name);
        assert_eq!(limited.figures.gc.gogc_percent, Some(50));
        assert_eq!(limited.figures.gc.memory_limit_bytes, Some(90 << 20));
        assert!(limited.figures.heap.alloc_bytes > quiet.figures.heap.alloc_bytes + (18 << 20));
        tell(&mut workload, &["park 1000", "sleep 50", "collect", "release"]);
        let busy = compare(&mut workload, &toolchain.name);
        assert_eq!(busy.goroutines.count, quiet.goroutines.count + 1050);
        let count = |groups: &[memmgr::go::Group], name: &str| {
            groups.iter().find(|group| group.name == name).map(|group| group.count)
        };
        let (states, functions) = (&busy.goroutines.by_state, &busy.goroutines.by_function);
        assert_eq!(count(states, "chan receive"), Some(1000), "{states:?}");
        assert_eq!(count(states, "sleep"), Some(50), "{states:?}");
        assert_eq!(count(functions, "main.parks"), Some(1000), "{functions:?}");
        assert_eq!(count(functions, "main.sleeps"), Some(50), "{functions:?}");
        let all: u64 = functions.iter().map(|group| group.count).sum();
        assert_eq!(all, busy.goroutines.count, "{functions:?}");
    }
}

#[test]
fn a_position_independent_program_is_found_where_it_is() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let program = toolchains()[0].build(PROGRAM, &["-buildmode=pie"]);
    let mut workload = Workload::start_command(Command::new(program));
    tell(&mut workload, &["keep 10", "collect", "release"]);
    compare(&mut workload, "pie");
    let text = String::from_utf8(look(workload.pid(), &[]).stdout).unwrap();
    for expected in ["Heap", "next goal", "GOGC", "runtime.main", "goroutines"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_looked_at_says_why() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let go = &toolchains()[0];
    let refused = |mut command: Command, code: i32, expected: &str| {
        command.stdin(std::process::Stdio::piped());
        let workload = Workload::start_command(command);
        let output = look(workload.pid(), &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    let stripped = |flag: &str| Command::new(go.build(PROGRAM, &[flag]));
    refused(stripped("-ldflags=-s"), 5, "it was linked with -ldflags=-s");
    let mut cat = Command::new("sh");
    cat.args(["-c", "echo ready; exec cat"]);
    refused(cat, 1, "it is not a Go program");
    let output = look(u32::MAX >> 2, &[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

fn follow(pid: u32) -> GoStat {
    let output = look(pid, &["--json", "--duration", "12s", "--interval", "400ms"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_heap_that_grows_is_found() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let program = toolchains()[0].build(PROGRAM, &[]);
    let mut workload = Workload::start_command(Command::new(program));
    // Collections come often.
    tell(&mut workload, &["percent 10", "keep 20", "gather 4"]);
    let growing = follow(workload.pid());
    let [finding] = &growing.findings[..] else { panic!("{:?}", growing.findings) };
    assert_eq!((finding.kind.as_str(), finding.severity.as_str()), ("heap-growth", "warning"));
    let mib = finding.growth_bytes_per_s / f64::from(1 << 20);
    assert!((3.0..5.0).contains(&mib), "{finding:?}");
}

#[test]
fn goroutines_that_are_never_done_are_found() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let program = toolchains()[0].build(PROGRAM, &[]);
    let mut workload = Workload::start_command(Command::new(program));
    tell(&mut workload, &["keep 10", "park 50"]);
    let quiet = follow(workload.pid());
    assert_eq!(quiet.findings, []);
    assert!(quiet.course.as_ref().is_some_and(|course| course.t_s.len() >= 20), "{quiet:?}");
    tell(&mut workload, &["leak 10"]);
    let leaking = follow(workload.pid());
    let [finding] = &leaking.findings[..] else { panic!("{:?}", leaking.findings) };
    assert_eq!(
        (finding.kind.as_str(), finding.subject.as_deref()),
        ("goroutine-growth", Some("main.parks"))
    );
    assert_eq!((finding.severity.as_str(), finding.shape.as_str()), ("warning", "linear"));
    let says = |part: &str| finding.evidence.iter().any(|text| text.contains(part));
    assert!(says("chan receive") && says("main.leaks started them"), "{finding:?}");
}

#[test]
fn what_was_seen_of_a_program_that_ends_is_told() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    // Without an end of its own, and with one that is far.
    for duration in ["0", "60s"] {
        let program = toolchains()[0].build(PROGRAM, &[]);
        let workload = Workload::start_command(Command::new(program));
        let pid = workload.pid().to_string();
        let mut command = Command::new(binary());
        command.args(["go", "-p", &pid, "--json", "--interval", "200ms", "--duration", duration]);
        let running = command.stdout(Stdio::piped()).spawn().expect("memmgr runs");
        sleep(Duration::from_secs(3));
        // It is a zombie as long as nobody waits for it.
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let output = running.wait_with_output().expect("memmgr ends");
        assert!(output.status.success(), "{output:?}");
        let stat: GoStat = serde_json::from_slice(&output.stdout).expect("JSON");
        let course = stat.course.expect("looks");
        assert_eq!(course.ended, "exited");
        assert!(course.t_s.len() >= 5, "{course:?}");
        assert_eq!(look(workload.pid(), &[]).status.code(), Some(3));
    }
}

fn pprof(profile: &Path, index: &str, flags: &[&str]) -> String {
    let output = Command::new("go")
        .args(["tool", "pprof", "-unit=B"])
        .args(flags)
        .arg(format!("-sample_index={index}"))
        .arg(profile)
        .env("HOME", profile.parent().expect("a folder"))
        .output()
        .expect("go runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Bytes or objects of each stack, of which pprof writes `VALUE FUNCTION` and its callers below that; none where there are none.
fn traces(profile: &Path, index: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    let text = pprof(profile, index, &["-traces"]);
    for trace in text.split("-----------+").skip(1) {
        let lines = trace.lines().skip(1).map(|line| line.replace(" (inline)", ""));
        let lines = lines.map(|line| line.trim().to_owned());
        let lines: Vec<_> =
            lines.filter(|line| !line.is_empty() && !line.starts_with("bytes:")).collect();
        let Some((first, callers)) = lines.split_first() else { continue };
        let (value, leaf) = first.split_once(' ').expect("a value and a function");
        let value: u64 = value.trim_end_matches('B').parse().expect("a number");
        let stack = [&[leaf.trim().to_owned()], callers].concat().join(" < ");
        *sums.entry(stack).or_default() += value;
    }
    sums.retain(|_, value| *value > 0);
    assert!(sums.len() > 5, "{text}");
    sums
}

/// What pprof makes of a profile: bytes or objects of each function, by itself and with what it calls.
fn top(profile: &Path, index: &str) -> Vec<(String, String, String)> {
    let text = pprof(profile, index, &["-top", "-nodecount=1000", "-nodefraction=0"]);
    let rows = text.lines().skip_while(|line| !line.contains("flat%")).skip(1);
    let mut rows: Vec<_> = rows
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let function = words[5..].iter().filter(|word| **word != "(inline)").copied();
            (function.collect::<Vec<_>>().join(" "), words[0].to_owned(), words[3].to_owned())
        })
        .collect();
    rows.sort();
    assert!(rows.len() > 5, "{text}");
    rows
}

#[test]
fn the_heap_profile_is_the_programs_own() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let folder = TempDir::new().unwrap();
    for toolchain in toolchains() {
        let program = toolchain.build("keeps-by-function", &[]);
        let mut workload = Workload::start_command(Command::new(program));
        let (own, theirs) = (folder.path().join("own.pb.gz"), folder.path().join("theirs.pb.gz"));
        let own_name = own.to_str().expect("UTF-8");
        // First from outside: the program's own way allocates.
        let output = look(workload.pid(), &["--profile", own_name, "--force"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        tell(&mut workload, &[theirs.to_str().expect("UTF-8")]);
        for index in ["inuse_space", "inuse_objects", "alloc_space", "alloc_objects"] {
            assert_eq!(top(&own, index), top(&theirs, index), "{}: {index}", toolchain.name);
            assert_eq!(traces(&own, index), traces(&theirs, index), "{}: {index}", toolchain.name);
        }
    }
}

#[test]
fn a_program_that_keeps_no_profile_is_told_so() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let workload = Workload::start_command(Command::new(toolchains()[0].build(PROGRAM, &[])));
    let output = look(workload.pid(), &["--profile", "-"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("keeps no heap profile"), "{stderr}");
}

#[test]
fn without_debug_information_fields_are_where_the_table_has_them() {
    if !require_root() || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let all = toolchains();
    let whole: Vec<File> = all
        .iter()
        .map(|toolchain| File::open(toolchain.build(PROGRAM, &[])).expect("a program"))
        .collect();
    let (table, made) = memmgr::go::tables(whole.into_iter()).expect("programs of Go's");
    if std::env::var_os("MEMMGR_WRITE_TABLE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../memmgr-user/src/go/offsets.txt");
        std::fs::write(path, &made).expect("the table");
        return;
    }
    // Where only the host's toolchain is, that is a part of it.
    assert!(
        all.len() < 8 || table == made,
        "MEMMGR_WRITE_TABLE=1 with this test writes it:\n{made}"
    );
    for toolchain in [&all[0], &all[all.len() - 1]] {
        let program = toolchain.build(PROGRAM, &["-ldflags=-w"]);
        let mut workload = Workload::start_command(Command::new(program));
        tell(&mut workload, &["keep 30", "park 100", "collect", "release"]);
        compare(&mut workload, &toolchain.name);
    }
}
