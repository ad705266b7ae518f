//! All cgroups that account memory, as `top`, `watch` and `serve` see them again and again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    cgroup::{V1_UNLIMITED, number},
    cgroup_path::{Hierarchy, Version, display},
    pressure::read_pressure,
    roots::Roots,
    text,
};
use crate::{pattern::Pattern, report::Pressure, units::Pid};

/// A group at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRow {
    /// Its path as in `/proc/PID/cgroup`, `/` for the root. Hostile.
    pub path: String,
    /// Usage, page cache included.
    pub usage_bytes: u64,
    /// Its own hard limit.
    pub limit_bytes: Option<u64>,
    /// What happened to it.
    pub events: Events,
    /// Its pressure, if it was asked for and the kernel tells it (v2).
    pub pressure: Option<Pressure>,
    /// Its own processes, without those of groups below, if they were asked for.
    pub pids: Vec<Pid>,
}

/// How often something happened to a group since it was made, where the kernel counts it; on v2 to those below it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Its memory was reclaimed although it had less than its protection, `memory.low`.
    pub low: Option<u64>,
    /// It was slowed down above `memory.high`.
    pub high: Option<u64>,
    /// It was at its limit: `max` of v2, `memory.failcnt` of v1.
    pub max: Option<u64>,
    /// At its limit nothing could be reclaimed.
    pub oom: Option<u64>,
    /// A process was killed for lack of memory.
    pub oom_kill: Option<u64>,
}

/// What is read of some groups beside their figures: a file for each.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Groups whose pressure is wanted.
    pub pressure: Vec<Pattern>,
    /// Groups whose processes are wanted.
    pub pids: Vec<Pattern>,
}

/// All groups that account memory.
#[derive(Clone, Debug)]
pub struct Groups {
    hierarchy: Option<(Version, Hierarchy)>,
    extras: Extras,
}

impl Groups {
    /// How deep groups are looked at: systemd and Kubernetes need six levels.
    const DEEPEST: usize = 16;
    /// How many groups are looked at.
    const MOST: usize = 10_000;

    /// Finds the hierarchy that accounts memory.
    pub fn find(roots: &Roots, extras: Extras) -> Self {
        let hierarchy = |version| {
            let mut all = Hierarchy::find_all(roots, version).into_iter();
            // On a hybrid host v2 is there too, and accounts no memory.
            all.find(|hierarchy| {
                hierarchy.top().join("memory.stat").exists() || has_memory(hierarchy.top())
            })
            .map(|hierarchy| (version, hierarchy))
        };
        let hierarchy = hierarchy(Version::V1).or_else(|| hierarchy(Version::V2));
        Groups { hierarchy, extras }
    }

    /// Every group now, each after the one it is in. One that is removed meanwhile is left out.
    pub fn read(&self) -> Vec<GroupRow> {
        let Some((version, hierarchy)) = &self.hierarchy else { return Vec::new() };
        let mut rows = Vec::new();
        let mut todo = vec![(hierarchy.top().to_owned(), 0)];
        while let Some((directory, depth)) = todo.pop() {
            rows.extend(self.row(*version, hierarchy, &directory));
            if depth < Self::DEEPEST && rows.len() + todo.len() < Self::MOST {
                let first = todo.len();
                todo.extend(below(&directory).map(|directory| (directory, depth + 1)));
                // The last is taken first.
                todo[first..].sort_by(|a, b| b.cmp(a));
            }
        }
        rows
    }

    /// Whether [`Self::events_file`] is there for groups.
    pub fn has_event_files(&self) -> bool {
        matches!(&self.hierarchy, Some((Version::V2, _)))
    }

    /// The file of a group that changes, and says so to those who wait, whenever one of its [`Events`] happens; none on v1,
    /// which has no such file.
    pub fn events_file(&self, path: &str) -> Option<PathBuf> {
        self.file(path, "memory.events")
    }

    /// The file of a group that takes triggers on its pressure; none on v1.
    pub fn pressure_file(&self, path: &str) -> Option<PathBuf> {
        self.file(path, "memory.pressure")
    }

    fn file(&self, path: &str, name: &str) -> Option<PathBuf> {
        match &self.hierarchy {
            Some((Version::V2, hierarchy)) => {
                Some(hierarchy.directory(Path::new(path))?.join(name))
            }
            _ => None,
        }
    }

    /// The figures of a group; absent for v2's root, which has none, and for a group without the controller.
    fn row(&self, version: Version, hierarchy: &Hierarchy, directory: &Path) -> Option<GroupRow> {
        let (usage, limit) = match version {
            Version::V1 => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
            Version::V2 => ("memory.current", "memory.max"),
        };
        let usage_bytes = number(&directory.join(usage))?;
        let path = display(&hierarchy.cgroup(directory)?);
        let is_wanted = |patterns: &[Pattern]| patterns.iter().any(|wanted| wanted.matches(&path));
        let pressure = match version {
            Version::V2 if is_wanted(&self.extras.pressure) => {
                read_pressure(&directory.join("memory.pressure"))
            }
            _ => None,
        };
        let pids = if is_wanted(&self.extras.pids) { pids(directory) } else { Vec::new() };
        Some(GroupRow {
            usage_bytes,
            limit_bytes: number(&directory.join(limit)).filter(|limit| *limit < V1_UNLIMITED),
            events: events(version, directory),
            pressure,
            pids,
            path,
        })
    }
}

