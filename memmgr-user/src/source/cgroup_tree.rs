//! A cgroup with the groups and the processes below it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    cgroup::{MemoryCgroup, V1_UNLIMITED, number},
    cgroup_path::{Hierarchy, Version, display},
    processes::Processes,
    roots::Roots,
    text,
};
use crate::{
    stat::cgroup::{CgroupStat, Group, Member},
    units::Pid,
};

/// There is no such cgroup.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no memory cgroup {0}: give its path as in `/proc/PID/cgroup`, or its directory; \
     `systemd-cgls` and `ls /sys/fs/cgroup` show them"
)]
pub struct NoCgroup(pub String);

/// Reads the cgroup that a person names, see [`MemoryCgroup::named`].
///
/// # Errors
/// When there is none of that name that accounts memory.
pub fn read_cgroup_stat(roots: &Roots, name: &Path) -> Result<CgroupStat, NoCgroup> {
    let group = MemoryCgroup::named(roots, name).ok_or_else(|| NoCgroup(display(name)))?;
    let cgroup = group.read();
    let (peak, limit) = match group.version {
        Version::V1 => ("memory.max_usage_in_bytes", "memory.limit_in_bytes"),
        Version::V2 => ("memory.peak", "memory.max"),
    };
    let swap_bytes = match group.version {
        Version::V1 => group
            .number("memory.memsw.usage_in_bytes")
            .zip(cgroup.usage_bytes)
            .map(|(both, memory)| both.saturating_sub(memory)),
        Version::V2 => group.number("memory.swap.current"),
    };
    let directory = &group.directory;
    let mut groups: Vec<Group> = below(directory)
        .map(|directory| Group {
            name: String::from_utf8_lossy(
                directory.file_name().unwrap_or_default().as_encoded_bytes(),
            )
            .into_owned(),
            usage_bytes: number(&directory.join(match group.version {
                Version::V1 => "memory.usage_in_bytes",
                Version::V2 => "memory.current",
            })),
            limit_bytes: number(&directory.join(limit)).filter(|limit| *limit < V1_UNLIMITED),
        })
        .collect();
    groups.sort_by(|a, b| b.usage_bytes.cmp(&a.usage_bytes).then_with(|| a.name.cmp(&b.name)));
    let (processes, processes_unread) = members(roots, directory);
    Ok(CgroupStat {
        lines: CgroupStat::explain(&cgroup, group.number("memory.kmem.usage_in_bytes")),
        high_bytes: group.number("memory.high"),
        peak_bytes: group.number(peak),
        swap_bytes,
        swap_limit_bytes: group.number("memory.swap.max"),
        cgroup,
        groups,
        processes,
        processes_unread,
    })
}

/// A group at a moment, as `top`, `watch` and `serve` see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its path as in `/proc/PID/cgroup`, `/` for the root. Hostile.
    pub path: String,
    /// Usage, page cache included.
    pub usage_bytes: u64,
    /// Its own hard limit.
    pub limit_bytes: Option<u64>,
    /// Processes of it that the kernel killed for lack of memory; on v2 those below it too.
    pub oom_kills: Option<u64>,
}

/// All groups that account memory.
#[derive(Clone, Debug)]
pub struct Groups {
    hierarchy: Option<(Version, Hierarchy)>,
}

impl Groups {
    /// How deep groups are looked at: systemd and Kubernetes need six levels.
    const DEEPEST: usize = 16;
    /// How many groups are looked at.
    const MOST: usize = 10_000;

    /// Finds the hierarchy that accounts memory.
    pub fn find(roots: &Roots) -> Self {
        let hierarchy = |version| {
            let mut all = Hierarchy::find_all(roots, version).into_iter();
            // On a hybrid host v2 is there too, and accounts no memory.
            all.find(|hierarchy| {
                hierarchy.top().join("memory.stat").exists() || has_memory(hierarchy.top())
            })
            .map(|hierarchy| (version, hierarchy))
        };
        Groups { hierarchy: hierarchy(Version::V1).or_else(|| hierarchy(Version::V2)) }
    }

