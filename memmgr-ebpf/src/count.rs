//! Counting, and the rest of what is kept for each CPU. A handler can be preempted between a read and a
//! write of the same CPU's state, so that only atomic additions keep the books exact.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use memmgr_common::{Counter, per_cpu::Cpu};

use crate::maps::{CALLS, CPUS};

/// The state of this CPU, looked up once a program.
#[derive(Clone, Copy)]
pub struct Count(*mut Cpu);

impl Count {
    /// `None` cannot happen (the map has one entry), but the verifier does not know.
    #[inline(always)]
    pub fn new() -> Option<Self> {
        CPUS.get_ptr_mut(0).map(Count)
    }

    /// Adds one.
    #[inline(always)]
    pub fn add(self, counter: Counter) {
        // SAFETY: the pointer comes from a map lookup and stays valid while the program runs; every
        // `Counter` is below `Counter::COUNT`.
        let counters = unsafe { &raw mut (*self.0).counters };
        // SAFETY: as above.
        add_one(unsafe { counters.cast::<u64>().add(counter as usize) });
    }

    /// All of it.
    #[inline(always)]
    pub fn cpu(self) -> *mut Cpu {
        self.0
    }
}

/// Counts a call of a function of the attach plan, and returns how many this CPU had counted before.
#[inline(always)]
pub fn hit(function: u16) -> u64 {
    // SAFETY: the field of a map value.
    CALLS
        .get_ptr_mut(u32::from(function))
        .map_or(0, |calls| fetch_add(unsafe { &raw mut (*calls).hits }))
}

/// Counts an allocation of a function that will be an event with a stack.
#[inline(always)]
pub fn chosen(function: u16) {
    if let Some(calls) = CALLS.get_ptr_mut(u32::from(function)) {
        // SAFETY: as above.
        add_one(unsafe { &raw mut (*calls).chosen });
    }
}

#[inline(always)]
fn add_one(counter: *mut u64) {
    // An intrinsic, because core offers `fetch_add` only where compare-and-swap exists too.
    // SAFETY: `counter` points to an aligned u64 of a map value; all writers use atomics.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
}

/// Adds one, and returns what was there.
#[inline(always)]
pub fn fetch_add(counter: *mut u64) -> u64 {
    // Not relaxed: LLVM 22 makes an addition out of a relaxed one that does not give the old value, and then
    // uses what was added in its place.
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(counter, 1) }
}
