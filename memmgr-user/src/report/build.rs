//! What a capture gathered, and the symbols → [`Report`].

use std::collections::{BTreeSet, HashMap, HashSet};

use memmgr_common::Counter;

use crate::{
    aggregate::{Row, Sums},
    capture::{CapturePlan, Selection, stack_choice},
    escape::Safe,
    pipeline::Captured,
    source::{
        cgroup::read_cgroup,
        cgroup_path::memory_membership,
        host::read_host,
        mappings::{MappingFigures, read_mapping_figures},
        process::{StackPointers, add_costly_figures, read_figures, read_stack_pointers},
        process_dir::ProcessDir,
        roots::Roots,
    },
    stacks::Outer,
    symbolize::{Symbols, symbolize},
    units::Address,
};

use super::{
    Accounting, Age, Allocator, Capture, Cgroup, Collector, Function, Host, Loss, NotCovered,
    Overhead, ProbedFunction, Process, Report, SCHEMA, Stack, Target, Totals, reconcile::reconcile,
};

/// The figures of the target and the host at the end of a capture. A target that is gone has none.
pub struct LastLook {
    process: Process,
    cgroup: Option<Cgroup>,
    host: Host,
    mappings: Vec<MappingFigures>,
    stack_pointers: StackPointers,
}

/// Looks once more at procfs and the cgroup, the costly files included.
pub fn last_look(roots: &Roots, dir: &ProcessDir) -> LastLook {
    let mut process = read_figures(dir).unwrap_or_default();
    // Absent figures stay absent: the target may have ended.
    if let Err(error) = add_costly_figures(dir, &mut process) {
        tracing::debug!("{error}");
    }
    LastLook {
        process,
        cgroup: read_cgroup(roots, dir.pid()),
        host: read_host(roots).unwrap_or_default(),
        mappings: read_mapping_figures(dir).unwrap_or_default(),
        stack_pointers: read_stack_pointers(dir).unwrap_or_default(),
    }
}

/// Makes the report. Symbolizes, which takes a while: not for an asynchronous task.
pub fn build(roots: &Roots, plan: &CapturePlan, captured: &Captured, last: LastLook) -> Report {
    let collector = &captured.collector;
    let rows =
        collector.ledger.rows(&collector.blocks, &collector.mappings, plan.filter, captured.span.1);
    let stacks: Vec<(Vec<Address>, Outer)> =
        rows.iter().map(|row| collector.stacks.frames(row.stack)).collect();
    let addresses: BTreeSet<Address> =
        stacks.iter().flat_map(|(frames, _)| frames.iter().copied()).collect();
    let addresses: Vec<Address> = addresses.into_iter().collect();
    let symbols = symbolize(&collector.modules, plan.pid, &roots.proc, &addresses);

    let duration_s = captured.span.1.seconds_since(captured.span.0);
    let heap = collector.ledger.heap();
    let mut reconciliation =
        reconcile(&last.mappings, heap.live_bytes() as u64, &last.stack_pointers.known);
    if last.stack_pointers.unknown > 0 {
        reconciliation.explanation.push(format!(
            "{} threads were running when they were looked at: their stacks are counted with the heap.",
            last.stack_pointers.unknown
        ));
    }
    let stacks: Vec<Stack> = rows
        .iter()
        .zip(&stacks)
        .enumerate()
        .map(|(id, (row, (frames, outer)))| stack(id as u32, row, frames, *outer, &symbols))
        .collect();
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        captured_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        duration_s,
        target: target(captured, &last),
        capture: capture(plan, captured, duration_s),
        totals: totals(heap),
        mapped: totals(collector.ledger.mapped()),
        file_mapped: totals(collector.ledger.file_mapped()),
        functions: functions(&stacks),
        stacks,
        findings: Vec::new(),
        timeline: captured.timeline.clone(),
        process: last.process,
        cgroup: last.cgroup,
        host: last.host,
        reconciliation,
        collector: self_figures(captured),
    }
}

