//! `memmgr optimize`, run by a test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use memmgr::optimize::{figures::Figures, report::Report};
use tempfile::TempDir;

use crate::{Program, Workload, capture::binary};

/// `memmgr optimize FLAGS`, with a log of its own.
pub fn optimize(log: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("optimize").args(flags).arg("--json");
    if flags[0] != "plan" {
        command.arg("--log").arg(log);
    }
    command.output().expect("memmgr runs")
}

/// The report of an action that is done.
#[track_caller]
pub fn report(log: &Path, flags: &[&str]) -> Report {
    let output = optimize(log, flags);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON of memmgr.optimize/1")
}

/// Exit code and the last line of stderr of an action that cannot be done.
#[track_caller]
pub fn refused(log: &Path, flags: &[&str]) -> (i32, String) {
    let output = optimize(log, flags);
    assert!(!output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stdout));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap_or(-1), last)
}

/// Shared by the tests of `optimize`.
pub fn started(orders: &[&str]) -> Workload {
    let mut workload = Workload::start(&Program::c("gives-back"), &[]);
    for order in orders {
        workload.send(order);
        assert_eq!(workload.line(), "done");
    }
    workload
}

/// Shared by the tests of `optimize`.
pub fn pid(workload: &Workload) -> String {
    workload.pid().to_string()
}

/// A place on a disk: `/tmp` may be memory, whose pages are no cache.
pub fn on_disk() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory")
}

/// Shared by the tests of `optimize`.
pub fn rss(figures: &Figures) -> u64 {
    figures.processes.as_ref().and_then(|processes| processes.sum.rss_bytes).expect("RSS")
}

/// Shared by the tests of `optimize`.
pub fn log_in(directory: &TempDir) -> PathBuf {
    directory.path().join("log")
}
