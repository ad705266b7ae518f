//! Mapped ranges of one process: an interval map. Unmapping a part leaves the rest.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use super::{Class, Delta, Direction};
use crate::{
    stacks::StackHandle,
    units::{Address, KernelTime, Tid},
};

const PAGE: u64 = memmgr_common::limits::PAGE_SIZE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    end: u64,
    class: Class,
    stack: StackHandle,
    time: KernelTime,
    /// Bytes that were mapped with it, of which parts may be gone.
    size: u64,
}

/// A live range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRange {
    /// Kind of memory.
    pub class: Class,
    /// Who mapped it.
    pub stack: StackHandle,
    /// Where it is.
    pub addresses: Range<u64>,
    /// When.
    pub time: KernelTime,
}

impl LiveRange {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.addresses.end - self.addresses.start
    }
}

/// A part that was taken out of a range.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u64,
    range: Mapped,
    /// Ranges fewer than before: 1 for a whole range, 0 for an end of one, -1 where it was split in two.
    ranges: i8,
}

/// Ranges mapped since the attach.
pub struct Mappings {
    /// By first address; they never overlap.
    live: BTreeMap<u64, Mapped>,
    /// Ranges that a thread is unmapping or moving just now.
    aside: HashMap<Tid, Vec<Piece>>,
    program_break: Option<u64>,
    most_ranges: usize,
    table_full: u64,
}

impl Mappings {
    /// A tracker that keeps at most `most_ranges` ranges. `program_break` is where the heap of brk ends at the attach.
    pub fn new(program_break: Option<Address>, most_ranges: usize) -> Self {
        Mappings {
            live: BTreeMap::new(),
            aside: HashMap::new(),
            program_break: program_break.map(|address| address.0),
            most_ranges,
            table_full: 0,
        }
    }

    /// A range was mapped; what was there before is gone (MAP_FIXED).
    pub fn map(
        &mut self,
        start: Address,
        length: u64,
        class: Class,
        stack: StackHandle,
        time: KernelTime,
        out: &mut impl FnMut(Delta),
    ) {
        let end = page_end(start.0, length);
        if end <= start.0 {
            return;
        }
        for piece in self.carve(start.0, end) {
            out(piece.freed());
        }
        let mapped = Mapped { end, class, stack, time, size: end - start.0 };
        let piece = Piece { start: start.0, range: mapped, ranges: 1 };
        out(piece.delta(Direction::Allocated));
        if self.live.len() >= self.most_ranges {
            self.table_full += 1;
            out(piece.freed());
        } else {
            self.live.insert(start.0, mapped);
        }
    }

    /// Address space was reserved, which is no memory; what was there before is gone. It counts as a call that left nothing.
    pub fn reserve(
        &mut self,
        start: Address,
        length: u64,
        stack: StackHandle,
        time: KernelTime,
        out: &mut impl FnMut(Delta),
    ) {
        for piece in self.carve(start.0, page_end(start.0, length)) {
            out(piece.freed());
        }
        let nothing = Mapped { end: start.0, class: Class::Mapping, stack, time, size: 0 };
        let piece = Piece { start: start.0, range: nothing, ranges: 1 };
        out(piece.delta(Direction::Allocated));
        out(piece.freed());
    }

    /// A thread begins to unmap or to move a range: another thread may be given it before it is back.
    pub fn begin(&mut self, tid: Tid, start: Address, length: u64, out: &mut impl FnMut(Delta)) {
        self.commit(tid, out);
        let ranges = self.carve(start.0, page_end(start.0, length));
        self.aside.insert(tid, ranges);
    }

    /// The range is gone.
    pub fn commit(&mut self, tid: Tid, out: &mut impl FnMut(Delta)) {
        self.give_back(tid, Direction::Freed, out);
    }

    fn give_back(&mut self, tid: Tid, direction: Direction, out: &mut impl FnMut(Delta)) {
        for piece in self.aside.remove(&tid).unwrap_or_default() {
            out(piece.delta(direction));
        }
    }

    /// The range is as it was.
    pub fn restore(&mut self, tid: Tid) {
        let pieces = self.aside.remove(&tid).unwrap_or_default();
        self.live.extend(pieces.into_iter().map(|piece| (piece.start, piece.range)));
    }

