//! The memory cgroup of a process: usage, the limit that counts, statistics, events and pressure.
//!
//! Every file is read by itself: one that is absent leaves its figure absent.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    cgroup_path::{Hierarchy, Version, display, memory_membership, parse_memberships},
    groups::{below, pids},
    pressure::read_pressure,
    roots::Roots,
    text,
};
use crate::{report::Cgroup, units::Pid};

/// v1 says "no limit" with the largest number of pages in bytes, which depends on the page size and is
/// always above this; no host has as much memory.
pub(super) const V1_UNLIMITED: u64 = 1 << 62;

/// The cgroup that a process's memory is charged to, found once and then read as often as needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCgroup {
    pub(super) version: Version,
    path: PathBuf,
    pub(super) directory: PathBuf,
    top: PathBuf,
}

/// Everything about the memory cgroup of a process; absent when there is none or it cannot be seen from here.
pub fn read_cgroup(roots: &Roots, pid: Pid) -> Option<Cgroup> {
    Some(MemoryCgroup::find(roots, pid)?.read())
}

impl MemoryCgroup {
    /// Finds the cgroup that the process's memory is charged to now. Absent when the host accounts none, or
    /// when the cgroup was removed or lies outside of our cgroup namespace.
    pub fn find(roots: &Roots, pid: Pid) -> Option<Self> {
        let content = fs::read(roots.process(pid).join("cgroup")).ok()?;
        let memberships = parse_memberships(&content);
        let (version, membership) = memory_membership(&memberships)?;
        let (hierarchy, directory) =
            Hierarchy::find_all(roots, version).into_iter().find_map(|hierarchy| {
                let directory =
                    hierarchy.directory(&membership.path).filter(|directory| directory.is_dir())?;
                Some((hierarchy, directory))
            })?;
        // v2 charges the nearest group upwards that has the memory controller, which is where `memory.stat` is.
        let (path, directory) = membership
            .path
            .ancestors()
            .zip(upwards(&directory, hierarchy.top()))
            .find(|(_, directory)| directory.join("memory.stat").exists())?;
        Some(Self {
            version,
            path: path.to_owned(),
            directory: directory.to_owned(),
            top: hierarchy.top().to_owned(),
        })
    }

    /// The cgroup that a person names: by its directory (`/sys/fs/cgroup/a`), or by its path as in `/proc/PID/cgroup`
    /// (`/a`, or `a`). Absent when there is none, or none that accounts memory.
    pub fn named(roots: &Roots, name: &Path) -> Option<Self> {
        let path = Path::new("/").join(name);
        [Version::V1, Version::V2].into_iter().find_map(|version| {
            Hierarchy::find_all(roots, version).into_iter().find_map(|hierarchy| {
                let (path, directory) = match hierarchy.cgroup(name) {
                    Some(path) => (path, name.components().collect()),
                    None => (path.clone(), hierarchy.directory(&path)?),
                };
                directory.join("memory.stat").exists().then(|| Self {
                    version,
                    path,
                    directory,
                    top: hierarchy.top().to_owned(),
                })
            })
        })
    }

    /// Whether it is of v1 or of v2.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its path as text; bytes that are no UTF-8 are replaced. Hostile.
    pub fn shown(&self) -> String {
        display(&self.path)
    }

    /// Whether no group is above it.
    pub fn is_root(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Swap in use in bytes: on v1 memory and swap less memory.
    pub fn swap_bytes(&self) -> Option<u64> {
        match self.version {
            Version::V1 => {
                let both = self.number("memory.memsw.usage_in_bytes")?;
                Some(both.saturating_sub(self.usage_bytes()?))
            }
            Version::V2 => self.number("memory.swap.current"),
        }
    }

    /// How much more of it may be swapped out, by the limits of v2 on the way to the root; absent without a limit.
    pub fn swap_room_bytes(&self) -> Option<u64> {
        let rooms = upwards(&self.directory, &self.top).filter_map(|group| {
            let limit = number(&group.join("memory.swap.max"))?;
            Some(limit.saturating_sub(number(&group.join("memory.swap.current"))?))
        });
        rooms.min()
    }

    /// The processes of it and of the groups below; those of other PID namespaces have no number here.
    pub fn pids(&self) -> Vec<Pid> {
        let mut all = Vec::new();
        let mut todo = vec![self.directory.clone()];
        while let Some(directory) = todo.pop() {
            all.extend(pids(&directory));
            todo.extend(below(&directory));
        }
        all.sort_unstable();
        all
    }

    /// Usage in bytes, page cache included. One small file: for every interval.
    pub fn usage_bytes(&self) -> Option<u64> {
        self.number(match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        })
    }

