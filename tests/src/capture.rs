//! The binary under test, capturing a process.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use memmgr::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lines::Lines;

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("MEMMGR_TEST_BIN")
        .expect("MEMMGR_TEST_BIN must name the memmgr to test; run the tests by `cargo xtask test`")
        .into()
}

/// A running `memmgr report`. Killed when it is dropped.
pub struct Capture {
    child: Child,
    errors: Lines,
    /// Lines of stderr that were read already.
    said: Vec<String>,
    directory: TempDir,
}

/// What a capture left.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// The text report.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
    /// The JSON report, if one was written.
    pub report: Option<Report>,
}

impl Outcome {
    /// The report of a capture that succeeded; panics with what memmgr said otherwise.
    #[track_caller]
    pub fn expect_report(&self) -> &Report {
        assert_eq!(self.code, 0, "memmgr failed:\n{}", self.stderr);
        self.report.as_ref().unwrap_or_else(|| panic!("no report was written:\n{}", self.stderr))
    }
}

impl Capture {
    /// Starts to capture, until [`Capture::interrupt`] unless the flags have `--duration`. Returns once
    /// memmgr counts; panics when it refuses.
    #[track_caller]
    pub fn start(pid: u32, flags: &[&str]) -> Self {
        Self::try_start(pid, flags)
            .unwrap_or_else(|outcome| panic!("memmgr does not capture:\n{}", outcome.stderr))
    }

    /// The same for several processes: `whom` is how they are named.
    #[track_caller]
    pub fn start_of(whom: &[&str], flags: &[&str]) -> Self {
        Self::try_start_of(whom, flags)
            .unwrap_or_else(|outcome| panic!("memmgr does not capture:\n{}", outcome.stderr))
    }

    /// The same, for captures that may be refused.
    pub fn try_start(pid: u32, flags: &[&str]) -> Result<Self, Box<Outcome>> {
        Self::try_start_of(&["--pid", &pid.to_string()], flags)
    }

    /// The same for several processes.
    pub fn try_start_of(whom: &[&str], flags: &[&str]) -> Result<Self, Box<Outcome>> {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let stdout = File::create(directory.path().join("stdout")).expect("no temporary file");
        let mut command = Command::new(binary());
        command
            .arg("report")
            .args(whom)
            .arg("--output")
            .arg(directory.path().join("report.json"))
            .args(flags);
        if !flags.contains(&"--duration") {
            command.args(["--duration", "0"]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the memmgr that MEMMGR_TEST_BIN names cannot be started");
        let errors = Lines::of(child.stderr.take().expect("piped"));
        let mut capture = Capture { child, errors, said: Vec::new(), directory };
        while let Some(line) = capture.errors.next() {
            let counts = line.starts_with("memmgr: capturing");
            capture.said.push(line);
            if counts {
                return Ok(capture);
            }
        }
        Err(Box::new(capture.wait()))
    }

    /// Reads lines of stderr up to one that has this in it; false when memmgr ended without it.
    pub fn says(&mut self, part: &str) -> bool {
        while let Some(line) = self.errors.next() {
            let found = line.contains(part);
            self.said.push(line);
            if found {
                return true;
            }
        }
        false
    }

    /// Waits until memmgr has said a line with this in it; panics when it ends without.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) {
        let there = self.said.iter().any(|line| line.contains(part)) || self.says(part);
        assert!(there, "it never said {part:?}: {:?}", self.said);
    }

    /// The process id of memmgr.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends memmgr a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has an id"), signal).expect("memmgr is gone");
    }

    /// Ends the capture as Ctrl-C does, and waits for the report.
    pub fn interrupt(self) -> Outcome {
        self.signal(Signal::INT);
        self.wait()
    }

    /// Waits until the capture ends by itself.
    pub fn wait(mut self) -> Outcome {
        self.said.extend(self.errors.rest());
        let status = self.child.wait().expect("memmgr cannot be waited for");
        let read = |name| fs::read(self.directory.path().join(name)).ok();
        let report = read("report.json").filter(|bytes| !bytes.is_empty()).map(|bytes| {
            serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("the report: {error}"))
        });
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&read("stdout").unwrap_or_default()).into_owned(),
            stderr: self.said.join("\n"),
            report,
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