    /// The range is gone, and one of `length` bytes is at `start` instead. Ranges from before the
    /// attach stay unknown: what was not tracked is not tracked after the move.
    pub fn moved(
        &mut self,
        tid: Tid,
        start: Address,
        length: u64,
        stack: StackHandle,
        time: KernelTime,
        out: &mut impl FnMut(Delta),
    ) {
        let class =
            self.aside.get(&tid).and_then(|pieces| pieces.first()).map(|piece| piece.range.class);
        self.give_back(tid, Direction::Replaced, out);
        if let Some(class) = class {
            self.map(start, length, class, stack, time, out);
        }
    }

    /// The program break was set. Without a break at the attach the first one sets the mark.
    pub fn set_break(
        &mut self,
        address: Address,
        stack: StackHandle,
        time: KernelTime,
        out: &mut impl FnMut(Delta),
    ) {
        let before = self.program_break.replace(address.0).unwrap_or(address.0);
        if address.0 > before {
            self.map(Address(before), address.0 - before, Class::Mapping, stack, time, out);
        } else {
            for piece in self.carve(page_end(address.0, 0), page_end(before, 0)) {
                out(piece.freed());
            }
        }
    }

    /// The process runs another program now: its memory is gone, and its program break is not known.
    pub fn clear(&mut self, out: &mut impl FnMut(Delta)) {
        for tid in self.aside.keys().copied().collect::<Vec<_>>() {
            self.commit(tid, out);
        }
        for piece in self.carve(0, u64::MAX) {
            out(piece.freed());
        }
        self.program_break = None;
    }

    /// Ranges that were not kept because the table was full.
    pub fn table_full(&self) -> u64 {
        self.table_full
    }

    /// Every live range.
    pub fn live(&self) -> impl Iterator<Item = LiveRange> {
        let aside = self.aside.values().flatten().map(|piece| (&piece.start, &piece.range));
        self.live.iter().chain(aside).map(|(start, range)| LiveRange {
            class: range.class,
            stack: range.stack,
            addresses: *start..range.end,
            time: range.time,
        })
    }

    /// Takes `start..end` out and returns what was in it.
    fn carve(&mut self, start: u64, end: u64) -> Vec<Piece> {
        let mut taken = Vec::new();
        // The last range that begins before `start` may reach into it, or beyond it.
        let first = self.live.range(..start).next_back().map(|(start, _)| *start);
        let touched: Vec<u64> = first
            .into_iter()
            .chain(self.live.range(start..end.max(start)).map(|(start, _)| *start))
            .collect();
        for range_start in touched {
            let Some(range) = self.live.get(&range_start).copied() else { continue };
            let (from, to) = (range_start.max(start), range.end.min(end));
            if from >= to {
                continue;
            }
            self.live.remove(&range_start);
            let mut ranges = 1;
            if range_start < from {
                self.live.insert(range_start, Mapped { end: from, ..range });
                ranges -= 1;
            }
            if to < range.end {
                self.live.insert(to, range);
                ranges -= 1;
            }
            taken.push(Piece { start: from, range: Mapped { end: to, ..range }, ranges });
        }
        taken
    }
}

fn page_end(start: u64, length: u64) -> u64 {
    start.saturating_add(length).div_ceil(PAGE).saturating_mul(PAGE)
}

impl Piece {
    fn freed(&self) -> Delta {
        self.delta(Direction::Freed)
    }