    /// Every group now, each after the one it is in. One that is removed meanwhile is left out.
    pub fn read(&self) -> Vec<GroupRow> {
        let Some((version, hierarchy)) = &self.hierarchy else { return Vec::new() };
        let mut rows = Vec::new();
        let mut todo = vec![(hierarchy.top().to_owned(), 0)];
        while let Some((directory, depth)) = todo.pop() {
            rows.extend(row(*version, hierarchy, &directory));
            if depth < Self::DEEPEST && rows.len() + todo.len() < Self::MOST {
                let first = todo.len();
                todo.extend(below(&directory).map(|directory| (directory, depth + 1)));
                // The last is taken first.
                todo[first..].sort_by(|a, b| b.cmp(a));
            }
        }
        rows
    }
}

fn has_memory(top: &Path) -> bool {
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "memory")
}

/// The figures of a group; absent for v2's root, which has none, and for a group without the controller.
fn row(version: Version, hierarchy: &Hierarchy, directory: &Path) -> Option<GroupRow> {
    let (usage, limit, events) = match version {
        Version::V1 => ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"),
        Version::V2 => ("memory.current", "memory.max", "memory.events"),
    };
    let events = fs::read_to_string(directory.join(events)).unwrap_or_default();
    Some(GroupRow {
        path: display(&hierarchy.cgroup(directory)?),
        usage_bytes: number(&directory.join(usage))?,
        limit_bytes: number(&directory.join(limit)).filter(|limit| *limit < V1_UNLIMITED),
        oom_kills: events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok()),
    })
}

/// The processes of a group and of those below, by resident memory, and how many could not be read.
fn members(roots: &Roots, directory: &Path) -> (Vec<Member>, u64) {
    let Ok(mut reader) = Processes::open(roots) else { return (Vec::new(), 0) };
    let (mut members, mut unread) = (Vec::new(), 0);
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        todo.extend(below(&directory));
        let pids = fs::read(directory.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.split(|&byte| byte == b'\n').filter_map(text::decimal) {
            // 0 is a process of another PID namespace.
            match u32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| reader.row(Pid(pid))) {
                Some(Ok(Some(row))) => members.push(Member {
                    pid: row.pid.0,
                    comm: row.comm,
                    rss_bytes: Some(row.rss_bytes),
                }),
                Some(Ok(None)) => {}
                _ => unread += 1,
            }
        }
    }
    members.sort_by_key(|member| (std::cmp::Reverse(member.rss_bytes), member.pid));
    (members, unread)
}

