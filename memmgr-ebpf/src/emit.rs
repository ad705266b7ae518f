//! Putting events into the ring buffer. Nothing here wakes the reader: a wake-up costs more than the probe.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::generated};
use core::{ffi::c_void, hint::black_box};
use memmgr_common::{
    Counter,
    events::{Block, BlockWithStack, Call, FrameStack, Free, Header, Kind, Range, flags},
    limits::{MAX_KNOWN_STACKS, STACK_CLASSES},
};

use crate::{
    arch::UnwindStart,
    limit::coarse_time,
    maps::{EVENTS, KNOWN_STACKS},
    stack,
    thread::{Current, Thread},
};

const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// A block event before its stack is known.
pub struct BlockEvent {
    pub kind: Kind,
    pub flags: u16,
    pub address: u64,
    pub size: u64,
    /// Sampling interval that it was chosen by.
    pub interval: u64,
    pub start: UnwindStart,
}

fn header(current: &Current, kind: Kind, flags: u16) -> Header {
    Header {
        kind: kind as u16,
        flags,
        tgid: current.tgid,
        tid: current.tid,
        stack_len: 0,
        // Ages are wanted to the millisecond, and the order is that of the ring buffer.
        time: coarse_time(current.count),
    }
}

fn send<T: 'static>(current: &Current, event: T, counted_as: Counter, lost_as: Counter) -> bool {
    match EVENTS.reserve::<T>(0) {
        Some(mut slot) => {
            slot.write(event);
            slot.submit(NO_WAKEUP);
            current.count.add(counted_as);
            // Else the compiler makes this value by a second comparison of the slot with null, and the verifier
            // of 6.1 takes that for a way on which the slot is neither null nor given back.
            black_box(true)
        }
        None => {
            current.count.add(lost_as);
            false
        }
    }
}

/// A block that goes.
#[inline(always)]
pub fn free(current: &Current, kind: Kind, address: u64) {
    let event = Free { header: header(current, kind, 0), address };
    send(current, event, Counter::Submitted, Counter::LostFreeRing);
}

/// A range of pages that goes, or what became of it.
#[inline(always)]
pub fn range(current: &Current, kind: Kind, address: u64, length: u64, result: i64) {
    let event = Range { header: header(current, kind, 0), address, length, result };
    send(current, event, Counter::Submitted, Counter::LostOtherRing);
}

/// Something that happened to the process or the thread.
#[inline(always)]
pub fn bare(current: &Current, kind: Kind, flags: u16) {
    send(current, header(current, kind, flags), Counter::Submitted, Counter::LostOtherRing);
}

#[inline(always)]
fn body(current: &Current, event: &BlockEvent) -> Block {
    Block {
        header: header(current, event.kind, event.flags),
        address: event.address,
        size: event.size,
        stack_id: 0,
        ip: event.start.ip,
        sp: event.start.sp,
        bp: event.start.bp,
        interval: event.interval,
    }
}

/// A block whose stack nobody will look at. False when there was no room, which is counted.
#[inline(always)]
pub fn block_without_stack(current: &Current, event: &BlockEvent, lost_as: Counter) -> bool {
    send(current, body(current, event), Counter::Submitted, lost_as)
}

/// A block with its stack, by the kind of stack in force. False when there was no room, which is counted.
#[inline(always)]
pub fn block(current: &Current, thread: &mut Thread, event: &BlockEvent, lost_as: Counter) -> bool {
    if current.walks_frames() {
        with_frames(current, thread, event, lost_as)
    } else {
        block_with_copy(current, thread, event, lost_as)
    }
}

#[inline(always)]
fn with_frames(
    current: &Current,
    thread: &mut Thread,
    event: &BlockEvent,
    lost_as: Counter,
) -> bool {
    let id = stack::hash_frames(current.tgid, event.start, &mut thread.window_of_stack);
    let mut block = body(current, event);
    if !is_known(id) && !send_frames(current, event.start, id) {
        block.header.flags |= flags::STACK_MISSING;
        current.count.add(Counter::StackMissing);
    }
    block.stack_id = id;
    send(current, block, Counter::Submitted, lost_as)
}

