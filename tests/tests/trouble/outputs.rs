//! Places that cannot be written, and captures that are ended early.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use memmgr_tests::{Capture, capture::binary, require_root};
use rustix::process::Signal;

use crate::{check_nothing_left, check_trouble, obedient, report_into, run, tell};

/// A bad place is refused before the capture, in no time, and nothing at it changes.
#[test]
fn places_that_are_taken_or_closed() {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("existing.json"), "precious").expect("a file");
    symlink(at("precious.json"), at("link.json")).expect("a link");
    fs::write(at("precious.json"), "precious").expect("a file");
    fs::create_dir(at("directory.json")).expect("a directory");
    let pipe = run(Command::new("mkfifo").arg(at("pipe.json")));
    assert_eq!(pipe.code, Some(0), "{}", pipe.stderr);
    let before = listing(directory.path());
    for (place, flags, words) in [
        ("existing.json", &[][..], "already exists; use -f to overwrite"),
        ("link.json", &[], "symbolic link"),
        ("link.json", &["-f"], "symbolic link"),
        ("directory.json", &["-f"], "is a directory, not a regular file"),
        ("pipe.json", &["-f"], "is a pipe, not a regular file"),
        ("missing/report.json", &["-f"], "No such file or directory"),
        ("existing.json/report.json", &["-f"], "Not a directory"),
    ] {
        // Process 1 is there and would be captured if the place were good.
        let ended = run(Command::new(binary())
            .args(["report", "-p", "1", "-d", "1h", "-o"])
            .arg(at(place))
            .args(flags));
        check_trouble(&ended, 1, &[place.split('/').next().expect("a name"), words]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert_eq!(listing(directory.path()), before, "{place}");
    }
    assert_eq!(fs::read_to_string(at("existing.json")).expect("it is there"), "precious");
    assert_eq!(fs::read_to_string(at("precious.json")).expect("it is there"), "precious");
}

fn listing(directory: &std::path::Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    names
}

/// `-f` replaces the file, which keeps no permission for others.
#[test]
fn force_overwrites() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let place = directory.path().join("report.json");
    fs::write(&place, "old").expect("a file");
    let workload = obedient();
    let ended = run(&mut report_into(directory.path(), workload.pid(), &["-f"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(fs::read_to_string(&place).expect("a report").contains("memmgr.report/1"));
    assert_eq!(listing(directory.path()), ["report.json"]);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&place).expect("it").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// Each signal that asks a program to end gets the report out.
#[test]
fn signals_end_the_capture_and_the_report_is_written() {
    if !require_root() {
        return;
    }
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut workload = obedient();
        let capture = Capture::start(workload.pid(), &["--mode", "exact", "--duration", "1h"]);
        tell(&mut workload, "hold 100 10", "held 1000");
        capture.signal(signal);
        let outcome = capture.wait();
        let report = outcome.expect_report();
        assert_eq!((report.target.ended.as_str(), report.totals.live_bytes), ("interrupted", 1000));
    }
}

/// A signal during the attach, before anything is captured, ends memmgr and leaves nothing.
#[test]
fn signals_while_attaching() {
    if !require_root() {
        return;
    }
    let workload = obedient();
    for delay in (0..300).step_by(30) {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let mut memmgr = report_into(directory.path(), workload.pid(), &["--duration", "1h"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("memmgr");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let pid = i32::try_from(memmgr.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), Signal::TERM).expect("it runs");
        let status = memmgr.wait().expect("memmgr");
        let reported = directory.path().join("report.json").exists();
        assert_eq!(status.success(), reported, "{status} after {delay} ms");
        if !reported {
            check_nothing_left(directory.path());
        }
    }
}

/// `memmgr report | head -1`
#[test]
fn a_reader_that_has_had_enough() {
    if !require_root() {
        return;
    }
    let workload = obedient();
    let pid = workload.pid().to_string();
    let mut memmgr = Command::new(binary())
        .args(["report", "--json", "-d", "300ms", "-p", &pid])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memmgr");
    drop(memmgr.stdout.take());
    let output = memmgr.wait_with_output().expect("memmgr");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {stderr}", output.status);
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A file system with a page left: memmgr says so, and neither a part of the report nor a temporary file stays.
#[test]
fn a_full_disk() {
    if !require_root() {
        return;
    }
    let workload = obedient();
    let directory = tempfile::tempdir().expect("no temporary directory");
    // In a mount namespace of its own: the file system goes away with the shell.
    let script = r#"
        mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && head -c 61440 /dev/zero > "$1/filler" || exit 99
        "$2" report -d 300ms -p "$3" -o "$1/report.json"
        code=$?
        ls -A "$1"
        exit $code"#;
    let ended = run(Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(binary())
        .arg(workload.pid().to_string()));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left on device"), "{}", ended.stderr);
    assert!(ended.stderr.contains("nothing was left behind"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "filler\n");
}

/// Standard output on a full device.
#[test]
fn a_full_device_as_standard_output() {
    if !require_root() {
        return;
    }
    let workload = obedient();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(binary())
        .args(["report", "--json", "-d", "300ms", "-p", &workload.pid().to_string()])
        .stdout(full)
        .output()
        .expect("memmgr");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output") && stderr.contains("No space left"), "{stderr}");
}
