//! The mapping system calls: a class of memory of its own.
//!
//! `mmap` and `brk` are reported when they return, with the stack that asked. `munmap` and `mremap`
//! are reported before they run and again when they return, because another thread can be given the
//! same addresses before the caller is back. Reservations without any access (PROT_NONE) are no
//! memory yet and say so, but for the stacks of threads; those of files are passed over.
//!
//! The bodies are here. They run by fentry and fexit ([`by_function`]); where the kernel has no fentry or they would miss
//! calls, by probes on the C library around its system calls ([`by_library`]) or by the tracepoints of system calls
//! ([`by_tracepoint`]).

mod by_function;
mod by_library;
mod by_tracepoint;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
};
use memmgr_common::{
    Counter, MappingWay,
    events::{Kind, flags},
};

use crate::{
    arch::Registers,
    emit::{self, BlockEvent},
    thread::{Current, Thread},
};

const PROT_NONE: u64 = 0;
const MAP_ANONYMOUS: u64 = 0x20;
/// glibc reserves a thread's stack without access and opens it afterwards.
const MAP_STACK: u64 = 0x20000;
/// Results in `-4095..0` are errors, as the system call convention has it.
const FIRST_ERROR: u64 = -4095i64 as u64;

fn is_error(result: u64) -> bool {
    result >= FIRST_ERROR
}

/// This thread, if it belongs to a target whose mapping calls are watched in this way.
#[inline(always)]
fn target(way: MappingWay) -> Option<(Current, *mut Thread)> {
    let current = Current::target()?;
    if current.settings().mapping_way != way as u64 {
        return None;
    }
    current.count.add(Counter::Seen);
    let thread = current.thread()?;
    Some((current, thread))
}

/// A call that maps has returned.
#[inline(always)]
fn mapped(way: MappingWay, kind: Kind, result: u64) {
    let Some((current, thread)) = target(way) else { return };
    if is_error(result) && kind != Kind::RemapEnd {
        current.count.add(Counter::FilteredMapping);
        return;
    }
    // SAFETY: the current task has user registers while it is in a system call, and at a probe right behind one.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    // SAFETY: the helper checks the address.
    let Ok(saved) = (unsafe { bpf_probe_read_kernel(registers) }) else {
        current.count.add(Counter::LostUnreadable);
        return;
    };
    // SAFETY: `saved` is a whole `pt_regs`.
    let registers = unsafe { Registers::new(&raw const saved) };
    // The arguments stay in the saved registers: rsi is the length, rdx the protection.
    let is_file = saved.r10 & MAP_ANONYMOUS == 0;
    let is_reservation = registers.argument(3) == PROT_NONE && saved.r10 & MAP_STACK == 0;
    let (address, size, flags) = match kind {
        Kind::Map if is_reservation && is_file => {
            current.count.add(Counter::FilteredMapping);
            return;
        }
        Kind::Map if is_reservation => (result, registers.argument(2), flags::RESERVATION),
        Kind::Map if is_file => (result, registers.argument(2), flags::FILE_MAPPING),
        Kind::Map => (result, registers.argument(2), 0),
        Kind::RemapEnd if is_error(result) => (0, 0, 0),
        Kind::RemapEnd => (result, registers.argument(3), 0),
        _ => (result, 0, 0),
    };
    let event =
        BlockEvent { kind, flags, address, size, interval: 0, start: registers.unwind_start() };
    // SAFETY: only this thread touches its entry.
    emit::block_with_copy(&current, unsafe { &mut *thread }, &event, Counter::LostOtherRing);
}

/// A call that takes a range of pages away begins.
#[inline(always)]
fn begins(way: MappingWay, kind: Kind, address: u64, length: u64) {
    if let Some((current, _)) = target(way) {
        emit::range(&current, kind, address, length, 0);
    }
}

/// `munmap` has returned.
#[inline(always)]
fn unmapped(way: MappingWay, result: u64) {
    if let Some((current, _)) = target(way) {
        emit::range(&current, Kind::UnmapEnd, 0, 0, result as i64);
    }
}
