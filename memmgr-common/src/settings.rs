//! What user space tells the programs while they run.

/// How heap calls are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// Every call.
    Exact = 0,
    /// Poisson by bytes.
    Sample = 1,
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
    /// Mean bytes between samples.
    pub sample_interval: u64,
}

const _: () = assert!(size_of::<Settings>() == 24);
