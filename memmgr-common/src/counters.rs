//! Counters of the kernel part: per CPU, monotonic, never reset.
//!
//! After a drain `Seen + hits of all functions + page faults = Filtered* + SampledOut + Submitted + Lost*` holds exactly, per CPU.

/// What is counted. The value is the index into the per-CPU array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Counter {
    /// Hits that a program began to handle for a target while capturing, beside the calls and page faults that are counted by themselves.
    Seen = 0,
    /// Entry of an allocation that goes on to its return: the return decides what becomes of it.
    FilteredEntry,
    /// A call inside another allocator call.
    FilteredNested,
    /// `free(NULL)` and the like.
    FilteredNull,
    /// The allocation failed: nothing was given out.
    FilteredFailed,
    /// A return whose call was not followed (it was nested, sampled out or began before the capture).
    FilteredReturn,
    /// A mapping call that failed or changed nothing.
    FilteredMapping,
    /// A free of a block that was not sampled.
    FilteredUnsampledFree,
    /// A page fault that adds no memory: the page was there and could be written.
    FilteredFault,
    /// A call outside the windows of time in which allocators are captured.
    FilteredOff,
    /// Passed over by the sampler.
    SampledOut,
    /// Became an event in the ring buffer.
    Submitted,
    /// No room in the ring buffer for an allocation or a resize.
    LostAllocRing,
    /// No room in the ring buffer for a free.
    LostFreeRing,
    /// No room in the ring buffer for a mapping, page fault, fork, exec or exit event.
    LostOtherRing,
    /// No room in the map of sampled blocks.
    LostSampledMap,
    /// No room in the map of threads.
    LostThreadMap,
    /// The address that `posix_memalign` stored could not be read.
    LostUnreadable,
    /// User space did not show itself for too long, and the programs return at once.
    LostAsleep,
    /// The stack could not be read; the event went out without it. Not a lost event.
    StackMissing,
    /// A frame-pointer stack was sent ahead of its first event: a record in the ring buffer beside the hits.
    StackSubmitted,
    /// An outermost call that never returned to us. Not a lost event: its entry was filtered.
    UnmatchedReturn,
    /// A mapping call at a probe that the kernel single-steps: counted beside what becomes of it, for its price.
    SteppedMapping,
}

impl Counter {
    /// Number of counters.
    pub const COUNT: u32 = Counter::SteppedMapping as u32 + 1;

    /// Counters that say what became of a seen hit, apart from `SampledOut` and `Submitted`: no event and no loss.
    pub const FILTERED: [Counter; 9] = [
        Counter::FilteredEntry,
        Counter::FilteredNested,
        Counter::FilteredNull,
        Counter::FilteredFailed,
        Counter::FilteredReturn,
        Counter::FilteredMapping,
        Counter::FilteredUnsampledFree,
        Counter::FilteredFault,
        Counter::FilteredOff,
    ];

    /// Counters of hits that should have become an event and did not.
    pub const LOST: [Counter; 7] = [
        Counter::LostAllocRing,
        Counter::LostFreeRing,
        Counter::LostOtherRing,
        Counter::LostSampledMap,
        Counter::LostThreadMap,
        Counter::LostUnreadable,
        Counter::LostAsleep,
    ];
}
