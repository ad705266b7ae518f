//! Allocations that keep going to the kernel: memory that is mapped and given back again and again.

use crate::{
    report::{Finding, Report, Served},
    units::{human_bytes, human_count},
};

use super::{
    process::about,
    severity::{SURE, score},
};

/// Calls a second from which on it is worth a finding: at some microseconds each, with the faults and the clearing of pages that
/// follow, it is a percent of a processor.
const OFTEN_PER_S: f64 = 200.0;
/// Of what the calls gave, at least this share was given back: otherwise the program grows, which other findings tell.
const RETURNED: f64 = 0.5;
/// In at least this share of the windows there were calls: a burst is none.
const LASTING: f64 = 0.5;
/// glibc maps no block above this by its own adjustment (`DEFAULT_MMAP_THRESHOLD_MAX`, malloc/malloc.c, 64 bit).
const MOST_THRESHOLD: u64 = 32 << 20;

/// One finding about all of them, or none.
pub(super) fn finding(report: &Report) -> Option<Finding> {
    let served = report.served.as_ref()?;
    let per_s = served.kernel_calls as f64 / report.duration_s.max(f64::MIN_POSITIVE);
    let windows = &served.windows_kernel_calls;
    let busy = windows.iter().filter(|calls| **calls > 0).count();
    let lasts = busy as f64 >= LASTING * windows.len() as f64 && windows.len() > 1;
    let returned = served.returned_bytes as f64 >= RETURNED * served.kernel_bytes as f64;
    if per_s < OFTEN_PER_S || !lasts || !returned {
        return None;
    }
    let hits = served.hit_rate.map_or_else(String::new, |rate| {
        format!(" {:.1} % of the allocations took one.", (1.0 - rate) * 100.0)
    });
    let mut evidence = vec![format!(
        "The allocator called the kernel {} times, {} a second, for {} each on average; {} of {} were given back.{hits}",
        human_count(served.kernel_calls),
        human_count(per_s.round() as u64),
        human_bytes(served.kernel_bytes / served.kernel_calls.max(1)),
        human_bytes(served.returned_bytes),
        human_bytes(served.kernel_bytes),
    )];
    if let Some(most) = served.stacks.first() {
        evidence.push(format!(
            "{} of the calls are for {}.",
            human_count(most.calls),
            most.subject
        ));
    }
    Some(Finding {
        severity: "info".to_owned(),
        confidence: SURE,
        score: score("info", SURE, 0.0),
        evidence,
        recommendation: advice(report, served),
        ..about("kernel-calls", "the allocator's calls to the kernel")
    })
}

/// What makes the allocator keep the memory, with a number where there is one.
fn advice(report: &Report, served: &Served) -> String {
    let kind = report.target.allocators.first().map(|allocator| allocator.kind.as_str());
    let by_mapping = served.ways.first().is_some_and(|way| way.name == "mmap");
    let average = served.kernel_bytes / served.kernel_calls.max(1);
    let enough = (2 * average).next_power_of_two().clamp(1 << 20, MOST_THRESHOLD);
    match kind {
        Some("glibc") if by_mapping && average < MOST_THRESHOLD => format!(
            "Blocks from the mmap threshold on are mapped one by one and unmapped by free. \
             GLIBC_TUNABLES=glibc.malloc.mmap_threshold={enough}:glibc.malloc.trim_threshold={} lets the heap keep them; or reuse one buffer.",
            2 * enough
        ),
        Some("glibc") if by_mapping => {
            "Blocks of this size are always mapped one by one by glibc: reuse one buffer.".to_owned()
        }
        Some("glibc") => format!(
            "The end of the heap is given back and taken again. GLIBC_TUNABLES=glibc.malloc.trim_threshold={}:glibc.malloc.top_pad={enough} lets \
             the heap keep it.",
            8 * enough
        ),
        Some("jemalloc") => {
            "dirty_decay_ms and muzzy_decay_ms in MALLOC_CONF govern how long freed memory is kept: raise them.".to_owned()
        }
        Some("mimalloc") => {
            "MIMALLOC_PURGE_DELAY governs how long freed memory is kept: raise it.".to_owned()
        }
        Some("tcmalloc") => {
            "TCMALLOC_RELEASE_RATE governs how fast freed memory is given back: lower it.".to_owned()
        }
        _ => "Reuse buffers, or tell the allocator to keep more of what is freed.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Allocator, Missing, Target, Way};

    fn served(calls: u64, average: u64, returned: f64, way: &str, windows: &[u64]) -> Served {
        let bytes = calls * average;
        Served {
            allocations: 10 * calls,
            kernel_calls: calls,
            kernel_bytes: bytes,
            returned_bytes: (bytes as f64 * returned) as u64,
            hit_rate: Some(0.9),
            uncounted: None,
            ways: vec![Way { name: way.to_owned(), calls, bytes }],
            stacks: vec![Missing { subject: "load".into(), calls, ..Missing::default() }],
            windows_allocations: vec![1; windows.len()],
            windows_kernel_calls: windows.to_vec(),
        }
    }

    /// Words of the advice; none without a finding.
    fn check(kind: &str, served: Served, expected: &[&str]) {
        let allocators = vec![Allocator { kind: kind.to_owned(), ..Allocator::default() }];
        let report = Report {
            duration_s: 10.0,
            target: Target { allocators, ..Target::default() },
            served: Some(served),
            ..Report::default()
        };
        let found = finding(&report);
        assert_eq!(found.is_some(), !expected.is_empty(), "{found:?}");
        for words in expected {
            let said = found.as_ref().map(|f| f.recommendation.as_str()).unwrap_or_default();
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn churn_is_told_with_a_number() {
        let all = [100; 10];
        let mib = 1 << 20;
        check("glibc", served(5000, mib, 1.0, "mmap", &all), &["mmap_threshold=2097152"]);
        check("glibc", served(5000, 128 << 10, 1.0, "brk", &all), &["trim_threshold=8388608"]);
        check("glibc", served(5000, 64 * mib, 1.0, "mmap", &all), &["reuse one buffer"]);
        check("jemalloc", served(5000, mib, 1.0, "mmap", &all), &["dirty_decay_ms"]);
        // Seldom, a burst, growth.
        check("glibc", served(500, mib, 1.0, "mmap", &all), &[]);
        check("glibc", served(5000, mib, 1.0, "mmap", &[5000, 0, 0, 0, 0, 0, 0, 0, 0, 0]), &[]);
        check("glibc", served(5000, mib, 0.1, "mmap", &all), &[]);
    }
}
