//! process_madvise(2) on mappings of a process, through a descriptor of it: its number may be given away meanwhile.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    io::Errno,
    process::{PidfdFlags, pidfd_open},
};

use super::ActError;
use crate::{
    optimize::{
        choose::{HUGE_PAGE, huge_extents},
        report::Chosen,
    },
    source::{
        identity::identity,
        pagemap::{Page, PageMap},
        process_dir::{ProcessDir, ProcessError, permission_remedy},
        roots::Roots,
    },
    units::{Address, Pid, human_bytes},
};

/// What the kernel is told of mappings: of the values that process_madvise takes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// They are the first to go.
    Cold,
    /// They go now.
    PageOut,
    /// They move to huge pages (Linux 6.1).
    Collapse,
}

impl Advice {
    fn code(self) -> libc::c_int {
        match self {
            Advice::Cold => libc::MADV_COLD,
            Advice::PageOut => libc::MADV_PAGEOUT,
            Advice::Collapse => MADV_COLLAPSE,
        }
    }

    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Advice::Cold => "MADV_COLD",
            Advice::PageOut => "MADV_PAGEOUT",
            Advice::Collapse => "MADV_COLLAPSE",
        }
    }
}

/// include/uapi/asm-generic/mman-common.h
const MADV_COLLAPSE: libc::c_int = 25;
/// One call at a time for so much: the process's mappings are held meanwhile.
const AT_ONCE: u64 = 32 << 20;
/// A huge page is made where at least so many of its 512 pages are in use: the others take memory that was not taken before.
const FILLED: usize = 256;

/// A process, held: neither its end nor another process with its number go unnoticed.
#[derive(Debug)]
pub struct Held {
    pidfd: OwnedFd,
    pid: u32,
}

