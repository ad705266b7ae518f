//! Trouble: targets that cannot be captured, that end or change under the probes, files that go away, places
//! that cannot be written. Each gets the exit code of the manual and a line that says what to do; nothing
//! half-written stays; and where something was captured, there is a report.

mod elsewhere;
mod endings;
mod files;
mod held;
mod names;
mod outputs;
mod refusals;
mod replaced;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use memmgr::report::{Report, Stack};
use memmgr_tests::{Program, Workload, capture::binary};

/// A finished memmgr.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{} cannot be run: {error}", command.get_program().display())
    });
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `memmgr report` of a process into `report.json` of a directory, a short one unless the flags say how long.
fn report_into(directory: &Path, pid: u32, flags: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["report", "--mode", "exact", "--pid", &pid.to_string(), "-o"]);
    command.arg(directory.join("report.json")).args(flags);
    if !flags.contains(&"--duration") {
        command.args(["--duration", "300ms"]);
    }
    command
}

/// memmgr refuses this process with this code and these words, and leaves nothing behind.
#[track_caller]
fn check_refused(pid: u32, flags: &[&str], code: i32, words: &[&str]) {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let ended = run(&mut report_into(directory.path(), pid, flags));
    check_trouble(&ended, code, words);
    check_nothing_left(directory.path());
}

/// It ended with this code and said these words, in lines of memmgr alone.
#[track_caller]
fn check_trouble(ended: &Ended, code: i32, words: &[&str]) {
    let Ended { stdout, stderr, .. } = ended;
    assert_eq!(ended.code, Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
    }
    assert!(stderr.lines().all(|line| line.starts_with("memmgr: ")), "{stderr}");
    assert_eq!(stdout, "");
}

/// No file is in the directory, a temporary one included.
#[track_caller]
fn check_nothing_left(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A program that does what it is told, ready for commands.
fn obedient() -> Workload {
    Workload::start(&obeys_commands(), &[])
}

fn obeys_commands() -> Program {
    Program::c("obeys-commands")
}

/// Gives a command and waits for the answer.
#[track_caller]
fn tell(workload: &mut Workload, command: &str, answer: &str) {
    workload.send(command);
    assert_eq!(workload.line(), answer);
}

/// Live bytes and count of all heap stacks through a function.
fn live_through(report: &Report, function: &str) -> (u64, u64) {
    heap_stacks(report)
        .filter(|stack| has(stack, function))
        .fold((0, 0), |(bytes, count), stack| (bytes + stack.live_bytes, count + stack.live_count))
}

fn heap_stacks(report: &Report) -> impl Iterator<Item = &Stack> {
    report.stacks.iter().filter(|stack| stack.class == "heap")
}

fn has(stack: &Stack, function: &str) -> bool {
    stack.frames.iter().any(|frame| frame.function.as_deref() == Some(function))
}

/// Every heap stack that holds something goes down to `main` and was not cut.
#[track_caller]
fn check_whole(report: &Report) {
    for stack in heap_stacks(report).filter(|stack| stack.live_bytes > 0) {
        assert_eq!(stack.cut, None, "{stack:#?}");
        assert!(has(stack, "main"), "{stack:#?}");
    }
}
