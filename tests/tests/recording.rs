//! Recordings of live programs: from the first allocation, through a kill -9, on a host without the target's files.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use memmgr::{diff::Diff, report::Report};
use memmgr_tests::{Program, capture::binary, require_root, take_turn};

const SIZE: u64 = 1000;

fn memmgr(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the memmgr that MEMMGR_TEST_BIN names cannot be started")
}

/// A directory for the results of a test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("no temporary directory"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a plain path").to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The report of a recording, or what memmgr said instead.
fn report(input: &str, flags: &[&str]) -> Result<Report, String> {
    let output = memmgr(&[&["report", input, "--json"], flags].concat());
    if !output.status.success() {
        return Err(text(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout).expect("a report"))
}

/// Blocks and bytes outstanding from stacks with this function in them.
fn held_by(report: &Report, function: &str) -> (u64, u64) {
    let stacks = report.stacks.iter().filter(|stack| {
        let has = |name: &String| name == function;
        stack.class == "heap"
            && stack.frames.iter().any(|frame| frame.function.as_ref().is_some_and(has))
    });
    stacks
        .fold((0, 0), |(count, bytes), stack| (count + stack.live_count, bytes + stack.live_bytes))
}

fn program() -> String {
    Program::c("holds-more-and-more").build().to_string_lossy().into_owned()
}

#[test]
fn a_command_is_captured_from_its_first_allocation_to_its_exit_code() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let place = Place::new();
    let file = place.path("r.db");
    let file = file.as_str();
    for kind in ["dwarf", "fp"] {
        let flags = [
            "record",
            "-f",
            "-o",
            file,
            "--mode",
            "exact",
            "--stack",
            kind,
            "--interval",
            "200ms",
            "--",
        ];
        let output = memmgr(&[&flags[..], &[program().as_str(), "1500", "7"]].concat());
        assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
        let report = report(file, &[]).expect("a report");
        assert!(report.capture.complete, "{:?}", report.capture.loss);
        assert_eq!(report.target.comm, "holds-more-and-");
        assert_eq!(report.target.ended, "exited");
        // Its figures are those of the last interval, not those of a zombie.
        assert!(report.process.rss_bytes.is_some_and(|bytes| bytes > 500_000));
        let last = report.timeline.last().expect("a timeline");
        assert!(last.rss_bytes > 500_000 && last.descriptors.is_some_and(|count| count >= 3));
        assert_eq!(held_by(&report, "hold_one"), (160, 160 * SIZE), "{kind}");
        if kind == "dwarf" {
            assert_eq!(held_by(&report, "hold_before_main"), (10, 10 * SIZE));
            assert_eq!(held_by(&report, "main"), (150, 150 * SIZE));
        }
    }
}

