//! A cgroup's memory, explained.

use serde::{Deserialize, Serialize};

use super::{Line, lines};
use crate::report::Cgroup;

/// A cgroup with all that is below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupStat {
    /// The figures that every report has.
    #[serde(flatten)]
    pub cgroup: Cgroup,
    /// They add up to `usage_bytes`; none where the usage is not known.
    pub lines: Vec<Line>,
    /// `memory.high`, above which the group is slowed down and reclaimed; v2 only. Absent when there is none.
    pub high_bytes: Option<u64>,
    /// The highest usage: `memory.peak`, or `memory.max_usage_in_bytes`.
    pub peak_bytes: Option<u64>,
    /// Swap in use: `memory.swap.current`, or on v1 memory and swap less memory.
    pub swap_bytes: Option<u64>,
    /// `memory.swap.max`; v2 only. Absent when there is none.
    pub swap_limit_bytes: Option<u64>,
    /// The groups directly below, by usage, the largest first.
    pub groups: Vec<Group>,
    /// The processes of the group and of those below it, by resident memory, the largest first.
    pub processes: Vec<Member>,
    /// Processes of it that could not be read, because they ended or are hidden.
    pub processes_unread: u64,
}

/// What a field of `memory.stat` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Bytes by what they are.
    Memory,
    /// Bytes by the lists from which the kernel reclaims.
    Lists,
    /// Counts of what happened: faults, reclaim, refaults, huge pages.
    Activity,
}

impl Meaning {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Meaning; 3] = [Meaning::Memory, Meaning::Lists, Meaning::Activity];

    /// Of a field, by its name: see "memory.stat" in Documentation/admin-guide/cgroup-v2.rst, and for v1 "stat file" in
    /// cgroup-v1/memory.rst. `file_thp`, `anon_thp` and `shmem_thp` are bytes, `thp_*` are counts.
    pub fn of(name: &str) -> Meaning {
        let name = name.strip_prefix("total_").unwrap_or(name);
        let counts = [
            "pg",
            "workingset_",
            "thp_",
            "zswpin",
            "zswpout",
            "zswpwb",
            "swpin",
            "swpout",
            "numa_",
        ];
        if counts.iter().any(|prefix| name.starts_with(prefix)) {
            Meaning::Activity
        } else if name.starts_with("active_")
            || name.starts_with("inactive_")
            || name == "unevictable"
        {
            Meaning::Lists
        } else {
            Meaning::Memory
        }
    }
}

/// A group below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its usage.
    pub usage_bytes: Option<u64>,
    /// Its own hard limit.
    pub limit_bytes: Option<u64>,
}

/// A process of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// The kernel's short name.
    pub comm: String,
    /// Its resident memory, shared pages included, whoever they are charged to.
    pub rss_bytes: Option<u64>,
}

