//! What a capture says about itself: the target, how it was captured, what was lost.

use memmgr_common::Counter;

use crate::{
    bpf::Books,
    capture::{CapturePlan, Selection, facts::Facts},
    collect::Collector as Collecting,
    govern::{Budget, Governor},
    pipeline::{Captured, Ended},
    source::{cgroup_path::memory_membership, identity::Identity},
    units::{KernelTime, human_count},
};

use super::{
    Accounting, Action, Capture, Collector, Filter, Loss, NotCovered, Overhead, StackChoice,
    Target,
    last_look::LastLook,
    mapped_by::{fills_later, opens_later},
};

/// A capture as it stands, while it runs or when it has ended.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// What was asked for.
    pub plan: &'a CapturePlan,
    /// What the session is.
    pub facts: &'a Facts,
    /// The collector.
    pub collector: &'a Collecting,
    /// The kernel part's books.
    pub books: &'a Books,
    /// The budget, and what was done to keep it.
    pub governor: &'a Governor,
    /// When counting began, and now or when it ended.
    pub span: (KernelTime, KernelTime),
    /// Why it ended.
    pub ended: Option<Ended>,
}

impl<'a> Standing<'a> {
    /// A capture that has ended.
    pub fn of(plan: &'a CapturePlan, captured: &'a Captured) -> Self {
        Standing {
            plan,
            facts: &captured.facts,
            collector: &captured.collector,
            books: &captured.books,
            governor: &captured.governor,
            span: captured.span,
            ended: Some(captured.ended),
        }
    }
}

/// The target, its allocators, and what is not covered.
pub(super) fn target(captured: &Standing<'_>, stack: &StackChoice, last: &LastLook) -> Target {
    let facts = captured.facts;
    let identity = &facts.identity;
    let mut not_covered = facts.not_covered.clone();
    if captured.collector.counts.forks > 0 {
        not_covered.push(NotCovered {
            what: format!(
                "{} child processes that the target made",
                captured.collector.counts.forks
            ),
            why: if captured.plan.in_group {
                "figures of a process are its own: children that were captured are processes of the group by themselves"
            } else {
                "only the target itself is captured; `-p PID --follow-forks` captures those that a process makes, too"
            }
            .into(),
        });
    }
    let without = stack.files.iter().filter(|file| file.unwind != "frame pointers").count();
    if stack.kind == "fp" && without > 0 {
        not_covered.push(NotCovered {
            what: format!("callers in {without} of {} mapped files", stack.files.len()),
            why: "they keep no frame pointers, and --stack fp was asked for: stacks miss frames or end early; --stack dwarf \
                  shows them"
                .into(),
        });
    }
    let modules = || captured.collector.modules.iter();
    if !captured.plan.traces_faults() && modules().any(|module| opens_later(&module.path)) {
        not_covered.push(NotCovered {
            what: "the heap of V8 (Node)".into(),
            why: "V8 reserves address space and opens it part by part, which no mapping tells; its page faults by stack do, in \
                  the default mode and with --mode growth"
                .into(),
        });
    }
    if modules().any(|module| fills_later(&module.path)) {
        not_covered.push(NotCovered {
            what: "objects in the JVM's heap".into(),
            why: "a JVM maps its heap in large parts and fills them by itself: what it maps more is shown, what is in it is not; \
                  `jcmd PID GC.class_histogram` shows that"
                .into(),
        });
    }
    not_covered.extend(pages(captured));
    let functions = facts.allocators.iter().flat_map(|allocator| &allocator.functions);
    let probed = !facts.allocators.is_empty();
    if probed && functions.map(|function| function.hits).sum::<u64>() == 0 {
        not_covered.push(NotCovered {
            what: "the probed functions were never called".into(),
            why: "the target was idle, or it uses another allocator than those listed".into(),
        });
    }
    Target {
        threads: last.process.threads.unwrap_or(identity.threads),
        ended: captured.ended.map_or("unfinished", Ended::name).to_owned(),
        allocators: facts.allocators.clone(),
        not_covered,
        ..Target::of(identity)
    }
}

impl Target {
    /// A process at one moment.
    pub(super) fn of(identity: &Identity) -> Self {
        let exe = identity.exe.as_ref().map(|exe| exe.to_string_lossy().into_owned());
        let cgroup = memory_membership(&identity.cgroups)
            .map(|(_, membership)| membership.path.to_string_lossy().into_owned());
        Target {
            pid: identity.pid.0,
            comm: identity.comm.clone(),
            exe: exe.unwrap_or_default(),
            cmdline: identity.cmdline.clone(),
            start_time_s: identity.start_time_s,
            cgroup: cgroup.unwrap_or_default(),
            container_id: identity.container_id.clone(),
            threads: identity.threads,
            ..Target::default()
        }
    }
}

