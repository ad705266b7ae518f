//! Findings about the process as a whole.

use crate::{
    report::{Finding, Report},
    units::human_bytes,
};

use super::{
    own::is_of_allocator,
    severity::{SURE, grade, score, working_set},
    timeline::{climb, rise},
};

/// Resident growth below this is not worth a finding.
const NOTABLE_BYTES: f64 = (4 << 20) as f64;
/// Growth that nothing explains is a warning from here on.
const LARGE_BYTES: f64 = (16 << 20) as f64;
/// Threads and descriptors that came and stayed.
const MANY: f64 = 8.0;
/// From this share of a limit on it is worth a warning, and critical.
const NEAR: f64 = 0.9;
/// And critical from this one.
const AT: f64 = 0.97;

/// All of them, in no order.
pub(super) fn findings(report: &Report) -> Vec<Finding> {
    [rss, threads, descriptors, mappings, retention, arenas, swap, limit]
        .into_iter()
        .filter_map(|look| look(report))
        .collect()
}

pub(super) fn about(kind: &str, subject: &str) -> Finding {
    Finding { kind: kind.to_owned(), subject: Some(subject.to_owned()), ..Finding::default() }
}

/// Resident memory that grows beyond what was allocated and mapped, or touched, since the attach.
fn rss(report: &Report) -> Option<Finding> {
    let climb = climb(report, |point| Some(point.rss_bytes))?;
    let grew = rise(report, |point| Some(point.rss_bytes))?;
    let mapped = report.reconciliation.own_mappings_bytes;
    // Pages are of blocks and mappings, or of what is neither.
    let tracked = (report.totals.live_bytes + mapped).max(report.resident.live_bytes) as f64;
    let unexplained = grew - tracked;
    if unexplained < NOTABLE_BYTES.max(0.3 * grew) {
        return None;
    }
    let mut finding = Finding {
        shape: "linear".to_owned(),
        confidence: climb.confidence * (unexplained / grew),
        growth_bytes_per_s: climb.per_s * unexplained / grew,
        evidence: vec![format!(
            "Resident memory grew by {} all through the capture; {} of it is neither heap nor mappings \
             that memmgr saw being allocated.",
            human_bytes(grew as u64),
            human_bytes(unexplained as u64)
        )],
        recommendation: "It may be memory from before the attach that is touched only now, files and shared memory, or an \
                         allocator that is not covered: see what explains the resident memory, and what is not covered."
            .to_owned(),
        ..about("rss-growth", "resident memory")
    };
    for missing in &report.target.not_covered {
        finding.evidence.push(format!("Not covered: {} ({}).", missing.what, missing.why));
    }
    grade(&mut finding, report, unexplained >= LARGE_BYTES);
    if finding.severity == "critical" {
        // What nobody saw being allocated may end as well as go on.
        "warning".clone_into(&mut finding.severity);
    }
    Some(finding)
}

fn threads(report: &Report) -> Option<Finding> {
    counted(
        report,
        "thread-growth",
        "threads",
        climb(report, |point| point.threads)?,
        "Look for threads that are started for each request or connection and never end, or are not joined.",
    )
}

fn descriptors(report: &Report) -> Option<Finding> {
    counted(
        report,
        "descriptor-growth",
        "open file descriptors",
        climb(report, |point| point.descriptors)?,
        "Look for files and sockets that are not closed, most often on the path of an error; ls -l /proc/PID/fd names them.",
    )
}

fn counted(
    report: &Report,
    kind: &str,
    subject: &str,
    climb: super::timeline::Climb,
    recommendation: &str,
) -> Option<Finding> {
    let came = climb.to - climb.from;
    if came < 4.0 {
        return None;
    }
    let mut finding = Finding {
        shape: "linear".to_owned(),
        confidence: climb.confidence,
        evidence: vec![format!(
            "{:.0} became {:.0} during {:.0} s, growing in every part of the capture and never falling back.",
            climb.from, climb.to, report.duration_s
        )],
        recommendation: recommendation.to_owned(),
        ..about(kind, subject)
    };
    grade(&mut finding, report, came >= MANY);
    Some(finding)
}

/// Mappings near `vm.max_map_count`: mmap, and with it malloc and new threads, fail there.
fn mappings(report: &Report) -> Option<Finding> {
    let (count, most) = (report.process.mappings?, report.host.max_mappings?);
    near(count, most, 0.6).map(|severity| Finding {
        score: score(severity, 1.0, count as f64 / most as f64),
        severity: severity.to_owned(),
        confidence: 1.0,
        evidence: vec![format!("The process has {count} mappings; vm.max_map_count allows {most}.")],
        recommendation: "At the limit mmap fails, and with it malloc and new threads. The mappings by stack show who makes them; \
                         sysctl vm.max_map_count raises the limit."
            .to_owned(),
        ..about("mapping-count", "mappings")
    })
}

/// Usage near the limit of the cgroup.
fn limit(report: &Report) -> Option<Finding> {
    let cgroup = report.cgroup.as_ref()?;
    let (used, most) = (working_set(cgroup)?, cgroup.limit_bytes?);
    near(used, most, NEAR).map(|severity| {
        let kills = cgroup.events.get("oom_kill").copied().unwrap_or(0);
        let mut evidence = vec![format!(
            "{} of {} are in use, without file pages that were not used lately.",
            human_bytes(used),
            human_bytes(most)
        )];
        if kills > 0 {
            evidence.push(format!("The kernel has killed {kills} processes of this cgroup for want of memory."));
        }
        Finding {
            score: score(severity, 1.0, used as f64 / most.max(1) as f64),
            severity: severity.to_owned(),
            confidence: 1.0,
            evidence,
            recommendation: "Raise the limit or lower the load before the kernel kills; then look at the largest stacks.".to_owned(),
            ..about("limit", "memory limit of the cgroup")
        }
    })
}

