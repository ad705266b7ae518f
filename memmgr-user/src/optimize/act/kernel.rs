//! Actions that are one write to a file of the kernel: reclaim, compaction, caches, merging.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::ActError;
use crate::{
    optimize::action::{Amount, Caches, Swappiness},
    source::{cgroup::MemoryCgroup, cgroup_path::Version, roots::Roots},
    units::human_bytes,
};

/// How a cgroup is reclaimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaim {
    file: PathBuf,
    order: String,
    bytes: Option<u64>,
    swappiness: Option<Swappiness>,
}

/// Finds the way to reclaim this group, without doing it.
///
/// # Errors
/// When this kernel or this version of cgroups has none for what is asked, and what comes nearest.
pub fn prepare_reclaim(
    group: &MemoryCgroup,
    amount: Amount,
    swappiness: Option<Swappiness>,
) -> Result<Reclaim, ActError> {
    let directory = group.directory();
    let usage = group.usage_bytes();
    match group.version() {
        Version::V2 => {
            if let (Amount::Bytes(bytes), Some(usage)) = (amount, usage)
                && bytes > usage
            {
                return Err(ActError::Refused(format!(
                    "the cgroup {} uses {}, less than the {} that are asked for: nothing was done; ask for less, or for --all",
                    group.shown(),
                    human_bytes(usage),
                    human_bytes(bytes)
                )));
            }
            let file = directory.join("memory.reclaim");
            if !file.exists() {
                return Err(ActError::Cannot(format!(
                    "this kernel has no memory.reclaim for {} (Linux 5.19 has): `memmgr optimize pageout --cgroup` takes the memory of \
                     its processes, and `echo BYTES > memory.high` has the kernel reclaim the group down to that and slow it down until it is",
                    group.shown()
                )));
            }
            let bytes = match amount {
                Amount::Bytes(bytes) => bytes,
                Amount::All => usage.unwrap_or(u64::MAX >> 1),
            };
            let order = match swappiness {
                Some(swappiness) => format!("{bytes} swappiness={swappiness}"),
                None => bytes.to_string(),
            };
            let asked = matches!(amount, Amount::Bytes(_)).then_some(bytes);
            Ok(Reclaim { file, order, bytes: asked, swappiness })
        }
        // mem_cgroup_force_empty in mm/memcontrol-v1.c: all that it gets, and never of the root.
        Version::V1 => {
            let file = directory.join("memory.force_empty");
            if group.is_root() {
                return Err(ActError::Cannot(
                    "v1 reclaims any group but the root: name one below it, or `memmgr optimize drop-caches` drops the host's caches".to_owned(),
                ));
            }
            let problem = match (amount, swappiness) {
                (Amount::Bytes(_), _) => {
                    "takes no amount: `memmgr optimize reclaim --all` takes all that it gets"
                }
                (_, Some(_)) => {
                    "takes no swappiness: leave it out, or write it to memory.swappiness of the group"
                }
                _ if !file.exists() => {
                    "has no memory.force_empty on this kernel: `memmgr optimize pageout --cgroup` takes the memory of its processes"
                }
                _ => {
                    return Ok(Reclaim {
                        file,
                        order: "0".to_owned(),
                        bytes: None,
                        swappiness: None,
                    });
                }
            };
            Err(ActError::Cannot(format!("{} is a cgroup of v1, which {problem}", group.shown())))
        }
    }
}

impl Reclaim {
    /// What will be written where.
    pub fn step(&self) -> String {
        format!("write {:?} to {}", self.order, self.file.display())
    }

