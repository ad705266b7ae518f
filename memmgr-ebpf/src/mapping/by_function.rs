//! The bodies on the functions behind the system calls, `long __x64_sys_NAME(const struct pt_regs *)`.
//!
//! A tracepoint of a system call, once in force, sends every system call of every process through the slow
//! path of entry and exit (kernel/tracepoint.c, syscall_regfunc); these cost the four calls alone. Neither sees
//! the calls of 32-bit code (`__ia32_sys_NAME`; arch_trace_is_compat_syscall).

use aya_ebpf::{
    bindings::pt_regs,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use memmgr_common::{MappingWay::Kernel, events::Kind};

use super::{begins, mapped, unmapped};
use crate::arch::Registers;

/// What the function returned: it follows the only argument.
#[inline(always)]
fn result(ctx: &FExitContext) -> u64 {
    ctx.arg(1)
}

#[inline(always)]
fn range_begins(ctx: &FEntryContext, kind: Kind) {
    // SAFETY: the kernel's own type of this argument; the verifier lets its fields be read.
    let registers = unsafe { Registers::new(ctx.arg::<*const pt_regs>(0)) };
    begins(Kernel, kind, registers.argument(1), registers.argument(2));
}

#[fexit]
pub fn fexit_mmap(ctx: FExitContext) -> i32 {
    mapped(Kernel, Kind::Map, result(&ctx));
    0
}

#[fexit]
pub fn fexit_brk(ctx: FExitContext) -> i32 {
    mapped(Kernel, Kind::Break, result(&ctx));
    0
}

#[fexit]
pub fn fexit_mremap(ctx: FExitContext) -> i32 {
    mapped(Kernel, Kind::RemapEnd, result(&ctx));
    0
}

#[fentry]
pub fn fentry_munmap(ctx: FEntryContext) -> i32 {
    range_begins(&ctx, Kind::UnmapBegin);
    0
}

#[fexit]
pub fn fexit_munmap(ctx: FExitContext) -> i32 {
    unmapped(Kernel, result(&ctx));
    0
}

#[fentry]
pub fn fentry_mremap(ctx: FEntryContext) -> i32 {
    range_begins(&ctx, Kind::RemapBegin);
    0
}
