//! Errors → the message and the exit code.

use std::process::ExitCode;

use memmgr::{
    bpf::KernelError,
    capture::{AttachError, TargetError, launch::LaunchError},
    escape::Safe,
    go::GoError,
    group::NoProcess,
    optimize::OptimizeError,
    pools::PoolsError,
    source::process_dir::ProcessError,
};

/// The target went away before anything was captured.
const GONE: u8 = 3;
/// Flags or rules that cannot be meant: as clap has it.
const MISUSED: u8 = 2;
/// The host lacks a permission or a feature.
const LACKING: u8 = 5;

/// The host lacks something; the message ends with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lacking(pub String);

/// What stands in a file is as wrong as a wrong flag.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misused(pub String);

/// The command that memmgr started ended with this code, which is passed on without a word.
#[derive(Debug, thiserror::Error)]
#[error("the command ended with code {0}")]
pub struct CommandEnded(pub u8);

/// There is a finding at or above `--fail-on`; the report says it all.
#[derive(Debug, thiserror::Error)]
#[error("there are findings")]
pub struct Found;

/// Findings at or above `--fail-on`.
const FOUND: u8 = 4;

/// Says what went wrong, and returns the code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(CommandEnded(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    if error.is::<Found>() {
        return ExitCode::from(FOUND);
    }
    let mut message = String::new();
    for (depth, cause) in error.chain().map(ToString::to_string).enumerate() {
        // Transparent wrappers repeat their cause.
        if depth == 0 || !message.contains(&cause) {
            message.push_str(if depth == 0 { "" } else { ": " });
            message.push_str(&cause);
        }
    }
    for line in message.lines() {
        memmgr::say!("memmgr: {}", Safe::text(line));
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let kernel = |error: &KernelError| if error.is_permission() { LACKING } else { 1 };
    if error.is::<Lacking>() {
        LACKING
    } else if error.is::<Misused>() {
        MISUSED
    } else if error.is::<NoProcess>() {
        GONE
    } else if let Some(error) = error.downcast_ref::<KernelError>() {
        kernel(error)
    } else if let Some(error) = error.downcast_ref::<LaunchError>() {
        // As shells have it (POSIX, 2.8.2).
        match error {
            LaunchError::NotFound(_) => 127,
            LaunchError::NotRunnable(..) => 126,
            LaunchError::Failed(_) => 1,
        }
    } else if let Some(error) = error.downcast_ref::<ProcessError>() {
        process(error)
    } else if let Some(error) = error.downcast_ref::<GoError>() {
        match error {
            GoError::Process(error) => process(error),
            lacking if lacking.is_lacking() => LACKING,
            _ => 1,
        }
    } else if let Some(error) = error.downcast_ref::<PoolsError>() {
        match error {
            PoolsError::Process(error) => process(error),
            lacking if lacking.is_lacking() => LACKING,
            _ => 1,
        }
    } else if let Some(error) = error.downcast_ref::<OptimizeError>() {
        match error {
            gone if gone.is_gone() => GONE,
            lacking if lacking.is_lacking() => LACKING,
            _ => 1,
        }
    } else {
        match error.downcast_ref::<AttachError>() {
            Some(AttachError::Target(error)) => target(error),
            Some(AttachError::Process(error)) => process(error),
            Some(AttachError::Kernel(error)) => kernel(error),
            Some(AttachError::Hazard(_)) => LACKING,
            _ => 1,
        }
    }
}

fn target(error: &TargetError) -> u8 {
    match error {
        gone if gone.is_gone() => GONE,
        TargetError::Process(error) => process(error),
        _ => 1,
    }
}

fn process(error: &ProcessError) -> u8 {
    match error {
        gone if gone.is_gone() => GONE,
        refused if refused.is_permission() => LACKING,
        _ => 1,
    }
}