/// Page faults that no stack has.
fn pages(captured: &Standing<'_>) -> Vec<NotCovered> {
    let resident = &captured.collector.resident;
    let (shared, unknown) = (resident.not_booked().shared.round() as u64, resident.unknown());
    let mut not_covered = Vec::new();
    if shared > 0 {
        not_covered.push(NotCovered {
            what: format!(
                "page faults on files, shared memory and hugetlbfs ({})",
                human_count(shared)
            ),
            why: "their pages are not the target's alone".into(),
        });
    }
    if captured.ended.is_some() && unknown > 0 {
        not_covered.push(NotCovered {
            what: format!("the last page faults ({})", human_count(unknown as u64)),
            why: "what came of them could not be looked at: the target ended, or its /proc/PID/pagemap could not be read"
                .into(),
        });
    }
    not_covered
}

/// How it was captured.
pub(super) fn capture(captured: &Standing<'_>, stack: StackChoice) -> Capture {
    let plan = captured.plan;
    let duration_s = captured.span.1.seconds_since(captured.span.0);
    let (mode, sample_interval_bytes) = match plan.selection {
        Selection::Exact => ("exact", 0),
        Selection::Sample { interval } => ("sample", interval),
        Selection::Growth { interval } => ("growth", interval),
        Selection::Auto { .. } => ("auto", captured.governor.coarsest()),
    };
    let accounting = accounting(captured);
    let loss = loss(captured);
    let complete = accounting.residual == 0
        && accounting.lost == 0
        && accounting.received == accounting.submitted + accounting.stack_records
        && accounting.decoded == accounting.received
        && loss.missed == 0
        && loss.map_full == 0
        && loss.implied_free == 0
        // Until an abandoned call is noticed, later calls are taken for its inner ones.
        && loss.unmatched_return == 0;
    Capture {
        mode: mode.into(),
        sample_interval_bytes,
        stack,
        attach: captured.facts.attach.to_owned(),
        complete,
        observed: None,
        probes_per_s: if duration_s > 0.0 { accounting.seen as f64 / duration_s } else { 0.0 },
        overhead: overhead(captured.governor),
        filter: Filter { min_age_s: plan.filter.min_age_s, min_size_bytes: plan.filter.min_size },
        loss,
        accounting,
    }
}

fn overhead(governor: &Governor) -> Overhead {
    Overhead {
        budget_percent: match governor.budget() {
            Budget::Off => None,
            Budget::Percent(percent) => Some(percent),
        },
        achieved_percent: governor.achieved_percent(),
        speed_in_windows_percent: governor.speed_in_windows_percent(),
        actions: governor
            .steps()
            .iter()
            .map(|step| Action {
                t_s: step.at.as_secs_f64(),
                what: step.what.clone(),
                achieved_percent: step.achieved_percent,
            })
            .collect(),
    }
}

fn accounting(captured: &Standing<'_>) -> Accounting {
    let (books, counts) = (captured.books, &captured.collector.counts);
    Accounting {
        seen: books.seen(),
        filtered: books.sum(&Counter::FILTERED),
        sampled_out: books.get(Counter::SampledOut),
        submitted: books.get(Counter::Submitted),
        stack_records: books.get(Counter::StackSubmitted),
        lost: books.sum(&Counter::LOST),
        received: counts.received,
        decoded: counts.decoded,
        residual: books.residual(),
    }
}

fn loss(captured: &Standing<'_>) -> Loss {
    let (books, counts) = (captured.books, &captured.collector.counts);
    let anomalies = captured.collector.blocks.anomalies();
    Loss {
        ring_full: books.sum(&[
            Counter::LostAllocRing,
            Counter::LostFreeRing,
            Counter::LostOtherRing,
        ]),
        asleep: books.get(Counter::LostAsleep),
        map_full: books.sum(&[Counter::LostSampledMap, Counter::LostThreadMap])
            + anomalies.table_full
            + captured.collector.mappings.table_full()
            + captured.collector.resident.not_booked().table_full
            + captured.collector.stacks.not_kept(),
        stack_missing: counts.stack_missing,
        stack_truncated: counts.stack_truncated,
        unmatched_return: books.get(Counter::UnmatchedReturn) + books.get(Counter::LostUnreadable),
        missed: books.missed,
        unknown_free: anomalies.unknown_free,
        implied_free: anomalies.implied_free,
        hidden_free: anomalies.hidden_free,
    }
}

/// What memmgr used.
pub(super) fn collector(captured: &Captured) -> Collector {
    let first_event = captured.collector.first_event;
    Collector {
        rss_peak_bytes: own_peak_rss(),
        cpu_s: captured.cpu_s,
        attach_s: captured.facts.attach_s,
        detach_s: captured.detach_s,
        first_event_s: first_event
            .map(|time| captured.facts.attach_s + time.seconds_since(captured.span.0)),
    }
}

/// Highest resident set of memmgr (`VmHWM`, proc_pid_status(5)).
fn own_peak_rss() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}