/// The groups directly below one. A group that is removed meanwhile has none.
fn below(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{process::tests::STAT, roots::fake::FakeTree};

    const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const V2_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    fn check(tree: &FakeTree, names: &[&str]) -> CgroupStat {
        let read = |name: &str| {
            let name = name.replace("TREE", tree.path().join("cgroup").to_str().unwrap());
            read_cgroup_stat(&tree.roots(), Path::new(&name)).unwrap()
        };
        let first = read(names[0]);
        for name in names {
            assert_eq!(read(name), first, "{name}");
        }
        first
    }

    #[test]
    fn v2_with_groups_and_processes_below() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2_MOUNT),
            ("cgroup/a/memory.stat", "anon 3000\nfile 900\nshmem 100\n"),
            ("cgroup/a/memory.current", "4096\n"),
            ("cgroup/a/memory.high", "max\n"),
            ("cgroup/a/memory.max", "10000\n"),
            ("cgroup/a/memory.swap.current", "12\n"),
            ("cgroup/a/memory.swap.max", "24\n"),
            ("cgroup/a/memory.peak", "5000\n"),
            ("cgroup/a/cgroup.procs", "8\n"),
            ("cgroup/a/b/memory.current", "10\n"),
            ("cgroup/a/b/cgroup.procs", "7\n0\n"),
            ("cgroup/a/c/memory.current", "20\n"),
            ("cgroup/a/c/memory.max", "30\n"),
        ]);
        tree.write("proc/7/stat", STAT);
        let stat = check(&tree, &["/a", "a", "TREE/a", "TREE/a/"]);
        assert_eq!(stat.cgroup.path, "/a");
        assert_eq!(stat.lines.iter().map(|line| line.bytes).sum::<i64>(), 4096);
        assert_eq!((stat.high_bytes, stat.peak_bytes), (None, Some(5000)));
        assert_eq!((stat.swap_bytes, stat.swap_limit_bytes), (Some(12), Some(24)));
        let groups: Vec<_> = stat
            .groups
            .iter()
            .map(|group| (group.name.as_str(), group.usage_bytes, group.limit_bytes))
            .collect();
        assert_eq!(groups, [("c", Some(20), Some(30)), ("b", Some(10), None)]);
        // Process 8 is gone, and 0 is of another namespace.
        assert_eq!((stat.processes.len(), stat.processes_unread), (1, 2));
        assert_eq!(stat.processes[0].pid, 7);
    }

    #[test]
    fn v1_counts_swap_with_memory() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V1_MOUNT),
            ("cgroup/memory/a/memory.stat", "total_rss 3000\ntotal_cache 900\n"),
            ("cgroup/memory/a/memory.usage_in_bytes", "4096\n"),
            ("cgroup/memory/a/memory.memsw.usage_in_bytes", "4108\n"),
            ("cgroup/memory/a/memory.max_usage_in_bytes", "5000\n"),
            ("cgroup/memory/a/memory.kmem.usage_in_bytes", "96\n"),
        ]);
        let stat = check(&tree, &["/a", "TREE/memory/a"]);
        assert_eq!((stat.swap_bytes, stat.peak_bytes), (Some(12), Some(5000)));
        let lines: Vec<(&str, i64)> =
            stat.lines.iter().map(|line| (line.key.as_str(), line.bytes)).collect();
        assert_eq!(
            lines,
            [("anonymous", 3000), ("file_cache", 900), ("kernel", 96), ("unexplained", 100)]
        );
    }

    #[test]
    fn all_groups_are_listed() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2_MOUNT),
            ("cgroup/cgroup.controllers", "cpu memory\n"),
            ("cgroup/b/memory.current", "20\n"),
            ("cgroup/b/memory.max", "max\n"),
            ("cgroup/a/memory.current", "10\n"),
            ("cgroup/a/memory.max", "30\n"),
            ("cgroup/a/memory.events", "low 0\noom_kill 2\noom_group_kill 7\n"),
            ("cgroup/a/c/memory.current", "5\n"),
            ("cgroup/without/cgroup.procs", "7\n"),
        ]);
        let row = |path: &str, usage_bytes, limit_bytes, oom_kills| GroupRow {
            path: path.to_owned(),
            usage_bytes,
            limit_bytes,
            oom_kills,
        };
        assert_eq!(
            Groups::find(&tree.roots()).read(),
            [
                row("/a", 10, Some(30), Some(2)),
                row("/a/c", 5, None, None),
                row("/b", 20, None, None)
            ]
        );
        assert!(Groups::find(&FakeTree::new(&[]).roots()).read().is_empty());
    }

    #[test]
    fn groups_of_a_container_are_found_by_the_paths_that_are_listed() {
        let tree = FakeTree::new(&[
            (
                "proc/self/mountinfo",
                "35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            ),
            ("cgroup/memory/memory.stat", "total_rss 1\n"),
            ("cgroup/memory/memory.usage_in_bytes", "20\n"),
            ("cgroup/memory/y/memory.stat", "total_rss 1\n"),
            ("cgroup/memory/y/memory.usage_in_bytes", "10\n"),
        ]);
        let paths: Vec<String> =
            Groups::find(&tree.roots()).read().into_iter().map(|group| group.path).collect();
        assert_eq!(paths, ["/docker/x", "/docker/x/y"]);
        let stat = read_cgroup_stat(&tree.roots(), Path::new(&paths[1])).unwrap();
        assert_eq!((stat.cgroup.path, stat.cgroup.usage_bytes), (paths[1].clone(), Some(10)));
    }

    #[test]
    fn no_such_group_is_an_error_that_helps() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2_MOUNT),
            ("cgroup/a/cgroup.procs", ""),
            ("elsewhere/memory.stat", ""),
        ]);
        for name in ["/b", "/a", "../elsewhere", "/../elsewhere", ""] {
            let error = read_cgroup_stat(&tree.roots(), Path::new(name)).unwrap_err();
            assert!(error.to_string().contains("/proc/PID/cgroup"), "{error}");
        }
    }
}
