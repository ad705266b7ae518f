//! One generic program for every allocator function: the attach cookie says what the function does.
//!
//! An allocation is reported on its return, with the stack as it is then: the instruction pointer
//! is the direct caller, the stack pointer and the callee-saved registers are the caller's, and
//! nothing is copied for what is not sampled or fails. A free is reported on entry, before the
//! block can be given out again. A resize puts its old block aside on entry and commits or restores
//! it on return.
//!
//! In sample mode nearly every hit ends within a few loads: an allocation that the countdown passes over, and a free
//! that the filter does not know. Nothing on these two ways looks into a hash table.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, bpf_get_func_ip, bpf_probe_read_user},
};
use memmgr_common::{
    Cookie, Counter, FunctionKind, Mode,
    events::{Kind, flags},
};

use crate::{
    arch::{RETURN_POPS, Registers, UnwindStart},
    count,
    emit::{self, BlockEvent},
    limit,
    sampled::{forget, remember},
    sampler,
    thread::{Current, Thread, call_flags, is_nested},
};

const ALLOC: u8 = FunctionKind::Alloc as u8;
const RESIZE: u8 = FunctionKind::Resize as u8;
const FREE: u8 = FunctionKind::Free as u8;

/// What a session's entry says about the return.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    /// Call the program again on return.
    Follow = 0,
    /// Leave the return alone.
    Skip = 1,
}

/// Where the end of a call is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Back in the caller.
    Returned,
    /// At the `ret` instruction, with the return address on top of the stack.
    Returning,
}

/// Entry and return in one program (6.13 and later).
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub fn heap_session(ctx: *mut c_void) -> u32 {
    // SAFETY: the context of a uprobe program is the target's `pt_regs`.
    let registers = unsafe { Registers::new(ctx.cast::<pt_regs>()) };
    // SAFETY: the helper takes the program's context.
    let probed = unsafe { bpf_get_func_ip(ctx) };
    // On entry the kernel sets ip to the probed address; on return to the return address
    // (kernel/events/uprobes.c: handle_swbp, uprobe_handle_trampoline).
    if probed == registers.ip() {
        on_entry(registers, cookie(ctx)) as u32
    } else {
        on_return(registers, cookie(ctx), Moment::Returned);
        0
    }
}

/// Entry alone: functions without a return probe, and kernels before 6.13.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub fn heap_entry(ctx: *mut c_void) -> u32 {
    // SAFETY: as above.
    on_entry(unsafe { Registers::new(ctx.cast::<pt_regs>()) }, cookie(ctx));
    0
}

/// Return alone: kernels before 6.13.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub fn heap_return(ctx: *mut c_void) -> u32 {
    // SAFETY: as above.
    on_return(unsafe { Registers::new(ctx.cast::<pt_regs>()) }, cookie(ctx), Moment::Returned);
    0
}

/// At the `ret` instructions of a function that may throw: an exception finds no way through a return probe, which puts
/// another address in place of the caller's.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub fn heap_exit(ctx: *mut c_void) -> u32 {
    // SAFETY: as above.
    on_return(unsafe { Registers::new(ctx.cast::<pt_regs>()) }, cookie(ctx), Moment::Returning);
    0
}

fn cookie(ctx: *mut c_void) -> Cookie {
    // SAFETY: the helper takes the program's context.
    Cookie(unsafe { bpf_get_attach_cookie(ctx) })
}

#[inline(always)]
fn on_entry(registers: Registers, cookie: Cookie) -> Return {
    let Some(current) = Current::target() else { return Return::Skip };
    if limit::asleep(&current, count::hit(cookie.function())) {
        return Return::Skip;
    }
    if current.settings().mode == Mode::Off as u32 {
        current.count.add(Counter::FilteredOff);
        return Return::Skip;
    }
    match cookie.kind() {
        FREE => {
            free(&current, registers, cookie);
            Return::Skip
        }
        ALLOC | RESIZE => begin(&current, registers, cookie),
        _ => {
            current.count.add(Counter::FilteredReturn);
            Return::Skip
        }
    }
}

