//! Reading the target's stack: a walk along frame pointers, or how much of it to copy.

use aya_ebpf::helpers::bpf_probe_read_user;
use memmgr_common::limits::{MAX_FRAMES, PAGE_SIZE, STACK_CLASSES};

use crate::{arch::UnwindStart, thread::Thread};

/// A walk along the frame pointers.
#[derive(Clone, Copy)]
pub struct Walked {
    /// Hash over the process and all frames: 64 bits, so that two stacks share one with a
    /// probability of about 10^-10 among 65,536. Never 0.
    pub id: u64,
    /// There were more than [`MAX_FRAMES`].
    pub cut: bool,
}

/// A frame record: the caller's frame pointer, then the return address into the caller.
#[derive(Clone, Copy)]
#[repr(C)]
struct FrameRecord {
    next: u64,
    return_address: u64,
}

/// The frame record at `bp`; `None` at the end of the chain.
#[inline(always)]
fn frame(bp: u64, above: u64) -> Option<FrameRecord> {
    // A chain only leads upwards and is aligned; whatever else is no frame pointer.
    if bp < above || bp & 7 != 0 {
        return None;
    }
    // SAFETY: the helper checks the address and fails where it is not readable.
    match unsafe { bpf_probe_read_user(bp as *const FrameRecord) } {
        Ok(record) if record.return_address != 0 => Some(record),
        _ => None,
    }
}

/// Walks and hashes, without storing the frames.
#[inline(always)]
pub fn hash_frames(tgid: u32, start: UnwindStart) -> Walked {
    let mut id = mix(u64::from(tgid), start.ip);
    let (mut bp, mut above) = (start.bp, start.sp);
    let mut cut = true;
    for _ in 1..MAX_FRAMES {
        let Some(record) = frame(bp, above) else {
            cut = false;
            break;
        };
        id = mix(id, record.return_address);
        above = bp + 16;
        bp = record.next;
    }
    Walked { id: if id == 0 { 1 } else { id }, cut }
}

/// Walks and stores, and returns the number of frames.
///
/// # Safety
/// `frames` must be valid for writes.
#[inline(always)]
pub unsafe fn write_frames(start: UnwindStart, frames: *mut [u64; MAX_FRAMES]) -> u64 {
    let frames = frames.cast::<u64>();
    // SAFETY: `count` stays below MAX_FRAMES.
    unsafe { frames.write(start.ip) };
    let (mut bp, mut above) = (start.bp, start.sp);
    let mut count = 1;
    for i in 1..MAX_FRAMES {
        let Some(record) = frame(bp, above) else { break };
        // SAFETY: as above.
        unsafe { frames.add(i).write(record.return_address) };
        count = i as u64 + 1;
        above = bp + 16;
        bp = record.next;
    }
    count
}

/// A multiplication and a fold for each frame: every bit of the address reaches every bit of the id.
#[inline(always)]
fn mix(id: u64, address: u64) -> u64 {
    let x = (id ^ address).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ x >> 29
}

/// How much of the stack to copy.
pub struct CopyPlan {
    /// Bytes from the stack pointer upwards.
    pub length: u64,
    /// The stack goes on beyond them.
    pub cut: bool,
}

const MOST_PAGES: u64 = STACK_CLASSES[STACK_CLASSES.len() - 1] as u64 / PAGE_SIZE + 1;

/// Up to `cap` bytes, bounded by the end of the stack: a copy across the end would fail as a whole.
///
/// The end is looked for page by page when it is not known, which is once a thread unless the
/// thread changes stacks (coroutines, signal stacks), and is then found again.
#[inline(always)]
pub fn copy_plan(thread: &mut Thread, sp: u64, cap: u64) -> CopyPlan {
    let known = known_length(thread, sp, cap);
    let length = if known > 0 && readable(sp + known - 1) {
        known
    } else {
        find_end(thread, sp, cap);
        known_length(thread, sp, cap)
    };
    let reaches_end = thread.stack_end_is_true == 1 && sp + length == thread.stack_end;
    CopyPlan { length, cut: !reaches_end }
}

/// Bytes to copy as far as is known, 0 when the end must be looked for.
#[inline(always)]
fn known_length(thread: &Thread, sp: u64, cap: u64) -> u64 {
    if sp >= thread.stack_end {
        return 0;
    }
    let left = thread.stack_end - sp;
    if left >= cap {
        cap
    } else if thread.stack_end_is_true == 1 {
        left
    } else {
        0
    }
}

#[inline(always)]
fn find_end(thread: &mut Thread, sp: u64, cap: u64) {
    let mut end = (sp | (PAGE_SIZE - 1)) + 1;
    let mut found = 0;
    for _ in 0..MOST_PAGES {
        if !readable(end) {
            found = 1;
            break;
        }
        if end - sp >= cap {
            break;
        }
        end += PAGE_SIZE;
    }
    thread.stack_end = end;
    thread.stack_end_is_true = found;
}

#[inline(always)]
fn readable(address: u64) -> bool {
    // SAFETY: the helper checks the address and fails where it is not readable.
    unsafe { bpf_probe_read_user(address as *const u8) }.is_ok()
}
