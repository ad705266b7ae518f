//! What an action is judged by, at one moment, and what happened between two of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    report::{Cgroup, Pressure, Process},
    stat::{fragmentation::HUGE_PAGE_ORDER, host::HostStat},
};

/// The kernel's figures at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Seconds since the action began; negative before it.
    pub at_s: f64,
    /// The host.
    pub host: HostStat,
    /// Counters of the host since boot, by the names of `/proc/vmstat`.
    pub counters: BTreeMap<String, u64>,
    /// The cgroup that the action is about, or that of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Group>,
    /// The process, or the processes of the cgroup, added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Processes>,
    /// Merging of equal pages, where the kernel has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merging: Option<Merging>,
    /// What the runtime of the process says of its heap, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap: Option<Heap>,
}

/// A cgroup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Usage, `memory.stat`, events, pressure.
    #[serde(flatten)]
    pub cgroup: Cgroup,
    /// Swap in use.
    pub swap_bytes: Option<u64>,
}

impl Group {
    /// A counter of `memory.stat`, groups below included.
    pub fn counter(&self, name: &str) -> Option<u64> {
        let stat = &self.cgroup.stat;
        // v1 has both, and means the group alone by the plain one.
        stat.get(&format!("total_{name}")).or_else(|| stat.get(name)).copied()
    }
}

/// Processes, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Processes {
    /// How many were read.
    pub count: u64,
    /// How many had ended since the action was prepared.
    pub ended: u64,
    /// Their figures; of shared pages PSS alone counts each once.
    #[serde(flatten)]
    pub sum: Process,
    /// What of them is inactive: on the kernel's lists and not active, by `/proc/kpageflags`. Read for `cold` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_bytes: Option<u64>,
    /// In transparent huge pages (`AnonHugePages`).
    pub huge_bytes: Option<u64>,
    /// Time that their threads ran: `/proc/PID/task/TID/schedstat`.
    pub ran_s: Option<f64>,
    /// Time that their threads were ready to run and waited for a processor.
    pub run_delay_s: Option<f64>,
}

/// Merging of equal pages (`/sys/kernel/mm/ksm`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merging {
    /// `run`: 0 stopped, 1 on, 2 stopped and undone.
    pub run: u64,
    /// `pages_shared`: pages that stand for several.
    pub shared_pages: u64,
    /// `pages_sharing`: pages that were saved by it.
    pub sharing_pages: u64,
    /// `full_scans`: how often all memory that may be merged was looked through.
    pub full_scans: u64,
    /// `general_profit`: bytes saved less what the bookkeeping takes (Linux 6.4).
    pub profit_bytes: Option<i64>,
}

/// The heap of a runtime, as the runtime tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heap {
    /// In use: objects, garbage included.
    pub used_bytes: u64,
    /// Taken from the kernel for it.
    pub committed_bytes: u64,
}

impl Figures {
    /// Bytes that are free in blocks of at least a huge page.
    pub fn high_order_free_bytes(&self) -> u64 {
        let page = rustix::param::page_size() as u64;
        let blocks = self.host.zones.iter().map(crate::stat::fragmentation::Zone::huge_pages_free);
        blocks.sum::<u64>() * (page << HUGE_PAGE_ORDER)
    }

    /// Free blocks of each order, over all zones.
    pub fn free_blocks(&self) -> Vec<u64> {
        let mut sum = Vec::new();
        for zone in &self.host.zones {
            sum.resize(sum.len().max(zone.free_blocks.len()), 0);
            for (order, blocks) in zone.free_blocks.iter().enumerate() {
                sum[order] += blocks;
            }
        }
        sum
    }

    /// The worst fragmentation index of a zone; nothing while every zone has a free huge page.
    pub fn fragmentation_index(&self) -> Option<f64> {
        self.host.zones.iter().filter_map(|zone| zone.fragmentation_index).reduce(f64::max)
    }

    /// Caches that the kernel gives back on demand: of files, of block devices, of names and inodes.
    pub fn cache_bytes(&self) -> u64 {
        let keys = ["file_cache", "buffers", "slab_reclaimable"];
        let bytes = keys.iter().filter_map(|key| self.host.line(key));
        bytes.filter_map(|bytes| u64::try_from(bytes).ok()).sum()
    }

