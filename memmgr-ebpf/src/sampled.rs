//! The sampled blocks that are outstanding: only their frees are reported, so that pairs never break.

use aya_ebpf::bindings::BPF_NOEXIST;
use memmgr_common::limits::FILTER_SLOTS;

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use crate::{
    maps::{BlockKey, FILTER, SAMPLED},
    thread::Current,
};

/// EEXIST as helpers return it.
const EXISTS: i32 = -17;

/// Makes the free of this block interesting; false when there is no room.
#[inline(always)]
pub fn remember(current: &Current, address: u64) -> bool {
    // Before the table, so that whoever sees the block in the table sees it here.
    change(current, address, 1);
    match SAMPLED.insert(key(current, address), 0u8, BPF_NOEXIST.into()) {
        Ok(()) => true,
        Err(error) => {
            change(current, address, u32::MAX);
            // It is there still: its free was missed.
            error == EXISTS
        }
    }
}

/// Whether the block was remembered; it is not any more.
#[inline(always)]
pub fn forget(current: &Current, address: u64) -> bool {
    // SAFETY: from a map lookup; array values are never freed while a program runs.
    let maybe = slot(current, address).is_some_and(|slot| unsafe { slot.read_volatile() } != 0);
    let known = maybe && SAMPLED.remove(key(current, address)).is_ok();
    if known {
        change(current, address, u32::MAX);
    }
    known
}

fn key(current: &Current, address: u64) -> BlockKey {
    BlockKey { address, tgid: u64::from(current.tgid) }
}

#[inline(always)]
fn change(current: &Current, address: u64, by: u32) {
    if let Some(slot) = slot(current, address) {
        // SAFETY: `slot` points into a map value; all writers use atomics.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(slot, by) };
    }
}

/// Fibonacci hashing (Knuth, TAOCP 3, 6.4): the top bits of a product depend on all bits of the address.
#[inline(always)]
fn slot(current: &Current, address: u64) -> Option<*mut u32> {
    let hash = (address ^ u64::from(current.tgid) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let index = (hash >> 32) as usize & (FILTER_SLOTS - 1);
    // SAFETY: the index is below the length of the array that the map's one value is.
    FILTER.get_ptr_mut(0).map(|filter| unsafe { filter.cast::<u32>().add(index) })
}
