//! `record`: a capture into a file, of a process or of a command that memmgr starts.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, error::ErrorKind};

use memmgr::{
    aggregate::Filter,
    capture::{CapturePlan, Session, launch::Launch},
    escape::Safe,
    recording::{Query, Recording},
    source::roots::Roots,
    units::{Pid, human_bytes},
};

use super::{
    args::{Arguments, Record},
    capture::{Until, record},
    capture_flags::Whom,
    exit::CommandEnded,
    group,
};

/// Programs allocate most at their start: tens of thousands of blocks at once, each with its stack.
const START_RING_BYTES: u32 = 64 << 20;

/// Runs the verb.
pub fn run(job: &Record) -> anyhow::Result<()> {
    let roots = Roots::default();
    if job.output.as_deref() == Some(Path::new("-")) {
        wrong_usage("a recording is a database and goes to a file: give -o FILE");
    }
    if job.capture.filter() != Filter::default() {
        wrong_usage(
            "a recording holds all blocks: give --min-age and --min-size to the verb that renders it",
        );
    }
    if job.command.is_empty() {
        let pid = match job.capture.whom() {
            Some(Whom::One(pid)) => pid,
            Some(Whom::Group(who)) => return group::record(job, who),
            None => anyhow::bail!("name a process with -p PID, or a command behind --"),
        };
        let plan = job.capture.plan(pid);
        let session = Session::attach(&roots, &plan, None)?;
        let recording = create(job, &plan, &session.target.identity.comm)?;
        return say(&record(&roots, &plan, session, recording, Until::Interrupted, || Ok(()))?);
    }
    let launch = Launch::prepare(&job.command)?;
    let mut plan = job.capture.plan(launch.pid);
    if job.capture.ring_bytes.is_none() {
        plan.ring_bytes = START_RING_BYTES;
    }
    if job.capture.duration.is_none() {
        plan.duration = None;
    }
    let session = Session::attach(&roots, &plan, Some(&launch))?;
    let program = PathBuf::from(&job.command[0]);
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let recording = create(job, &plan, &name)?;
    let mut running = None;
    let go = || {
        running = Some(launch.go()?);
        Ok(())
    };
    let recorded = record(&roots, &plan, session, recording, Until::Ended, go);
    // The command goes on when a capture ends early; its code is known when it has ended.
    let status = running.map(memmgr::capture::launch::Running::wait).transpose()?;
    say(&recorded?)?;
    match status {
        Some(status) if !status.success() => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            Err(CommandEnded(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)).into())
        }
        _ => Ok(()),
    }
}

/// Ends as clap does.
fn wrong_usage(message: &str) -> ! {
    Arguments::command().error(ErrorKind::ValueValidation, message).exit()
}

fn create(job: &Record, plan: &CapturePlan, name: &str) -> anyhow::Result<Recording> {
    let path = job.output.clone().unwrap_or_else(|| file_name(name, plan.pid).into());
    Ok(Recording::create(&path, plan.count_scale(), job.force)?)
}

/// How the recording of a process is called.
pub fn file_name(name: &str, pid: Pid) -> String {
    format!("memmgr.{}.{pid}.db", plain(name))
}

/// Text that can be a part of a file's name anywhere.
pub fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

fn say(recording: &Recording) -> anyhow::Result<()> {
    let recorded = recording.read(&Query::default())?;
    let path = Safe::bytes(recording.path().as_os_str().as_encoded_bytes());
    memmgr::say!(
        "memmgr: wrote {path}: {:.1} s, {} stacks, {} outstanding{}; `memmgr leaks {path}` shows it",
        recorded.duration_s,
        recorded.stacks().len(),
        human_bytes(recorded.totals[0].live_bytes),
        if recorded.documents.capture.complete { "" } else { ", incomplete" },
    );
    Ok(())
}