    fn delta(&self, direction: Direction) -> Delta {
        let Mapped { end, class, stack, time, size } = self.range;
        let (bytes, count) = ((end - self.start) as f64, f64::from(self.ranges));
        Delta { class, stack, direction, bytes, count, variance: 0.0, size, born: time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Tid = Tid(1);
    const K: u64 = 0x1000;

    /// Runs a script on an empty map; returns live ranges as (stack, pages), in address order, and freed pages.
    fn check(
        script: impl Fn(&mut Mappings, &mut dyn FnMut(Delta)),
        live: &[(u32, u64)],
        freed: u64,
    ) {
        let mut mappings = Mappings::new(Some(Address(100 * K)), usize::MAX);
        let (mut allocated_bytes, mut freed_bytes, mut ranges) = (0.0, 0.0, 0.0);
        script(&mut mappings, &mut |delta| match delta.direction {
            Direction::Allocated => {
                allocated_bytes += delta.bytes;
                ranges += delta.count;
            }
            Direction::Freed | Direction::Replaced => {
                freed_bytes += delta.bytes;
                ranges -= delta.count;
            }
        });
        let got: Vec<(u32, u64)> =
            mappings.live().map(|range| (range.stack.0, range.bytes() / K)).collect();
        assert_eq!(got, live);
        assert_eq!(freed_bytes as u64 / K, freed);
        let sum: u64 = mappings.live().map(|range| range.bytes()).sum();
        assert_eq!(allocated_bytes - freed_bytes, sum as f64);
        assert_eq!(ranges, mappings.live().count() as f64, "ranges mapped less ranges gone");
    }

    fn map(m: &mut Mappings, page: u64, pages: u64, stack: u32, mut out: &mut dyn FnMut(Delta)) {
        m.map(
            Address(page * K),
            pages * K,
            Class::Mapping,
            StackHandle(stack),
            KernelTime(0),
            &mut out,
        );
    }

    fn unmap(m: &mut Mappings, page: u64, pages: u64, mut out: &mut dyn FnMut(Delta)) {
        m.begin(T, Address(page * K), pages * K, &mut out);
        m.commit(T, &mut out);
    }

    #[test]
    fn unmapping_the_middle_leaves_both_ends() {
        check(
            |m, out| {
                map(m, 10, 10, 1, out);
                unmap(m, 13, 2, out);
            },
            &[(1, 3), (1, 5)],
            2,
        );
    }

    #[test]
    fn one_unmap_may_take_parts_of_several() {
        check(
            |m, out| {
                map(m, 10, 4, 1, out);
                map(m, 14, 4, 2, out);
                map(m, 18, 4, 3, out);
                unmap(m, 12, 8, out);
            },
            &[(1, 2), (3, 2)],
            8,
        );
    }

    #[test]
    fn mapping_over_a_mapping_replaces_it() {
        check(
            |m, out| {
                map(m, 10, 4, 1, out);
                map(m, 11, 2, 2, out);
            },
            &[(1, 1), (2, 2), (1, 1)],
            2,
        );
    }

    #[test]
    fn a_reservation_takes_away_what_was_there_and_is_no_memory() {
        check(
            |m, mut out| {
                map(m, 10, 4, 1, out);
                let (stack, time) = (StackHandle(2), KernelTime(0));
                m.reserve(Address(12 * K), 8 * K, stack, time, &mut out);
                m.reserve(Address(40 * K), K, stack, time, &mut out);
            },
            &[(1, 2)],
            2,
        );
    }

    #[test]
    fn a_failed_unmap_leaves_the_range() {
        check(
            |m, mut out| {
                map(m, 10, 4, 1, out);
                m.begin(T, Address(10 * K), 4 * K, &mut out);
                m.restore(T);
            },
            &[(1, 4)],
            0,
        );
    }

    #[test]
    fn another_thread_may_be_given_the_range_before_the_unmap_returns() {
        check(
            |m, mut out| {
                map(m, 10, 4, 1, out);
                m.begin(T, Address(10 * K), 4 * K, &mut out);
                map(m, 10, 4, 2, out);
                m.commit(T, &mut out);
            },
            &[(2, 4)],
            4,
        );
    }

    #[test]
    fn a_remap_moves_the_range_to_its_own_stack() {
        check(
            |m, mut out| {
                map(m, 10, 4, 1, out);
                m.begin(T, Address(10 * K), 4 * K, &mut out);
                m.moved(T, Address(30 * K), 8 * K, StackHandle(2), KernelTime(0), &mut out);
            },
            &[(2, 8)],
            4,
        );
    }

    #[test]
    fn a_remap_of_an_unknown_range_stays_unknown() {
        check(
            |m, mut out| {
                m.begin(T, Address(10 * K), 4 * K, &mut out);
                m.moved(T, Address(30 * K), 8 * K, StackHandle(2), KernelTime(0), &mut out);
            },
            &[],
            0,
        );
    }

    #[test]
    fn the_break_grows_and_shrinks() {
        check(
            |m, mut out| {
                for page in [110, 130, 105, 90] {
                    m.set_break(Address(page * K), StackHandle(1), KernelTime(0), &mut out);
                }
                m.set_break(Address(92 * K), StackHandle(2), KernelTime(0), &mut out);
            },
            &[(2, 2)],
            30,
        );
    }

    #[test]
    fn lengths_are_rounded_to_pages_and_nothing_overflows() {
        check(
            |m, mut out| {
                m.map(Address(K), 1, Class::Mapping, StackHandle(1), KernelTime(0), &mut out);
                unmap(m, u64::MAX / K, 5, out);
            },
            &[(1, 1)],
            0,
        );
    }
}
