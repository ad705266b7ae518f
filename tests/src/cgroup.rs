//! Memory cgroups that a test makes, and that are gone after it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// A memory cgroup. It is removed when this is dropped; its processes have to be gone by then.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Makes one below the group that the test itself is in, with a limit in bytes. Nothing, with the reason said, where the
    /// host lets none be made; where `CI` is `true` that is a failure.
    pub fn make(name: &str, limit: u64) -> Option<Self> {
        match Self::try_make(name, limit) {
            Ok(group) => Some(group),
            Err(error) => {
                assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "no cgroup: {error}");
                println!("skipped: no cgroup can be made: {error}");
                None
            }
        }
    }

    fn try_make(name: &str, limit: u64) -> std::io::Result<Self> {
        let top = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
        let v1 = top[0].join("memory.limit_in_bytes").exists();
        let (parent, file) =
            if v1 { (top[0], "memory.limit_in_bytes") } else { (top[1], "memory.max") };
        if !v1 {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
        }
        let group = MemoryGroup(parent.join(format!("memmgr-test-{name}-{}", std::process::id())));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join(file), limit.to_string())?;
        Ok(group)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Its path as in `/proc/PID/cgroup`.
    pub fn path(&self) -> String {
        format!("/{}", self.0.file_name().expect("it has a name").to_string_lossy())
    }

    /// Takes a process in. What it has in memory stays where it was charged.
    pub fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("the group takes processes");
    }

    /// Content of one of its files.
    pub fn read(&self, names: [&str; 2]) -> String {
        let read = |name: &str| fs::read_to_string(self.0.join(name));
        read(names[0]).or_else(|_| read(names[1])).expect("a file of the group")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A process that was just killed is in it for a moment yet.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
