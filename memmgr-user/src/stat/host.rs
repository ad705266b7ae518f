//! The host's memory, explained.

use std::collections::BTreeMap;

use procfs::Meminfo;
use serde::{Deserialize, Serialize};

use super::{Line, fragmentation::Zone, lines};
use crate::report::Host;

/// The host's memory at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStat {
    /// The figures that every report has.
    #[serde(flatten)]
    pub memory: Host,
    /// They add up to `total_bytes`.
    pub lines: Vec<Line>,
    /// File pages that wait to be written (`Dirty`).
    pub dirty_bytes: u64,
    /// File pages that are being written (`Writeback`).
    pub writeback_bytes: u64,
    /// File pages that processes have mapped (`Mapped`).
    pub mapped_bytes: u64,
    /// Pages that cannot be reclaimed, as those that are locked (`Unevictable`).
    pub unevictable_bytes: Option<u64>,
    /// Anonymous memory in transparent huge pages (`AnonHugePages`).
    pub anon_huge_bytes: Option<u64>,
    /// Swapped pages that are in memory as well (`SwapCached`).
    pub swap_cached_bytes: u64,
    /// Memory of the kernel without one physical piece (`VmallocUsed`), stacks of the kernel included.
    pub vmalloc_bytes: u64,
    /// The reserve of huge pages, if there is one.
    pub huge_pages: Option<HugePages>,
    /// Swapped pages that are kept compressed in memory; absent where the kernel has no zswap.
    pub zswap: Option<Zswap>,
    /// What was promised to processes.
    pub overcommit: Overcommit,
    /// Free memory by zone.
    pub zones: Vec<Zone>,
    /// Counters since boot, by the kernel's names: `pgmajfault`, `pswpin`, `oom_kill` and others.
    pub events: BTreeMap<String, u64>,
}

/// Huge pages of the default size that are set aside for hugetlbfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// Size of one.
    pub size_bytes: u64,
    /// How many there are.
    pub total: u64,
    /// How many hold nothing.
    pub free: u64,
    /// Of the free, those that are promised.
    pub reserved: u64,
    /// Above `vm.nr_hugepages`.
    pub surplus: u64,
}

/// The compressed cache before swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zswap {
    /// Memory that it takes (`Zswap`).
    pub pool_bytes: u64,
    /// What it holds, uncompressed (`Zswapped`).
    pub stored_bytes: u64,
}

/// What the kernel promised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overcommit {
    /// `vm.overcommit_memory`: `heuristic`, `always` or `never`.
    pub policy: Option<String>,
    /// `Committed_AS`.
    pub committed_bytes: u64,
    /// `CommitLimit`, which binds only where the policy is `never`.
    pub limit_bytes: Option<u64>,
}

/// Counters of `/proc/vmstat` that tell trouble; those of a zone are added up.
const EVENTS: [&str; 14] = [
    "allocstall_",
    "compact_fail",
    "compact_stall",
    "compact_success",
    "oom_kill",
    "pgmajfault",
    "pgscan_direct",
    "pgsteal_direct",
    "pswpin",
    "pswpout",
    "thp_fault_fallback",
    "workingset_refault_anon",
    "workingset_refault_file",
    "zswpwb",
];

impl HostStat {
    /// Puts together what was read: `/proc/meminfo`, `/proc/buddyinfo`, `/proc/vmstat` and `vm.overcommit_memory`, each
    /// of the last three empty where it could not be read.
    pub fn new(
        memory: Host,
        info: &Meminfo,
        buddies: &str,
        vmstat: &str,
        overcommit: &str,
        page_bytes: u64,
    ) -> Self {
        let shmem = info.shmem.unwrap_or(0);
        let parts = [
            ("free", Some(info.mem_free), "free"),
            ("anonymous", info.anon_pages, "memory of processes that no file backs: heaps, stacks"),
            (
                "file_cache",
                Some(info.cached.saturating_sub(shmem)),
                "pages of files, mostly given back on demand",
            ),
            ("buffers", Some(info.buffers), "pages of block devices and of filesystems' own data"),
            ("shmem", info.shmem, "shared memory and tmpfs: only swap can take it"),
            (
                "slab_reclaimable",
                info.s_reclaimable,
                "the kernel's caches of names and inodes, given back on demand",
            ),
            (
                "slab_unreclaimable",
                info.s_unreclaim.or(info.s_reclaimable.is_none().then_some(info.slab)),
                "objects of the kernel",
            ),
            ("kernel_stacks", info.kernel_stack, "stacks of the kernel, one a thread"),
            ("page_tables", info.page_tables, "page tables"),
            (
                "page_tables_of_guests",
                info.secondary_page_tables,
                "page tables of virtual machines",
            ),
            ("percpu", info.per_cpu, "per-processor data of the kernel"),
            ("huge_pages", info.hugetlb, "huge pages that are set aside, in use or not"),
            ("zswap", info.z_swap, "swapped pages, compressed"),
        ];
        let events = events(vmstat);
        HostStat {
            lines: lines(info.mem_total, &parts, "everything else: kernel and drivers, uncounted"),
            dirty_bytes: info.dirty,
            writeback_bytes: info.writeback,
            mapped_bytes: info.mapped,
            unevictable_bytes: info.unevictable,
            anon_huge_bytes: info.anon_hugepages,
            swap_cached_bytes: info.swap_cached,
            vmalloc_bytes: info.vmalloc_used,
            huge_pages: huge_pages(info),
            zswap: info
                .z_swap
                .zip(info.z_swapped)
                .map(|(pool_bytes, stored_bytes)| Zswap { pool_bytes, stored_bytes }),
            overcommit: Overcommit {
                policy: match overcommit.trim() {
                    "0" => Some("heuristic".to_owned()),
                    "1" => Some("always".to_owned()),
                    "2" => Some("never".to_owned()),
                    _ => None,
                },
                committed_bytes: info.committed_as,
                limit_bytes: info.commit_limit,
            },
            zones: buddies.lines().filter_map(|line| Zone::parse(line, page_bytes)).collect(),
            events,
            memory,
        }
    }

    /// The bytes of a line.
    pub fn line(&self, key: &str) -> Option<i64> {
        self.lines.iter().find(|line| line.key == key).map(|line| line.bytes)
    }
}

fn huge_pages(info: &Meminfo) -> Option<HugePages> {
    Some(HugePages {
        // The procfs crate takes kB off the size and leaves counts as they are.
        size_bytes: info.hugepagesize?,
        total: info.hugepages_total.filter(|total| *total > 0)?,
        free: info.hugepages_free?,
        reserved: info.hugepages_rsvd.unwrap_or(0),
        surplus: info.hugepages_surp.unwrap_or(0),
    })
}

fn events(vmstat: &str) -> BTreeMap<String, u64> {
    let mut events = BTreeMap::new();
    for (name, count) in vmstat.lines().filter_map(|line| line.split_once(' ')) {
        let Some(wanted) = EVENTS.iter().find(|wanted| {
            name == **wanted || (wanted.ends_with('_') && name.starts_with(**wanted))
        }) else {
            continue;
        };
        if let Ok(count) = count.trim().parse::<u64>() {
            *events.entry(wanted.trim_end_matches('_').to_owned()).or_default() += count;
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_zones_are_one() {
        let text = "allocstall_normal 3\nallocstall_movable 4\noom_kill 1\noom_kill_other 9\nbroken\npswpin x\n";
        let expected = [("allocstall".to_owned(), 7), ("oom_kill".to_owned(), 1)];
        assert_eq!(events(text), BTreeMap::from(expected));
    }
}