/// Sends a stack that user space does not have, and remembers that it has it. A stack that finds no
/// room is not remembered, so that the next event with it tries again.
#[inline(always)]
fn send_frames(current: &Current, start: UnwindStart, id: u64) -> bool {
    let Some(mut slot) = EVENTS.reserve::<FrameStack>(0) else { return false };
    let record = slot.as_mut_ptr();
    // SAFETY: the slot is ours until it is submitted; every field up to `count` frames is written.
    unsafe {
        (&raw mut (*record).stack_id).write(id);
        let stored = stack::write_frames(start, &raw mut (*record).frames);
        (&raw mut (*record).count).write(stored.count);
        let cut = if stored.cut { flags::STACK_CUT } else { 0 };
        (&raw mut (*record).header).write(header(current, Kind::Stack, cut));
    }
    slot.submit(NO_WAKEUP);
    current.count.add(Counter::StackSubmitted);
    if let Some(place) = place_of(id) {
        // SAFETY: from a map lookup. Whoever had this place sends its stack again.
        unsafe { *place = id };
    }
    true
}

#[inline(always)]
fn is_known(id: u64) -> bool {
    // SAFETY: from a map lookup.
    place_of(id).is_some_and(|place| unsafe { *place } == id)
}

#[inline(always)]
fn place_of(id: u64) -> Option<*mut u64> {
    KNOWN_STACKS.get_ptr_mut(id as u32 & (MAX_KNOWN_STACKS - 1))
}

/// A block with a copy of the stack, whatever the kind in force: for places inside a library, which
/// frame pointers do not lead out of. False when there was no room, which is counted.
#[inline(always)]
pub fn block_with_copy(
    current: &Current,
    thread: &mut Thread,
    event: &BlockEvent,
    lost_as: Counter,
) -> bool {
    let cap = u64::from(current.settings().stack_bytes);
    let plan = stack::copy_plan(thread, event.start.sp, cap);
    let mut block = body(current, event);
    if plan.cut {
        block.header.flags |= flags::STACK_CUT;
    }
    let length = plan.length;
    // The verifier wants constant sizes: the smallest class that holds the copy.
    let sent = if length <= STACK_CLASSES[0] as u64 {
        copied::<{ STACK_CLASSES[0] }>(current, thread, block, length)
    } else if length <= STACK_CLASSES[1] as u64 {
        copied::<{ STACK_CLASSES[1] }>(current, thread, block, length)
    } else if length <= STACK_CLASSES[2] as u64 {
        copied::<{ STACK_CLASSES[2] }>(current, thread, block, length)
    } else if length <= STACK_CLASSES[3] as u64 {
        copied::<{ STACK_CLASSES[3] }>(current, thread, block, length)
    } else if length <= STACK_CLASSES[4] as u64 {
        copied::<{ STACK_CLASSES[4] }>(current, thread, block, length)
    } else if length <= STACK_CLASSES[5] as u64 {
        copied::<{ STACK_CLASSES[5] }>(current, thread, block, length)
    } else {
        copied::<{ STACK_CLASSES[6] }>(current, thread, block, length)
    };
    current.count.add(if sent { Counter::Submitted } else { lost_as });
    sent
}

#[inline(always)]
fn copied<const N: usize>(
    current: &Current,
    thread: &mut Thread,
    mut block: Block,
    length: u64,
) -> bool {
    let Some(mut slot) = EVENTS.reserve::<BlockWithStack<N>>(0) else { return false };
    let record = slot.as_mut_ptr();
    // 1 to N by a mask, of a value that the compiler knows nothing about: it would drop the mask or
    // compare one copy and pass another, and the verifier of 6.1 then sees no bound.
    let bounded = (black_box(length).wrapping_sub(1) & (N as u64 - 1)) + 1;
    // SAFETY: the slot is ours until it is submitted; `bounded` is at most N, and the helper fails
    // (and clears the slot) where the stack cannot be read.
    let read = unsafe {
        generated::bpf_probe_read_user(
            (&raw mut (*record).stack).cast::<c_void>(),
            bounded as u32,
            block.sp as *const c_void,
        )
    };
    if read == 0 && length > 0 {
        block.header.stack_len = length as u32;
    } else {
        // Another stack than last time: look for its end at the next event.
        thread.stack_end = 0;
        block.header.flags |= flags::STACK_MISSING;
        current.count.add(Counter::StackMissing);
    }
    let mut call = Call { slot: 0, return_address: 0, function: 0, bp: 0 };
    if thread.in_call == 1 && thread.return_address != 0 {
        call = Call {
            slot: thread.sp,
            return_address: thread.return_address,
            function: thread.function,
            bp: thread.bp,
        };
    }
    // SAFETY: as above.
    unsafe {
        (&raw mut (*record).block).write(block);
        (&raw mut (*record).call).write(call);
    }
    slot.submit(NO_WAKEUP);
    true
}
