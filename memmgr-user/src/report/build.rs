//! A snapshot of the books, and the symbols → [`Report`]. Pure: what needs I/O is handed in.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

use crate::{
    aggregate::{Filter, Row, Sums},
    capture::CapturePlan,
    pipeline::Captured,
    stacks::Outer,
    symbolize::Symbols,
    track::Class,
    units::Address,
};

use super::{
    Age, Function, Report, SCHEMA, Stack, StackChoice, Totals, account, last_look::LastLook,
    reconcile::reconcile,
};

/// The books by stack at the end of a capture, not yet symbolized.
pub struct Snapshot {
    rows: Vec<Row>,
    stacks: Vec<(Vec<Address>, Outer)>,
}

impl Snapshot {
    /// Takes it; the filter is about outstanding blocks.
    pub fn take(captured: &Captured, filter: Filter) -> Self {
        let collector = &captured.collector;
        let rows =
            collector.ledger.rows(&collector.blocks, &collector.mappings, filter, captured.span.1);
        let stacks = rows.iter().map(|row| collector.stacks.frames(row.stack)).collect();
        Snapshot { rows, stacks }
    }

    /// Every distinct address of its stacks.
    pub fn addresses(&self) -> Vec<Address> {
        let distinct: BTreeSet<Address> =
            self.stacks.iter().flat_map(|(frames, _)| frames.iter().copied()).collect();
        distinct.into_iter().collect()
    }
}

/// Makes the report.
pub fn build(
    plan: &CapturePlan,
    captured: &Captured,
    snapshot: &Snapshot,
    symbols: &Symbols,
    stack_choice: StackChoice,
    last: LastLook,
) -> Report {
    let ledger = &captured.collector.ledger;
    let heap = ledger.heap();
    let own = own_mappings(captured, symbols);
    let mut reconciliation =
        reconcile(&last.mappings, heap.live_bytes() as u64, &own, &last.stack_pointers.known);
    if last.stack_pointers.unknown > 0 {
        reconciliation.explanation.push(format!(
            "{} threads were running when they were looked at: their stacks are counted with the heap.",
            last.stack_pointers.unknown
        ));
    }
    let stacks: Vec<Stack> = snapshot
        .rows
        .iter()
        .zip(&snapshot.stacks)
        .enumerate()
        .map(|(id, (row, (frames, outer)))| stack(id as u32, row, frames, *outer, symbols))
        .collect();
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        captured_at: captured.captured_at.clone(),
        duration_s: captured.span.1.seconds_since(captured.span.0),
        target: account::target(captured, &stack_choice, &last),
        capture: account::capture(plan, captured, stack_choice),
        totals: totals(heap),
        mapped: totals(ledger.mapped()),
        file_mapped: totals(ledger.file_mapped()),
        functions: functions(&stacks),
        modules: Vec::new(),
        sizes: Vec::new(),
        suppressions: Vec::new(),
        windows_s: Vec::new(),
        stacks,
        findings: Vec::new(),
        timeline: captured.timeline.clone(),
        process: last.process,
        cgroup: last.cgroup,
        host: last.host,
        reconciliation,
        collector: account::collector(captured),
    }
}

fn stack(id: u32, row: &Row, frames: &[Address], outer: Outer, symbols: &Symbols) -> Stack {
    Stack {
        id,
        class: row.class.name().to_owned(),
        live_count: row.live_count.round() as u64,
        live_bytes: row.live_bytes.round() as u64,
        live_samples: row.live_samples,
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
        sizes: Vec::new(),
        growth: None,
        lifetime: None,
        suppressed: None,
    }
}

/// Ranges that the target mapped by itself: no function of an allocator is on their stack.
fn own_mappings(captured: &Captured, symbols: &Symbols) -> Vec<Range<u64>> {
    const ALLOCATING: [&str; 5] = ["alloc", "memalign", "morecore", "arena", "sbrk"];
    let collector = &captured.collector;
    let by_allocator = |address: &Address| {
        let frames = symbols.get(address).into_iter().flatten();
        let mut names = frames.filter_map(|frame| frame.function.as_deref());
        names.any(|name| {
            ALLOCATING.iter().any(|part| name.contains(part)) && !name.contains("allocate_stack")
        })
    };
    collector
        .mappings
        .live()
        .filter(|range| range.class == Class::Mapping)
        .filter(|range| !collector.stacks.frames(range.stack).0.iter().any(by_allocator))
        .map(|range| range.addresses)
        .collect()
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
