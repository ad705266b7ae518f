//! The kernel's own figures in a report: of the process, its cgroup and the host, and what explains RSS.

use serde::{Deserialize, Serialize};

/// Figures of the target from procfs. Absent means that the kernel did not say, never 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Resident set (`VmRSS`).
    pub rss_bytes: Option<u64>,
    /// Highest resident set (`VmHWM`).
    pub rss_peak_bytes: Option<u64>,
    /// Virtual size (`VmSize`).
    pub virtual_bytes: Option<u64>,
    /// Proportional set (`smaps_rollup` Pss).
    pub pss_bytes: Option<u64>,
    /// Unique set (`Private_Clean` + `Private_Dirty`).
    pub uss_bytes: Option<u64>,
    /// Resident anonymous memory (`RssAnon`).
    pub anon_bytes: Option<u64>,
    /// Resident file pages (`RssFile`).
    pub file_bytes: Option<u64>,
    /// Resident shared memory (`RssShmem`).
    pub shmem_bytes: Option<u64>,
    /// Swapped out (`VmSwap`).
    pub swap_bytes: Option<u64>,
    /// Page tables (`VmPTE`).
    pub page_tables_bytes: Option<u64>,
    /// Locked (`VmLck`).
    pub locked_bytes: Option<u64>,
    /// Huge pages of hugetlbfs (`HugetlbPages`), which RSS does not count.
    pub hugetlb_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Mappings.
    pub mappings: Option<u64>,
    /// Minor faults since the process began.
    pub minor_faults: Option<u64>,
    /// Major faults since the process began.
    pub major_faults: Option<u64>,
}

/// The memory cgroup of the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cgroup {
    /// `v1` or `v2`.
    pub version: String,
    /// Path below the hierarchy's mount point.
    pub path: String,
    /// `memory.current` or `memory.usage_in_bytes`.
    pub usage_bytes: Option<u64>,
    /// The tightest limit on the way to the root; absent when there is none.
    pub limit_bytes: Option<u64>,
    /// `memory.stat`, every field by the kernel's name.
    pub stat: std::collections::BTreeMap<String, u64>,
    /// `memory.events`; on v1 `failcnt` and the fields of `memory.oom_control`.
    pub events: std::collections::BTreeMap<String, u64>,
    /// `memory.pressure`, where there is one.
    pub pressure: Option<Pressure>,
}

/// The host's memory, from `/proc/meminfo` and `/proc/pressure/memory`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// `MemTotal`.
    pub total_bytes: u64,
    /// `MemAvailable`.
    pub available_bytes: Option<u64>,
    /// `MemFree`.
    pub free_bytes: u64,
    /// Total less available: what `free` calls used.
    pub used_bytes: u64,
    /// `SwapTotal`.
    pub swap_total_bytes: u64,
    /// `SwapFree`.
    pub swap_free_bytes: u64,
    /// `vm.max_map_count`: the most mappings that a process may have.
    #[serde(default)]
    pub max_mappings: Option<u64>,
    /// Memory pressure of the host, where the kernel keeps it.
    pub pressure: Option<Pressure>,
}

/// Pressure stall information.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some tasks stalled.
    pub some: PressureLine,
    /// All tasks stalled.
    pub full: PressureLine,
}

/// One line of a pressure file: shares of time in percent, and the total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureLine {
    /// Percent over 10 s.
    pub avg10: f64,
    /// Percent over 60 s.
    pub avg60: f64,
    /// Percent over 300 s.
    pub avg300: f64,
    /// Stalled time since boot.
    pub total_s: f64,
}

/// RSS, explained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Resident bytes, summed over the mappings.
    pub rss_bytes: u64,
    /// Heap bytes that memmgr tracks as outstanding (allocated since the attach).
    pub tracked_live_bytes: u64,
    /// Resident bytes of the allocator's mappings beyond what is tracked: allocated before the
    /// attach, retained after a free, or lost to fragmentation.
    pub allocator_retained_bytes: u64,
    /// The heap of a runtime that is among them, as `the JVM's heap`: mapped before the attach, it cannot be told from the
    /// allocator's memory.
    #[serde(default)]
    pub runtime_heap: Option<String>,
    /// Resident bytes that the target mapped by itself since the attach, not through its allocator.
    pub own_mappings_bytes: u64,
    /// Resident bytes of thread stacks, the main thread's included.
    pub thread_stacks_bytes: u64,
    /// Resident file pages.
    pub file_bytes: u64,
    /// Resident shared memory.
    pub shmem_bytes: u64,
    /// The rest of RSS: changed pages of files, and what is none of the above.
    pub untracked_bytes: u64,
    /// Sentences for people.
    pub explanation: Vec<String>,
}
