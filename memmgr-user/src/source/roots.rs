//! Where the kernel's files are: `/proc`, `/sys` and `/sys/fs/cgroup`, or a test's copy of any kernel's.

use std::path::PathBuf;

use crate::units::Pid;

/// The directories that every reader starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Where procfs is mounted.
    pub proc: PathBuf,
    /// What stands for `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
    /// Where sysfs is mounted.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() }
    }
}

impl Roots {
    /// The directory of a process.
    pub fn process(&self, pid: Pid) -> PathBuf {
        self.proc.join(pid.to_string())
    }
}

/// A tree of kernel files written by a test.
#[cfg(test)]
pub(crate) mod fake {
    use super::Roots;
    use std::{fs, path::Path};

    pub(crate) struct FakeTree(tempfile::TempDir);

    impl FakeTree {
        /// A tree with these files, each a path below the tree (`proc/7/stat`) and its content.
        pub(crate) fn new(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for (path, content) in files {
                tree.write(path, content);
            }
            tree
        }

        pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }

        pub(crate) fn roots(&self) -> Roots {
            Roots {
                proc: self.path().join("proc"),
                cgroup: self.path().join("cgroup"),
                sys: self.path().join("sys"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_the_running_kernel() {
        assert_eq!(Roots::default().process(Pid(7)), PathBuf::from("/proc/7"));
    }
}
