//! One process in procfs, held open.
//!
//! The directory is opened once and its files are opened relative to it, so that all figures come from
//! one process: when it exits, every further read fails, even if its number is given away again.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Path, PathBuf},
};

use rustix::fs::{self, AtFlags, Mode, OFlags};

use super::roots::Roots;
use crate::{escape::Safe, units::Pid};

/// Why a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such process, or procfs hides it (`hidepid`).
    #[error(
        "there is no process {pid} here: `ps -e` as root lists the processes of this host; \
         for a process in a container give its number on the host"
    )]
    NoSuchProcess {
        /// The number that was asked for.
        pid: Pid,
    },
    /// The number belongs to a thread.
    #[error("{pid} is a thread of process {process}: use `-p {process}`")]
    Thread {
        /// The number that was asked for.
        pid: Pid,
        /// The process.
        process: Pid,
    },
    /// The process exited between two reads.
    #[error(
        "process {pid} exited while memmgr read {}: if something starts it again, find the new one with `pgrep`",
        path.display()
    )]
    Vanished {
        /// The process.
        pid: Pid,
        /// The file that could no longer be read.
        path: PathBuf,
    },
    /// The process is a zombie.
    #[error(
        "process {pid} has ended, and is listed until its parent takes note (a zombie): its memory is gone already"
    )]
    Ended {
        /// The process.
        pid: Pid,
    },
    /// A kernel thread.
    #[error(
        "{pid} is a thread of the kernel ({comm}) and has no memory of its own; `memmgr stat` shows the host's"
    )]
    KernelThread {
        /// The thread.
        pid: Pid,
        /// Its name.
        comm: Safe,
    },
    /// The kernel refused.
    #[error(
        "memmgr may not read {}: {}",
        path.display(),
        permission_remedy(rustix::process::geteuid().is_root())
    )]
    Permission {
        /// The process.
        pid: Pid,
        /// The file.
        path: PathBuf,
    },
    /// The process is alive and its kernel has no such file.
    #[error("this kernel has no {}: `memmgr doctor` tells what else this host lacks", path.display())]
    Unsupported {
        /// The process.
        pid: Pid,
        /// The file.
        path: PathBuf,
    },
    /// The file is not in the form that procfs(5) describes.
    #[error(
        "memmgr does not understand {}: {what} (please report this text with the output of `uname -r`)",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was missing, or the line, escaped.
        what: String,
    },
    /// Any other failure.
    #[error("memmgr cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What helps depends on who asks.
pub(crate) fn permission_remedy(root: bool) -> &'static str {
    if root {
        "root alone is not enough here: it takes CAP_SYS_PTRACE, and no security module (AppArmor, SELinux, Yama) that \
         forbids it; in a container `--privileged --pid=host`"
    } else {
        "run it as root (`sudo memmgr`)"
    }
}

impl ProcessError {
    /// Whether the process is not there (any more).
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            ProcessError::NoSuchProcess { .. }
                | ProcessError::Vanished { .. }
                | ProcessError::Ended { .. }
        )
    }

    /// Whether more rights would help.
    pub fn is_permission(&self) -> bool {
        matches!(self, ProcessError::Permission { .. })
    }
}

/// The open directory of one process.
#[derive(Debug)]
pub struct ProcessDir {
    pid: Pid,
    path: PathBuf,
    fd: OwnedFd,
}

impl ProcessDir {
    /// Opens the process that has this number now.
    pub fn open(roots: &Roots, pid: Pid) -> Result<Self, ProcessError> {
        let path = roots.process(pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { pid, path, fd }),
            Err(error) => match io::Error::from(error) {
                error if error.kind() == ErrorKind::NotFound => {
                    Err(ProcessError::NoSuchProcess { pid })
                }
                error if error.kind() == ErrorKind::PermissionDenied => {
                    Err(ProcessError::Permission { pid, path })
                }
                source => Err(ProcessError::Io { path, source }),
            },
        }
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The directory, for messages and for files that are opened by path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content of one file of the process.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, ProcessError> {
        self.try_read(name).map_err(|error| self.error(name, error))
    }

    /// Like [`ProcessDir::read`], for what the kernel may lack, refuse, or have no longer for a zombie.
    pub fn read_optional(&self, name: &str) -> Result<Option<Vec<u8>>, ProcessError> {
        match self.try_read(name) {
            Ok(content) => Ok(Some(content)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.error(name, error)),
        }
    }

