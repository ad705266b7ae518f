//! The last line of defence against cost and loss: a token bucket for each CPU, samples that become fewer as the ring
//! buffer fills, and sleep when user space does not show itself.
//!
//! User space steers the cost of a capture. When it is late, stopped or starved, these hold without it.

use aya_ebpf::{
    bindings::BPF_RB_AVAIL_DATA,
    helpers::{bpf_jiffies64, bpf_ktime_get_ns},
};
use memmgr_common::{
    Counter,
    settings::{HITS_BETWEEN_LOOKS, MOST_TOKENS},
};

use crate::{count::Count, maps::EVENTS, thread::Current};

/// The kernel's monotonic time as of the last tick, in nanoseconds: the clock itself takes ten times as long as the rest of
/// a hit that is passed over, and is asked once a tick and CPU.
#[inline(always)]
pub fn coarse_time(count: Count) -> u64 {
    let cpu = count.cpu();
    // SAFETY: the helper takes nothing and cannot fail.
    let tick = unsafe { bpf_jiffies64() };
    // A handler that gets in between writes the time of the same tick, or of the next.
    // SAFETY: part of a map value; plain words. The helper cannot fail.
    unsafe {
        if (*cpu).tick != tick {
            (*cpu).time = bpf_ktime_get_ns();
            (*cpu).tick = tick;
        }
        (*cpu).time
    }
}

/// Whether the programs are to return at once; counted as a loss. Looks at the clock at the first of
/// many hits only, but while asleep at each, to wake up at once.
#[inline(always)]
pub fn asleep(current: &Current, hits_before: u64) -> bool {
    let cpu = current.count.cpu();
    // SAFETY: part of a map value; a plain word.
    let was = unsafe { (*cpu).asleep };
    if hits_before % HITS_BETWEEN_LOOKS != 0 && was == 0 {
        return false;
    }
    set_floor(current, 0);
    let asleep = coarse_time(current.count) > current.settings().awake_until;
    if u64::from(asleep) != was {
        // SAFETY: as above.
        unsafe { (*cpu).asleep = u64::from(asleep) };
    }
    if asleep {
        current.count.add(Counter::LostAsleep);
    }
    asleep
}

/// Sets the interval below which this CPU does not sample, by what is left of its tokens and of the ring buffer; an
/// event of this cost comes before.
///
/// Samples become fewer before events are lost: each carries the interval that it was chosen by, so that figures stay right.
#[inline(always)]
pub fn set_floor(current: &Current, cost: u64) {
    let settings = current.settings();
    let cpu = current.count.cpu();
    let mut floor = 0;
    if settings.event_cost != 0 {
        let now = coarse_time(current.count);
        // A handler that gets in between adds or takes the same tokens twice: this is a brake, not a book.
        // SAFETY: part of a map value; plain words.
        unsafe {
            let passed = now.wrapping_sub((*cpu).refilled).min(1 << 32);
            let fresh = (passed.wrapping_mul(settings.tokens_per_1024_ns) >> 10).min(MOST_TOKENS);
            let tokens = ((*cpu).tokens + fresh as i64).min(MOST_TOKENS as i64) - cost as i64;
            (*cpu).refilled = now;
            // A debt is paid within the time that MOST_TOKENS take.
            (*cpu).tokens = tokens.max(-(MOST_TOKENS as i64));
            if tokens < 0 {
                floor = SPARSE;
            }
        }
    }
    let eighths =
        EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)).wrapping_mul(8) / settings.ring_bytes.max(1);
    floor = floor.max(match eighths {
        0 | 1 => 0,
        2 | 3 => 4 << 10,
        4 | 5 => 64 << 10,
        6 => 1 << 20,
        _ => SPARSE,
    });
    // SAFETY: as above.
    unsafe {
        (*cpu).floor = floor;
        (*cpu).highest_floor = (*cpu).highest_floor.max(floor);
    }
}

/// The interval that is in force here, of one that is wanted. A floor that is raised is looked at again at every hit, so that
/// it is in force no longer than it has to be.
#[inline(always)]
pub fn at_least_floor(current: &Current, wanted: u64) -> u64 {
    let cpu = current.count.cpu();
    // SAFETY: part of a map value; a plain word.
    if unsafe { (*cpu).floor } == 0 {
        return wanted;
    }
    set_floor(current, 0);
    // SAFETY: as above.
    wanted.max(unsafe { (*cpu).floor })
}

/// Mean bytes between samples where hardly any are wanted.
const SPARSE: u64 = 64 << 20;
