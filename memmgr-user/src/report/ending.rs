//! Everything about a capture that is not by stack: as it stands at an interval, and for good at the end.

use std::ops::Range;

use memmgr_common::Counter;

use crate::{
    capture::stack_choice,
    pipeline::Captured,
    recording::Documents,
    source::{mappings::MappingFigures, pagemap::PageMap, process_dir::ProcessDir, roots::Roots},
    stacks::StackHandle,
    symbolize::Symbols,
    track::{Class, LiveBlock},
    units::Address,
};

use super::{
    Fragmentation, Pinning, Reconciliation, StackChoice, account,
    account::Standing,
    fragmentation::{self, Held, MOST_BLOCKS},
    last_look::LastLook,
    reconcile::reconcile,
};

/// As of an interval.
pub fn running(standing: &Standing<'_>, now: String, look: LastLook) -> Documents {
    let stack = stack_choice::brief(&standing.facts.stack, standing.plan);
    common(standing, stack, now, look)
}

/// For good.
pub fn ended(
    standing: &Standing<'_>,
    captured: &Captured,
    stack: StackChoice,
    symbols: &Symbols,
    last: LastLook,
    fragmentation: Option<Fragmentation>,
) -> Documents {
    let reconciliation = if captured.gone.is_some() {
        let explanation = "The target has ended: what explained its RSS could not be read any more. Its other figures \
                           are those of the last interval.";
        Reconciliation { explanation: vec![explanation.to_owned()], ..Reconciliation::default() }
    } else {
        explained(captured, symbols, &last)
    };
    let collector = account::collector(captured);
    let common = common(standing, stack, captured.captured_at.clone(), last);
    Documents { reconciliation, fragmentation, collector, ..common }
}

/// What is outstanding on which pages; `None` where not every block is known, or the pages cannot be looked at. To be called as soon as
/// counting has ended: the target goes on.
pub fn fragmentation(
    roots: &Roots,
    dir: &ProcessDir,
    captured: &Captured,
    mappings: &[MappingFigures],
) -> Option<Fragmentation> {
    let Captured { collector, facts, governor, .. } = captured;
    let is_whole = governor.coarsest() == 0
        && governor.speed_in_windows_percent().is_none()
        && captured.books.missed == 0
        && captured.books.sum(&[
            Counter::LostAllocRing,
            Counter::LostFreeRing,
            Counter::LostAsleep,
        ]) == 0;
    let count = collector.blocks.len();
    if !is_whole || count == 0 || count > MOST_BLOCKS || captured.gone.is_some() {
        return None;
    }
    let pages = PageMap::open(roots, dir).ok()?;
    let blocks: Vec<Held> = (collector.blocks.live())
        .map(|(address, LiveBlock { size, stack, .. })| Held {
            start: address.0,
            end: address.0.saturating_add(size),
            stack,
        })
        .collect();
    let found = fragmentation::look(mappings, blocks, |range| {
        pages.own(range.start, range.end).ok().flatten()
    });
    let by_book = |(stack, pinning): (StackHandle, Pinning)| {
        Some(Pinning { stack: collector.ledger.book(Class::Heap, stack)?, ..pinning })
    };
    Some(Fragmentation {
        from_start: facts.launched,
        total: found.total,
        mappings: found.mappings,
        pinned_by: found.pinned_by.into_iter().filter_map(by_book).collect(),
    })
}

fn explained(captured: &Captured, symbols: &Symbols, last: &LastLook) -> Reconciliation {
    let live_bytes = captured.collector.ledger.heap().live_bytes() as u64;
    let own = own_mappings(captured, symbols);
    let mut reconciliation =
        reconcile(&last.mappings, live_bytes, &own, &last.stack_pointers.known);
    let in_windows = captured.governor.speed_in_windows_percent().is_some();
    if in_windows && live_bytes > reconciliation.rss_bytes {
        reconciliation.explanation.push(
            "The tracked heap is an estimate from windows of time, and may be too high.".to_owned(),
        );
    }
    if last.stack_pointers.unknown > 0 {
        reconciliation.explanation.push(format!(
            "{} threads were running when they were looked at: their stacks are counted with the heap.",
            last.stack_pointers.unknown
        ));
    }
    reconciliation
}

fn common(standing: &Standing<'_>, stack: StackChoice, now: String, look: LastLook) -> Documents {
    Documents {
        captured_at: now,
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        target: account::target(standing, &stack, &look),
        capture: account::capture(standing, stack),
        process: look.process,
        cgroup: look.cgroup,
        host: look.host,
        ..Documents::default()
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
