//! The maps, all in one place.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use memmgr_common::{
    Settings, limits,
    per_cpu::{Calls, Cpu},
};

use crate::thread::Thread;

/// One entry: what user space wants.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Processes to capture and their states of [`memmgr_common::target`], by tgid.
#[map]
pub static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(limits::MAX_TARGETS, 0);

/// The process that is the only target, so that most programs need no look into the table; 0 when the table has to be asked.
#[map]
pub static ONLY_TARGET: Array<u32> = Array::with_max_entries(1, 0);

/// Threads of targets, by tid. A thread only ever touches its own entry.
#[map]
pub static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(limits::MAX_THREADS, 0);

/// What a thread begins with: zeroes.
#[map]
pub static NEW_THREAD: Array<Thread> = Array::with_max_entries(1, 0);

/// A block of one process.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct BlockKey {
    /// First byte of the block.
    pub address: u64,
    /// Process, widened so that there is no padding in the key.
    pub tgid: u64,
}

/// Sampled blocks that are outstanding. Not preallocated: most captures need a few thousand.
#[map]
pub static SAMPLED: HashMap<BlockKey, u8> =
    HashMap::with_max_entries(limits::MAX_SAMPLED_BLOCKS, BPF_F_NO_PREALLOC);

/// How many sampled blocks have an address with this hash.
pub type Filter = [u32; limits::FILTER_SLOTS];

/// The filter in front of `SAMPLED`: where it has 0, there is no such block.
#[map]
pub static FILTER: Array<Filter> = Array::with_max_entries(1, 0);

/// Ids of frame-pointer stacks that user space has, each at the place that its low bits name.
#[map]
pub static KNOWN_STACKS: Array<u64> = Array::with_max_entries(limits::MAX_KNOWN_STACKS, 0);

/// One entry a CPU.
#[map]
pub static CPUS: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(1, 0);

/// By function of the attach plan, and of page faults.
#[map]
pub static CALLS: PerCpuArray<Calls> = PerCpuArray::with_max_entries(limits::MAX_FUNCTIONS + 1, 0);

/// All events. User space sets the size when it loads.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