    /// One file of the process, open: for those that are too long to be read as a whole.
    pub fn open_file(&self, name: &str) -> Result<File, ProcessError> {
        self.try_open(name).map_err(|error| self.error(name, error))
    }

    /// Writes to a file of the process. Only actions of `optimize` that a person applies do.
    pub fn write(&self, name: &str, text: &str) -> Result<(), ProcessError> {
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = fs::openat(&self.fd, name, flags, Mode::empty())?;
            File::from(file).write_all(text.as_bytes())
        };
        write().map_err(|error| self.error(name, error))
    }

    /// Where a link of the process leads; absent when there is none (kernel threads, zombies) or it is refused.
    pub fn read_link(&self, name: &str) -> Result<Option<PathBuf>, ProcessError> {
        match fs::readlinkat(&self.fd, name, Vec::new()).map_err(io::Error::from) {
            Ok(target) => Ok(Some(std::ffi::OsString::from_vec(target.into_bytes()).into())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.error(name, error)),
        }
    }

    /// The ids of the threads that the process has now.
    pub fn thread_ids(&self) -> Result<Vec<u32>, ProcessError> {
        let list = || -> io::Result<Vec<u32>> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let tasks = fs::Dir::new(fs::openat(&self.fd, "task", flags, Mode::empty())?)?;
            let mut ids = Vec::new();
            for entry in tasks {
                ids.extend(
                    entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()),
                );
            }
            Ok(ids)
        };
        list().map_err(|error| self.error("task", error))
    }

    /// The error for a file whose content makes no sense.
    pub(super) fn malformed(&self, name: &str, what: impl Into<String>) -> ProcessError {
        ProcessError::Malformed { path: self.path.join(name), what: what.into() }
    }

    fn try_open(&self, name: &str) -> io::Result<File> {
        Ok(fs::openat(&self.fd, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    fn try_read(&self, name: &str) -> io::Result<Vec<u8>> {
        // A page at first: procfs tells no size, and most of these files fit.
        let mut content = Vec::with_capacity(4096);
        self.try_open(name)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn error(&self, name: &str, error: io::Error) -> ProcessError {
        let (pid, path) = (self.pid, self.path.join(name));
        if error.kind() == ErrorKind::PermissionDenied {
            ProcessError::Permission { pid, path }
        } else if !is_absent(&error) {
            ProcessError::Io { path, source: error }
        } else if fs::statat(&self.fd, "stat", AtFlags::empty()).is_ok() {
            ProcessError::Unsupported { pid, path }
        } else {
            ProcessError::Vanished { pid, path }
        }
    }
}

/// No such file, refused, or (`ESRCH`) no longer any memory behind it.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::source::roots::fake::FakeTree;

    #[test]
    fn missing_processes_and_files_are_told_apart() {
        let tree = FakeTree::new(&[("proc/7/stat", "")]);
        let missing = ProcessDir::open(&tree.roots(), Pid(8)).unwrap_err();
        assert!(matches!(missing, ProcessError::NoSuchProcess { pid: Pid(8) }), "{missing}");
        assert!(missing.to_string().contains("ps -e"), "{missing}");

        let dir = ProcessDir::open(&tree.roots(), Pid(7)).unwrap();
        assert!(matches!(dir.read("smaps"), Err(ProcessError::Unsupported { .. })));
        assert_eq!(dir.read_optional("smaps_rollup").unwrap(), None);
        assert_eq!(dir.read_link("exe").unwrap(), None);
    }

    #[test]
    fn process_that_exits_has_vanished() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let dir = ProcessDir::open(&Roots::default(), Pid(child.id())).unwrap();
        assert!(!dir.read("status").unwrap().is_empty());
        drop(child.stdin.take());
        child.wait().unwrap();
        let error = dir.read("status").unwrap_err();
        assert!(matches!(error, ProcessError::Vanished { .. }), "{error}");
        assert!(error.to_string().contains("pgrep"), "{error}");
    }

    #[test]
    fn own_threads_are_listed() {
        let dir = ProcessDir::open(&Roots::default(), Pid(std::process::id())).unwrap();
        assert!(
            dir.thread_ids()
                .unwrap()
                .contains(&(rustix::thread::gettid().as_raw_nonzero().get() as u32))
        );
    }
}
