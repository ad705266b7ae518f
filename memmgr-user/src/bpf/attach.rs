//! The ladder of ways to attach heap probes: session, multi, perf.

use std::{
    io, mem,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    thread,
};

use memmgr_common::Cookie;

use crate::units::{FileOffset, Pid};

use super::{
    apart,
    kernel::KernelError,
    object::Programs,
    sys::{self, AttachType, ProgramType, UprobeTargets},
};

/// One probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    /// Where, in the file.
    pub offset: FileOffset,
    /// What the function does.
    pub cookie: Cookie,
    /// Which moment of a call it is for.
    pub moment: Moment,
}

/// A moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its entry.
    Entry,
    /// Its entry, and its return, which the kernel is to follow.
    EntryAndReturn,
    /// The instruction that returns, of a function that may throw.
    Exit,
}

/// The probes of one file, frees first: a free that is seen before its allocation can be is harmless.
#[derive(Clone, Debug)]
pub struct FileProbes {
    /// A path to the very file that is mapped, through procfs.
    pub path: PathBuf,
    /// In the order in which they are attached.
    pub points: Vec<ProbePoint>,
}

/// A way to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// One handler for entry and return, which skips the returns it does not need (6.13).
    Session,
    /// Entry and return handlers, all offsets of a file in one link (6.6).
    Multi,
    /// A perf event a probe.
    Perf,
}

impl Rung {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Session => "session",
            Rung::Multi => "multi",
            Rung::Perf => "perf",
        }
    }

    /// The rungs to try on this kernel, best first.
    ///
    /// Until 6.6.35 and 6.9.5 uprobe.multi matched one thread instead of the process and dropped the
    /// events of all others in silence (kernel commit 46ba0e49b642), so that those kernels go without.
    pub fn ladder(kernel: (u32, u32, u32)) -> &'static [Rung] {
        let multi = match kernel {
            (6, 6, patch) => patch >= 35,
            (6, 9, patch) => patch >= 5,
            (major, minor, _) => (major, minor) >= (6, 10),
        };
        match kernel {
            (major, minor, _) if (major, minor) >= (6, 13) => {
                &[Rung::Session, Rung::Multi, Rung::Perf]
            }
            _ if multi => &[Rung::Multi, Rung::Perf],
            _ => &[Rung::Perf],
        }
    }
}

/// Places probes of one file, of entries alone, by the best rung that this kernel takes. All or nothing.
pub fn place_entries(
    programs: &Programs,
    name: &'static str,
    pid: Pid,
    file: &FileProbes,
    ladder: &[Rung],
) -> Result<Links, KernelError> {
    let by_one_link = ladder.iter().any(|rung| *rung != Rung::Perf);
    if by_one_link {
        let placed =
            programs.load(name, ProgramType::Kprobe, Some(AttachType::UprobeMulti)).and_then(
                |program| multi(&program, AttachType::UprobeMulti, false, pid, file, |_| true),
            );
        match placed {
            Ok(link) => return Ok(Links(link.into_iter().collect())),
            Err(error) => tracing::debug!("{name} by one link: {error}"),
        }
    }
    let program = programs.load(name, ProgramType::Kprobe, None)?;
    let mut placed = Links(Vec::new());
    for point in &file.points {
        placed.0.push(perf(&program, false, pid, file, point)?);
    }
    Ok(placed)
}

/// The heap programs of a rung, loaded: probes are placed with them as often as wanted.
pub struct HeapPrograms {
    /// The rung.
    pub rung: Rung,
    entry: OwnedFd,
    /// For entry and return together, or for returns.
    second: OwnedFd,
    /// For instructions that return.
    exit: OwnedFd,
}

/// Placed probes; dropping them takes them away, all at once.
pub struct Links(Vec<OwnedFd>);

