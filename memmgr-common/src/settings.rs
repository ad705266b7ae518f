//! What user space tells the programs while they run.

/// How heap calls are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// Every call, and every free. Nothing is remembered, so that a capture cannot go over to samples.
    Exact = 0,
    /// Poisson by bytes. What is sampled is remembered, and only its free is reported.
    Sample = 1,
    /// None: the allocator's probes are not there, or are about to go.
    Off = 2,
}

/// Which stacks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StackKind {
    /// Frame pointers, walked in the kernel.
    FramePointers = 0,
    /// A copy of the top of the stack, unwound in user space.
    Copy = 1,
}

/// The one entry of the settings map. Changing it takes effect at the next hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// 0 makes every program return at once: events begin and end by this, so that all probes start at the same moment.
    pub capturing: u32,
    /// A [`Mode`].
    pub mode: u32,
    /// A [`StackKind`].
    pub stack_kind: u32,
    /// Bytes of stack to copy at most; one of [`crate::limits::STACK_CLASSES`].
    pub stack_bytes: u32,
    /// Mean bytes between heap samples; 0 takes every call, remembered as a sample is.
    pub sample_interval: u64,
    /// Mean bytes between samples of page faults; 0 takes every fault.
    pub fault_interval: u64,
    /// The kernel's monotonic time in nanoseconds until which the programs work. User space moves it on while
    /// it lives: when it is stopped or starved, the programs return at once from then on.
    pub awake_until: u64,
    /// What an event with a stack costs, in nanoseconds: that many tokens of the bucket. 0: there is no bucket.
    pub event_cost: u64,
    /// Tokens that each CPU gets in 1024 ns.
    pub tokens_per_1024_ns: u64,
    /// Size of the ring buffer, in bytes.
    pub ring_bytes: u64,
    /// Number of the running window of time: what is known of a call that began in an earlier one is void.
    pub window: u64,
    /// A [`MappingWay`]: programs of another way return at once.
    pub mapping_way: u64,
}

const _: () = assert!(size_of::<Settings>() == 80);

/// How the mapping system calls are watched, so that none is seen twice while one way takes over from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum MappingWay {
    /// In the kernel: by its functions or by tracepoints.
    Kernel = 0,
    /// By probes on the C library.
    Library = 1,
}

/// Tokens that a CPU can save up, in nanoseconds of work: a burst of this length is let through.
pub const MOST_TOKENS: u64 = 100_000_000;

/// Hits of a function on one CPU between two looks at the clock: the programs sleep at most so many hits late.
pub const HITS_BETWEEN_LOOKS: u64 = 64;