fn stack(id: u32, row: &Row, frames: &[Address], outer: Outer, symbols: &Symbols) -> Stack {
    Stack {
        id,
        class: row.class.name().to_owned(),
        live_count: row.live_count.round() as u64,
        live_bytes: row.live_bytes.round() as u64,
        alloc_count: row.sums.alloc_count.round() as u64,
        alloc_bytes: row.sums.alloc_bytes.round() as u64,
        age_s: row.age_s.map(|(min, median, max)| Age { min, median, max }),
        frames: frames
            .iter()
            .filter_map(|address| symbols.get(address))
            .flatten()
            .cloned()
            .collect(),
        cut: match outer {
            Outer::Whole => None,
            Outer::Cut => Some("truncated".into()),
            Outer::Missing => Some("missing".into()),
            Outer::NotKept => Some("not kept: the table of stacks was full".into()),
        },
        finding: None,
    }
}

fn totals(sums: Sums) -> Totals {
    Totals {
        alloc_count: sums.alloc_count.round() as u64,
        alloc_bytes: sums.alloc_bytes.round() as u64,
        free_count: sums.free_count.round() as u64,
        free_bytes: sums.free_bytes.round() as u64,
        live_count: sums.live_count().round() as u64,
        live_bytes: sums.live_bytes().round() as u64,
        peak_live_bytes: sums.peak_live_bytes.round() as u64,
    }
}

/// Heap bytes by function: a function counts once a stack however often it stands in it.
fn functions(stacks: &[Stack]) -> Vec<Function> {
    let mut functions: HashMap<(&str, &str), Function> = HashMap::new();
    for stack in stacks.iter().filter(|stack| stack.class == "heap") {
        let mut seen = HashSet::new();
        for (depth, frame) in stack.frames.iter().enumerate() {
            let Some(name) = frame.function.as_deref() else { continue };
            let module = frame.module.as_deref().unwrap_or_default();
            let entry = functions.entry((name, module)).or_insert_with(|| Function {
                function: name.to_owned(),
                module: module.to_owned(),
                ..Function::default()
            });
            if depth == 0 {
                entry.self_live_bytes += stack.live_bytes;
                entry.self_alloc_bytes += stack.alloc_bytes;
            }
            if seen.insert((name, module)) {
                entry.total_live_bytes += stack.live_bytes;
                entry.total_alloc_bytes += stack.alloc_bytes;
            }
        }
    }
    let mut functions: Vec<Function> = functions.into_values().collect();
    functions.sort_by(|a, b| {
        (b.total_live_bytes, b.total_alloc_bytes, &a.function, &a.module).cmp(&(
            a.total_live_bytes,
            a.total_alloc_bytes,
            &b.function,
            &b.module,
        ))
    });
    functions
}