impl CgroupStat {
    /// Explains the usage of a group. `kernel_bytes` is v1's `memory.kmem.usage_in_bytes`.
    pub fn explain(cgroup: &Cgroup, kernel_bytes: Option<u64>) -> Vec<Line> {
        let Some(usage) = cgroup.usage_bytes else { return Vec::new() };
        let stat = |name: &str| cgroup.stat.get(name).copied();
        let shared = "shared memory and tmpfs: only swap can take it";
        let anonymous = "memory of its processes that no file backs: heaps, stacks";
        let files = "pages of files, mostly given back on demand";
        let rest = "everything else, as what is charged ahead to each processor";
        if cgroup.version == "v1" {
            // With the groups below, which usage holds too.
            let total = |name: &str| stat(&format!("total_{name}")).or_else(|| stat(name));
            let shmem = total("shmem");
            // The root's usage is a sum of pages alone (mem_cgroup_usage in mm/memcontrol-v1.c).
            let kernel_bytes = kernel_bytes.filter(|_| cgroup.path != "/");
            let cache = total("cache").map(|cache| cache.saturating_sub(shmem.unwrap_or(0)));
            let parts = [
                ("anonymous", total("rss"), anonymous),
                ("file_cache", cache, files),
                ("shmem", shmem, shared),
                ("kernel", kernel_bytes, "memory of the kernel for it: slab, stacks, page tables"),
            ];
            return lines(usage, &parts, rest);
        }
        let shmem = stat("shmem");
        let file = stat("file").map(|file| file.saturating_sub(shmem.unwrap_or(0)));
        // `kernel` is the sum of the lines that follow it, since Linux 5.18.
        let of_the_kernel = [
            ("slab_reclaimable", "caches of names and inodes, given back on demand"),
            ("slab_unreclaimable", "objects of the kernel"),
            ("kernel_stack", "stacks of the kernel, one a thread"),
            ("pagetables", "page tables"),
            ("sec_pagetables", "page tables of virtual machines"),
            ("percpu", "per-processor data of the kernel"),
            ("vmalloc", "other memory of the kernel (vmalloc)"),
        ];
        let counted: u64 = of_the_kernel.iter().filter_map(|(name, _)| stat(name)).sum();
        let kernel_rest = stat("kernel").map(|kernel| kernel.saturating_sub(counted));
        let mut parts = vec![
            ("anonymous", stat("anon"), anonymous),
            ("file_cache", file, files),
            ("shmem", shmem, shared),
        ];
        parts.extend(of_the_kernel.map(|(name, what)| (name, stat(name), what)));
        parts.push(("kernel_rest", kernel_rest, "the rest of the kernel's memory for it"));
        parts.push(("sock", stat("sock"), "buffers of sockets"));
        parts.push(("zswap", stat("zswap"), "swapped pages, compressed"));
        lines(usage, &parts, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, stat: &[(&str, u64)], kernel: Option<u64>, expected: &[(&str, i64)]) {
        let cgroup = Cgroup {
            version: version.to_owned(),
            usage_bytes: Some(1000),
            stat: stat.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect(),
            ..Cgroup::default()
        };
        let lines = CgroupStat::explain(&cgroup, kernel);
        let shown: Vec<(&str, i64)> =
            lines.iter().map(|line| (line.key.as_str(), line.bytes)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn fields_have_a_meaning() {
        for (name, meaning) in [
            ("anon", Meaning::Memory),
            ("total_rss_huge", Meaning::Memory),
            ("file_thp", Meaning::Memory),
            ("thp_fault_alloc", Meaning::Activity),
            ("total_pgmajfault", Meaning::Activity),
            ("workingset_refault_file", Meaning::Activity),
            ("inactive_anon", Meaning::Lists),
            ("total_unevictable", Meaning::Lists),
            ("unevictable", Meaning::Lists),
            ("swpin_zero", Meaning::Activity),
            ("swapcached", Meaning::Memory),
        ] {
            assert_eq!(Meaning::of(name), meaning, "{name}");
        }
    }

    #[test]
    fn usage_is_explained() {
        check(
            "v1",
            &[("rss", 1), ("total_rss", 400), ("total_cache", 300), ("total_shmem", 100)],
            Some(50),
            &[
                ("anonymous", 400),
                ("file_cache", 200),
                ("shmem", 100),
                ("kernel", 50),
                ("unexplained", 250),
            ],
        );
        check(
            "v2",
            &[
                ("anon", 400),
                ("file", 300),
                ("shmem", 100),
                ("kernel", 90),
                ("slab_reclaimable", 40),
                ("kernel_stack", 20),
                ("sock", 5),
            ],
            None,
            &[
                ("anonymous", 400),
                ("file_cache", 200),
                ("shmem", 100),
                ("slab_reclaimable", 40),
                ("kernel_stack", 20),
                ("kernel_rest", 30),
                ("sock", 5),
                ("unexplained", 205),
            ],
        );
        assert!(CgroupStat::explain(&Cgroup::default(), None).is_empty());
    }
}
