//! Errors → the message and the exit code.

use std::process::ExitCode;

use memmgr::{
    bpf::KernelError,
    capture::{AttachError, TargetError},
    escape::Safe,
    source::process_dir::ProcessError,
};

/// The target went away before anything was captured.
const GONE: u8 = 3;
/// The host lacks a permission or a feature.
const LACKING: u8 = 5;

/// The host lacks something; the message ends with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lacking(pub String);

/// Says what went wrong, and returns the code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let mut message = String::new();
    for (depth, cause) in error.chain().map(ToString::to_string).enumerate() {
        // Transparent wrappers repeat their cause.
        if depth == 0 || !message.contains(&cause) {
            message.push_str(if depth == 0 { "" } else { ": " });
            message.push_str(&cause);
        }
    }
    for line in message.lines() {
        eprintln!("memmgr: {}", Safe::text(line));
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let kernel = |error: &KernelError| if error.is_permission() { LACKING } else { 1 };
    if error.is::<Lacking>() {
        LACKING
    } else if let Some(error) = error.downcast_ref::<KernelError>() {
        kernel(error)
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