fn target(captured: &Captured, last: &LastLook) -> Target {
    let session = &captured.session;
    let identity = &session.target.identity;
    let mut hits = captured.hits.iter().copied();
    let allocators = session
        .plan
        .allocators
        .iter()
        .map(|allocator| Allocator {
            kind: allocator.family.name().to_owned(),
            path: allocator.path.to_string_lossy().into_owned(),
            build_id: allocator.build_id.clone().unwrap_or_default(),
            functions: allocator
                .functions
                .iter()
                .map(|function| ProbedFunction {
                    symbol: function.symbol.clone(),
                    role: function.role.name().to_owned(),
                    offset: function.function.0,
                    site: site(&function.site),
                    hits: captured
                        .hits
                        .get(usize::from(function.cookie.function()))
                        .copied()
                        .unwrap_or(0),
                })
                .collect(),
        })
        .collect();
    let planned = session.plan.not_covered.iter().map(|n| (&n.what, &n.why));
    let mut not_covered: Vec<NotCovered> = session
        .not_covered
        .iter()
        .map(|n| (&n.what, &n.why))
        .chain(planned)
        .map(|(what, why)| NotCovered { what: what.clone(), why: why.clone() })
        .collect();
    if captured.collector.counts.forks > 0 {
        not_covered.push(NotCovered {
            what: format!(
                "{} child processes that the target made",
                captured.collector.counts.forks
            ),
            why: "only the target itself is captured".into(),
        });
    }
    if hits.all(|hits| hits == 0) {
        not_covered.push(NotCovered {
            what: "the probed functions were never called".into(),
            why: "the target was idle, or it uses another allocator than those listed".into(),
        });
    }
    Target {
        pid: identity.pid.0,
        comm: identity.comm.clone(),
        exe: identity
            .exe
            .as_ref()
            .map(|exe| exe.to_string_lossy().into_owned())
            .unwrap_or_default(),
        cmdline: identity.cmdline.clone(),
        start_time_s: identity.start_time_s,
        cgroup: memory_membership(&identity.cgroups)
            .map(|(_, membership)| membership.path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        container_id: identity.container_id.clone(),
        threads: last.process.threads.unwrap_or(identity.threads),
        ended: captured.ended.name().to_owned(),
        allocators,
        not_covered,
    }
}

fn site(site: &crate::allocator::Site) -> String {
    let cost = if site.emulated { "emulated" } else { "single-stepped: about ten times the cost" };
    format!("{} ({cost})", Safe::text(&site.description))
}

fn capture(plan: &CapturePlan, captured: &Captured, duration_s: f64) -> Capture {
    let (mode, sample_interval_bytes) = match plan.selection {
        Selection::Exact => ("exact", 0),
        Selection::Sample { interval } => ("sample", interval),
    };
    let accounting = accounting(captured);
    let loss = loss(captured);
    let complete = accounting.residual == 0
        && accounting.lost == 0
        && accounting.received == accounting.submitted + accounting.stack_records
        && accounting.decoded == accounting.received
        && loss.missed == 0
        && loss.map_full == 0
        && loss.implied_free == 0;
    Capture {
        mode: mode.into(),
        sample_interval_bytes,
        stack: stack_choice::describe(&captured.session.stack, plan, &captured.collector.modules),
        attach: captured.session.rung.name().into(),
        complete,
        probes_per_s: if duration_s > 0.0 { accounting.seen as f64 / duration_s } else { 0.0 },
        overhead: Overhead::default(),
        loss,
        accounting,
    }
}

fn accounting(captured: &Captured) -> Accounting {
    let (books, counts) = (&captured.books, &captured.collector.counts);
    Accounting {
        seen: books.get(Counter::Seen),
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

fn loss(captured: &Captured) -> Loss {
    let (books, counts) = (&captured.books, &captured.collector.counts);
    let anomalies = captured.collector.blocks.anomalies();
    Loss {
        ring_full: books.sum(&[
            Counter::LostAllocRing,
            Counter::LostFreeRing,
            Counter::LostOtherRing,
        ]),
        map_full: books.sum(&[Counter::LostSampledMap, Counter::LostThreadMap])
            + anomalies.table_full
            + captured.collector.mappings.table_full()
            + captured.collector.stacks.not_kept(),
        stack_missing: counts.stack_missing,
        stack_truncated: counts.stack_truncated,
        unmatched_return: books.get(Counter::UnmatchedReturn) + books.get(Counter::LostUnreadable),
        missed: books.missed,
        unknown_free: anomalies.unknown_free,
        implied_free: anomalies.implied_free,
    }
}

fn self_figures(captured: &Captured) -> Collector {
    let first_event = captured.collector.first_event;
    Collector {
        rss_peak_bytes: own_peak_rss(),
        cpu_s: captured.cpu_s,
        attach_s: captured.session.attach_s,
        detach_s: captured.detach_s,
        first_event_s: first_event
            .map(|time| captured.session.attach_s + time.seconds_since(captured.span.0)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Frame;

    fn frame(function: &str) -> Frame {
        Frame { function: Some(function.into()), module: Some("m".into()), ..Frame::default() }
    }

    #[test]
    fn a_recursive_function_counts_once_a_stack() {
        let stack = |names: &[&str], live_bytes, class: &str| Stack {
            class: class.into(),
            live_bytes,
            alloc_bytes: live_bytes * 2,
            frames: names.iter().map(|name| frame(name)).collect(),
            ..Stack::default()
        };
        let stacks = [
            stack(&["leaf", "walk", "walk", "main"], 10, "heap"),
            stack(&["walk", "main"], 5, "heap"),
            stack(&["mmap", "main"], 1000, "mapping"),
        ];
        let got: Vec<String> = functions(&stacks)
            .iter()
            .map(|f| {
                format!(
                    "{} {}/{} {}/{}",
                    f.function,
                    f.self_live_bytes,
                    f.total_live_bytes,
                    f.self_alloc_bytes,
                    f.total_alloc_bytes
                )
            })
            .collect();
        assert_eq!(got, ["main 0/15 0/30", "walk 5/15 10/30", "leaf 10/10 20/20"]);
    }
}
