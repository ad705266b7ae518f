//! Whether the pages that the target touched are still there.

use crate::{
    collect::Collector,
    source::{pagemap::PageMap, process_dir::ProcessDir, roots::Roots},
    units::KernelTime,
};

/// Pages that were booked before and are looked at in one interval at most; of more, each has its turn. New pages
/// are all looked at: that costs less than their events did. A page alone takes a system call, of about a microsecond.
const MOST: usize = 20_000;

/// Says what this host does with pages.
pub(super) fn prepare(roots: &Roots, collector: &mut Collector) {
    // 0 where there is one node or where it was turned off (Documentation/admin-guide/sysctl/kernel.rst).
    let balancing = std::fs::read_to_string(roots.proc.join("sys/kernel/numa_balancing"));
    if balancing.is_ok_and(|text| text.trim() != "0") {
        collector.resident.expect_hints();
    }
}

/// Looks at the pages whose turn it is; none where page faults are not captured.
pub(super) fn look(roots: &Roots, dir: &ProcessDir, collector: &mut Collector, now: KernelTime) {
    let due = collector.resident.due(MOST);
    if due.is_empty() {
        return;
    }
    match PageMap::open(roots, dir).map(|map| map.look(&due)) {
        Ok(Ok(Some(found))) => collector.looked(&found, now),
        // Of a process that has ended the last look stands, as every other figure of it does.
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!("pages were not looked at: {error}"),
        Err(error) => tracing::debug!("pages were not looked at: {error}"),
    }
}
