//! The leak that is seeded into every application, and how soon memmgr names it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use memmgr::report::{Finding, Report};
use memmgr_tests::{Program, capture::binary};
use tempfile::TempDir;

use crate::mode::Mode;

/// The function that leaks.
const FUNCTION: &str = "seeded_leak";
/// Length of the capture that has to find it, and the distance of the moments that are looked at, in seconds.
const SECONDS: u32 = 60;
const STEP: usize = 5;

/// A library that leaks in the processes that load it, from their begin or their fork on, while this is on.
pub struct Seed {
    directory: TempDir,
    library: PathBuf,
    switch: PathBuf,
}

impl Seed {
    /// Compiles it to a place where servers of other users find it. It is off.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let library = directory.path().join("seeded-leak.so");
        fs::copy(Program::c("seeded-leak").flags(&["-shared", "-fPIC"]).build(), &library)?;
        let switch = directory.path().join("on");
        Ok(Seed { directory, library, switch })
    }

    /// For processes that may leak.
    pub fn environment(&self) -> [(&str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("SEEDED_LEAK", &self.switch)]
    }

    /// Processes leak that begin from now on.
    pub fn turn_on(&self) -> Result<()> {
        fs::write(&self.switch, "").context("no switch")
    }

    /// Processes do not leak that begin from now on.
    pub fn turn_off(&self) -> Result<()> {
        fs::remove_file(&self.switch).context("no switch")
    }

    /// A place for files that go away with this.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// When a capture named the leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Seconds from the attach, in steps; nothing if never.
    pub after: Option<usize>,
    /// Alarms about anything else, at that moment or at the end.
    pub others: usize,
}

/// Records a process for a minute and looks for the first moment at which the leak is named.
pub fn find(pid: u32, mode: Mode, directory: &Path) -> Result<Found> {
    let recording = directory.join("recording.db");
    memmgr(
        Command::new(binary())
            .args(["record", "--force", "--pid", &pid.to_string()])
            .args(mode.flags())
            .args(["--duration", &format!("{SECONDS}s"), "--output"])
            .arg(&recording),
    )?;
    let mut others = 0;
    for second in (STEP..=SECONDS as usize).step_by(STEP) {
        let moment = format!("{}@{second}s", recording.display());
        let json = memmgr(Command::new(binary()).args(["report", &moment, "--json"]))?;
        let report: Report = serde_json::from_slice(&json).context("no report")?;
        let (named, rest): (Vec<_>, Vec<_>) = report
            .findings
            .iter()
            .filter(|finding| matches!(finding.severity.as_str(), "warning" | "critical"))
            .partition(|finding| names_the_leak(finding, &report));
        others = rest.len();
        if !named.is_empty() {
            return Ok(Found { after: Some(second), others });
        }
    }
    Ok(Found { after: None, others })
}

/// Whether a finding points at the function, or is about a stack through it.
fn names_the_leak(finding: &Finding, report: &Report) -> bool {
    let of_the_stack = |id| {
        let frames = report.stacks.iter().filter(|stack| stack.id == id).flat_map(|s| &s.frames);
        frames.filter_map(|frame| frame.function.as_deref()).any(|name| name == FUNCTION)
    };
    match finding.subject.as_deref() {
        Some(subject) => subject == FUNCTION,
        None => finding.stack_id.is_some_and(of_the_stack),
    }
}

fn memmgr(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().context("memmgr cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(output.stdout)
}
