//! The target: found, checked, and held by a pidfd so that its number cannot come to mean another process.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, pidfd_open},
};

use crate::{
    escape::Safe,
    source::{
        identity::{Identity, Seccomp, State, identity},
        process_dir::{ProcessDir, ProcessError},
        roots::Roots,
    },
    units::Pid,
};

use super::hazards::TargetFacts;

/// What a process is, beyond its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// The number.
    pub pid: Pid,
    /// Start time in clock ticks since boot: two processes never share both.
    pub start_time_ticks: u64,
}

/// A process that can be captured.
pub struct Target {
    /// What it is.
    pub key: ProcessKey,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
    /// Its directory in procfs, which leads to no other process later.
    pub dir: ProcessDir,
    /// What is known about it.
    pub identity: Identity,
}

/// Why a process cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// procfs does not show it.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It has ended and waits for its parent.
    #[error(
        "process {0} is a zombie: it has ended, has no memory any more, and waits for its parent to collect it"
    )]
    Zombie(Pid),
    /// It has no memory of its own.
    #[error(
        "{0} is a thread of the kernel ({1}) and has no memory of its own; `memmgr stat` shows the host's"
    )]
    KernelThread(Pid, String),
    /// Its registers and sizes are not ours.
    #[error(
        "process {0} is not a 64-bit x86-64 program ({1}); this version of memmgr reads x86-64 only"
    )]
    Architecture(Pid, String),
    /// Somebody else holds it.
    #[error(
        "process {0} is being traced by process {1} (a debugger or strace), whose breakpoints and memmgr's probes may \
         meet in the same instruction; end it, or attach all the same with --allow-traced"
    )]
    Traced(Pid, Pid),
    /// The number means another process by now.
    #[error(
        "process {0} ended while memmgr attached to it, and its number went to another process; nothing was captured"
    )]
    Replaced(Pid),
    /// It ended before anything was captured.
    #[error(
        "process {0} ended before anything was captured; if something starts it again, find the new one with `pgrep`"
    )]
    Ended(Pid),
    /// The pidfd could not be had.
    #[error("process {0} cannot be held: {1}")]
    Pidfd(Pid, io::Error),
}

impl TargetError {
    /// Whether the process is not there (any more): exit code 3.
    pub fn is_gone(&self) -> bool {
        match self {
            TargetError::Process(error) => error.is_gone(),
            TargetError::Zombie(_) | TargetError::Replaced(_) | TargetError::Ended(_) => true,
            TargetError::Pidfd(_, error) => error.raw_os_error() == Some(libc::ESRCH),
            TargetError::KernelThread(..)
            | TargetError::Architecture(..)
            | TargetError::Traced(..) => false,
        }
    }
}

impl Target {
    /// Finds a process and makes sure that it can be captured.
    pub fn open(roots: &Roots, pid: Pid, allow_traced: bool) -> Result<Self, TargetError> {
        // procfs first: it says more than ESRCH when there is no such process.
        let dir = ProcessDir::open(roots, pid)?;
        let identity = identity(&dir)?;
        if identity.kernel_thread {
            return Err(TargetError::KernelThread(pid, Safe::text(&identity.comm).to_string()));
        }
        if matches!(identity.state, State::Zombie | State::Dead) {
            return Err(TargetError::Zombie(pid));
        }
        if let Some(tracer) = identity.tracer
            && !allow_traced
        {
            return Err(TargetError::Traced(pid, tracer));
        }
        let raw = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw);
        let raw = raw
            .ok_or_else(|| TargetError::Pidfd(pid, io::Error::from(io::ErrorKind::InvalidInput)))?;
        let pidfd = pidfd_open(raw, PidfdFlags::NONBLOCK)
            .map_err(|error| TargetError::Pidfd(pid, error.into()))?;
        check_architecture(&dir, pid)?;
        let key = ProcessKey { pid, start_time_ticks: identity.start_time_ticks };
        let target = Target { key, pidfd, dir, identity };
        // The pidfd may have been opened on a later process of the same number.
        target.check_same(roots)?;
        Ok(target)
    }

    /// Looks again at what it is, after it has become another program.
    pub fn identify(&mut self) {
        // Where it has ended meanwhile, what was known before is all there is.
        if let Ok(identity) = identity(&self.dir) {
            self.identity = identity;
        }
    }

    /// Fails when the number means another process by now.
    pub fn check_same(&self, roots: &Roots) -> Result<(), TargetError> {
        let now = identity(&ProcessDir::open(roots, self.key.pid)?)?;
        if now.start_time_ticks == self.key.start_time_ticks {
            Ok(())
        } else {
            Err(TargetError::Replaced(self.key.pid))
        }
    }

    /// What matters for the hazards of return probes.
    pub fn facts(&self) -> TargetFacts {
        let status = self.dir.read("status").unwrap_or_default();
        let features = String::from_utf8_lossy(&status);
        TargetFacts {
            seccomp: self.identity.seccomp.is_some_and(|mode| mode != Seccomp::Disabled),
            shadow_stack: features
                .lines()
                .any(|line| line.starts_with("x86_Thread_features:") && line.contains("shstk")),
        }
    }
}

/// Whether the process of a pidfd has ended: it is readable from then on.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut descriptors = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The first bytes of the executable: ELF, 64 bits, x86-64 (System V ABI, chapter 4).
fn check_architecture(dir: &ProcessDir, pid: Pid) -> Result<(), TargetError> {
    let mut head = [0u8; 20];
    let read = File::open(dir.path().join("exe")).and_then(|mut exe| exe.read_exact(&mut head));
    if read.is_err() {
        // No right to look, or a program of a few bytes: what it has mapped decides later.
        return Ok(());
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    match (&head[..4], head[4], machine) {
        (b"\x7fELF", 2, 62) => Ok(()),
        (b"\x7fELF", 1, _) => Err(TargetError::Architecture(pid, "it is a 32-bit program".into())),
        (b"\x7fELF", _, machine) => {
            Err(TargetError::Architecture(pid, format!("its ELF machine number is {machine}")))
        }
        _ => Err(TargetError::Architecture(pid, "its executable is no ELF file".into())),
    }
}
