//! The kernel says when the counters of a cgroup of v2 change: `memory.events` is modified then, which inotify tells (see
//! "memory.events" in Documentation/admin-guide/cgroup-v2.rst).

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::{Errno, read},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};

/// A group that is at its limit has thousands of events a second; they are told together.
const TOGETHER: Duration = Duration::from_millis(100);

/// Files that are waited for.
#[derive(Clone, Debug)]
pub struct EventFiles(Arc<AsyncFd<OwnedFd>>);

impl EventFiles {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel allows no more instances (`fs.inotify.max_user_instances`).
    pub fn open() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: an `OwnedFd` is one descriptor, which is open until the `AsyncFd` is dropped.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
        Ok(EventFiles(Arc::new(inotify)))
    }

    /// Waits for this file too, if it does not yet. A group that is removed takes its file with it.
    ///
    /// # Errors
    /// When the kernel allows no more files (`fs.inotify.max_user_watches`). A file that is not there is none.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        match inotify::add_watch(self.0.get_ref(), path, WatchFlags::MODIFY) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something has changed.
    ///
    /// # Errors
    /// When the wait itself fails.
    pub async fn changed(&self) -> io::Result<()> {
        // Which it was does not matter: all counters are read.
        let mut events = [0_u8; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|inotify| Ok(read(inotify.get_ref(), &mut events)?)) {
                Ok(done) => {
                    done?;
                    sleep(TOGETHER).await;
                    return Ok(());
                }
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_together() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("a"), "").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let files = EventFiles::open().unwrap();
            for name in ["a", "a", "missing"] {
                files.add(&file(name)).unwrap();
            }
            let soon = || tokio::time::timeout(Duration::from_secs(5), files.changed());
            std::fs::write(file("a"), "1").unwrap();
            soon().await.unwrap().unwrap();
            std::fs::write(file("a"), "2").unwrap();
            soon().await.unwrap().unwrap();
        });
    }
}