    /// The tightest hard limit in bytes on the way to the root. Limits above the top of our cgroup namespace
    /// cannot be seen with v2.
    pub fn limit_bytes(&self) -> Option<u64> {
        self.limit(&self.pairs("memory.stat"))
    }

    /// All figures.
    pub fn read(&self) -> Cgroup {
        let stat = self.pairs("memory.stat");
        let limit_bytes = self.limit(&stat);
        let events = match self.version {
            Version::V1 => {
                let mut events = self.pairs("memory.oom_control");
                events.extend(
                    self.number("memory.failcnt").map(|count| ("failcnt".to_owned(), count)),
                );
                events
            }
            Version::V2 => self.pairs("memory.events"),
        };
        Cgroup {
            version: match self.version {
                Version::V1 => "v1".to_owned(),
                Version::V2 => "v2".to_owned(),
            },
            path: display(&self.path),
            usage_bytes: self.usage_bytes(),
            limit_bytes,
            stat,
            events,
            pressure: read_pressure(&self.directory.join("memory.pressure")),
        }
    }

    fn limit(&self, stat: &BTreeMap<String, u64>) -> Option<u64> {
        let limits = |name: &str| {
            upwards(&self.directory, &self.top).filter_map(|group| number(&group.join(name))).min()
        };
        match self.version {
            // The kernel has done the walk, with the groups that we cannot see and without those that
            // do not count (`memory.use_hierarchy` 0).
            Version::V1 => stat
                .get("hierarchical_memory_limit")
                .copied()
                .or_else(|| limits("memory.limit_in_bytes"))
                .filter(|&limit| limit < V1_UNLIMITED),
            // `max` is no number.
            Version::V2 => limits("memory.max"),
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        number(&self.directory.join(name))
    }

    /// A file of `name value` lines; empty when there is none.
    fn pairs(&self, name: &str) -> BTreeMap<String, u64> {
        let content = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        content.lines().filter_map(pair).collect()
    }
}

pub(super) fn number(path: &Path) -> Option<u64> {
    text::decimal(&fs::read(path).ok()?)
}

/// A directory and those above it, as far as `top`.
fn upwards<'a>(directory: &'a Path, top: &'a Path) -> impl Iterator<Item = &'a Path> {
    directory.ancestors().take_while(move |directory| directory.starts_with(top))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::Pressure, source::roots::fake::FakeTree};