#[inline(always)]
fn is_exact(current: &Current) -> bool {
    current.settings().mode == Mode::Exact as u32
}

#[inline(always)]
fn free(current: &Current, registers: Registers, cookie: Cookie) {
    let address = registers.argument(cookie.block_argument());
    if address == 0 {
        current.count.add(Counter::FilteredNull);
        return;
    }
    if is_exact(current) {
        let Some(thread) = current.thread() else { return };
        // SAFETY: only this thread touches its entry, and a probe handler does not nest in a thread.
        if is_nested(unsafe { &mut *thread }, registers.sp(), cookie.0, current.count) {
            current.count.add(Counter::FilteredNested);
            return;
        }
    } else if !forget(current, address) {
        // What an allocator frees inside a call of ours is not remembered: a resize forgets its old block first.
        current.count.add(Counter::FilteredUnsampledFree);
        return;
    }
    emit::free(current, Kind::Free, address);
}

#[inline(always)]
fn begin(current: &Current, registers: Registers, cookie: Cookie) -> Return {
    let size = requested(registers, cookie);
    let exact = is_exact(current);
    let wanted = current.settings().sample_interval;
    let interval = if exact { 0 } else { limit::at_least_floor(current, wanted) };
    // SAFETY: part of a map value.
    let sampler = unsafe { &raw mut (*current.count.cpu()).heap };
    let chosen = sampler::sampled(sampler, size, interval);
    if !chosen && cookie.is_leaf() {
        current.count.add(Counter::SampledOut);
        return Return::Skip;
    }
    let Some(thread) = current.thread() else { return Return::Skip };
    // SAFETY: as in `free`.
    let thread = unsafe { &mut *thread };
    if is_nested(thread, registers.sp(), cookie.0, current.count) {
        current.count.add(Counter::FilteredNested);
        return Return::Skip;
    }
    let mut call = if chosen { call_flags::SAMPLED } else { 0 };
    if chosen {
        count::chosen(cookie.function());
        // Nothing makes the calls fewer of which every one is wanted.
        if !exact {
            limit::set_floor(current, current.settings().event_cost);
        }
    }
    let mut block = 0;
    if cookie.kind() == RESIZE {
        block = registers.argument(cookie.block_argument());
        if block != 0 && (exact || forget(current, block)) {
            call |= call_flags::OLD_ASIDE;
            emit::free(current, Kind::ResizeBegin, block);
        }
    } else if cookie.out_argument() != 0 {
        block = registers.argument(cookie.out_argument());
    }
    if call & call_flags::OLD_ASIDE == 0 {
        current.count.add(if chosen { Counter::FilteredEntry } else { Counter::SampledOut });
    }
    thread.in_call = 1;
    thread.nested = 0;
    thread.call_flags = call;
    let start = registers.unwind_start();
    thread.sp = start.sp;
    thread.function = start.ip;
    thread.bp = start.bp;
    thread.return_address = return_address(current, thread, start.sp);
    thread.cookie = cookie.0;
    thread.size = size;
    thread.block = block;
    thread.interval = interval;
    Return::Follow
}

/// The return address. Without it a mapping made inside this call has a stack that ends at the trampoline.
#[inline(always)]
fn return_address(current: &Current, thread: &mut Thread, sp: u64) -> u64 {
    // With the callers' frame records, which cost as much again when they are read by themselves.
    if current.walks_frames() && thread.window_of_stack.read(sp) {
        return thread.window_of_stack.first();
    }
    // Or the stack ends before a window does.
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(sp as *const u64) }.unwrap_or(0)
}

/// Bytes asked for. A product that overflows makes the call fail, so that its value does not matter.
#[inline(always)]
fn requested(registers: Registers, cookie: Cookie) -> u64 {
    let size = registers.argument(cookie.size_argument());
    if cookie.factor_argument() == 0 {
        size
    } else {
        size.wrapping_mul(registers.argument(cookie.factor_argument()))
    }
}

