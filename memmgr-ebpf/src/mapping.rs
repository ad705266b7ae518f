//! The mapping system calls: a class of memory of its own.
//!
//! `mmap` and `brk` are reported when they return, with the stack that asked. `munmap` and `mremap`
//! are reported before they run and again when they return, because another thread can be given the
//! same addresses before the caller is back. Reservations without any access (PROT_NONE) are not
//! memory yet and are passed over, but for the stacks of threads.

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
    macros::tracepoint,
    programs::TracePointContext,
};
use memmgr_common::{
    Counter,
    events::{Kind, flags},
};

use crate::{
    arch::Registers,
    emit::{self, BlockEvent},
    thread::{Current, Thread},
};

// What perf hands to a program on a syscall tracepoint (kernel/trace/trace_syscalls.c,
// perf_call_bpf_enter and perf_call_bpf_exit): a pointer, the number, then the arguments or the result.
const RESULT: usize = 16;
const fn argument(position: usize) -> usize {
    16 + 8 * position
}

const PROT_NONE: u64 = 0;
const MAP_ANONYMOUS: u64 = 0x20;
/// glibc reserves a thread's stack without access and opens it afterwards.
const MAP_STACK: u64 = 0x20000;
/// Results in `-4095..0` are errors, as the system call convention has it.
const FIRST_ERROR: u64 = -4095i64 as u64;

fn is_error(result: u64) -> bool {
    result >= FIRST_ERROR
}

/// This thread, if it belongs to a target.
#[inline(always)]
fn target() -> Option<(Current, *mut Thread)> {
    let current = Current::target()?;
    current.count.add(Counter::Seen);
    let thread = current.thread()?;
    Some((current, thread))
}

fn field(ctx: &TracePointContext, offset: usize) -> u64 {
    // SAFETY: the offsets above lie inside the context. A failed read cannot happen there; 0 is
    // harmless, as it neither maps nor unmaps anything.
    unsafe { ctx.read_at::<u64>(offset) }.unwrap_or(0)
}

#[inline(always)]
fn mapped(ctx: &TracePointContext, kind: Kind) {
    let Some((current, thread)) = target() else { return };
    let result = field(ctx, RESULT);
    if is_error(result) && kind != Kind::RemapEnd {
        current.count.add(Counter::FilteredMapping);
        return;
    }
    // SAFETY: the current task has user registers while it is in a system call.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    // SAFETY: the helper checks the address.
    let Ok(saved) = (unsafe { bpf_probe_read_kernel(registers) }) else {
        current.count.add(Counter::LostUnreadable);
        return;
    };
    // SAFETY: `saved` is a whole `pt_regs`.
    let registers = unsafe { Registers::new(&raw const saved) };
    let (address, size, file) = match kind {
        // The arguments stay in the saved registers: rsi is the length, rdx the protection.
        Kind::Map if registers.argument(3) == PROT_NONE && saved.r10 & MAP_STACK == 0 => {
            current.count.add(Counter::FilteredMapping);
            return;
        }
        Kind::Map => (result, registers.argument(2), saved.r10 & MAP_ANONYMOUS == 0),
        Kind::RemapEnd if is_error(result) => (0, 0, false),
        Kind::RemapEnd => (result, registers.argument(3), false),
        _ => (result, 0, false),
    };
    let event = BlockEvent {
        kind,
        flags: if file { flags::FILE_MAPPING } else { 0 },
        address,
        size,
        interval: 0,
        start: registers.unwind_start(),
    };
    // SAFETY: only this thread touches its entry.
    emit::block_with_copy(&current, unsafe { &mut *thread }, &event, Counter::LostOtherRing);
}

#[tracepoint]
pub fn exit_mmap(ctx: TracePointContext) -> u32 {
    mapped(&ctx, Kind::Map);
    0
}

#[tracepoint]
pub fn exit_brk(ctx: TracePointContext) -> u32 {
    mapped(&ctx, Kind::Break);
    0
}

#[tracepoint]
pub fn exit_mremap(ctx: TracePointContext) -> u32 {
    mapped(&ctx, Kind::RemapEnd);
    0
}

#[tracepoint]
pub fn enter_munmap(ctx: TracePointContext) -> u32 {
    if let Some((current, _)) = target() {
        emit::range(
            &current,
            Kind::UnmapBegin,
            field(&ctx, argument(0)),
            field(&ctx, argument(1)),
            0,
        );
    }
    0
}

#[tracepoint]
pub fn exit_munmap(ctx: TracePointContext) -> u32 {
    if let Some((current, _)) = target() {
        emit::range(&current, Kind::UnmapEnd, 0, 0, field(&ctx, RESULT) as i64);
    }
    0
}

#[tracepoint]
pub fn enter_mremap(ctx: TracePointContext) -> u32 {
    if let Some((current, _)) = target() {
        emit::range(
            &current,
            Kind::RemapBegin,
            field(&ctx, argument(0)),
            field(&ctx, argument(1)),
            0,
        );
    }
    0
}
