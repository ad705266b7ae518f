//! Names that a target chooses to do harm: in its command, its arguments, its files and its symbols.

use std::{fs, os::unix::process::CommandExt, process::Command};

use memmgr_tests::{Capture, Workload, capture::binary, require_root};

use crate::{obeys_commands, run, tell};

/// Clears the screen, sets a title, ends an element of a page and a line of folded stacks.
const HOSTILE: &str = "\x1b[2J\x1b]0;owned\x07;<script>alert(1)</script>&\"'\n\u{202e}--- 1";

#[test]
fn no_name_reaches_a_terminal_or_a_page_as_it_is() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    // A path holds no `/`, a command 15 bytes, and a symbol no newline in objcopy's arguments.
    let hostile_file = HOSTILE.replace('/', "|");
    let program = directory.path().join(&hostile_file);
    let symbol = HOSTILE.replace(['\n', '='], "");
    let renamed = run(Command::new("objcopy")
        .arg(format!("--redefine-sym=hold_block={symbol}"))
        .arg("--strip-debug")
        .arg(obeys_commands().build())
        .arg(&program));
    assert_eq!(renamed.code, Some(0), "{}", renamed.stderr);

    let mut command = Command::new(&program);
    command.arg0(HOSTILE).arg(HOSTILE);
    let mut workload = Workload::start_command(command);
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 100 100", "held 10000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert!(report.target.comm.starts_with("\x1b[2J"), "{:?}", report.target.comm);
    assert_eq!(report.target.cmdline, [HOSTILE, HOSTILE]);
    let frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    assert!(frames.clone().any(|frame| frame.function.as_ref() == Some(&symbol)), "{report:#?}");
    check_harmless("stderr", &outcome.stderr);

    let stored = directory.path().join("report.json");
    fs::write(&stored, serde_json::to_vec(report).expect("a report")).expect("a file");
    for (verb, format) in
        [("report", "text"), ("report", "svg"), ("report", "folded"), ("report", "json")]
    {
        let shown = run(Command::new(binary()).args([verb, "--format", format]).arg(&stored));
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        if format == "json" {
            let again: memmgr::report::Report =
                serde_json::from_str(&shown.stdout).expect("a report");
            assert_eq!(again.target, report.target);
        } else {
            assert!(shown.stdout.contains("alert"), "{format} shows no hostile name at all");
        }
        check_harmless(format, &shown.stdout);
        if format == "folded" {
            check_folded(&shown.stdout);
        }
        if format == "svg" {
            assert!(!shown.stdout.contains("<script>alert"), "{}", shown.stdout);
        }
    }
    let leaks = run(Command::new(binary()).arg("leaks").arg(&stored));
    check_harmless("leaks", &leaks.stdout);
}

/// Neither a control character nor one that reorders, newline and tab apart.
#[track_caller]
fn check_harmless(what: &str, text: &str) {
    let harmful =
        text.chars().find(|&c| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}');
    assert_eq!(harmful, None, "in {what}: {text:?}");
}

/// Each line is frames, a space and a number: no name added a line or a frame.
#[track_caller]
fn check_folded(folded: &str) {
    for line in folded.lines() {
        let (frames, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(value.parse::<u64>().is_ok(), "{line:?}");
        assert!(frames.split(';').all(|frame| !frame.starts_with("<script>")), "{line:?}");
    }
}