    const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const V2_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const HYBRID_MOUNTS: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn pairs(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn v2_with_everything() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2_MOUNT),
            ("proc/7/cgroup", "0::/a/b\n"),
            ("cgroup/memory.stat", "anon 1\n"),
            ("cgroup/a/memory.stat", "anon 5000\n"),
            ("cgroup/a/memory.max", "1000000\n"),
            ("cgroup/a/b/memory.max", "2000000\n"),
            ("cgroup/a/b/memory.current", "4096\n"),
            ("cgroup/a/b/memory.stat", "anon 4000\nfile 96\nbroken\nworse -1\n"),
            ("cgroup/a/b/memory.events", "low 0\noom_kill 3\n"),
            (
                "cgroup/a/b/memory.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
        ]);
        let expected = Cgroup {
            version: "v2".into(),
            path: "/a/b".into(),
            usage_bytes: Some(4096),
            limit_bytes: Some(1_000_000),
            stat: pairs(&[("anon", 4000), ("file", 96)]),
            events: pairs(&[("low", 0), ("oom_kill", 3)]),
            pressure: Some(Pressure::default()),
        };
        assert_eq!(read_cgroup(&tree.roots(), Pid(7)), Some(expected));
    }

    #[test]
    fn v2_group_without_the_controller_is_charged_upwards() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2_MOUNT),
            ("proc/7/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/cgroup.procs", "7\n"),
            ("cgroup/a/memory.stat", "anon 5000\n"),
            ("cgroup/a/memory.max", "max\n"),
        ]);
        let cgroup = read_cgroup(&tree.roots(), Pid(7)).unwrap();
        let expected = Cgroup {
            version: "v2".into(),
            path: "/a".into(),
            stat: pairs(&[("anon", 5000)]),
            ..Cgroup::default()
        };
        assert_eq!(cgroup, expected);
    }

    #[test]
    fn v1_beside_an_empty_v2() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", HYBRID_MOUNTS),
            ("proc/7/cgroup", "4:memory:/a\n0::/\n"),
            ("cgroup/unified/cgroup.procs", "7\n"),
            ("cgroup/memory/a/memory.usage_in_bytes", "8192\n"),
            ("cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cgroup/memory/a/memory.stat", "rss 4096\nhierarchical_memory_limit 500000\n"),
            ("cgroup/memory/a/memory.failcnt", "2\n"),
            ("cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ]);
        let expected = Cgroup {
            version: "v1".into(),
            path: "/a".into(),
            usage_bytes: Some(8192),
            limit_bytes: Some(500_000),
            stat: pairs(&[("rss", 4096), ("hierarchical_memory_limit", 500_000)]),
            events: pairs(&[
                ("failcnt", 2),
                ("oom_kill_disable", 0),
                ("under_oom", 0),
                ("oom_kill", 1),
            ]),
            pressure: None,
        };
        assert_eq!(read_cgroup(&tree.roots(), Pid(7)), Some(expected));
    }

    #[test]
    fn v1_limits() {
        for (own, parent, stat, expected) in [
            ("9223372036854771712", "9223372036854710272", "rss 1\n", None),
            ("9223372036854771712", "700", "rss 1\n", Some(700)),
            ("600", "700", "rss 1\n", Some(600)),
            ("600", "700", "hierarchical_memory_limit 100\n", Some(100)),
            ("600", "100", "hierarchical_memory_limit 600\n", Some(600)),
            ("600", "700", "hierarchical_memory_limit 9223372036854771712\n", None),
        ] {
            let tree = FakeTree::new(&[
                ("proc/self/mountinfo", V1_MOUNT),
                ("proc/7/cgroup", "4:memory:/p/c\n"),
                ("cgroup/memory/p/memory.limit_in_bytes", parent),
                ("cgroup/memory/p/c/memory.limit_in_bytes", own),
                ("cgroup/memory/p/c/memory.stat", stat),
            ]);
            let cgroup = MemoryCgroup::find(&tree.roots(), Pid(7)).unwrap();
            assert_eq!(cgroup.limit_bytes(), expected, "{own} {parent} {stat}");
            assert_eq!(cgroup.usage_bytes(), None);
        }
    }

    #[test]
    fn mount_that_shows_only_a_container() {
        let tree = FakeTree::new(&[
            (
                "proc/self/mountinfo",
                "35 31 0:32 /docker/z /sys/fs/cgroup/other rw - cgroup cgroup rw,memory\n\
                 36 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            ),
            ("proc/7/cgroup", "4:memory:/docker/x/y\n"),
            ("cgroup/memory/y/memory.stat", "rss 1\n"),
        ]);
        assert_eq!(read_cgroup(&tree.roots(), Pid(7)).unwrap().path, "/docker/x/y");
    }

    #[test]
    fn no_cgroup_is_absent() {
        for (mountinfo, membership) in [
            (V2_MOUNT, "0::/../../other\n"),
            (V2_MOUNT, "0::/gone (deleted)\n"),
            (V2_MOUNT, "0::/empty\n"),
            (V2_MOUNT, "4:memory:/a\n"),
            (V2_MOUNT, ""),
            ("", "0::/a\n"),
        ] {
            let tree = FakeTree::new(&[
                ("proc/self/mountinfo", mountinfo),
                ("proc/7/cgroup", membership),
                ("cgroup/a/memory.stat", "anon 1\n"),
                ("cgroup/empty/cgroup.procs", "7\n"),
            ]);
            assert_eq!(read_cgroup(&tree.roots(), Pid(7)), None, "{membership}");
        }
        assert_eq!(read_cgroup(&FakeTree::new(&[]).roots(), Pid(7)), None);
    }

    #[test]
    fn own_cgroup_where_the_host_accounts_memory() {
        let controllers =
            fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        let accounted = Path::new("/sys/fs/cgroup/memory/memory.stat").exists()
            || controllers.split_whitespace().any(|controller| controller == "memory");
        let found = read_cgroup(&Roots::default(), Pid(std::process::id()));
        assert_eq!(found.is_some(), accounted);
        if let Some(cgroup) = found {
            assert!(["v1", "v2"].contains(&cgroup.version.as_str()), "{cgroup:?}");
            assert!(
                !cgroup.stat.is_empty()
                    && cgroup.limit_bytes.is_none_or(|limit| limit < V1_UNLIMITED)
            );
        }
    }
}
