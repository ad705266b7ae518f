//! Counting. Probe handlers can be preempted between a read and a write of the same CPU's counter,
//! so that only atomic additions keep the books exact.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use memmgr_common::Counter;

use crate::maps::{COUNTERS, Counters, HITS};

/// The counters of this CPU, looked up once a program.
#[derive(Clone, Copy)]
pub struct Count(*mut Counters);

impl Count {
    /// `None` cannot happen (the map has one entry), but the verifier does not know.
    pub fn new() -> Option<Self> {
        COUNTERS.get_ptr_mut(0).map(Count)
    }

    /// Adds one.
    pub fn add(self, counter: Counter) {
        // SAFETY: the pointer comes from a map lookup and stays valid while the program runs; every
        // `Counter` is below `Counter::COUNT`.
        add_one(unsafe { self.0.cast::<u64>().add(counter as usize) });
    }
}

/// Counts an outermost call of a function of the attach plan.
pub fn hit(function: u16) {
    if let Some(counter) = HITS.get_ptr_mut(u32::from(function)) {
        add_one(counter);
    }
}

fn add_one(counter: *mut u64) {
    // An intrinsic, because core offers `fetch_add` only where compare-and-swap exists too.
    // SAFETY: `counter` points to an aligned u64 of a map value; all writers use atomics.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
}
