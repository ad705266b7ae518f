//! `optimize gc` on live runtimes.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use memmgr::optimize::verdict::Verdict;
use memmgr_tests::{
    Workload,
    capture::binary,
    host::has_program,
    lines::Lines,
    optimizing::{log_in, on_disk, pid, refused, report, started},
    require_root, take_turn,
};
use rustix::process::{Pid, Signal, kill_process};

const MIB: u64 = 1 << 20;

#[test]
fn a_jvm_collects_what_jcmd_says() {
    if !require_root() || !has_program("java") || !has_program("jcmd") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let workload = jvm(&["-Xmx512m", "-Xms256m", "-XX:+UseSerialGC"]);
    let pid = pid(&workload);
    let used = || {
        let output = Command::new("jcmd").args([&pid, "GC.heap_info"]).output().expect("jcmd runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let parts =
            text.lines().filter(|line| line.contains(" total ") && line.contains(", used "));
        let kib = parts.map(|line| {
            let used = line.split(", used ").nth(1).expect("a figure");
            used.split('K').next().and_then(|kib| kib.parse::<u64>().ok()).expect("KiB")
        });
        kib.sum::<u64>() * 1024
    };
    // The JVM does not listen yet: memmgr wakes it.
    let report = report(&log_in(&directory), &["gc", "-p", &pid, "--settle", "1s", "--apply"]);
    let changed = report.changed.as_ref().expect("it was applied");
    let heap = |figures: &memmgr::optimize::figures::Figures| {
        figures.heap.as_ref().expect("a heap").used_bytes
    };
    assert_eq!(changed.effect.verdict, Verdict::Helped, "{:?}", changed.effect);
    assert!(heap(&report.before) >= 100 * MIB, "{report:?}");
    // A collection that jcmd asks for has nothing more to collect.
    let (ours, theirs) = (heap(&changed.settled), used());
    assert!(ours.abs_diff(theirs) < MIB, "{ours} {theirs}");
    assert!(ours < 20 * MIB, "{ours}");
}

fn jvm(flags: &[&str]) -> Workload {
    let mut command = Command::new("java");
    command.args(flags).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/MakesGarbage.java"));
    Workload::start_command(command)
}

fn send(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.cast_signed()).expect("a process");
    kill_process(process, signal).expect("it is there");
}

#[test]
fn a_jvm_that_cannot_answer_is_not_waited_for() {
    if !require_root() || !has_program("java") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let disabled = jvm(&["-XX:+DisableAttachMechanism"]);
    let (code, text) = refused(&log, &["gc", "-p", &pid(&disabled), "--apply"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("is disabled"), "{text}");
    // It was not even asked: on SIGQUIT it would have printed its threads.
    assert_eq!(disabled.output().come(), Vec::<String>::new());
    let plan = report(&log, &["plan", "-p", &pid(&disabled)]);
    let gc = plan.suggestions.iter().find(|one| one.action == "gc").expect("a suggestion");
    assert!(gc.cannot.as_ref().is_some_and(|why| why.contains("is disabled")), "{gc:?}");

    let stopped = jvm(&[]);
    send(stopped.pid(), Signal::STOP);
    let (code, text) = refused(&log, &["gc", "-p", &pid(&stopped), "--apply"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("is stopped") && text.contains("kill -CONT"), "{text}");
    send(stopped.pid(), Signal::CONT);
}

#[test]
fn ctrl_c_ends_the_wait_for_a_jvm() {
    if !require_root() || !has_program("java") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let target = jvm(&[]);
    let mut child = Command::new(binary())
        .args(["optimize", "gc", "-p", &pid(&target), "--apply", "--log"])
        .arg(log_in(&directory))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memmgr runs");
    let said = Lines::of(child.stderr.take().expect("piped"));
    // It listens before the figures are read for the first time; they are read once more 3 s later.
    let socket = format!("/tmp/.java_pid{}", target.pid());
    while !Path::new(&socket).exists() {
        assert!(child.try_wait().expect("a child").is_none(), "{:?}", said.rest());
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_secs(1));
    send(target.pid(), Signal::STOP);
    sleep(Duration::from_secs(5));
    assert!(child.try_wait().expect("a child").is_none(), "{:?}", said.come());
    send(child.id(), Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let last = said.rest().pop().unwrap_or_default();
    assert!(last.contains("interrupted: GC.heap_info is not answered"), "{last}");
    send(target.pid(), Signal::CONT);
}

#[test]
fn node_collects_and_its_inspector_is_closed() {
    if !require_root() || !has_program("node") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let mut command = Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/makes-garbage.js"));
    let mut workload = Workload::start_command(command);
    let report =
        report(&log_in(&directory), &["gc", "-p", &pid(&workload), "--settle", "1s", "--apply"]);
    let changed = report.changed.as_ref().expect("it was applied");
    assert_eq!(changed.effect.verdict, Verdict::Helped, "{:?}", changed.effect);
    assert!(changed.effect.gained_bytes > 30 * MIB as i64, "{:?}", changed.effect);
    assert!(report.steps.iter().any(|step| step.contains("closed again")), "{:?}", report.steps);
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", workload.pid())).unwrap();
    assert!(!table.contains("0100007F:240D 00000000:0000 0A"), "{table}");
    assert!(workload.finish().success());
}

#[test]
fn runtimes_without_a_way_in_get_advice() {
    if !require_root() || !has_program("python3") || !has_program("go") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let mut python = Command::new("python3");
    python.args(["-c", "import sys; print('ready', flush=True); sys.stdin.read()"]);
    let python = Workload::start_command(python);
    let (code, text) = refused(&log, &["gc", "-p", &pid(&python), "--apply"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("MALLOC_TRIM_THRESHOLD_") || text.contains("sys.remote_exec"), "{text}");
    let program = directory.path().join("waits");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/waits.go"))
        .env("GOCACHE", directory.path().join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .status()
        .expect("go runs");
    assert!(built.success());
    let go = Workload::start_command(Command::new(&program));
    let (code, text) = refused(&log, &["gc", "-p", &pid(&go), "--apply"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("GOMEMLIMIT=") && text.contains("GOGC=50"), "{text}");
    let (code, text) = refused(&log, &["gc", "-p", &pid(&started(&[])), "--apply"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("optimize trim -p"), "{text}");
}
