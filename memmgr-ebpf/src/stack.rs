//! Reading the target's stack: a walk along frame pointers, or how much of it to copy.

use aya_ebpf::helpers::{bpf_probe_read_user, generated};
use core::{ffi::c_void, hint::black_box};
use memmgr_common::limits::{MAX_FRAMES, PAGE_SIZE, STACK_CLASSES};

use crate::{arch::UnwindStart, thread::Thread};

/// Words of a window on the stack: most frames are small, and to read one word costs the same as to read many.
const WINDOW: u64 = 32;
/// Windows that are tried before the rest is read frame by frame.
const WINDOWS: usize = 3;
/// Bytes of a frame record: the caller's frame pointer, then the return address into the caller.
const RECORD: u64 = 16;

/// A part of the stack, with the whole of a frame record that begins at the last word.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Window {
    /// Where it begins; 0: nothing of it can be used.
    from: u64,
    words: [u64; WINDOW as usize + 1],
}

impl Window {
    /// Reads the stack from here; false where it is not readable.
    #[inline(always)]
    pub fn read(&mut self, from: u64) -> bool {
        let (into, length) = (self.words.as_mut_ptr().cast::<c_void>(), size_of_val(&self.words));
        // SAFETY: as long as the words; the helper checks the address and fails where it is not readable.
        let result =
            unsafe { generated::bpf_probe_read_user(into, length as u32, from as *const c_void) };
        self.from = if result == 0 { from } else { 0 };
        result == 0
    }

    /// The word that it begins with.
    pub fn first(&self) -> u64 {
        self.words[0]
    }

    /// Time has passed: the stack is another one.
    pub fn forget(&mut self) {
        self.from = 0;
    }

    /// Bytes from its begin to a record that is in it as a whole; `None` for another.
    #[inline(always)]
    fn offset(&self, record: u64) -> Option<u64> {
        let offset = record.wrapping_sub(self.from);
        (offset < WINDOW * 8).then_some(offset)
    }
}

/// A chain of frame pointers only leads upwards and is aligned; whatever else is none.
#[inline(always)]
fn is_frame(bp: u64, above: u64) -> bool {
    bp >= above && bp & 7 == 0
}

/// The frame record at `bp`; `None` at the end of the chain.
#[inline(always)]
fn frame(bp: u64, above: u64) -> Option<[u64; 2]> {
    if !is_frame(bp, above) {
        return None;
    }
    // SAFETY: the helper checks the address and fails where it is not readable.
    match unsafe { bpf_probe_read_user(bp as *const [u64; 2]) } {
        Ok(record) if record[1] != 0 => Some(record),
        _ => None,
    }
}

/// Walks along the frame pointers and hashes process and frames, [`MAX_FRAMES`] at least, without storing them: 64 bits, so
/// that two stacks share a hash with a probability of about 10^-10 among 65,536. Never 0.
///
/// The window may hold what was read at the begin of the call: frames of callers stay as they are while it is in flight.
#[inline(always)]
pub fn hash_frames(tgid: u32, start: UnwindStart, window: &mut Window) -> u64 {
    let mut id = mix(u64::from(tgid), start.ip);
    let (mut bp, mut above) = (start.bp, start.sp);
    for number in 0..WINDOWS {
        let is_there = number == 0 && window.offset(bp).is_some();
        // Where the stack ends before the window does, nothing is read.
        if !is_frame(bp, above) || !(is_there || window.read(bp)) {
            break;
        }
        for _ in 0..WINDOW * 8 / RECORD {
            let Some(offset) = window.offset(bp) else { break };
            // The mask changes nothing: the verifier wants a bound that it sees.
            let index = (black_box(offset / 8) & (WINDOW - 1)) as usize;
            let words = window.words.as_ptr();
            // SAFETY: both are inside of the window.
            let (next, address) = unsafe { (*words.add(index), *words.add(index + 1)) };
            if address == 0 {
                return never_0(id);
            }
            id = mix(id, address);
            above = bp.wrapping_add(RECORD);
            bp = next;
            if !is_frame(bp, above) {
                return never_0(id);
            }
        }
    }
    for _ in 1..MAX_FRAMES {
        let Some([next, address]) = frame(bp, above) else { break };
        id = mix(id, address);
        above = bp.wrapping_add(RECORD);
        bp = next;
    }
    never_0(id)
}

fn never_0(id: u64) -> u64 {
    if id == 0 { 1 } else { id }
}

/// Frames that were stored.
pub struct Stored {
    /// How many.
    pub count: u64,
    /// There were more.
    pub cut: bool,
}

/// Walks and stores.
///
/// # Safety
/// `frames` must be valid for writes.
#[inline(always)]
pub unsafe fn write_frames(start: UnwindStart, frames: *mut [u64; MAX_FRAMES]) -> Stored {
    let frames = frames.cast::<u64>();
    // SAFETY: `count` stays below MAX_FRAMES.
    unsafe { frames.write(start.ip) };
    let (mut bp, mut above) = (start.bp, start.sp);
    let mut count = 1;
    for i in 1..MAX_FRAMES {
        let Some([next, address]) = frame(bp, above) else { break };
        // SAFETY: as above.
        unsafe { frames.add(i).write(address) };
        count = i as u64 + 1;
        above = bp.wrapping_add(RECORD);
        bp = next;
    }
    let cut = count == MAX_FRAMES as u64 && frame(bp, above).is_some();
    Stored { count, cut }
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
