//! A cgroup with the groups and the processes below it, for `stat`.

use std::{fs, path::Path};

use super::{
    cgroup::{MemoryCgroup, V1_UNLIMITED, number},
    cgroup_path::{Version, display},
    groups::below,
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
        swap_bytes: group.swap_bytes(),
        swap_limit_bytes: group.number("memory.swap.max"),
        cgroup,
        groups,
        processes,
        processes_unread,
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