/// How near a figure is to its limit.
fn near(used: u64, most: u64, from: f64) -> Option<&'static str> {
    let share = used as f64 / most.max(1) as f64;
    match share {
        _ if most == 0 || share < from => None,
        _ if share >= AT => Some("critical"),
        _ if share >= NEAR => Some("warning"),
        _ => Some("info"),
    }
}

/// Memory that the program gave back and its allocator kept.
fn retention(report: &Report) -> Option<Finding> {
    let highest = report.timeline.iter().max_by_key(|point| point.live_bytes)?;
    let last = report.timeline.last()?;
    let freed = highest.live_bytes.saturating_sub(last.live_bytes) as f64;
    let returned = highest.rss_bytes.saturating_sub(last.rss_bytes) as f64;
    let retained = kept_by_allocator(report)?;
    let is_kept = freed >= LARGE_BYTES
        && freed >= 0.5 * highest.live_bytes as f64
        && returned < 0.3 * freed
        && retained as f64 >= 0.5 * freed;
    is_kept.then(|| Finding {
        severity: "info".to_owned(),
        confidence: 0.8,
        score: score("info", 0.8, 0.0),
        evidence: vec![format!(
            "The heap fell by {} from its peak, but resident memory only by {}: the allocator keeps {} that are not allocated.",
            human_bytes(freed as u64),
            human_bytes(returned as u64),
            human_bytes(retained)
        )],
        recommendation: format!("This is no leak: the next peak uses the same memory again. {}", trim_advice(report)),
        ..about("retention", "memory kept by the allocator")
    })
}

/// Resident bytes that the allocator has beyond what is tracked; unknown where the heap of a runtime is among them.
fn kept_by_allocator(report: &Report) -> Option<u64> {
    let figures = &report.reconciliation;
    figures.runtime_heap.is_none().then_some(figures.allocator_retained_bytes)
}

/// How an allocator is made to give memory back.
fn trim_advice(report: &Report) -> &'static str {
    let kind = report.target.allocators.first().map(|allocator| allocator.kind.as_str());
    match kind {
        Some("glibc") => {
            "malloc_trim(0) gives it back; MALLOC_TRIM_THRESHOLD_ and M_MMAP_THRESHOLD govern how much is kept."
        }
        Some("jemalloc") => {
            "dirty_decay_ms and muzzy_decay_ms in MALLOC_CONF govern how long it is kept."
        }
        Some("tcmalloc") => {
            "MallocExtension::ReleaseMemoryToSystem gives it back; TCMALLOC_RELEASE_RATE governs how fast."
        }
        Some("mimalloc") => {
            "mi_collect(true) gives it back; MIMALLOC_PURGE_DELAY governs how long it is kept."
        }
        _ => "See how the allocator is told to give memory back.",
    }
}

/// Many arenas of glibc, each with memory that only its threads use.
fn arenas(report: &Report) -> Option<Finding> {
    const THREADS: u64 = 8;
    let threads = report.process.threads.unwrap_or(report.target.threads);
    let glibc = report.target.allocators.iter().any(|allocator| allocator.kind == "glibc");
    let of_arena = |name: &str| name.contains("new_heap") || name.contains("new_arena");
    let made: u64 = report
        .stacks
        .iter()
        .filter(|stack| stack.class == "mapping" && is_of_allocator(stack, report))
        .filter(|s| s.frames.iter().filter_map(|f| f.function.as_deref()).any(of_arena))
        .map(|stack| stack.alloc_count)
        .sum();
    let figures = &report.reconciliation;
    let retained = kept_by_allocator(report)?;
    let many = glibc
        && threads >= THREADS
        && made >= 2
        && retained as f64 >= 4.0 * LARGE_BYTES
        && retained > figures.tracked_live_bytes;
    many.then(|| Finding {
        severity: "info".to_owned(),
        confidence: SURE,
        score: score("info", SURE, 0.0),
        evidence: vec![format!(
            "{threads} threads; glibc mapped memory for {made} arenas since the attach, and {} of the resident heap are not \
             allocated since the attach.",
            human_bytes(retained)
        )],
        recommendation: "If this is more than the program needs, MALLOC_ARENA_MAX=2 or the tunable glibc.malloc.arena_max \
                         makes threads share arenas, at some cost in speed; jemalloc or tcmalloc avoid the question."
            .to_owned(),
        ..about("arenas", "arenas of glibc")
    })
}

/// Memory of the target that goes to swap.
fn swap(report: &Report) -> Option<Finding> {
    let grew = rise(report, |point| point.swap_bytes)?;
    (grew >= LARGE_BYTES).then(|| Finding {
        severity: "info".to_owned(),
        confidence: 0.9,
        score: score("info", 0.9, 0.5),
        evidence: vec![format!(
            "{} of the process were swapped out during the capture, so that resident memory tells too little.",
            human_bytes(grew as u64)
        )],
        recommendation: "The host or the cgroup is short of memory: look at who else uses it, and at its pressure.".to_owned(),
        ..about("swap", "swapped memory")
    })
}
