//! Event bodies as they stand in the ring buffer.
//!
//! Every event begins with a [`Header`]; its `kind` says which body follows. A body that carries a
//! copied stack is followed by `stack_len` bytes, in a record of one of the sizes in
//! [`crate::limits::STACK_CLASSES`].

use crate::limits::MAX_FRAMES;

/// Which body follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// [`Block`]: a block was given out.
    Alloc = 1,
    /// [`Free`]: a block is about to be taken back.
    Free = 2,
    /// [`Free`]: a block is about to be resized and is put aside until [`Kind::ResizeEnd`] of the same thread.
    ResizeBegin = 3,
    /// [`Block`]: the resize ended; `address` 0 means that it failed and the old block stands, unless `size` is 0.
    ResizeEnd = 4,
    /// [`FrameStack`]: the frames behind a stack id, sent before the first event that uses it.
    Stack = 5,
    /// [`Block`]: memory was mapped by `mmap`.
    Map = 6,
    /// [`Range`]: memory is about to be unmapped and is put aside until [`Kind::UnmapEnd`] of the same thread.
    UnmapBegin = 7,
    /// [`Range`]: the unmap ended; `result` says how.
    UnmapEnd = 8,
    /// [`Range`]: a mapping is about to be moved or resized and is put aside until [`Kind::RemapEnd`] of the same thread.
    RemapBegin = 9,
    /// [`Block`]: the remap ended; `address` 0 means that it failed.
    RemapEnd = 10,
    /// [`Header`] alone: the target made a child process.
    Fork = 11,
    /// [`Header`] alone: the target executed another program.
    Exec = 12,
    /// [`Header`] alone: a thread of the target ended.
    ThreadExit = 13,
    /// [`Block`]: the program break was set; `address` is the new break.
    Break = 14,
    /// [`Block`]: the target touched a page that was not there, or wrote to one that it shared. `address` is the page's,
    /// `size` is [`crate::limits::PAGE_SIZE`], and `ip` is one byte behind the first of the faulting instruction, so that it can be
    /// treated as the return addresses of all other stacks are.
    Fault = 15,
}

/// What every event begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u16,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Bytes of copied stack that follow the body.
    pub stack_len: u32,
    /// `bpf_ktime_get_ns`.
    pub time: u64,
}

/// Bits of [`Header::flags`].
pub mod flags {
    /// The stack goes on beyond what was copied or walked.
    pub const STACK_CUT: u16 = 1;
    /// No stack could be taken.
    pub const STACK_MISSING: u16 = 2;
    /// The resize's old block was tracked (sample mode).
    pub const OLD_TRACKED: u16 = 4;
    /// The new block is tracked (sample mode).
    pub const NEW_TRACKED: u16 = 8;
    /// The mapping is of a file.
    pub const FILE_MAPPING: u16 = 16;
    /// The page was there before the fault: it was shared, was written, and is a copy of the target's own now.
    pub const COPIED: u16 = 32;
    /// The mapping is address space without any access (PROT_NONE): no memory yet, or no more.
    pub const RESERVATION: u16 = 64;
    /// The child runs in its parent's memory (vfork) until it executes a program.
    pub const SHARES_MEMORY: u16 = 128;
}

/// A block, and the stack that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Block {
    /// What every event begins with.
    pub header: Header,
    /// First byte of the block; 0 for a failed resize.
    pub address: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Id of a stack sent by [`Kind::Stack`]; 0 when the stack is copied instead.
    pub stack_id: u64,
    /// Instruction pointer after the call returned: the direct caller.
    pub ip: u64,
    /// Stack pointer after the call returned; the address of the first copied byte.
    pub sp: u64,
    /// Frame pointer register after the call returned.
    pub bp: u64,
    /// Sampling interval in force, 0 for every call.
    pub interval: u64,
}

/// An allocator's call in flight, as it began: where it was entered by a probe whose return is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// The stack slot whose return address the kernel has replaced by its trampoline; 0 when no call is in flight.
    pub slot: u64,
    /// The return address that belongs there.
    pub return_address: u64,
    /// Address of the probe, in the function that was called.
    pub function: u64,
    /// Frame pointer register.
    pub bp: u64,
}

/// A block that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Free {
    /// What every event begins with.
    pub header: Header,
    /// First byte of the block.
    pub address: u64,
}

/// A range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// What every event begins with.
    pub header: Header,
    /// First byte.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
    /// The system call's result; 0 or an address is success, small negative numbers are errors.
    pub result: i64,
}

/// The frames behind a stack id, leaf first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FrameStack {
    /// What every event begins with.
    pub header: Header,
    /// The id.
    pub stack_id: u64,
    /// Frames in use.
    pub count: u64,
    /// Return addresses.
    pub frames: [u64; MAX_FRAMES],
}

/// A block, and a copy of the stack that asked for it, from the stack pointer upwards.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct BlockWithStack<const N: usize> {
    /// The event.
    pub block: Block,
    /// The allocator's call that it happened in.
    pub call: Call,
    /// The first `header.stack_len` bytes are valid.
    pub stack: [u8; N],
}

const _: () = {
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<Block>() == 80);
    assert!(size_of::<Call>() == 32);
    assert!(size_of::<Free>() == 32);
    assert!(size_of::<Range>() == 48);
    assert!(size_of::<FrameStack>() == 24 + 16 + 8 * MAX_FRAMES);
    assert!(size_of::<BlockWithStack<1024>>() == 80 + 32 + 1024);
};