#[test]
fn a_command_that_cannot_be_run_has_the_code_of_a_shell() {
    if !require_root() {
        return;
    }
    let place = Place::new();
    let file = place.path("r.db");
    let file = file.as_str();
    let output = memmgr(&["record", "-o", file, "--", "no-such-command-anywhere"]);
    assert_eq!(output.status.code(), Some(127), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no-such-command-anywhere: there is no such command"));
    assert!(!Path::new(file).exists());
    // A command that a signal ends has the code of a shell, too.
    let output = memmgr(&["record", "-o", file, "--", "sh", "-c", "sleep 0.3; kill -TERM $$"]);
    assert_eq!(output.status.code(), Some(128 + 15), "{}", text(&output.stderr));
    assert!(report(file, &[]).is_ok());
}

#[test]
fn a_shell_that_becomes_another_program_is_followed() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let place = Place::new();
    let file = place.path("r.db");
    let file = file.as_str();
    let line = format!("exec {} 500 3", program());
    let output = memmgr(&[
        "record", "-o", file, "--mode", "exact", "--stack", "dwarf", "--", "sh", "-c", &line,
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let report = report(file, &[]).expect("a report");
    assert_eq!(held_by(&report, "hold_one"), (60, 60 * SIZE));
    assert_eq!(report.totals.live_bytes, 60 * SIZE, "what the shell held is gone");
}

/// memmgr is killed at some moment: the recording has all but the running interval, and resolves late by build id.
#[test]
fn a_kill_costs_at_most_an_interval() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let place = Place::new();
    let path = |name: &str| place.path(name);
    let (file, program_copy) = (path("r.db"), path("service"));
    fs::copy(program(), &program_copy).expect("a copy");
    let mut target = Command::new(&program_copy).args(["60000", "0"]).spawn().expect("a target");
    let flags = ["--mode", "exact", "--stack", "dwarf", "--interval", "200ms", "-d", "60s"];
    let mut recorder = Command::new(binary())
        .args(["record", "-o", &file, "-p", &target.id().to_string()])
        .args(flags)
        .stderr(Stdio::null())
        .spawn()
        .expect("memmgr");
    // It can be read while it is written.
    let deadline = Instant::now() + Duration::from_secs(30);
    let written = loop {
        match report(&file, &[]) {
            Ok(report) if report.duration_s >= 2.0 => break report,
            _ => assert!(Instant::now() < deadline, "nothing was written in 30 s"),
        }
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(written.target.ended, "unfinished");
    recorder.kill().expect("memmgr is there");
    recorder.wait().expect("memmgr is there");
    target.kill().expect("the target is there");
    target.wait().expect("the target is there");
    let left = report(&file, &[]).expect("the recording is whole");
    assert!(left.duration_s >= written.duration_s);
    let (count, bytes) = held_by(&left, "hold_one");
    assert_eq!(bytes, count * SIZE);
    assert!(count as f64 >= left.duration_s * 40.0, "{count} in {} s", left.duration_s);

    // Without the file of the target nothing resolves, and memmgr says what would help.
    let elsewhere = path("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::rename(&program_copy, format!("{elsewhere}/service")).expect("a file moves");
    let unnamed = report(&file, &[]).expect("the recording is whole");
    assert_eq!(held_by(&unnamed, "hold_one"), (0, 0));
    let reasons: Vec<&String> =
        unnamed.stacks.iter().flat_map(|s| &s.frames).filter_map(|f| f.reason.as_ref()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("--debug-dir")), "{reasons:?}");
    let named = report(&file, &["--debug-dir", &elsewhere]).expect("the recording is whole");
    assert_eq!(held_by(&named, "hold_one"), (count, bytes));
    // A moment of it, and what cannot be a moment.
    let moment = report(&format!("{file}@1s"), &["--debug-dir", &elsewhere]).expect("a moment");
    assert!((moment.duration_s - 1.0).abs() < 0.2, "{}", moment.duration_s);
    assert!(held_by(&moment, "hold_one").0 < count);
    let error = report(&format!("{file}@1h"), &[]).expect_err("there is no such moment");
    assert!(error.contains("there is nothing at 3600.0 s"), "{error}");
}

#[test]
fn a_finished_recording_needs_no_file_of_the_target() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let place = Place::new();
    let path = |name: &str| place.path(name);
    let (file, program_copy) = (path("r.db"), path("service"));
    fs::copy(program(), &program_copy).expect("a copy");
    let output =
        memmgr(&["record", "-o", &file, "--mode", "exact", "--", &program_copy, "300", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::remove_file(&program_copy).expect("it is there");
    let whole = report(&file, &[]).expect("a report");
    assert_eq!(held_by(&whole, "hold_one"), (40, 40 * SIZE));
    let again = memmgr(&["record", "-o", &file, "--", "true"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("already exists; use -f"), "{}", text(&again.stderr));
    assert_eq!(report(&file, &[]).expect("the old one is as it was").totals, whole.totals);
}

/// The program frees nothing: what was allocated between two moments is what there is more of.
#[test]
fn what_was_kept_between_two_moments() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let place = Place::new();
    let file = place.path("r.db");
    let flags =
        ["record", "-o", &file, "--mode", "exact", "--stack", "fp", "--interval", "200ms", "--"];
    let output = memmgr(&[&flags[..], &[program().as_str(), "2500", "0"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let moments = [format!("{file}@600ms"), format!("{file}@1800ms")];
    let live = |moment: &String| held_by(&report(moment, &[]).expect("a moment"), "hold_one");
    let more = live(&moments[1]).1 - live(&moments[0]).1;
    assert!(more >= 50 * SIZE, "{more} bytes more in 1.2 s");
    let output = memmgr(&["diff", &moments[0], &moments[1], "--kept", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let diff: Diff = serde_json::from_slice(&output.stdout).expect("a comparison");
    let kept = diff.totals.kept.expect("what was kept");
    assert_eq!((kept.bytes, kept.count), (more, more / SIZE));
}