    /// Does it; what the kernel answered.
    ///
    /// # Errors
    /// When the group is gone, or the kernel refuses.
    pub fn run(&self) -> Result<Vec<String>, ActError> {
        let mut steps = vec![self.step()];
        match write(&self.file, &self.order) {
            Ok(()) => {}
            // Less than was asked for; how much is in the figures. v1 does not say.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => {
                steps.push(match self.bytes {
                    Some(_) => "the kernel could not reclaim all of it: the rest is in use, locked, or has no swap to go to".to_owned(),
                    None => "the kernel reclaimed what it could".to_owned(),
                });
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                steps.push(
                    "the kernel was interrupted: less than was asked for is reclaimed".to_owned(),
                );
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput && self.swappiness.is_some() => {
                return Err(ActError::Cannot(format!(
                    "this kernel does not take swappiness {} with memory.reclaim, as newer ones do: nothing was done; leave --swappiness out, \
                     or write it to /proc/sys/vm/swappiness for the host",
                    self.swappiness.map_or_else(String::new, |swappiness| swappiness.to_string())
                )));
            }
            Err(error) => return Err(failed(&self.file, error)),
        }
        Ok(steps)
    }
}

/// The file that compacts the host or a node, and what is written.
///
/// # Errors
/// When this kernel has none, or the host has no such node.
pub fn prepare_compact(roots: &Roots, node: Option<u32>) -> Result<PathBuf, ActError> {
    let file = match node {
        None => roots.proc.join("sys/vm/compact_memory"),
        Some(node) => roots.sys.join(format!("devices/system/node/node{node}/compact")),
    };
    match (file.exists(), node) {
        (true, _) => Ok(file),
        (false, Some(node)) if roots.proc.join("sys/vm/compact_memory").exists() => {
            Err(ActError::Refused(format!(
                "this host has no node {node}: `ls /sys/devices/system/node` shows them; without --node all are compacted"
            )))
        }
        (false, _) => Err(ActError::Cannot(
            "this kernel cannot compact memory (CONFIG_COMPACTION): `memmgr optimize drop-caches` frees memory, some of it in large blocks".to_owned(),
        )),
    }
}

/// Compacts.
///
/// # Errors
/// When the kernel refuses.
pub fn compact(file: &Path) -> Result<Vec<String>, ActError> {
    write(file, "1").map_err(|error| failed(file, error))?;
    Ok(vec![format!("write \"1\" to {}", file.display())])
}

/// Drops caches of the host.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_caches(roots: &Roots, caches: Caches) -> Result<Vec<String>, ActError> {
    let file = roots.proc.join("sys/vm/drop_caches");
    write(&file, caches.code()).map_err(|error| failed(&file, error))?;
    Ok(vec![format!("write {:?} to {}", caches.code(), file.display())])
}

/// The switch of merging, and where it stands.
///
/// # Errors
/// When this kernel has none.
pub fn prepare_merge(roots: &Roots) -> Result<(PathBuf, String), ActError> {
    let file = roots.sys.join("kernel/mm/ksm/run");
    match fs::read_to_string(&file) {
        Ok(run) => Ok((file, run.trim().to_owned())),
        Err(_) => Err(ActError::Cannot(
            "this kernel cannot merge equal pages (CONFIG_KSM): `memmgr optimize reclaim` and `pageout` give back what is not in use".to_owned(),
        )),
    }
}

/// Turns merging on.
///
/// # Errors
/// When the kernel refuses.
pub fn merge(file: &Path, before: &str) -> Result<Vec<String>, ActError> {
    write(file, "1").map_err(|error| failed(file, error))?;
    Ok(vec![format!("write \"1\" to {} (it was {before})", file.display())])
}

/// Writes to a file of the kernel: it is there already, and takes the text whole.
fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

