//! glibc's lists of free chunks, followed from outside while the process may change them.

use std::{io, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    TRIES,
    layout::{BINS, FAST_BINS, Layout},
};
use crate::source::memory::ProcessMemory;

/// Flags in the lowest bits of a chunk's size (`SIZE_BITS`).
const SIZE_BITS: u64 = 7;
/// The smallest chunk (`MINSIZE`), and what sizes are multiples of (`MALLOC_ALIGNMENT`).
const LEAST: u64 = 32;
const ALIGNED: u64 = 16;

/// Chunks and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Free {
    /// How many.
    pub chunks: u64,
    /// Bytes, with the head of each chunk.
    pub bytes: u64,
}

/// The lists of an arena.
pub(super) struct Lists<'a> {
    pub(super) memory: &'a ProcessMemory,
    pub(super) layout: &'a Layout,
    /// Where the arena itself is.
    pub(super) arena: Range<u64>,
    /// No chunk is larger than what the arena has.
    pub(super) system: u64,
    /// How many more chunks are followed.
    pub(super) left: &'a mut u64,
}

/// The head of a free chunk.
struct Head {
    size: u64,
    /// Links to the next one, and to the one before.
    next: u64,
    before: u64,
}

impl Lists<'_> {
    /// The bytes at the end of the heap, which begin with this chunk.
    pub(super) fn top(&self, chunk: u64) -> io::Result<u64> {
        // Before the first block it points to a bin, whose size is 0.
        Ok(self.head(chunk)?.size)
    }

    /// What is in the bins, and in the fast bins; `None` where one of them changed each time that it was read. Each list is tried by
    /// itself: all of them at once hold still in no busy process.
    pub(super) fn read(&mut self) -> Option<[Free; 2]> {
        let mut all = [Free::default(); 2];
        for bin in 0..BINS {
            self.add(&mut all[0], |lists| lists.bin(bin))?;
        }
        for bin in 0..FAST_BINS {
            self.add(&mut all[1], |lists| lists.fast_bin(bin))?;
        }
        Some(all)
    }

    fn add(&mut self, sum: &mut Free, list: impl Fn(&mut Self) -> io::Result<Free>) -> Option<()> {
        let found = (0..TRIES).find_map(|_| list(self).ok())?;
        sum.chunks += found.chunks;
        sum.bytes = sum.bytes.saturating_add(found.bytes);
        Some(())
    }

    /// `malloc_chunk`: the size of the one before, the own size, the links.
    fn head(&self, chunk: u64) -> io::Result<Head> {
        let words = self.memory.words(chunk, 4)?;
        Ok(Head { size: words[1] & !SIZE_BITS, next: words[2], before: words[3] })
    }

    fn count(&mut self, size: u64, free: &mut Free) -> io::Result<()> {
        let is_size = (LEAST..=self.system).contains(&size) && size.is_multiple_of(ALIGNED);
        *self.left = self.left.checked_sub(1).filter(|_| is_size).ok_or_else(changed)?;
        free.chunks += 1;
        free.bytes = free.bytes.saturating_add(size);
        Ok(())
    }

    /// A list that ends, of chunks of one size.
    fn fast_bin(&mut self, bin: usize) -> io::Result<Free> {
        let at = self.arena.start + (self.layout.arena.fast_bins + 8 * bin) as u64;
        let size = LEAST + ALIGNED * bin as u64;
        let mut free = Free::default();
        let mut chunk = self.memory.word(at)?;
        while chunk != 0 {
            let head = self.head(chunk)?;
            if head.size != size {
                return Err(changed());
            }
            self.count(head.size, &mut free)?;
            let mask = if self.layout.is_mangled { (chunk + 16) >> 12 } else { 0 };
            chunk = head.next ^ mask;
        }
        Ok(free)
    }

    /// A ring, through the bin itself, which is taken for a chunk whose links it holds.
    fn bin(&mut self, bin: usize) -> io::Result<Free> {
        let own = self.arena.start + (self.layout.arena.bins + 16 * bin) as u64 - 16;
        let mut free = Free::default();
        let (mut chunk, mut before) = (self.memory.word(own + 16)?, own);
        while chunk != own {
            let head = self.head(chunk)?;
            if self.arena.contains(&chunk) || head.before != before {
                return Err(changed());
            }
            self.count(head.size, &mut free)?;
            (chunk, before) = (head.next, chunk);
        }
        Ok(free)
    }
}

/// A chunk went to another list while it was looked at, or out of all.
fn changed() -> io::Error {
    io::Error::other("a list of free chunks changed meanwhile")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::pools::layout::layouts;

    const ARENA: u64 = 0x1000;
    const FIRST: u64 = 0x10_000;
    const SECOND: u64 = 0x20_000;

    /// Free chunks of an arena with two in its first bin, and one in its first fast bin, after these words were changed.
    fn read(changes: &[(u64, u64)]) -> Option<[[u64; 2]; 2]> {
        let layout = &layouts(Some(36))[0];
        let file = tempfile::tempfile().unwrap();
        let put = |at: u64, word: u64| file.write_all_at(&word.to_le_bytes(), at).unwrap();
        let own = |bin: usize| ARENA + (layout.arena.bins + 16 * bin) as u64 - 16;
        for bin in 1..BINS {
            put(own(bin) + 16, own(bin));
            put(own(bin) + 24, own(bin));
        }
        let ring = [own(0), FIRST, SECOND, own(0), FIRST];
        for around in ring.windows(3) {
            put(around[1] + 16, around[2]);
            put(around[1] + 24, around[0]);
        }
        put(own(0) + 24, SECOND);
        // With a flag, as sizes have it.
        put(FIRST + 8, 0x501);
        put(SECOND + 8, 0x40);
        let fast = 0x30_000;
        put(ARENA + layout.arena.fast_bins as u64, fast);
        put(fast + 8, 0x21);
        put(fast + 16, (fast + 16) >> 12);
        // The end.
        put(0x40_000, 0);
        for (at, word) in changes {
            put(*at, *word);
        }
        let mut lists = Lists {
            memory: &ProcessMemory::new(file),
            layout,
            arena: ARENA..ARENA + layout.arena.size() as u64,
            system: 1 << 20,
            left: &mut 1000,
        };
        lists.read().map(|all| all.map(|free| [free.chunks, free.bytes]))
    }

    #[track_caller]
    fn check(changes: &[(u64, u64)], expected: Option<[[u64; 2]; 2]>) {
        assert_eq!(read(changes), expected);
    }

    #[test]
    fn lists_are_followed_as_long_as_their_links_fit() {
        check(&[], Some([[2, 0x540], [1, 0x20]]));
        // The first one was taken by the program, which wrote to it.
        check(&[(FIRST + 24, 7)], None);
        // It leads to itself, elsewhere, or into the arena.
        check(&[(FIRST + 16, FIRST)], None);
        check(&[(FIRST + 16, 1 << 40)], None);
        check(&[(SECOND + 16, ARENA + 0x100)], None);
        // Sizes that no chunk has.
        check(&[(FIRST + 8, 0)], None);
        check(&[(FIRST + 8, 1 << 30)], None);
        check(&[(0x30_008, 0x31)], None);
    }
}
