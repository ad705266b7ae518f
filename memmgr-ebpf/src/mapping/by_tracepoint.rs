//! The bodies on the tracepoints of system calls.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use memmgr_common::{MappingWay::Kernel, events::Kind};

use super::{begins, mapped, unmapped};

// What perf hands to a program on a syscall tracepoint (kernel/trace/trace_syscalls.c,
// perf_call_bpf_enter and perf_call_bpf_exit): a pointer, the number, then the arguments or the result.
const RESULT: usize = 16;
const fn argument(position: usize) -> usize {
    16 + 8 * position
}

#[inline(always)]
fn field(ctx: &TracePointContext, offset: usize) -> u64 {
    // SAFETY: the offsets above lie inside the context. A failed read cannot happen there; 0 is
    // harmless, as it neither maps nor unmaps anything.
    unsafe { ctx.read_at::<u64>(offset) }.unwrap_or(0)
}

#[tracepoint]
pub fn exit_mmap(ctx: TracePointContext) -> u32 {
    mapped(Kernel, Kind::Map, field(&ctx, RESULT));
    0
}

#[tracepoint]
pub fn exit_brk(ctx: TracePointContext) -> u32 {
    mapped(Kernel, Kind::Break, field(&ctx, RESULT));
    0
}

#[tracepoint]
pub fn exit_mremap(ctx: TracePointContext) -> u32 {
    mapped(Kernel, Kind::RemapEnd, field(&ctx, RESULT));
    0
}

#[tracepoint]
pub fn enter_munmap(ctx: TracePointContext) -> u32 {
    begins(Kernel, Kind::UnmapBegin, field(&ctx, argument(0)), field(&ctx, argument(1)));
    0
}

#[tracepoint]
pub fn exit_munmap(ctx: TracePointContext) -> u32 {
    unmapped(Kernel, field(&ctx, RESULT));
    0
}

#[tracepoint]
pub fn enter_mremap(ctx: TracePointContext) -> u32 {
    begins(Kernel, Kind::RemapBegin, field(&ctx, argument(0)), field(&ctx, argument(1)));
    0
}