fn failed(file: &Path, error: io::Error) -> ActError {
    let shown = file.display();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ActError::Cannot(format!(
            "memmgr may not write {shown}: run it as root (`sudo memmgr`), on the host and not in a container where it is read-only"
        )),
        ErrorKind::NotFound => ActError::Refused(format!("{shown} is gone: nothing was done")),
        _ if Errno::from_io_error(&error) == Some(Errno::NODEV) => {
            ActError::Refused(format!("{shown} is gone: nothing was done"))
        }
        _ => ActError::io(format!("cannot write {shown}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::roots::fake::FakeTree;

    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const V2: &str = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    fn prepared(
        tree: &FakeTree,
        name: &str,
        amount: Amount,
        swappiness: Option<Swappiness>,
    ) -> Result<(PathBuf, String), String> {
        let group = MemoryCgroup::named(&tree.roots(), Path::new(name)).unwrap();
        let reclaim = prepare_reclaim(&group, amount, swappiness).map_err(|e| e.to_string())?;
        let file = reclaim.file.strip_prefix(tree.path()).unwrap().to_owned();
        Ok((file, reclaim.order))
    }

    #[test]
    fn v2_takes_an_amount_and_swappiness() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2),
            ("cgroup/a/memory.stat", "anon 1\n"),
            ("cgroup/a/memory.current", "5000\n"),
            ("cgroup/a/memory.reclaim", ""),
            ("cgroup/old/memory.stat", "anon 1\n"),
            ("cgroup/old/memory.current", "5000\n"),
        ]);
        let file = PathBuf::from("cgroup/a/memory.reclaim");
        let check = |amount, swappiness, order: &str| {
            let found = prepared(&tree, "/a", amount, swappiness);
            assert_eq!(found, Ok((file.clone(), order.to_owned())));
        };
        check(Amount::Bytes(4000), None, "4000");
        check(Amount::All, None, "5000");
        check(Amount::Bytes(4000), Some(Swappiness::Value(0)), "4000 swappiness=0");
        check(Amount::All, Some(Swappiness::Max), "5000 swappiness=max");
        let error = prepared(&tree, "/a", Amount::Bytes(5001), None).unwrap_err();
        assert!(error.contains("uses 4.9 KiB, less than the 4.9 KiB"), "{error}");
        let error = prepared(&tree, "/old", Amount::All, None).unwrap_err();
        assert!(error.starts_with("this kernel has no memory.reclaim for /old"), "{error}");
    }

    #[test]
    fn v1_takes_all_or_nothing() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V1),
            ("cgroup/memory/memory.stat", "cache 1\n"),
            ("cgroup/memory/memory.force_empty", ""),
            ("cgroup/memory/a/memory.stat", "cache 1\n"),
            ("cgroup/memory/a/memory.usage_in_bytes", "5000\n"),
            ("cgroup/memory/a/memory.force_empty", ""),
        ]);
        let all = prepared(&tree, "/a", Amount::All, None);
        assert_eq!(all, Ok((PathBuf::from("cgroup/memory/a/memory.force_empty"), "0".to_owned())));
        let amount = prepared(&tree, "/a", Amount::Bytes(10), None).unwrap_err();
        assert!(
            amount.ends_with("`memmgr optimize reclaim --all` takes all that it gets"),
            "{amount}"
        );
        let swappiness = prepared(&tree, "/a", Amount::All, Some(Swappiness::Max)).unwrap_err();
        assert!(swappiness.contains("takes no swappiness"), "{swappiness}");
        let root = prepared(&tree, "/", Amount::All, None).unwrap_err();
        assert!(root.starts_with("v1 reclaims any group but the root"), "{root}");
    }

    #[test]
    fn what_a_kernel_lacks_is_said() {
        let tree = FakeTree::new(&[("proc/sys/vm/compact_memory", "")]);
        let roots = tree.roots();
        assert_eq!(
            prepare_compact(&roots, None).unwrap(),
            roots.proc.join("sys/vm/compact_memory")
        );
        assert!(matches!(prepare_compact(&roots, Some(7)), Err(ActError::Refused(_))));
        assert!(matches!(prepare_merge(&roots), Err(ActError::Cannot(_))));
        let none = FakeTree::new(&[]);
        assert!(matches!(prepare_compact(&none.roots(), None), Err(ActError::Cannot(_))));
        // A file of the kernel is never made.
        assert!(drop_caches(&none.roots(), Caches::Pages).is_err());
        assert!(!none.path().join("proc").exists());
    }
}
