//! Pages that the target touched, by the stack that touched them first.
//!
//! A fault tells that a page comes; nothing tells that one goes, and a fault does not tell what comes. So somebody
//! looks: [`Resident::due`] names pages, and [`Resident::looked`] is told what is there. A page is booked at the
//! first look that finds it, with the size that it has there, and keeps that size: one that is made part of a huge page
//! later was touched alone. Of a huge page that is split later what becomes of its first part counts.

use std::collections::BTreeMap;

use super::{
    Class, Delta, Direction, NewBlock,
    blocks::{variance, weight},
};
use crate::{
    source::pagemap::Page,
    stacks::StackHandle,
    units::{Address, KernelTime},
};

const SMALL: u64 = memmgr_common::limits::PAGE_SIZE;
/// A transparent huge page of x86-64.
const HUGE: u64 = 2 << 20;
/// A fault is reported when it begins. A page that is not there so soon after may be on its way.
const ON_ITS_WAY_NS: u64 = 100_000_000;

/// A page that was touched.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// When it was touched; once it is booked, when it came into the books.
    time: KernelTime,
    /// Mean bytes between samples when it was touched; 0 when every fault was reported.
    interval: u64,
    stack: StackHandle,
    /// Small pages that it is booked with; 0 before the first look.
    pages: u16,
    /// It was swapped out when it was looked at.
    swapped: bool,
}

/// What is not in the books, in faults that were reported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NotBooked {
    /// Faults on pages of files, on shared memory and on huge pages of hugetlbfs, of which the process does not hold its own;
    /// with samples estimated.
    pub shared: f64,
    /// Pages that were not kept because the table was full.
    pub table_full: u64,
}

/// Private pages that were touched since the attach and are there.
pub struct Resident {
    /// By address; a huge page by the address that it begins at.
    pages: BTreeMap<u64, Held>,
    /// Pages that nobody has looked at.
    fresh: Vec<u64>,
    /// Where the next look at the others begins.
    next: u64,
    most_pages: usize,
    /// The target has made a child, with which it shares its pages until one of the two writes to them.
    forked: bool,
    /// The kernel takes pages away to see who uses them.
    hints: bool,
    not_booked: NotBooked,
}

impl Resident {
    /// A tracker that keeps at most `most_pages` pages.
    pub fn new(most_pages: usize) -> Self {
        Resident {
            pages: BTreeMap::new(),
            fresh: Vec::new(),
            next: 0,
            most_pages,
            forked: false,
            hints: false,
            not_booked: NotBooked::default(),
        }
    }

    /// Says that the kernel takes pages away for a moment to see who uses them (NUMA balancing). A fault on a page that
    /// is held means nothing then; that it went is seen by looking only.
    pub fn expect_hints(&mut self) {
        self.hints = true;
    }

    /// A page was touched that was not there: if it is held it had gone, unless it was swapped out and comes back.
    pub fn touched(&mut self, page: NewBlock, out: &mut impl FnMut(Delta)) {
        let address = page.address.0;
        match self.pages.get_mut(&address) {
            Some(held) if held.swapped || self.hints && held.is_booked() => {
                held.swapped = false;
                return;
            }
            Some(_) => self.gone(address, page.time, out),
            None => {}
        }
        self.hold(&page);
    }

    /// A page was written that was there and shared. Where that was the kernel's page of zeroes or a file's, memory
    /// comes only now. What the process shares with a child was its own before, and is no more now.
    pub fn copied(&mut self, page: NewBlock) {
        if !self.forked && !self.pages.get(&page.address.0).is_some_and(Held::is_booked) {
            self.hold(&page);
        }
    }

    /// The target made a child.
    pub fn forked(&mut self) {
        self.forked = true;
    }

    /// The pages to look at now, ascending: those that nobody has looked at, and `most` of the others, whose turn it is.
    pub fn due(&mut self, most: usize) -> Vec<Address> {
        let booked = |(address, held): (&u64, &Held)| held.is_booked().then_some(*address);
        let upper = self.pages.range(self.next..).filter_map(booked);
        let lower = self.pages.range(..self.next).filter_map(booked);
        let mut due: Vec<u64> = upper.chain(lower).take(most).collect();
        self.next = due.last().map_or(0, |last| last + 1);
        due.extend(&self.fresh);
        due.sort_unstable();
        due.dedup();
        due.into_iter().map(Address).collect()
    }

