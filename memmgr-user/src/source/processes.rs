//! Every process of the host, as cheaply as the kernel tells it: one small file each.
//!
//! A host has thousands of them and is looked at every second, so that the directory is opened once, one buffer serves
//! all files, and what the kernel has to walk page tables for is read only of those that are asked for.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{self, Dir, Mode, OFlags};

use super::{
    process::{Sets, Stat},
    roots::Roots,
};
use crate::units::Pid;

/// A process at a moment, from `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The process.
    pub pid: Pid,
    /// Start in clock ticks since boot: with `pid` the identity of the process.
    pub start_ticks: u64,
    /// Its parent; 0 for none.
    pub parent: Pid,
    /// The kernel's short name; bytes that are no UTF-8 are replaced. Hostile.
    pub comm: String,
    /// The letter of its state.
    pub state: char,
    /// Threads.
    pub threads: u64,
    /// Resident, by counters that the kernel keeps roughly: since Linux 6.2 off by up to some pages a processor.
    pub rss_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Minor faults since it began.
    pub minor_faults: u64,
    /// Major faults since it began.
    pub major_faults: u64,
}

/// All processes that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// In the order of their numbers; threads of the kernel, which have no memory, are left out.
    pub rows: Vec<Row>,
    /// Processes that were listed and could not be read: they ended meanwhile, or are hidden (`hidepid`).
    pub unread: u64,
}

/// Reads processes again and again.
#[derive(Debug)]
pub struct Processes {
    proc: OwnedFd,
    page_bytes: u64,
    buffer: Vec<u8>,
}

impl Processes {
    /// Opens procfs.
    ///
    /// # Errors
    /// What the kernel says of the directory.
    pub fn open(roots: &Roots) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Processes {
            proc: fs::open(&roots.proc, flags, Mode::empty())?,
            page_bytes: rustix::param::page_size() as u64,
            buffer: Vec::with_capacity(8192),
        })
    }

    /// Every process now.
    ///
    /// # Errors
    /// When the list cannot be read; a process that cannot is counted.
    pub fn read(&mut self) -> io::Result<Table> {
        let mut table = Table::default();
        for entry in Dir::read_from(&self.proc)? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok())
            else {
                continue;
            };
            match self.row(Pid(pid)) {
                Ok(Some(row)) => table.rows.push(row),
                Ok(None) => {}
                Err(_) => table.unread += 1,
            }
        }
        table.rows.sort_unstable_by_key(|row| row.pid);
        Ok(table)
    }

    /// One process now; nothing for a thread of the kernel.
    ///
    /// # Errors
    /// When it is not there, is hidden, or its figures make no sense.
    pub fn row(&mut self, pid: Pid) -> io::Result<Option<Row>> {
        let page_bytes = self.page_bytes;
        let stat = Stat::parse(self.file(pid, "stat")?)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let row = Row {
            pid,
            start_ticks: stat.start_ticks,
            parent: Pid(stat.parent),
            comm: String::from_utf8_lossy(&stat.comm).into_owned(),
            state: stat.state,
            threads: stat.threads,
            rss_bytes: stat.resident_pages * page_bytes,
            virtual_bytes: stat.virtual_bytes,
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
        };
        Ok((!stat.is_kernel_thread()).then_some(row))
    }

    /// The resident, proportional and unique set of a process, for which the kernel walks its page tables. Absent for a
    /// zombie, which has no memory any more.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    pub fn sets(&mut self, pid: Pid) -> io::Result<Option<Sets>> {
        match self.file(pid, "smaps_rollup") {
            Ok(content) => Ok(Sets::parse(content)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn file(&mut self, pid: Pid, name: &str) -> io::Result<&[u8]> {
        let path = format!("{pid}/{name}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = fs::openat(self.proc.as_fd(), path, flags, Mode::empty())?;
        self.buffer.clear();
        // These files come whole in one read, if there is room for them; the next tells that it was all.
        loop {
            self.buffer.reserve(4096);
            if rustix::io::read(&file, rustix::buffer::spare_capacity(&mut self.buffer))? == 0 {
                return Ok(&self.buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{process::tests::STAT, roots::fake::FakeTree};

    #[test]
    fn processes_are_listed_and_the_unreadable_counted() {
        let tree = FakeTree::new(&[
            ("proc/12/comm", "no stat\n"),
            ("proc/uptime", "1 1\n"),
            ("proc/3/stat", "3 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0\n"),
            (
                "proc/7/smaps_rollup",
                "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\\n\nRss: 500 kB\nPss: 320 kB\n\
                 Private_Clean: 20 kB\nPrivate_Dirty: 280 kB\nSwap: 8 kB\nSwapPss: 4 kB\n",
            ),
        ]);
        tree.write("proc/7/stat", STAT);
        let mut processes = Processes::open(&tree.roots()).unwrap();
        let table = processes.read().unwrap();
        assert_eq!(table.unread, 1);
        let [row] = table.rows.as_slice() else { panic!("{table:?}") };
        assert_eq!((row.pid, row.parent, row.comm.as_str()), (Pid(7), Pid(1), "a) (b\n\u{fffd}"));
        assert_eq!(row.rss_bytes, 414 * rustix::param::page_size() as u64);
        let expected = Sets {
            rss_bytes: 500 << 10,
            pss_bytes: 320 << 10,
            uss_bytes: 300 << 10,
            swap_bytes: 8 << 10,
        };
        assert_eq!(processes.sets(Pid(7)).unwrap(), Some(expected));
        assert!(processes.sets(Pid(12)).is_err());
    }

    #[test]
    fn this_process_is_among_them() {
        let mut processes = Processes::open(&Roots::default()).unwrap();
        let own = Pid(std::process::id());
        let table = processes.read().unwrap();
        let row = table.rows.iter().find(|row| row.pid == own).expect("this process");
        assert!(row.rss_bytes > 1 << 20 && row.virtual_bytes > row.rss_bytes, "{row:?}");
        let sets = processes.sets(own).unwrap().expect("sets");
        assert!(sets.uss_bytes <= sets.pss_bytes && sets.pss_bytes <= sets.rss_bytes, "{sets:?}");
    }
}
