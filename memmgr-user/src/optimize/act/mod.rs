//! Doing it: the only place of memmgr that changes anything of a target, a cgroup or the host.

pub mod advise;
pub mod debugger;
pub mod jvm;
pub mod kernel;
pub mod node;

use std::{io, time::Duration};

use crate::source::{
    identity::{Identity, State},
    process_dir::{ProcessDir, ProcessError},
};

/// Waits, and says whether it was not interrupted.
pub type Pause<'a> = &'a mut dyn FnMut(Duration) -> bool;

/// How often is looked whether a target has answered.
const POLL: Duration = Duration::from_millis(5);

/// Why an action is not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// This kernel, cgroup, host or target offers no way; the text ends with the nearest thing that works.
    #[error("{0}")]
    Cannot(String),
    /// It is possible and was not done, for the reason that the text says.
    #[error("{0}")]
    Refused(String),
    /// The process is not what it was, or not there.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The process has another beginning than the one that was given, or that it had.
    #[error(
        "{pid} is another process now: it began {found:.2} s after the host booted, not {expected:.2} s; nothing was done to it"
    )]
    Reused {
        /// The number.
        pid: u32,
        /// When the process that has it now began.
        found: f64,
        /// When the one that was meant began.
        expected: f64,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and to what.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A process that stands still answers nobody.
fn check_running(identity: &Identity) -> Result<(), ActError> {
    if matches!(identity.state, State::Stopped | State::Traced) {
        let pid = identity.pid;
        return Err(ActError::Refused(format!(
            "process {pid} is stopped, so that it cannot do what it is asked for: nothing was done; `kill -CONT {pid}` lets it go on"
        )));
    }
    Ok(())
}

/// Whether a process has a handler of its own for a signal, by `SigCgt` of `/proc/PID/status`: otherwise it may end by it.
fn catches(dir: &ProcessDir, signal: libc::c_int) -> Result<bool, ActError> {
    let status = dir.read("status")?;
    let mask = String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    Ok(mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0))
}

impl ActError {
    /// A system call failed.
    pub(super) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        ActError::Io { what: what.into(), source: source.into() }
    }

    /// Whether the target is gone.
    pub fn is_gone(&self) -> bool {
        match self {
            ActError::Process(error) => error.is_gone(),
            ActError::Reused { .. } => true,
            _ => false,
        }
    }
}