impl HeapPrograms {
    /// Loads the programs of the first rung that this kernel takes, and places all probes. All or nothing: when a
    /// later file fails nothing stays in place.
    pub fn place_first(
        programs: &Programs,
        pid: Pid,
        files: &[FileProbes],
        ladder: &[Rung],
    ) -> Result<(Self, Links), KernelError> {
        let mut refused = None;
        for &rung in ladder {
            let loaded = Self::load(programs, rung)
                .and_then(|loaded| loaded.place(pid, files).map(|links| (loaded, links)));
            match loaded {
                Ok(placed) => return Ok(placed),
                // EINVAL is how a kernel says that it does not know the attach type.
                Err(KernelError::Attach { error, .. })
                    if error.raw_os_error() == Some(libc::EINVAL) =>
                {
                    tracing::debug!("{} probes refused: {error}", rung.name());
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let error = refused.unwrap_or_else(|| io::Error::from(io::ErrorKind::Unsupported));
        Err(KernelError::Attach { what: "heap probes".into(), error })
    }

    fn load(programs: &Programs, rung: Rung) -> Result<Self, KernelError> {
        let expected = match rung {
            Rung::Session | Rung::Multi => Some(AttachType::UprobeMulti),
            Rung::Perf => None,
        };
        let (second, attach) = match rung {
            Rung::Session => ("heap_session", Some(AttachType::UprobeSession)),
            Rung::Multi | Rung::Perf => ("heap_return", expected),
        };
        let entry = programs.load("heap_entry", ProgramType::Kprobe, expected)?;
        let second = programs.load(second, ProgramType::Kprobe, attach)?;
        let exit = programs.load("heap_exit", ProgramType::Kprobe, expected)?;
        Ok(HeapPrograms { rung, entry, second, exit })
    }

    /// Places the probes of all files. Those of one file: first the exits, because a call that is seen to begin must be seen
    /// to end; then where nothing but the entry is wanted, which are the frees in front; the order of `points` is kept.
    pub fn place(&self, pid: Pid, files: &[FileProbes]) -> Result<Links, KernelError> {
        let (entry, second, exit) = (&self.entry, &self.second, &self.exit);
        let exits = |point: &&ProbePoint| point.moment == Moment::Exit;
        let entry_only = |point: &&ProbePoint| point.moment == Moment::Entry;
        let followed = |point: &&ProbePoint| point.moment == Moment::EntryAndReturn;
        let entered = |point: &&ProbePoint| point.moment != Moment::Exit;
        let (multi_type, session) = (AttachType::UprobeMulti, AttachType::UprobeSession);
        let mut placed = Links(Vec::new());
        let links = &mut placed.0;
        for file in files {
            match self.rung {
                Rung::Session => {
                    links.extend(multi(exit, multi_type, false, pid, file, exits)?);
                    links.extend(multi(entry, multi_type, false, pid, file, entry_only)?);
                    links.extend(multi(second, session, false, pid, file, followed)?);
                }
                Rung::Multi => {
                    links.extend(multi(exit, multi_type, false, pid, file, exits)?);
                    links.extend(multi(entry, multi_type, false, pid, file, entered)?);
                    links.extend(multi(second, multi_type, true, pid, file, followed)?);
                }
                Rung::Perf => {
                    for point in file.points.iter().filter(exits) {
                        links.push(perf(exit, false, pid, file, point)?);
                    }
                    for point in file.points.iter().filter(entered) {
                        links.push(perf(entry, false, pid, file, point)?);
                    }
                    for point in file.points.iter().filter(followed) {
                        links.push(perf(second, true, pid, file, point)?);
                    }
                }
            }
        }
        tracing::debug!("{} links by {}", links.len(), self.rung.name());
        Ok(placed)
    }

    /// Takes the breakpoints of these probes out of processes that inherited them by fork. They see nothing there and would pay
    /// for each hit as long as they live, because the handlers of a link say of other processes that they want to stay.
    ///
    /// When a handler is taken away, the kernel takes its breakpoint out of every process in which no other handler wants
    /// it (`register_for_each_vma` in kernel/events/uprobes.c). So one is placed for memmgr itself, which is no target,
    /// and taken away. Of perf events the kernel does this by itself at the first hit.
    pub fn free_heirs(&self, files: &[FileProbes]) -> Result<(), KernelError> {
        if self.rung == Rung::Perf {
            return Ok(());
        }
        let own = Pid(std::process::id());
        for file in files {
            let link = multi(&self.entry, AttachType::UprobeMulti, false, own, file, |_| true)?;
            drop(Links(link.into_iter().collect()));
        }
        Ok(())
    }

    /// Hits that the kernel did not deliver because the program was running already.
    pub fn missed(&self) -> u64 {
        let programs = [&self.entry, &self.second, &self.exit].into_iter();
        programs.filter_map(|program| sys::recursion_misses(program.as_fd()).ok()).sum()
    }
}

impl Links {
    /// Holds more of them.
    pub fn take_in(&mut self, mut more: Links) {
        self.0.append(&mut more.0);
    }

    /// The descriptors: a probe goes when its is closed.
    pub fn into_descriptors(mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.0)
    }
}

impl From<Vec<OwnedFd>> for Links {
    fn from(links: Vec<OwnedFd>) -> Self {
        Links(links)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        close_together(self.0.drain(..), apart::close);
    }
}

/// Closes all of them at once: each close waits until no processor runs its program any more.
pub(super) fn close_together<T: Send>(
    links: impl IntoIterator<Item = T>,
    close: impl Fn(T) + Sync,
) {
    let close = &close;
    thread::scope(|scope| {
        for link in links {
            // Where there can be no thread the link is closed with the closure.
            let closes = thread::Builder::new().spawn_scoped(scope, move || close(link));
            closes.map_or_else(|error| tracing::debug!("{error}"), drop);
        }
    });
}

fn multi(
    program: &OwnedFd,
    attach: AttachType,
    on_return: bool,
    pid: Pid,
    file: &FileProbes,
    wanted: impl Fn(&&ProbePoint) -> bool,
) -> Result<Option<OwnedFd>, KernelError> {
    let (offsets, cookies): (Vec<u64>, Vec<u64>) =
        file.points.iter().filter(wanted).map(|point| (point.offset.0, point.cookie.0)).unzip();
    if offsets.is_empty() {
        return Ok(None);
    }
    let targets =
        UprobeTargets { path: &file.path, offsets: &offsets, cookies: &cookies, pid: pid.0 };
    sys::link_uprobes(program.as_fd(), attach, on_return, &targets)
        .map(Some)
        .map_err(|error| KernelError::Attach { what: file.path.display().to_string(), error })
}

fn perf(
    program: &OwnedFd,
    on_return: bool,
    pid: Pid,
    file: &FileProbes,
    point: &ProbePoint,
) -> Result<OwnedFd, KernelError> {
    sys::perf_uprobe(&file.path, point.offset.0, on_return, pid.0)
        .and_then(|event| sys::link_perf_event(program.as_fd(), event.as_fd(), point.cookie.0))
        .map_err(|error| KernelError::Attach {
            what: format!("{} at {:#x}", file.path.display(), point.offset),
            error,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_filter_by_thread_go_without_multi() {
        use Rung::{Multi, Perf, Session};
        for (kernel, ladder) in [
            ((5, 15, 0), &[Perf][..]),
            ((6, 1, 170), &[Perf]),
            ((6, 6, 34), &[Perf]),
            ((6, 6, 35), &[Multi, Perf]),
            ((6, 8, 12), &[Perf]),
            ((6, 9, 4), &[Perf]),
            ((6, 9, 5), &[Multi, Perf]),
            ((6, 12, 0), &[Multi, Perf]),
            ((6, 13, 0), &[Session, Multi, Perf]),
            ((7, 0, 0), &[Session, Multi, Perf]),
        ] {
            assert_eq!(Rung::ladder(kernel), ladder, "{kernel:?}");
        }
    }
}
