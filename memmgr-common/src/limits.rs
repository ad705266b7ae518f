//! Caps, each with its reason. Reaching one is counted, never silent.

/// Targets at a time.
pub const MAX_TARGETS: u32 = 1024;
/// Threads with state in the kernel at a time, over all targets; 368 bytes each.
pub const MAX_THREADS: u32 = 16 * 1024;
/// Sampled blocks outstanding at a time: at 512 KiB a sample this is 128 GiB of live memory.
pub const MAX_SAMPLED_BLOCKS: u32 = 256 * 1024;
/// Places for frame-pointer stacks that the kernel remembers as already sent; one that loses its place is sent again. A power of two.
pub const MAX_KNOWN_STACKS: u32 = 64 * 1024;
/// Counters of the filter in front of the sampled blocks, a power of two: a free of a block that was not sampled
/// needs no look into the table as long as few sampled blocks are outstanding.
pub const FILTER_SLOTS: usize = 32 * 1024;
/// Probed functions; each has a hit counter.
pub const MAX_FUNCTIONS: u32 = 512;
/// In the place behind them page faults are counted as the calls of a function are.
pub const FAULTS: u16 = MAX_FUNCTIONS as u16;
/// Frames of a frame-pointer stack, the direct caller included.
pub const MAX_FRAMES: usize = 127;
/// The stack sizes that can be reserved in the ring buffer, in bytes: the verifier wants constants.
pub const STACK_CLASSES: [usize; 7] =
    [1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// Nested allocator calls within one outermost call, after which that call is taken for abandoned
/// (a `longjmp` out of it): no allocator nests nearly as often.
pub const MAX_NESTED_CALLS: u16 = 64;
/// Granularity of stack mappings.
pub const PAGE_SIZE: u64 = 4096;
