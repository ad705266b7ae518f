//! glibc's arenas, read from outside: what `mallinfo2` and `malloc_info` would say (malloc/malloc.c, `int_mallinfo`).

use std::io;

use serde::{Deserialize, Serialize};

use super::{
    TRIES,
    layout::Layout,
    lists::{Free, Lists},
    locate::Place,
};
use crate::source::memory::{ProcessMemory, words};

/// More arenas than any process has.
const MOST_ARENAS: usize = 1 << 16;
/// More free chunks than this are not counted one by one.
const MOST_CHUNKS: u64 = 20_000_000;

/// An arena.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arena {
    /// Where it is; the main one is in the library.
    pub address: u64,
    /// Whether it is the one whose heap grows by brk.
    pub is_main: bool,
    /// Threads that allocate from it (`attached_threads`).
    pub threads: u64,
    /// Taken from the kernel (`system_mem`).
    pub system_bytes: u64,
    /// The most that it ever was.
    pub most_system_bytes: u64,
    /// Not free, with the heads of blocks, and with what threads have in their caches (tcache). Of this and the lists of free chunks
    /// nothing is known where the process changed those each time that they were read.
    pub in_use_bytes: Option<u64>,
    /// Free at the end of its heap: it grows from there, and only this goes back by itself.
    pub top_bytes: u64,
    /// Free between blocks in use (bins, the unsorted one included).
    pub bins: Option<Free>,
    /// Small free chunks that are not joined with their neighbours (fast bins).
    pub fast_bins: Option<Free>,
    /// What of its heaps is resident; absent where it is not known.
    pub resident_bytes: Option<u64>,
}

impl Arena {
    /// What is free between blocks.
    pub fn between(&self) -> Option<Free> {
        let (bins, fast_bins) = (self.bins?, self.fast_bins?);
        Some(Free { chunks: bins.chunks + fast_bins.chunks, bytes: bins.bytes + fast_bins.bytes })
    }

    /// All that is free.
    pub fn free_bytes(&self) -> Option<u64> {
        Some(self.top_bytes + self.between()?.bytes)
    }
}

/// What governs glibc's malloc (`malloc_par`), and blocks that have a mapping of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Blocks from this size on get a mapping of their own.
    pub mmap_threshold_bytes: u64,
    /// When the end of the main heap is freed to this size it goes back to the kernel.
    pub trim_threshold_bytes: u64,
    /// Both rise with the largest block that was freed, until somebody sets one.
    pub thresholds_rise: bool,
    /// What is taken from the kernel beyond what is asked for.
    pub top_pad_bytes: u64,
    /// The most arenas; 0 for eight a processor.
    pub most_arenas: u64,
    /// Blocks with a mapping of their own.
    pub mapped_count: u64,
    /// Bytes of those mappings.
    pub mapped_bytes: u64,
    /// The most that they ever were.
    pub most_mapped_bytes: u64,
    /// Sizes for which threads keep free blocks (tcache); 0 where they keep none.
    pub cached_sizes: u64,
    /// The largest of them.
    pub most_cached_bytes: u64,
    /// Blocks of a size that a thread keeps.
    pub cached_per_size: u64,
}

/// All arenas and the parameters, at one moment.
pub(super) fn read(
    memory: &ProcessMemory,
    place: &Place,
    layout: &Layout,
) -> io::Result<(Vec<Arena>, Parameters)> {
    let parameters = parameters(memory, place.parameters, layout)?;
    let mut arenas = Vec::new();
    let mut address = place.arena;
    let mut left = MOST_CHUNKS;
    loop {
        let (arena, next) = arena(memory, address, layout, &mut left)?;
        arenas.push(Arena { is_main: address == place.arena, ..arena });
        if next == place.arena {
            return Ok((arenas, parameters));
        }
        if arenas.len() == MOST_ARENAS || next == 0 {
            return Err(io::Error::other("its list of arenas does not end"));
        }
        address = next;
    }
}

fn parameters(memory: &ProcessMemory, address: u64, layout: &Layout) -> io::Result<Parameters> {
    let mut bytes = vec![0; layout.parameters.size()];
    memory.read(address, &mut bytes)?;
    let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
    let half = |at: usize| u64::from(word(at) as u32);
    let mapped = |field: usize| word(layout.parameters.mapped_bytes + 8 * field);
    Ok(Parameters {
        trim_threshold_bytes: word(0),
        top_pad_bytes: word(8),
        mmap_threshold_bytes: word(16),
        most_arenas: word(32),
        mapped_count: half(layout.parameters.mappings),
        thresholds_rise: half(layout.parameters.mappings + 12) == 0,
        mapped_bytes: mapped(0),
        most_mapped_bytes: mapped(1),
        cached_sizes: mapped(3),
        most_cached_bytes: mapped(4),
        cached_per_size: mapped(5),
    })
}

/// An arena, and where the next one is.
fn arena(
    memory: &ProcessMemory,
    address: u64,
    layout: &Layout,
    left: &mut u64,
) -> io::Result<(Arena, u64)> {
    let mut bytes = vec![0; layout.arena.size()];
    let mut tries = TRIES;
    loop {
        tries -= 1;
        memory.read(address, &mut bytes)?;
        let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
        let field = |number: usize| word(layout.arena.next + 8 * number);
        let (top, system) = (word(layout.arena.top), field(3));
        let range = address..address + bytes.len() as u64;
        let mut lists = Lists { memory, layout, arena: range, system, left: &mut *left };
        let top_bytes = lists.top(top)?;
        let is_still =
            memory.word(address + layout.arena.top as u64)? == top && top_bytes <= system;
        if !is_still && tries > 0 {
            continue;
        }
        let top_bytes = top_bytes.min(system);
        // Of lists that were read one after the other, two may have had the same chunk.
        let known = lists.read().and_then(|[bins, fast_bins]| {
            let free = top_bytes.saturating_add(bins.bytes).saturating_add(fast_bins.bytes);
            let in_use = system.checked_sub(free)?;
            Some((in_use, bins, fast_bins))
        });
        let arena = Arena {
            address,
            is_main: false,
            threads: field(2),
            system_bytes: system,
            most_system_bytes: field(4),
            in_use_bytes: known.map(|(in_use, ..)| in_use),
            top_bytes,
            bins: known.map(|(_, bins, _)| bins),
            fast_bins: known.map(|(.., fast_bins)| fast_bins),
            resident_bytes: None,
        };
        return Ok((arena, field(0)));
    }
}
