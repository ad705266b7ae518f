//! The host's memory: `/proc/meminfo` and `/proc/pressure/memory`.

use procfs::{FromRead, Meminfo, ProcError};

use super::{pressure::read_pressure, roots::Roots};
use crate::report::Host;

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
    let path = roots.proc.join("meminfo");
    let meminfo = Meminfo::from_file(&path)
        .map_err(|source| HostError { path: path.display().to_string(), source })?;
    let available = meminfo.mem_available;
    Ok(Host {
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
    })
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
    }
}