    /// Bytes that left processes, or will be theirs again, and are in memory all the same: until the kernel needs their
    /// pages. Of the cgroup, or of the host where the cgroup does not tell.
    pub fn swap_cached_bytes(&self) -> u64 {
        let of_group = self.cgroup.as_ref().and_then(|group| group.counter("swapcached"));
        of_group.unwrap_or(self.host.swap_cached_bytes)
    }

    /// Pressure of the cgroup, or of the host where the cgroup has none.
    fn pressure(&self) -> Option<&Pressure> {
        let of_group = self.cgroup.as_ref().and_then(|group| group.cgroup.pressure.as_ref());
        of_group.or(self.host.memory.pressure.as_ref())
    }
}

/// What happened between two moments, a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// How long it was.
    pub seconds: f64,
    /// Major faults of the processes, of the cgroup, or of the host.
    pub major_faults: f64,
    /// Faults of the processes, major and minor: a page that is wanted again while it is on its way out costs a minor one.
    pub faults: f64,
    /// Pages that were evicted not long before and wanted again, in bytes: of the cgroup, or of the host.
    pub refaulted_bytes: f64,
    /// Bytes that the host read from block devices (`pgpgin`).
    pub read_bytes: f64,
    /// Bytes that the host read from swap (`pswpin`).
    pub swapped_in_bytes: f64,
    /// Share of the time, 0 to 1, in which some task waited for memory.
    pub stalled_some: Option<f64>,
    /// Share of the time in which all did.
    pub stalled_full: Option<f64>,
    /// Seconds that threads of the processes waited for a processor.
    pub run_delay_s: Option<f64>,
}

impl Rates {
    /// From one moment to a later one. Nothing where no time passed.
    pub fn between(begin: &Figures, end: &Figures) -> Option<Self> {
        let seconds = end.at_s - begin.at_s;
        if seconds <= 0.0 {
            return None;
        }
        let page = rustix::param::page_size() as f64;
        let grown = |of: &dyn Fn(&Figures) -> Option<u64>| {
            Some(of(end)?.saturating_sub(of(begin)?) as f64 / seconds)
        };
        let counter = |name: &'static str| {
            grown(&|figures| figures.counters.get(name).copied()).unwrap_or(0.0)
        };
        let of_group =
            |name: &'static str| grown(&|figures| figures.cgroup.as_ref()?.counter(name));
        let refaults = |kind: &str| match kind {
            "anon" => of_group("workingset_refault_anon")
                .unwrap_or_else(|| counter("workingset_refault_anon")),
            _ => of_group("workingset_refault_file")
                .unwrap_or_else(|| counter("workingset_refault_file")),
        };
        let of_processes = grown(&|figures| figures.processes.as_ref()?.sum.major_faults);
        let share = |of: fn(&Pressure) -> f64| {
            let stalled = of(end.pressure()?) - of(begin.pressure()?);
            Some((stalled / seconds).clamp(0.0, 1.0))
        };
        let delay = |figures: &Figures| figures.processes.as_ref()?.run_delay_s;
        Some(Rates {
            seconds,
            major_faults: of_processes
                .or_else(|| of_group("pgmajfault"))
                .unwrap_or_else(|| counter("pgmajfault")),
            faults: grown(&|figures| {
                let sum = &figures.processes.as_ref()?.sum;
                Some(sum.minor_faults? + sum.major_faults?)
            })
            .unwrap_or(0.0),
            refaulted_bytes: (refaults("anon") + refaults("file")) * page,
            // The kernel counts it in KiB.
            read_bytes: counter("pgpgin") * 1024.0,
            swapped_in_bytes: counter("pswpin") * page,
            stalled_some: share(|pressure| pressure.some.total_s),
            stalled_full: share(|pressure| pressure.full.total_s),
            run_delay_s: delay(end)
                .zip(delay(begin))
                .map(|(end, begin)| ((end - begin) / seconds).max(0.0)),
        })
    }
}
