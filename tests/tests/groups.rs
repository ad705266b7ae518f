//! Several processes captured side by side: each of their reports is right to the byte, and the merged one is their sum.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use memmgr::report::{Member, Report};
use memmgr_tests::{
    Capture, Program, Workload,
    capture::binary,
    cgroup::MemoryGroup,
    code::changed_bytes,
    counts_itself::{
        self, Counts, SITES, Truth, assert_complete, assert_equal_to_the_truth, reported,
        reported_site,
    },
    require_root,
    servers::{nginx, pgbench, postgres},
    take_turn,
};
use tempfile::TempDir;

/// Every call; frame pointers, so that events are small.
const EXACT: [&str; 8] =
    ["--mode", "exact", "--stack", "fp", "--ring-bytes", "64MiB", "--interval", "200ms"];

/// The program that counts itself, under a name that no other process of the host has.
struct Named {
    directory: TempDir,
    name: String,
}

impl Named {
    fn new(what: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let name = format!("mm{what}{}", std::process::id());
        assert!(name.len() <= 15, "{name} is no name of a process");
        symlink(counts_itself::program().build(), directory.path().join(&name)).expect("a link");
        Named { directory, name }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    fn start(&self, seed: u64) -> Workload {
        let mut command = Command::new(self.path());
        command.args([
            format!("seed={seed}"),
            "threads=2".to_owned(),
            "functions=malloc,calloc,realloc".to_owned(),
        ]);
        Workload::start_command(command)
    }
}

fn add(a: Counts, b: Counts) -> Counts {
    Counts {
        alloc_count: a.alloc_count + b.alloc_count,
        alloc_bytes: a.alloc_bytes + b.alloc_bytes,
        free_count: a.free_count + b.free_count,
        free_bytes: a.free_bytes + b.free_bytes,
        live_count: a.live_count + b.live_count,
        live_bytes: a.live_bytes + b.live_bytes,
    }
}

#[track_caller]
fn member(report: &Report, pid: u32) -> &Member {
    let pids: Vec<u32> = report.processes.iter().map(|process| process.pid).collect();
    let found = report.processes.iter().find(|process| process.pid == pid);
    found.unwrap_or_else(|| panic!("{pid} is not among {pids:?}"))
}

/// Every process says the truth about itself, and the merged report about all.
#[track_caller]
fn check(report: &Report, truths: &[(u32, Truth)]) {
    assert_eq!(report.processes.len(), truths.len());
    assert_complete(report, "merged");
    let mut total = Counts::default();
    let mut sites = [Counts::default(); SITES];
    for (pid, truth) in truths {
        let member = member(report, *pid);
        let own = member.report.as_ref().expect("its whole report");
        assert_equal_to_the_truth(own, truth, &format!("process {pid}"));
        assert_eq!(member.live_bytes, truth.total.live_bytes);
        total = add(total, truth.total);
        for (sum, site) in sites.iter_mut().zip(truth.sites) {
            *sum = add(*sum, site);
        }
    }
    assert_eq!(reported(report), total, "the merged totals are wrong");
    for (site, expected) in sites.iter().enumerate() {
        assert_eq!(reported_site(report, site), *expected, "merged: site_{site} is wrong");
    }
}

#[test]
fn processes_of_a_name_are_counted_to_the_byte() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let named = Named::new("nam");
    let mut workloads = [named.start(1), named.start(2), named.start(3)];
    let capture = Capture::start_of(&["--name", &named.name], &EXACT);
    let truths: Vec<(u32, Truth)> = workloads
        .iter_mut()
        .zip([3000, 9000, 6000])
        .map(|(workload, calls)| (workload.pid(), workload.ask(&format!("run {calls}"))))
        .collect();
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    check(report, &truths);
    assert_eq!((report.target.pid, &report.target.comm), (0, &named.name));
    // The same stacks of three processes are one.
    let stacks: usize =
        report.processes.iter().map(|p| p.report.as_ref().map_or(0, |r| r.stacks.len())).sum();
    assert!(report.stacks.len() * 2 < stacks, "{} of {stacks}", report.stacks.len());
    for text in [format!("{}: 3 processes", named.name), truths[1].0.to_string()] {
        assert!(outcome.stdout.contains(&text), "{text} is not in\n{}", outcome.stdout);
    }
}

#[test]
fn a_cgroup_is_followed_as_its_processes_come_and_go() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let Some(group) = MemoryGroup::make("groups", 1 << 30) else { return };
    let named = Named::new("grp");
    let [mut stays, mut ends, mut joins, bystander] = [1, 2, 3, 4].map(|seed| named.start(seed));
    group.take(stays.pid());
    group.take(ends.pid());
    let mut capture = Capture::start_of(&["--cgroup", &group.path()], &EXACT);
    let truth_of_ended: Truth = ends.ask("run 4000");
    // Figures of a process that has ended are those of the interval before.
    sleep(Duration::from_millis(700));
    let ended = ends.pid();
    assert!(ends.finish().success());
    group.take(joins.pid());
    capture.wait_for(&format!("({}) too", joins.pid()));
    let truths = [
        (ended, truth_of_ended),
        (joins.pid(), joins.ask("run 2000")),
        (stays.pid(), stays.ask("run 3000")),
    ];
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    check(report, &truths);
    assert_eq!(member(report, ended).ended, "exited");
    assert!(member(report, joins.pid()).since_s > 0.7, "{:?}", member(report, joins.pid()).since_s);
    assert!(report.processes.iter().all(|process| process.pid != bystander.pid()));
    // The groups end before their directory can.
    drop((stays, joins));
}

