//! Figures of host and cgroup in words, for a report and for a snapshot alike.

use std::collections::BTreeMap;

use crate::{
    report::{Host, Pressure},
    sink::words,
    units::human_bytes,
};

/// What is in use of a limit: `1.0 GiB of 4.0 GiB (25.0%)`.
pub(super) fn of_limit(usage: Option<u64>, limit: Option<u64>) -> String {
    match (usage, limit) {
        (Some(usage), Some(limit)) => format!(
            "{} of {} ({})",
            human_bytes(usage),
            human_bytes(limit),
            words::share(usage, limit)
        ),
        (None, Some(limit)) => format!("unknown, of {}", human_bytes(limit)),
        (Some(usage), None) => format!("{}, without a limit", human_bytes(usage)),
        (None, None) => "unknown".to_owned(),
    }
}

/// Swap in use; nothing on a host without swap.
pub(super) fn swap(host: &Host) -> Option<String> {
    let total = Some(host.swap_total_bytes).filter(|total| *total > 0)?;
    let used = total.saturating_sub(host.swap_free_bytes);
    Some(format!("{} used of {}", human_bytes(used), human_bytes(total)))
}

/// Counters that are not 0; nothing when all are.
pub(super) fn counters(counters: &BTreeMap<String, u64>) -> Option<String> {
    let counters: Vec<String> = counters
        .iter()
        // A switch among the counters of v1's memory.oom_control.
        .filter(|(name, count)| **count > 0 && *name != "oom_kill_disable")
        .map(|(name, count)| format!("{name} {}", words::count(*count)))
        .collect();
    (!counters.is_empty()).then(|| counters.join(", "))
}

/// Shares of the last 10 s, 60 s and 300 s in which tasks waited for memory.
pub(super) fn stalled(pressure: &Pressure) -> String {
    let shares = [("some", &pressure.some), ("all", &pressure.full)].map(|(who, line)| {
        format!("{who} tasks {:.1}/{:.1}/{:.1}%", line.avg10, line.avg60, line.avg300)
    });
    format!("{} of the last 10 s/60 s/5 min", shares.join(", "))
}
