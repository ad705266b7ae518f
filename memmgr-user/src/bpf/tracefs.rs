//! Tracepoint ids. Where tracefs is not mounted it is opened as a detached mount, which nobody else
//! sees and which goes away with the descriptor.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where tracefs is usually mounted.
pub const USUAL: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A way into tracefs.
pub struct Tracefs {
    root: PathBuf,
    _detached: Option<OwnedFd>,
}

impl Tracefs {
    /// Opens the first of `usual` that is mounted, else a detached mount.
    ///
    /// # Errors
    /// The kernel's error when there is no tracefs or we may not mount it.
    pub fn open(usual: &[&str]) -> io::Result<Self> {
        if let Some(root) =
            usual.iter().map(Path::new).find(|root| root.join("events/syscalls").is_dir())
        {
            return Ok(Tracefs { root: root.to_path_buf(), _detached: None });
        }
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Tracefs { root, _detached: Some(mount) })
    }

    /// The id of a tracepoint, which is what perf_event_open takes.
    pub fn tracepoint_id(&self, category: &str, name: &str) -> io::Result<u64> {
        let path = self.root.join("events").join(category).join(name).join("id");
        fs::read_to_string(&path)?.trim().parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no number", path.display()),
            )
        })
    }
}
