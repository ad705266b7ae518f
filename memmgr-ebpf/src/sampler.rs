//! Poisson sampling by bytes, for each CPU.
//!
//! The exponential distribution has no memory: whatever calls came before on this CPU, of whatever
//! thread, a block of S bytes is sampled with probability 1 - e^(-S/R). So one countdown serves all threads, a
//! countdown that was drawn for another interval can be thrown away, and calls that are never reported may use it up.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::helpers::bpf_get_prandom_u32;
use memmgr_common::{per_cpu::Sampler, sampling::draw_distance};

/// Whether `size` bytes are sampled at this mean interval; 0 takes everything.
#[inline(always)]
pub fn sampled(sampler: *mut Sampler, size: u64, interval: u64) -> bool {
    if interval == 0 {
        return true;
    }
    // SAFETY: `sampler` is part of a map value.
    if unsafe { (*sampler).interval } != interval {
        draw(sampler, interval);
    }
    // No countdown is longer, and beyond it the subtraction could wrap.
    let size = size.min(1 << 40) as i64;
    // SAFETY: as above; the addition of the negative is a subtraction. The order is that of `count::fetch_add`.
    let left = unsafe {
        atomic_xadd::<i64, i64, { AtomicOrdering::AcqRel }>(&raw mut (*sampler).countdown, -size)
    };
    if left > size {
        return false;
    }
    draw(sampler, interval);
    true
}

/// Another handler that gets in between draws too, or takes a sample more: it would have to come within nanoseconds of a sample.
#[inline(always)]
fn draw(sampler: *mut Sampler, interval: u64) {
    // SAFETY: the helper takes nothing and cannot fail.
    let random = unsafe { bpf_get_prandom_u32() };
    // At least 1, so that an empty block is never sampled by itself.
    let distance = draw_distance(random, interval).max(1) as i64;
    // SAFETY: `sampler` is part of a map value; plain stores of aligned words.
    unsafe {
        (*sampler).countdown = distance;
        (*sampler).interval = interval;
    }
}
