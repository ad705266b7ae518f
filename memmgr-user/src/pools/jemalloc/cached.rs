//! What threads keep free for themselves (tcache), as `cache_bin_nitems_get_remote` counts it (include/jemalloc/internal/cache_bin.h).

use std::io;

use super::read::{changed, number, read};
use crate::{
    debug_types::{Field, Types},
    source::memory::ProcessMemory,
};

/// More caches than there can be threads (`PID_MAX_LIMIT`).
const MOST_CACHES: usize = 1 << 22;
/// Bytes of a pointer.
const POINTER: u16 = 8;

/// Where the caches of an arena's threads are: a ring of descriptors that lead to the bins of a cache, one for each class of size.
#[derive(Debug)]
pub(super) struct CacheLayout {
    /// The first descriptor, in the arena.
    pub(super) first: Field,
    descriptor: u64,
    next: Field,
    bins: Field,
    /// Bytes of all bins of a cache.
    all: u64,
    bin: u64,
    /// The next block to be given out; the stack of blocks grows down.
    head: Field,
    /// The low 16 bits of where the stack is empty.
    empty: Field,
    /// Those of where it is full.
    full: Field,
}

impl CacheLayout {
    /// By the debug information of 5.3. The lists of 5.2 are others, and its own sum of them is wrong for large blocks.
    pub(super) fn of(types: &Types) -> Option<Self> {
        let descriptor = "cache_bin_array_descriptor_s";
        Some(CacheLayout {
            first: types.field("arena_s", "cache_bin_array_descriptor_ql.qlh_first")?,
            descriptor: types.size_of(descriptor)?,
            next: types.field(descriptor, "link.qre_next")?,
            bins: types.field(descriptor, "bins")?,
            all: types.field("tcache_s", "bins")?.size,
            bin: types.size_of("cache_bin_s")?.max(1),
            head: types.field("cache_bin_s", "stack_head")?,
            empty: types.field("cache_bin_s", "low_bits_empty")?,
            full: types.field("cache_bin_s", "low_bits_full")?,
        })
    }
}

/// Bytes of the blocks in the caches of a ring. `sizes` are those of the classes, `disabled` is where the bins of classes lead that
/// are not kept.
pub(super) fn bytes(
    memory: &ProcessMemory,
    layout: &CacheLayout,
    first: u64,
    sizes: &[u64],
    disabled: Option<u64>,
) -> io::Result<u64> {
    let (mut sum, mut address) = (0_u64, first);
    for _ in 0..MOST_CACHES {
        // The ring of an arena without threads is empty.
        if address == 0 {
            return Ok(sum);
        }
        let descriptor = read(memory, address, layout.descriptor)?;
        let bins = read(memory, number(&descriptor, layout.bins)?, layout.all)?;
        for (bin, size) in bins.chunks_exact(layout.bin as usize).zip(sizes) {
            let head = number(bin, layout.head)?;
            if Some(head) == disabled {
                continue;
            }
            let count = count(head, number(bin, layout.empty)?, number(bin, layout.full)?);
            sum = sum.saturating_add(u64::from(count.ok_or_else(changed)?) * size);
        }
        address = number(&descriptor, layout.next)?;
        if address == first {
            return Ok(sum);
        }
    }
    Err(changed())
}

/// Blocks on a stack; nothing where there are more than it has room for.
fn count(head: u64, empty: u64, full: u64) -> Option<u16> {
    let below = |low: u64| (empty as u16).wrapping_sub(low as u16) / POINTER;
    (below(head) <= below(full)).then(|| below(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_on_a_stack() {
        assert_eq!(count(0x7fff_1f80, 0x2000, 0x1f00), Some(16));
        // The low bits go around.
        assert_eq!(count(0x7fff_fff0, 0x0010, 0xff10), Some(4));
        assert_eq!(count(0x2000, 0x2000, 0x1f00), Some(0));
        assert_eq!(count(0x1e00, 0x2000, 0x1f00), None);
        assert_eq!(count(0, 0, 0), Some(0));
    }
}
