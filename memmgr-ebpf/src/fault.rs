//! Page faults: which code makes the process grow, without a probe in it.

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use memmgr_common::{
    Counter,
    events::{Kind, flags},
    limits::{FAULTS, PAGE_SIZE},
};

use crate::{
    arch::{FAULT_BEYOND_USER, FAULT_PRESENT, FAULT_WRITE, Registers, UnwindStart},
    count,
    emit::{self, BlockEvent},
    limit,
    sampler::sampled,
    thread::Current,
};

/// `page_fault_user(unsigned long address, struct pt_regs *regs, unsigned long error_code)`.
#[raw_tracepoint]
pub fn page_fault_user(ctx: RawTracePointContext) -> i32 {
    fault(&ctx);
    0
}

/// The same from within a system call that reads or writes the target's memory.
#[raw_tracepoint]
pub fn page_fault_kernel(ctx: RawTracePointContext) -> i32 {
    fault(&ctx);
    0
}

#[inline(always)]
fn fault(ctx: &RawTracePointContext) {
    let Some(current) = Current::target() else { return };
    // SAFETY: a raw tracepoint's context is its arguments, 64 bits each; these have three.
    let (address, error) =
        unsafe { (*ctx.as_ptr().cast::<u64>(), *ctx.as_ptr().cast::<u64>().add(2)) };
    let cpu = current.count.cpu();
    if limit::asleep(&current, count::hit(FAULTS)) {
        return;
    }
    // A page that is there and only read, or memory of the kernel.
    if error & (FAULT_PRESENT | FAULT_WRITE) == FAULT_PRESENT || address >= FAULT_BEYOND_USER {
        current.count.add(Counter::FilteredFault);
        return;
    }
    let interval = limit::at_least_floor(&current, current.settings().fault_interval);
    // SAFETY: part of a map value.
    if !sampled(unsafe { &raw mut (*cpu).faults }, PAGE_SIZE, interval) {
        current.count.add(Counter::SampledOut);
        return;
    }
    count::chosen(FAULTS);
    limit::set_floor(&current, current.settings().event_cost);
    let flags = if error & FAULT_PRESENT == 0 { 0 } else { flags::COPIED };
    touched(&current, flags, address & !(PAGE_SIZE - 1), interval);
}

#[inline(always)]
fn touched(current: &Current, flags: u16, page: u64, interval: u64) {
    let Some(thread) = current.thread() else { return };
    // SAFETY: the current task has user registers: it runs in user space or in a system call.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    // SAFETY: the helper checks the address.
    let Ok(saved) = (unsafe { bpf_probe_read_kernel(registers) }) else {
        current.count.add(Counter::LostUnreadable);
        return;
    };
    // SAFETY: `saved` is a whole `pt_regs`.
    let start = unsafe { Registers::new(&raw const saved) }.unwind_start();
    let event = BlockEvent {
        kind: Kind::Fault,
        flags,
        address: page,
        size: PAGE_SIZE,
        interval,
        // Return addresses lie behind their call; this one is made to lie behind the start of its instruction.
        start: UnwindStart { ip: start.ip + 1, ..start },
    };
    // SAFETY: only this thread touches its entry.
    let thread = unsafe { &mut *thread };
    // What it may hold is of a call that has returned since.
    thread.window_of_stack.forget();
    emit::block(current, thread, &event, Counter::LostOtherRing);
}
