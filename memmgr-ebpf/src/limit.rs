//! The last line of defence against cost: a token bucket for each CPU, and sleep when user space does not show itself.
//!
//! User space steers the cost of a capture. When it is late, stopped or starved, these two hold without it.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use memmgr_common::{
    Counter,
    settings::{HITS_BETWEEN_LOOKS, MOST_TOKENS},
};

use crate::{count::Count, thread::Current};

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

/// Takes the tokens of an event with a stack; false when there are none left, which is not counted here.
#[inline(always)]
pub fn take_tokens(current: &Current) -> bool {
    let settings = current.settings();
    let cost = settings.event_cost as i64;
    if cost == 0 {
        return true;
    }
    let cpu = current.count.cpu();
    let now = coarse_time(current.count);
    // A handler that gets in between adds or takes the same tokens twice: this is a brake, not a book.
    // SAFETY: part of a map value; plain words.
    unsafe {
        let passed = now.wrapping_sub((*cpu).refilled);
        let mut tokens = (*cpu).tokens;
        if passed > 0 {
            let passed = passed.min(1 << 32);
            let fresh = (passed.wrapping_mul(settings.tokens_per_1024_ns) >> 10).min(MOST_TOKENS);
            tokens = (tokens + fresh as i64).min(MOST_TOKENS as i64);
            (*cpu).refilled = now;
        }
        let enough = tokens > 0;
        (*cpu).tokens = if enough { tokens - cost } else { tokens };
        enough
    }
}