fn has_memory(top: &Path) -> bool {
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "memory")
}

fn events(version: Version, directory: &Path) -> Events {
    let file = match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    let lines = fs::read_to_string(directory.join(file)).unwrap_or_default();
    let count = |name: &str| {
        let mut words = lines.lines().filter_map(|line| line.split_once(' '));
        words.find(|(found, _)| *found == name).and_then(|(_, count)| count.trim().parse().ok())
    };
    Events {
        low: count("low"),
        high: count("high"),
        max: match version {
            Version::V1 => number(&directory.join("memory.failcnt")),
            Version::V2 => count("max"),
        },
        oom: count("oom"),
        oom_kill: count("oom_kill"),
    }
}

/// The processes of a group; 0, which is one of another PID namespace, is left out.
pub(super) fn pids(directory: &Path) -> Vec<Pid> {
    let pids = fs::read(directory.join("cgroup.procs")).unwrap_or_default();
    let numbers = pids.split(|&byte| byte == b'\n').filter_map(text::decimal);
    numbers.filter_map(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0).map(Pid).collect()
}

/// The groups directly below one. A group that is removed meanwhile has none.
pub(super) fn below(directory: &Path) -> impl Iterator<Item = PathBuf> {
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
    use crate::source::{cgroup_tree::read_cgroup_stat, roots::fake::FakeTree};

    const V1_MOUNT: &str =
        "35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const V2_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n\
                            full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n";

    fn read(tree: &FakeTree, extras: Extras) -> Vec<GroupRow> {
        Groups::find(&tree.roots(), extras).read()
    }

    fn row(path: &str, usage_bytes: u64, limit_bytes: Option<u64>, events: Events) -> GroupRow {
        GroupRow { path: path.to_owned(), usage_bytes, limit_bytes, events, ..GroupRow::default() }
    }

    #[test]
    fn all_groups_of_v2() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V2_MOUNT),
            ("cgroup/cgroup.controllers", "cpu memory\n"),
            ("cgroup/b/memory.current", "20\n"),
            ("cgroup/b/memory.max", "max\n"),
            ("cgroup/b/cgroup.procs", "0\n7\n9\n"),
            ("cgroup/a/memory.current", "10\n"),
            ("cgroup/a/memory.max", "30\n"),
            (
                "cgroup/a/memory.events",
                "low 1\nhigh 3\nmax 4\noom 5\noom_kill 2\noom_group_kill 7\n",
            ),
            ("cgroup/a/memory.pressure", PRESSURE),
            ("cgroup/a/c/memory.current", "5\n"),
            ("cgroup/without/cgroup.procs", "7\n"),
        ]);
        let events =
            Events { low: Some(1), high: Some(3), max: Some(4), oom: Some(5), oom_kill: Some(2) };
        let none = Events::default();
        let plain = [
            row("/a", 10, Some(30), events),
            row("/a/c", 5, None, none),
            row("/b", 20, None, none),
        ];
        assert_eq!(read(&tree, Extras::default()), plain);
        let all = || vec![Pattern::new("*").unwrap()];
        let [a, c, b] = plain;
        let pressure = read_pressure(&tree.path().join("cgroup/a/memory.pressure"));
        assert_eq!(pressure.as_ref().map(|pressure| pressure.some.total_s), Some(2.0));
        assert_eq!(
            read(&tree, Extras { pressure: all(), pids: all() }),
            [GroupRow { pressure, ..a }, c, GroupRow { pids: vec![Pid(7), Pid(9)], ..b }]
        );
        let groups = Groups::find(&tree.roots(), Extras::default());
        let file = tree.path().join("cgroup/a/memory.events");
        assert_eq!(groups.events_file("/a"), Some(file));
    }

    #[test]
    fn groups_of_a_container_are_found_by_the_paths_that_are_listed() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", V1_MOUNT),
            ("cgroup/memory/memory.stat", "total_rss 1\n"),
            ("cgroup/memory/memory.usage_in_bytes", "20\n"),
            ("cgroup/memory/y/memory.stat", "total_rss 1\n"),
            ("cgroup/memory/y/memory.usage_in_bytes", "10\n"),
            ("cgroup/memory/y/memory.failcnt", "6\n"),
            ("cgroup/memory/y/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ]);
        let events = Events { max: Some(6), oom_kill: Some(2), ..Events::default() };
        let rows = read(&tree, Extras::default());
        let expected =
            [row("/docker/x", 20, None, Events::default()), row("/docker/x/y", 10, None, events)];
        assert_eq!(rows, expected);
        let stat = read_cgroup_stat(&tree.roots(), Path::new(&rows[1].path)).unwrap();
        assert_eq!((&stat.cgroup.path, stat.cgroup.usage_bytes), (&rows[1].path, Some(10)));
        let groups = Groups::find(&tree.roots(), Extras::default());
        assert_eq!(groups.events_file("/docker/x/y"), None);
    }

    #[test]
    fn no_groups_are_none() {
        assert!(read(&FakeTree::new(&[]), Extras::default()).is_empty());
    }
}