    /// What is there `now`, for all pages that were due.
    pub fn looked(
        &mut self,
        found: &[(Address, Page)],
        now: KernelTime,
        out: &mut impl FnMut(Delta),
    ) {
        self.fresh.clear();
        for &(Address(address), page) in found {
            let Some(held) = self.pages.get_mut(&address) else { continue };
            match (held.is_booked(), page) {
                (true, Page::Private | Page::Huge) => held.swapped = false,
                (true, Page::Swapped) => held.swapped = true,
                (false, Page::Private | Page::Swapped) => {
                    held.swapped = page == Page::Swapped;
                    held.book(SMALL, now, out);
                }
                (false, Page::Huge) => self.huge(address, now, out),
                (false, Page::Gone) if now.0.saturating_sub(held.time.0) < ON_ITS_WAY_NS => {
                    self.fresh.push(address);
                }
                (true, _) | (false, Page::Gone) => self.gone(address, now, out),
                (false, Page::NotOwn) => {
                    self.not_booked.shared += weight(SMALL, held.interval);
                    self.pages.remove(&address);
                }
                // It was only read: there is no memory before it is written.
                (false, Page::Zero) => {
                    self.pages.remove(&address);
                }
            }
        }
    }

    /// The process runs another program now: its memory is gone.
    pub fn clear(&mut self, out: &mut impl FnMut(Delta)) {
        let pages = std::mem::take(&mut self.pages);
        for held in pages.values().filter(|held| held.is_booked()) {
            out(held.delta(Direction::Freed));
        }
        self.fresh.clear();
        self.forked = false;
    }

    /// What is not in the books.
    pub fn not_booked(&self) -> NotBooked {
        self.not_booked
    }

    /// Pages that nobody has looked at: what they are is not known.
    pub fn unknown(&self) -> usize {
        self.fresh.len()
    }

    fn hold(&mut self, page: &NewBlock) {
        let address = page.address.0;
        if self.pages.len() >= self.most_pages && !self.pages.contains_key(&address) {
            self.not_booked.table_full += 1;
            return;
        }
        let held = Held {
            time: page.time,
            interval: page.interval,
            stack: page.stack,
            pages: 0,
            swapped: false,
        };
        self.pages.insert(address, held);
        self.fresh.push(address);
    }

    /// A page that was touched is a huge one.
    fn huge(&mut self, address: u64, now: KernelTime, out: &mut impl FnMut(Delta)) {
        let Some(mut held) = self.pages.remove(&address) else { return };
        let begin = address & !(HUGE - 1);
        if let Some(other) = self.pages.get(&begin) {
            // Threads that touch one huge page at the same time all fault.
            let is_the_same = other.is_booked() && other.time == now;
            if is_the_same || self.hints {
                return;
            }
            self.gone(begin, now, out);
        }
        held.book(HUGE, now, out);
        self.pages.insert(begin, held);
    }

    /// Takes a page out; one that nobody has looked at was there all the same.
    fn gone(&mut self, address: u64, now: KernelTime, out: &mut impl FnMut(Delta)) {
        let Some(mut held) = self.pages.remove(&address) else { return };
        if !held.is_booked() {
            held.book(SMALL, now, out);
        }
        out(held.delta(Direction::Freed));
    }
}

impl Held {
    fn is_booked(&self) -> bool {
        self.pages > 0
    }

    fn book(&mut self, size: u64, now: KernelTime, out: &mut impl FnMut(Delta)) {
        self.pages = (size / SMALL) as u16;
        self.time = now;
        out(self.delta(Direction::Allocated));
    }

    /// A page is sampled by the fault, of which it is one whatever its size.
    fn delta(&self, direction: Direction) -> Delta {
        let size = u64::from(self.pages) * SMALL;
        let count = weight(SMALL, self.interval);
        let bytes = size as f64 * count;
        Delta {
            class: Class::Resident,
            stack: self.stack,
            direction,
            bytes,
            count,
            variance: variance(bytes, count),
            size,
            born: self.time,
        }
    }
}

#[cfg(test)]
#[path = "resident_tests.rs"]
mod tests;
