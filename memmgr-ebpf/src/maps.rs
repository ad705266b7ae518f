//! The maps, all in one place.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use memmgr_common::{Counter, Settings, limits};

use crate::thread::Thread;

/// One entry: what user space wants.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Processes to capture and their states of [`memmgr_common::target`], by tgid.
#[map]
pub static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(limits::MAX_TARGETS, 0);

/// Threads of targets, by tid. A thread only ever touches its own entry.
#[map]
pub static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(limits::MAX_THREADS, 0);

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

/// Ids of frame-pointer stacks that user space has.
#[map]
pub static KNOWN_STACKS: LruHashMap<u64, u8> =
    LruHashMap::with_max_entries(limits::MAX_KNOWN_STACKS, 0);

/// Counters by [`Counter`].
pub type Counters = [u64; Counter::COUNT as usize];

/// One entry a CPU.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Outermost calls by function of the attach plan.
#[map]
pub static HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(limits::MAX_FUNCTIONS, 0);

/// All events. User space sets the size when it loads.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
