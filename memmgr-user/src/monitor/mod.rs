//! The host, its cgroups and its processes, looked at again and again: what `top`, `watch` and `serve` share.
//!
//! A look reads one small file a process and a few a group, none for which the kernel walks page tables or takes a lock
//! of the process: a process that hangs delays nobody.

pub mod trend;

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    report::Host,
    source::{
        groups::{Extras, GroupRow, Groups},
        host::{HostError, oom_kills, read_host},
        processes::{Processes, Row, Table},
        roots::Roots,
    },
    units::Pid,
};

/// What a process is known by as long as it lives: its number is given away again, its start is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its start in clock ticks since boot.
    pub start_ticks: u64,
}

impl From<&Row> for Process {
    fn from(row: &Row) -> Self {
        Process { pid: row.pid, start_ticks: row.start_ticks }
    }
}

/// The figures of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Since the monitor began, by a clock that never jumps.
    pub at: Duration,
    /// Time of day.
    pub time: SystemTime,
    /// The host.
    pub host: Host,
    /// Processes that the kernel killed for lack of memory since boot; absent before Linux 4.13.
    pub oom_kills: Option<u64>,
    /// The cgroups that account memory, each after the one it is in; empty where there are none.
    pub groups: Vec<GroupRow>,
    /// The processes.
    pub processes: Table,
}

/// The host cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// No figures of the host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No list of processes.
    #[error("memmgr cannot list the processes in {path} ({source}): mount procfs there")]
    Processes {
        /// The directory.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Looks at a host.
#[derive(Debug)]
pub struct Monitor {
    roots: Roots,
    processes: Processes,
    groups: Groups,
    began: Instant,
}

impl Monitor {
    /// Opens what it will read, with these extras of groups.
    ///
    /// # Errors
    /// When there is no procfs.
    pub fn new(roots: Roots, extras: Extras) -> Result<Self, MonitorError> {
        let processes = Processes::open(&roots).map_err(|source| unlisted(&roots, source))?;
        let groups = Groups::find(&roots, extras);
        Ok(Monitor { roots, processes, groups, began: Instant::now() })
    }

    /// Where the kernel's files are.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// How cgroups are read.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Since it began: the clock of [`Look::at`].
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The figures now.
    ///
    /// # Errors
    /// When the host's own files cannot be read. A process or group that is gone is none.
    pub fn look(&mut self) -> Result<Look, MonitorError> {
        Ok(Look {
            at: self.elapsed(),
            time: SystemTime::now(),
            host: read_host(&self.roots)?,
            oom_kills: oom_kills(&self.roots),
            groups: self.groups.read(),
            processes: self.processes.read().map_err(|source| unlisted(&self.roots, source))?,
        })
    }
}

fn unlisted(roots: &Roots, source: io::Error) -> MonitorError {
    MonitorError::Processes { path: roots.proc.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::roots::fake::FakeTree;

    #[test]
    fn this_host_is_looked_at() {
        let mut monitor = Monitor::new(Roots::default(), Extras::default()).unwrap();
        let (first, second) = (monitor.look().unwrap(), monitor.look().unwrap());
        assert!(second.at > first.at);
        let own = |look: &Look| {
            let own = std::process::id();
            let row = look.processes.rows.iter().find(|row| row.pid.0 == own);
            row.map(Process::from).expect("this process")
        };
        assert_eq!(own(&first), own(&second));
        assert!(first.oom_kills.is_some() && first.host.total_bytes > 0);
    }

    #[test]
    fn a_host_without_procfs_is_an_error() {
        let tree = FakeTree::new(&[]);
        let error = Monitor::new(tree.roots(), Extras::default()).unwrap_err().to_string();
        assert!(error.contains("mount procfs"), "{error}");
    }
}