/// What `makes-children` says of one process: its number, blocks and bytes outstanding.
fn counted(workload: &Workload) -> (u32, u64, u64) {
    let line = workload.line();
    let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().expect("numbers")).collect();
    let [pid, count, bytes] = numbers.as_slice() else { panic!("{line}") };
    (u32::try_from(*pid).expect("a process"), *count, *bytes)
}

fn fork(workload: &mut Workload) -> u32 {
    workload.send("fork");
    let line = workload.line();
    line.strip_prefix("child ").expect("a child").parse().expect("its number")
}

#[test]
fn children_are_followed() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&Program::c("makes-children"), &[]);
    let parent = workload.pid();
    let older = fork(&mut workload);
    let whom = ["--pid", &parent.to_string(), "--follow-forks"];
    let mut capture = Capture::start_of(&whom, &EXACT);
    let younger = [fork(&mut workload), fork(&mut workload)];
    for child in younger {
        capture.wait_for(&format!("({child}) too"));
    }
    workload.send("take 1000");
    let all: Vec<(u32, u64, u64)> = (0..4).map(|_| counted(&workload)).collect();
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_complete(report, "merged");
    assert_eq!(
        all.iter().map(|(pid, ..)| *pid).collect::<Vec<_>>(),
        [parent, older, younger[0], younger[1]]
    );
    for (pid, count, bytes) in &all {
        let member = member(report, *pid);
        assert_eq!((member.live_count, member.live_bytes), (*count, *bytes), "{pid}");
    }
    let bytes: u64 = all.iter().map(|(.., bytes)| bytes).sum();
    let of_function: u64 = report
        .functions
        .iter()
        .filter(|function| function.function == "take_block")
        .map(|function| function.total_live_bytes)
        .sum();
    assert_eq!((report.totals.live_bytes, of_function), (bytes, bytes));
}

/// A child of a process that is captured with these flags loses its breakpoints, and the parent keeps its own.
fn check_freed(flags: &[&str]) {
    let mut workload = Workload::start(&Program::c("makes-children"), &[]);
    let capture = Capture::start(workload.pid(), flags);
    let child = fork(&mut workload);
    assert!(changed_bytes(child) > 0, "a child inherits what its parent has");
    let begin = Instant::now();
    while changed_bytes(child) > 0 {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{flags:?}: the child keeps breakpoints"
        );
        sleep(Duration::from_millis(20));
    }
    assert!(changed_bytes(workload.pid()) > 0, "the parent's are gone");
    workload.send("take 400");
    let (_, count, bytes) = counted(&workload);
    counted(&workload);
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_complete(report, "the parent");
    // Equal where all was seen; a burst can make samples of it for a moment where that is allowed.
    let (seen, error) = (report.totals.live_bytes, report.totals.live_bytes_error);
    assert!(seen.abs_diff(bytes) <= 4 * error, "{flags:?}: {seen} for {bytes}, ± {error}");
    assert!(error > 0 || report.totals.live_count == count, "{flags:?}");
}

#[test]
fn children_that_are_not_followed_are_freed_of_the_breakpoints() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    check_freed(&EXACT);
    // Here with those on mapping calls in the C library.
    // It does not wait for the next interval.
    check_freed(&["--mode", "auto", "--max-overhead", "off", "--interval", "30s"]);
}

#[test]
fn another_program_is_another_capture() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let Some(group) = MemoryGroup::make("exec", 1 << 30) else { return };
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "echo ready; read word; exec \"$0\" seed=8 threads=2 functions=malloc,calloc",
    ]);
    command.arg(counts_itself::program().build());
    let mut workload = Workload::start_command(command);
    group.take(workload.pid());
    let mut capture = Capture::start_of(&["--cgroup", &group.path()], &EXACT);
    workload.send("go");
    assert_eq!(workload.line(), "ready");
    capture.wait_for(&format!("({}) too", workload.pid()));
    let truth: Truth = workload.ask("run 2000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    let [before, after] =
        ["exec", "interrupted"].map(|ended| report.processes.iter().find(|p| p.ended == ended));
    assert_eq!(before.expect("the shell").comm, "sh");
    let own = after.expect("the program").report.as_ref().expect("its report");
    assert_equal_to_the_truth(own, &truth, "the program");
    drop(workload);
}

