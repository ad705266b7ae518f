//! What the programs keep for each CPU, in one value, so that one look finds it all.

use crate::Counter;

/// The state of one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Cpu {
    /// Counters by [`Counter`].
    pub counters: [u64; Counter::COUNT as usize],
    /// Sampler of heap calls.
    pub heap: Sampler,
    /// Sampler of page faults.
    pub faults: Sampler,
    /// Nanoseconds of work that events with a stack may still take here; below 0 there is a debt.
    pub tokens: i64,
    /// Nothing is sampled at a smaller interval, in bytes.
    pub floor: u64,
    /// The largest that `floor` ever was.
    pub highest_floor: u64,
    /// When tokens were added last.
    pub refilled: u64,
    /// The tick at which `time` was read.
    pub tick: u64,
    /// The kernel's monotonic time at that tick, in nanoseconds.
    pub time: u64,
    /// Not 0 from the moment on that user space was found not to show itself.
    pub asleep: u64,
}

/// What a function of the attach plan did on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Calls {
    /// Hits of its probe, without returns.
    pub hits: u64,
    /// Allocations that were sampled: they have a stack.
    pub chosen: u64,
}

/// A Poisson sampler over bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sampler {
    /// Bytes to the next sample; the call that takes it to 0 or below is sampled.
    pub countdown: i64,
    /// The interval that the countdown was drawn from; 0 before the first.
    pub interval: u64,
}

const _: () = assert!(size_of::<Cpu>() == 8 * (Counter::COUNT as usize + 11));
