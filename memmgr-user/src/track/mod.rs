//! Who owns which live bytes: [`Change`]s in, [`Delta`]s out. Pure: no I/O and no clock.
//!
//! The rules, each with a test: a free gives back what its allocation took; a resize takes its old
//! block out on entry and commits or restores it on return, so that another thread that is given
//! the old address in between is never mistaken for it; an allocation at a live address means that
//! a free was missed; a free of an unknown block is counted and changes nothing.

mod blocks;
mod mappings;
mod resident;
mod table;

pub use blocks::{Blocks, LiveBlock};
pub use mappings::{LiveRange, Mappings};
pub use resident::{NotBooked, Resident};

use crate::{
    stacks::StackHandle,
    units::{Address, KernelTime, Tid},
};

/// Kinds of memory, never added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// From an allocator.
    Heap,
    /// Anonymous mappings and the program break: address space, resident or not.
    Mapping,
    /// Mappings of files.
    FileMapping,
    /// Private pages, by the stack that touched them first.
    Resident,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Every class, in the order of their numbers.
    pub const ALL: [Class; Self::COUNT] =
        [Class::Heap, Class::Mapping, Class::FileMapping, Class::Resident];

    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Class::Heap => "heap",
            Class::Mapping => "mapping",
            Class::FileMapping => "file-mapping",
            Class::Resident => "resident",
        }
    }
}

/// A block with its stack resolved to a handle: what the tracker is fed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewBlock {
    /// First byte.
    pub address: Address,
    /// Bytes asked for.
    pub size: u64,
    /// Sampling interval in bytes, 0 when every call is reported.
    pub interval: u64,
    /// Who asked.
    pub stack: StackHandle,
    /// When.
    pub time: KernelTime,
}

/// What happened to the heap, after decoding and unwinding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// A block is there.
    Alloc(NewBlock),
    /// A block is gone.
    Free(Address),
    /// A block is between two states, by this thread.
    ResizeBegin(Tid, Address),
    /// It is as it was.
    ResizeFailed(Tid),
    /// It is gone.
    ResizeGone(Tid),
    /// It is gone, and another is there.
    ResizeMoved(Tid, NewBlock),
}

/// A change of the books of one stack. In sample mode bytes and count are estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delta {
    /// Kind of memory.
    pub class: Class,
    /// Which stack.
    pub stack: StackHandle,
    /// Taken or given back.
    pub direction: Direction,
    /// Bytes that the block stands for.
    pub bytes: f64,
    /// Blocks that the block stands for.
    pub count: f64,
    /// What it adds to the variance of a sum of bytes, bytes squared; 0 where every call is counted.
    pub variance: f64,
    /// Bytes asked for when it was allocated: what its size class is.
    pub size: u64,
    /// When it was allocated.
    pub born: KernelTime,
}

/// Which way memory went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the program.
    Allocated,
    /// Back.
    Freed,
    /// Back, and what took its place follows at once: a resize. Between the two nothing was outstanding less.
    Replaced,
}

/// What does not fit the rules. None of it changes live bytes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Frees of unknown blocks.
    pub unknown_free: u64,
    /// Allocations at a live address.
    pub implied_free: u64,
    /// The same where the block was allocated before a stretch of time without probes, which hid its free.
    pub hidden_free: u64,
    /// Blocks that were not kept because the table was full.
    pub table_full: u64,
}