#[test]
fn the_backends_of_postgres() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let server = postgres(&[]);
    let mut load = pgbench(&server, &["-c", "4", "-T", "30"]).spawn().expect("pgbench starts");
    sleep(Duration::from_secs(2));
    let flags = [
        "--mode",
        "sample",
        "--sample-interval",
        "16KiB",
        "--max-overhead",
        "off",
        "--duration",
        "5s",
    ];
    let whom = ["--pid", &server.pid().to_string(), "--follow-forks"];
    let report = Capture::start_of(&whom, &flags).wait().expect_report().clone();
    load.kill().expect("our own child");
    load.wait().expect("our own child");
    assert_complete(&report, "postgres");
    // The first process, four that serve and the background workers.
    assert!(report.processes.len() > 6, "{}", report.processes.len());
    assert!(report.processes.iter().all(|process| process.comm == "postgres"));
    let serving = |process: &&Member| {
        let own = process.report.as_ref().expect("its report");
        own.functions
            .iter()
            .any(|function| function.function == "PostgresMain" && function.total_alloc_bytes > 0)
    };
    assert!(report.processes.iter().filter(serving).count() >= 4);
    // They are one function in the merged report, with the bytes of all.
    let of = |report: &Report| -> u64 {
        let functions =
            report.functions.iter().filter(|function| function.function == "PostgresMain");
        functions.map(|function| function.total_alloc_bytes).sum()
    };
    let sum: u64 = report.processes.iter().filter_map(|p| p.report.as_ref()).map(|r| of(r)).sum();
    assert_eq!(of(&report), sum);
}

#[test]
fn the_workers_of_nginx_by_name() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let (nginx, port) = nginx(3);
    let capture = Capture::start_of(&["--name", "ngin*"], &EXACT);
    for _ in 0..300 {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        assert!(answer.ends_with("well"), "{answer}");
    }
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_complete(report, "nginx");
    assert_eq!(report.target.comm, "nginx");
    member(report, nginx.pid());
    assert!(report.processes.len() >= 4, "{}", report.processes.len());
    // The port is shared out among the workers: each has served some.
    let served = report.processes.iter().filter(|process| process.alloc_bytes > 0).count();
    assert!(
        served >= 3,
        "{:?}",
        report.processes.iter().map(|p| p.alloc_bytes).collect::<Vec<_>>()
    );
    let bytes: u64 = report.processes.iter().map(|process| process.alloc_bytes).sum();
    assert_eq!(report.totals.alloc_bytes, bytes);
}

fn run(arguments: &[&str], directory: &Path) -> (i32, String, String) {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("memmgr runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn recordings_of_a_group_are_read_together() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let named = Named::new("rec");
    let mut workloads = [named.start(5), named.start(6)];
    let directory = tempfile::tempdir().expect("a directory");
    let mut recording = Command::new(binary())
        .args(["record", "--name", &named.name, "-o", "kept", "--duration", "3s"])
        .args(EXACT)
        .current_dir(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memmgr starts");
    let lines = memmgr_tests::lines::Lines::of(recording.stderr.take().expect("piped"));
    let first = lines.next().expect("it says that it captures");
    assert!(first.starts_with("memmgr: capturing 2 processes"), "{first}");
    let truths: Vec<(u32, Truth)> =
        workloads.iter_mut().map(|w| (w.pid(), w.ask("run 2000"))).collect();
    assert!(recording.wait().expect("our own child").success(), "{:?}", lines.rest());
    let (code, _, errors) = run(&["report", "kept", "-o", "all.json"], directory.path());
    assert_eq!(code, 0, "{errors}");
    let json = fs::read(directory.path().join("all.json")).expect("it was written");
    check(&serde_json::from_slice(&json).expect("a report"), &truths);
    // One of them, out of the merged report.
    let one = format!("all.json#{}", truths[0].0);
    let (code, text, errors) = run(&["leaks", &one], directory.path());
    assert_eq!(code, 0, "{errors}");
    assert!(text.starts_with(&format!("{} ({})", named.name, truths[0].0)), "{text}");
    let (code, _, errors) = run(&["leaks", "all.json#1"], directory.path());
    assert!(code == 1 && errors.contains(&truths[0].0.to_string()), "{code} {errors}");
}

#[test]
fn nobody_is_an_answer() {
    if !require_root() {
        return;
    }
    let named = Named::new("nob");
    let workload = named.start(1);
    let here = Path::new(".");
    let almost = named.name.replacen("mm", "mn", 1).to_uppercase();
    for (whom, expected) in [
        (["--name", &named.name.replacen("mmn", "mnm", 1)], named.name.as_str()),
        (["--name", &almost], "no process is called"),
        (["--cgroup", "/no/such/group"], "there is no memory cgroup /no/such/group"),
    ] {
        let (code, _, errors) = run(&[&["leaks"], &whom[..]].concat(), here);
        assert!(code == 3 && errors.contains(expected), "{whom:?}: {code} {errors}");
    }
    drop(workload);
    let (code, _, errors) = run(&["leaks", "--name", "longer-than-fifteen"], here);
    assert!(code == 2 && errors.contains("15 bytes"), "{code} {errors}");
}
