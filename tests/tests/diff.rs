//! `memmgr diff` as people type it, on reports that the tests write. Needs no privileges.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use memmgr::{
    diff::{Diff, Status},
    report::{Frame, Report, SCHEMA, Stack},
};
use memmgr_tests::capture::binary;

/// A complete exact report with these heap stacks: outstanding bytes, functions leaf first.
fn report(stacks: &[(u64, &[&str])]) -> Report {
    let mut report = Report { schema: SCHEMA.to_owned(), duration_s: 30.0, ..Report::default() };
    "app".clone_into(&mut report.target.comm);
    report.target.pid = 7;
    "exact".clone_into(&mut report.capture.mode);
    report.capture.complete = true;
    for (bytes, functions) in stacks {
        report.totals.live_bytes += bytes;
        report.totals.live_count += 1;
        report.stacks.push(Stack {
            class: "heap".to_owned(),
            live_bytes: *bytes,
            live_count: 1,
            frames: functions
                .iter()
                .map(|name| Frame { function: Some((*name).to_owned()), ..Frame::default() }.into())
                .collect(),
            ..Stack::default()
        });
    }
    report
}

fn write(directory: &Path, name: &str, report: &Report) {
    let json = serde_json::to_vec(report).expect("a report is JSON");
    fs::write(directory.join(name), json).expect("the report is written");
}

/// Two reports: a stack grew, one went, one came.
fn pair() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("no temporary directory");
    write(
        directory.path(),
        "a.json",
        &report(&[(1 << 20, &["open_session", "main"]), (512, &["load", "main"])]),
    );
    write(
        directory.path(),
        "b.json",
        &report(&[(3 << 20, &["open_session", "main"]), (64, &["</script>", "main"])]),
    );
    directory
}

/// Exit code, stdout and stderr of `memmgr diff` in a directory.
fn diff(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary())
        .arg("diff")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("memmgr can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("memmgr writes UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_table_is_printed() {
    let directory = pair();
    let (code, stdout, stderr) = diff(directory.path(), &["a.json", "b.json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(!stdout.contains('\x1b'), "colour without a terminal: {stdout}");
    for expected in ["app (7)\n", "+2.0 MiB  1.0 MiB  3.0 MiB", "open_session", "gone", "new"] {
        assert!(stdout.contains(expected), "{expected:?} is not in {stdout}");
    }
}

#[test]
fn json_reads_back() {
    let directory = pair();
    let (code, stdout, stderr) = diff(directory.path(), &["a.json", "b.json", "--json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let diff: Diff = serde_json::from_str(&stdout).expect("memmgr.diff/1");
    let changes: Vec<_> =
        diff.stacks.iter().map(|stack| (stack.status, stack.change.delta.live_bytes)).collect();
    assert_eq!(
        changes,
        [(Status::Grown, 2 << 20), (Status::Gone, -512), (Status::New, 64)],
        "{stdout}"
    );
    assert_eq!(diff.stacks[2].frames[0].function.as_deref(), Some("</script>"));
}

#[test]
fn files_get_the_format_of_their_ending() {
    let directory = pair();
    let files = ["-o", "d.svg", "-o", "d.json", "-o", "d.txt"];
    let (code, stdout, stderr) =
        diff(directory.path(), &[&["a.json", "b.json"][..], &files].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("+2.0 MiB"), "the table is printed beside the files: {stdout}");
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("it is there");
    assert!(read("d.svg").contains("1 stack gone: see --gone"));
    assert!(!read("d.svg").contains("</script> ("), "a name closes the script");
    assert!(read("d.json").contains("memmgr.diff/1"));
    assert!(read("d.txt").contains("Change by stack"));
    let (code, _, stderr) = diff(directory.path(), &["a.json", "b.json", "-o", "d.svg"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("already exists"), "{stderr}");
    let (code, stdout, stderr) =
        diff(directory.path(), &["a.json", "b.json", "-f", "--gone", "-o", "d.svg"]);
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert!(read("d.svg").contains("widths: the first"));
}

#[test]
fn a_report_against_itself() {
    let directory = pair();
    let (code, stdout, _) = diff(directory.path(), &["a.json", "a.json"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("Nothing changed"), "{stdout}");
}

#[test]
fn trouble_is_one_line_and_leaves_nothing() {
    let directory = pair();
    fs::write(directory.path().join("half.json"), "{\"schema\": ").expect("a file");
    let newer = Report { schema: "memmgr.report/9".to_owned(), ..report(&[]) };
    write(directory.path(), "newer.json", &newer);
    for (arguments, code, words) in [
        (&["a.json", "missing.json"][..], 1, "cannot read missing.json"),
        (&["a.json", "half.json"], 1, "half.json is neither a recording nor a report of memmgr"),
        (&["newer.json", "a.json"], 1, "newer.json has the schema memmgr.report/9"),
        (&["a.json", "b.json", "-o", "x.folded"], 1, "take one of: text, json, svg"),
        (&["a.json", "b.json", "--format", "folded"], 1, "take one of: text, json, svg"),
        (&["a.json", "b.json", "--kept"], 1, "--kept needs two moments of one recording"),
        (&["a.json"], 2, "AFTER"),
    ] {
        let with_output = [arguments, &["-o", "never.svg"]].concat();
        let (found, stdout, stderr) = diff(directory.path(), &with_output);
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{stderr}");
        assert!(stderr.contains(words), "{words:?} is not in {stderr}");
        assert!(code == 2 || stderr.lines().count() == 1, "{stderr}");
        for name in ["never.svg", "x.folded"] {
            assert!(!directory.path().join(name).exists(), "{name} was left after {arguments:?}");
        }
    }
}
