//! Whether the pages that the target touched are still there.

use std::time::Duration;

use crate::{
    collect::Collector,
    source::{pagemap::PageMap, process_dir::ProcessDir, roots::Roots},
    units::KernelTime,
};

/// Pages that were booked before and are looked at in a second at most; of more, each has its turn. A page that stands
/// alone takes a system call of about a microsecond, so that this is 1 % of a processor. New pages are all looked at:
/// that costs less than their events did.
const MOST_A_SECOND: f64 = 8_000.0;

/// Says what this host does with pages.
pub(super) fn prepare(roots: &Roots, collector: &mut Collector) {
    // 0 where there is one node or where it was turned off (Documentation/admin-guide/sysctl/kernel.rst).
    let balancing = std::fs::read_to_string(roots.proc.join("sys/kernel/numa_balancing"));
    if balancing.is_ok_and(|text| text.trim() != "0") {
        collector.resident.expect_hints();
    }
}

/// Looks at the pages whose turn it is, of one interval; at none where page faults are not captured.
pub(super) fn look(
    roots: &Roots,
    dir: &ProcessDir,
    collector: &mut Collector,
    interval: Duration,
    now: KernelTime,
) {
    let due = collector.resident.due((MOST_A_SECOND * interval.as_secs_f64()) as usize);
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
