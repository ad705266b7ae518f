//! The host's memory: `/proc/meminfo`, `/proc/pressure/memory`, and for the whole of it free blocks and counters.

use procfs::{FromRead, Meminfo, ProcError};

use super::{pressure::read_pressure, roots::Roots};
use crate::{report::Host, stat::host::HostStat};

/// The host's memory could not be read.
#[derive(Debug, thiserror::Error)]
#[error("memmgr cannot read the host's memory figures from {path} ({source}): mount procfs there")]
pub struct HostError {
    /// The file.
    pub path: String,
    /// Why.
    pub source: ProcError,
}

/// Reads the figures of the whole host, whatever cgroup or namespace memmgr runs in.
pub fn read_host(roots: &Roots) -> Result<Host, HostError> {
    Ok(host(roots, &read_meminfo(roots)?))
}

/// Reads what the kernel tells of its memory altogether.
pub fn read_host_stat(roots: &Roots) -> Result<HostStat, HostError> {
    let info = read_meminfo(roots)?;
    let text = |name: &str| std::fs::read_to_string(roots.proc.join(name)).unwrap_or_default();
    Ok(HostStat::new(
        host(roots, &info),
        &info,
        &text("buddyinfo"),
        &text("vmstat"),
        &text("sys/vm/overcommit_memory"),
        rustix::param::page_size() as u64,
    ))
}

/// Processes that the kernel killed for lack of memory since boot: `oom_kill` of `/proc/vmstat`; absent before Linux 4.13.
pub fn oom_kills(roots: &Roots) -> Option<u64> {
    let vmstat = std::fs::read_to_string(roots.proc.join("vmstat")).ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

fn read_meminfo(roots: &Roots) -> Result<Meminfo, HostError> {
    let path = roots.proc.join("meminfo");
    Meminfo::from_file(&path)
        .map_err(|source| HostError { path: path.display().to_string(), source })
}

fn host(roots: &Roots, meminfo: &Meminfo) -> Host {
    let available = meminfo.mem_available;
    Host {
        total_bytes: meminfo.mem_total,
        available_bytes: available,
        free_bytes: meminfo.mem_free,
        used_bytes: meminfo.mem_total.saturating_sub(available.unwrap_or(meminfo.mem_free)),
        swap_total_bytes: meminfo.swap_total,
        swap_free_bytes: meminfo.swap_free,
        max_mappings: std::fs::read_to_string(roots.proc.join("sys/vm/max_map_count"))
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        pressure: read_pressure(&roots.proc.join("pressure/memory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::roots::fake::FakeTree;

    const MEMINFO: &str = "\
MemTotal:        8000000 kB
MemFree:         1000000 kB
MemAvailable:    5000000 kB
Buffers:           10000 kB
Cached:          2000000 kB
SwapCached:            0 kB
Active:           500000 kB
Inactive:         500000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
Dirty:                12 kB
Writeback:             0 kB
Mapped:           300000 kB
Slab:              60000 kB
Committed_AS:    3000000 kB
VmallocTotal:   34359738367 kB
VmallocUsed:       20000 kB
VmallocChunk:          0 kB
";

    #[test]
    fn figures_are_bytes_and_pressure_may_be_absent() {
        let tree =
            FakeTree::new(&[("proc/meminfo", MEMINFO), ("proc/sys/vm/max_map_count", "65530\n")]);
        let expected = Host {
            total_bytes: 8_192_000_000,
            available_bytes: Some(5_120_000_000),
            free_bytes: 1_024_000_000,
            used_bytes: 3_072_000_000,
            swap_total_bytes: 2_048_000_000,
            swap_free_bytes: 1_536_000_000,
            max_mappings: Some(65_530),
            pressure: None,
        };
        assert_eq!(read_host(&tree.roots()).unwrap(), expected);
    }

    #[test]
    fn all_of_the_memory_is_explained() {
        let tree = FakeTree::new(&[
            ("proc/meminfo", MEMINFO),
            ("proc/buddyinfo", "Node 0, zone   Normal 1 0 0 0 0 0 0 0 0 2 0\n"),
            ("proc/vmstat", "oom_kill 2\nnr_free_pages 7\n"),
            ("proc/sys/vm/overcommit_memory", "2\n"),
        ]);
        let stat = read_host_stat(&tree.roots()).unwrap();
        assert_eq!(stat.lines.iter().map(|line| line.bytes).sum::<i64>(), 8_192_000_000);
        assert_eq!(stat.line("file_cache"), Some(2_048_000_000));
        assert_eq!(stat.line("slab_unreclaimable"), Some(61_440_000));
        assert_eq!(stat.overcommit.policy.as_deref(), Some("never"));
        assert_eq!(stat.zones[0].huge_pages_free(), 2);
        assert_eq!(stat.events, [("oom_kill".to_owned(), 2)].into());
        assert_eq!((stat.huge_pages, stat.zswap), (None, None));
    }

    #[test]
    fn missing_file_is_an_error_with_its_path() {
        let tree = FakeTree::new(&[]);
        let message = read_host(&tree.roots()).unwrap_err().to_string();
        assert!(message.contains("proc/meminfo"), "{message}");
    }

    #[test]
    fn this_host_has_memory() {
        let host = read_host(&Roots::default()).unwrap();
        assert!(host.total_bytes > 64 << 20 && host.free_bytes < host.total_bytes, "{host:?}");
        assert!(host.used_bytes > 0 && host.used_bytes < host.total_bytes, "{host:?}");
        let stat = read_host_stat(&Roots::default()).unwrap();
        let sum: i64 = stat.lines.iter().map(|line| line.bytes).sum();
        assert_eq!(sum, stat.memory.total_bytes as i64);
        assert!(!stat.zones.is_empty() && stat.events.contains_key("pgmajfault"), "{stat:?}");
    }
}