#[inline(always)]
fn on_return(registers: Registers, cookie: Cookie, moment: Moment) {
    let Some(current) = Current::target() else { return };
    current.count.add(Counter::Seen);
    let Some(thread) = current.thread() else { return };
    // SAFETY: as in `free`.
    let thread = unsafe { &mut *thread };
    let mut caller = registers.unwind_start();
    if moment == Moment::Returning {
        caller.ip = thread.return_address;
        caller.sp = caller.sp.wrapping_add(RETURN_POPS);
    }
    let ours = thread.in_call == 1
        && thread.cookie == cookie.0
        && thread.sp.wrapping_add(RETURN_POPS) == caller.sp;
    if !ours {
        current.count.add(Counter::FilteredReturn);
        return;
    }
    thread.in_call = 0;
    if thread.call_flags & (call_flags::SAMPLED | call_flags::OLD_ASIDE) == 0 {
        current.count.add(Counter::FilteredReturn);
        return;
    }
    match given_out(registers, cookie, thread) {
        Ok(address) if thread.call_flags & call_flags::OLD_ASIDE != 0 => {
            resized(&current, thread, caller, address);
        }
        Ok(0) => current.count.add(Counter::FilteredFailed),
        Ok(address) => allocated(&current, thread, caller, address),
        Err(Unreadable) => current.count.add(Counter::LostUnreadable),
    }
}

struct Unreadable;

/// The new block, or 0 when the call failed.
#[inline(always)]
fn given_out(registers: Registers, cookie: Cookie, thread: &Thread) -> Result<u64, Unreadable> {
    let result = registers.result();
    if cookie.is_in_place() {
        return Ok(if result >= thread.size { thread.block } else { 0 });
    }
    if cookie.out_argument() == 0 {
        return Ok(result);
    }
    // posix_memalign returns an int: the upper half of the register means nothing.
    if result as u32 != 0 {
        return Ok(0);
    }
    // SAFETY: the helper checks the address and fails where it is not readable.
    unsafe { bpf_probe_read_user(thread.block as *const u64) }.map_err(|_| Unreadable)
}

#[inline(always)]
fn allocated(current: &Current, thread: &mut Thread, caller: UnwindStart, address: u64) {
    if !is_exact(current) && !remember(current, address) {
        current.count.add(Counter::LostSampledMap);
        return;
    }
    let event = BlockEvent {
        kind: Kind::Alloc,
        flags: flags::NEW_TRACKED,
        address,
        size: thread.size,
        interval: thread.interval,
        start: caller,
    };
    if !emit::block(current, thread, &event, Counter::LostAllocRing) && !is_exact(current) {
        // Not reported: its free must not be reported either.
        forget(current, address);
    }
}

#[inline(always)]
fn resized(current: &Current, thread: &mut Thread, caller: UnwindStart, address: u64) {
    // realloc(p, 0) frees p and may return NULL; any other NULL leaves p as it was.
    let failed = address == 0 && thread.size != 0;
    let track_new = thread.call_flags & call_flags::SAMPLED != 0 && address != 0;
    let outstanding = if failed { thread.block } else { address };
    let exact = is_exact(current);
    if (failed || track_new) && !exact && !remember(current, outstanding) {
        current.count.add(Counter::LostSampledMap);
        return;
    }
    let event = BlockEvent {
        kind: Kind::ResizeEnd,
        flags: flags::OLD_TRACKED | if track_new { flags::NEW_TRACKED } else { 0 },
        address,
        size: thread.size,
        interval: thread.interval,
        start: caller,
    };
    let sent = if track_new {
        emit::block(current, thread, &event, Counter::LostAllocRing)
    } else {
        emit::block_without_stack(current, &event, Counter::LostAllocRing)
    };
    if !sent && track_new && !exact {
        forget(current, address);
    }
}