impl Held {
    /// Takes hold of the process of an open directory.
    ///
    /// # Errors
    /// When it has ended, or the kernel has no descriptors of processes (Linux 5.3).
    pub fn of(dir: &ProcessDir) -> Result<Self, ActError> {
        let pid = dir.pid().0;
        let raw = rustix::process::Pid::from_raw(pid.cast_signed())
            .ok_or_else(|| ActError::Refused("0 is no process".to_owned()))?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty());
        // If the directory can still be read, its process is the one of the descriptor: the number was never free.
        identity(dir)?;
        match pidfd {
            Ok(pidfd) => Ok(Held { pidfd, pid }),
            Err(Errno::NOSYS) => Err(ActError::Cannot(
                "this kernel has no process_madvise (Linux 5.10 has): `memmgr optimize reclaim` works on the cgroup".to_owned(),
            )),
            Err(error) => Err(ActError::io(format!("cannot take hold of process {pid}"), error)),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended, or may not be signalled.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<(), ActError> {
        rustix::process::pidfd_send_signal(&self.pidfd, signal)
            .map_err(|error| ActError::io(format!("cannot signal process {}", self.pid), error))
    }

    /// Advises these mappings. What was done, in words.
    ///
    /// # Errors
    /// When the kernel knows no such advice or refuses it altogether; a mapping that is gone or cannot be advised is told
    /// in the words.
    pub fn advise(&self, mappings: &[Chosen], advice: Advice) -> Result<Vec<String>, ActError> {
        let pieces = mappings.iter().flat_map(|mapping| {
            let starts = (mapping.start..mapping.end).step_by(AT_ONCE as usize);
            starts.map(|start| (start, mapping.end.min(start + AT_ONCE)))
        });
        self.all(pieces, advice)
    }

    /// Moves the parts of these mappings that are mostly in use to huge pages.
    ///
    /// # Errors
    /// As [`Held::advise`].
    pub fn collapse(
        &self,
        roots: &Roots,
        dir: &ProcessDir,
        mappings: &[Chosen],
    ) -> Result<Vec<String>, ActError> {
        let map = PageMap::open(roots, dir)?;
        let mut pieces = Vec::new();
        for start in mappings.iter().flat_map(huge_extents) {
            let pages: Vec<Address> =
                (start..start + HUGE_PAGE).step_by(4096).map(Address).collect();
            let looked = map.look(&pages);
            let looked = looked.map_err(|error| ActError::io("cannot read pagemap", error))?;
            let Some(looked) = looked else { break };
            let count = |wanted| looked.iter().filter(|(_, page)| *page == wanted).count();
            // Those that are one already need nothing; what is in swap would have to be read.
            if count(Page::Huge) == 0 && count(Page::Private) >= FILLED && count(Page::Swapped) == 0
            {
                pieces.push((start, start + HUGE_PAGE));
            }
        }
        if pieces.is_empty() {
            return Ok(vec![
                "no part of 2 MiB is at least half in use and not a huge page already".to_owned(),
            ]);
        }
        self.all(pieces.into_iter(), Advice::Collapse)
    }

    fn all(
        &self,
        pieces: impl Iterator<Item = (u64, u64)>,
        advice: Advice,
    ) -> Result<Vec<String>, ActError> {
        let (mut advised, mut calls) = (0, 0_u64);
        let mut refused: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (start, end) in pieces {
            match self.call(start, end, advice) {
                Ok(bytes) => advised += bytes,
                Err(Errno::SRCH) if calls == 0 => {
                    return Err(ProcessError::NoSuchProcess { pid: Pid(self.pid) }.into());
                }
                Err(Errno::SRCH) => break,
                Err(Errno::PERM | Errno::ACCESS) => return Err(self.not_allowed()),
                Err(Errno::NOSYS) => {
                    return Err(ActError::Cannot(
                        "this kernel has no process_madvise (Linux 5.10 has): `memmgr optimize reclaim` works on the cgroup".to_owned(),
                    ));
                }
                // The very first tells whether the kernel knows the advice.
                Err(Errno::INVAL) if calls == 0 && !self.knows(advice) => {
                    return Err(ActError::Cannot(format!(
                        "this kernel knows no {} from outside (Linux 6.1 has all): `memmgr optimize cold` and `pageout` work since Linux 5.10",
                        advice.name()
                    )));
                }
                Err(error) => {
                    let (count, bytes) = refused.entry(reason(error)).or_default();
                    *count += 1;
                    *bytes += end - start;
                }
            }
            calls += 1;
        }
        let mut steps = vec![format!(
            "process_madvise({}, {}) took {}",
            self.pid,
            advice.name(),
            human_bytes(advised)
        )];
        steps.extend(refused.iter().map(|(reason, (count, bytes))| {
            format!(
                "{count} part{}, {}: {reason}",
                if *count == 1 { "" } else { "s" },
                human_bytes(*bytes)
            )
        }));
        Ok(steps)
    }

    fn not_allowed(&self) -> ActError {
        ActError::Cannot(format!(
            "memmgr may not advise the kernel about process {}: {}",
            self.pid,
            permission_remedy(rustix::process::geteuid().is_root())
        ))
    }

    /// Whether the kernel takes this advice: of no address at all it says so, or that it does not.
    fn knows(&self, advice: Advice) -> bool {
        self.call(0, 0, advice) != Err(Errno::INVAL)
    }

    /// Bytes that were advised.
    fn call(&self, start: u64, end: u64, advice: Advice) -> Result<u64, Errno> {
        let piece = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(start as usize),
            iov_len: (end - start) as usize,
        };
        // SAFETY: process_madvise(2) reads one iovec, which lives until it returns; the addresses in it are those of another
        // process and are not followed here.
        let result = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                self.pidfd.as_raw_fd(),
                std::ptr::from_ref(&piece),
                1_usize,
                advice.code(),
                0_u32,
            )
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        Ok(result as u64)
    }
}

/// Why a part was not taken, see madvise(2).
fn reason(error: Errno) -> String {
    match error {
        Errno::INVAL => "locked, or of a kind that cannot be advised".to_owned(),
        Errno::NOMEM => {
            "no longer mapped, no huge page is free, or the cgroup is at its limit".to_owned()
        }
        Errno::AGAIN => "the kernel could not do it just then".to_owned(),
        Errno::BUSY => "in use by the kernel just then".to_owned(),
        other => other.to_string(),
    }
}
