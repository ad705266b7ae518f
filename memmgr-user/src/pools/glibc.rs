//! glibc's arenas, read from outside: what `mallinfo2` and `malloc_info` would say (malloc/malloc.c, `int_mallinfo`).

use std::{io, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    layout::{BINS, FAST_BINS, Layout},
    locate::Place,
};
use crate::source::memory::{ProcessMemory, words};

/// More arenas than any process has.
const MOST_ARENAS: usize = 1 << 16;
/// More free chunks than this are not counted one by one.
const MOST_CHUNKS: u64 = 20_000_000;
/// Flags in the lowest bits of a chunk's size (`SIZE_BITS`).
const SIZE_BITS: u64 = 7;

/// Chunks and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Free {
    /// How many.
    pub chunks: u64,
    /// Bytes, with the head of each chunk.
    pub bytes: u64,
}

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
    /// Not free, with the heads of blocks, and with what threads have in their caches (tcache).
    pub in_use_bytes: u64,
    /// Free at the end of its heap: it grows from there, and only this goes back by itself.
    pub top_bytes: u64,
    /// Free between blocks in use (bins, the unsorted one included).
    pub bins: Free,
    /// Small free chunks that are not joined with their neighbours (fast bins).
    pub fast_bins: Free,
    /// What of its heaps is resident; absent where it is not known.
    pub resident_bytes: Option<u64>,
}

impl Arena {
    /// All that is free.
    pub fn free_bytes(&self) -> u64 {
        self.top_bytes + self.bins.bytes + self.fast_bins.bytes
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
    memory.read(address, &mut bytes)?;
    let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
    let mut chunks = Chunks { memory, left, arena: address..address + bytes.len() as u64 };
    let mut fast_bins = Free::default();
    for bin in 0..FAST_BINS {
        let first = word(layout.arena.fast_bins + 8 * bin);
        chunks.fast(first, layout.is_mangled, &mut fast_bins)?;
    }
    let mut bins = Free::default();
    for bin in 0..BINS {
        let at = layout.arena.bins + 16 * bin;
        chunks.bin(word(at), address + at as u64 - 16, &mut bins)?;
    }
    // Before the first block it points to a bin, whose size is 0.
    let top = chunks.head(word(layout.arena.top))?.size;
    let field = |number: usize| word(layout.arena.next + 8 * number);
    let system = field(3);
    let free = top.saturating_add(bins.bytes).saturating_add(fast_bins.bytes);
    if free > system {
        return Err(changed());
    }
    let arena = Arena {
        address,
        is_main: false,
        threads: field(2),
        system_bytes: system,
        most_system_bytes: field(4),
        in_use_bytes: system - free,
        top_bytes: top,
        bins,
        fast_bins,
        resident_bytes: None,
    };
    Ok((arena, field(0)))
}

/// A chunk went to another list while it was looked at, or out of all.
fn changed() -> io::Error {
    io::Error::other("a list of free chunks changed meanwhile")
}

/// The head of a free chunk.
struct Head {
    size: u64,
    /// Link to the next one.
    next: u64,
}

/// Follows lists of free chunks. They change while they are followed: what does not fit is told.
struct Chunks<'a> {
    memory: &'a ProcessMemory,
    /// How many more are followed.
    left: &'a mut u64,
    /// Where the arena itself is.
    arena: Range<u64>,
}

impl Chunks<'_> {
    /// `malloc_chunk`: the size of the one before, the own size, the link.
    fn head(&self, chunk: u64) -> io::Result<Head> {
        let words = self.memory.words(chunk, 3)?;
        Ok(Head { size: words[1] & !SIZE_BITS, next: words[2] })
    }

    fn count(&mut self, size: u64, free: &mut Free) -> io::Result<()> {
        let Some(left) = self.left.checked_sub(1).filter(|_| size > 0) else {
            return Err(changed());
        };
        *self.left = left;
        free.chunks += 1;
        free.bytes = free.bytes.saturating_add(size);
        Ok(())
    }

    /// A list that ends.
    fn fast(&mut self, first: u64, is_mangled: bool, free: &mut Free) -> io::Result<()> {
        let mut chunk = first;
        while chunk != 0 {
            let head = self.head(chunk)?;
            self.count(head.size, free)?;
            let mask = if is_mangled { (chunk + 16) >> 12 } else { 0 };
            chunk = head.next ^ mask;
        }
        Ok(())
    }

    /// A ring, through the bin itself.
    fn bin(&mut self, first: u64, bin: u64, free: &mut Free) -> io::Result<()> {
        let mut chunk = first;
        while chunk != bin {
            if self.arena.contains(&chunk) {
                return Err(changed());
            }
            let head = self.head(chunk)?;
            self.count(head.size, free)?;
            chunk = head.next;
        }
        Ok(())
    }
}
