//! The bodies on probes in the C library: before the call where it takes pages away, and right behind the `syscall`
//! instruction, where the kernel's result and the arguments are in the registers that the system call left them in.
//!
//! A tracepoint of a system call costs every system call of the host; these cost the target's own four calls.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::bpf_get_attach_cookie};
use memmgr_common::{Counter, MappingCookie, MappingWay::Library, events::Kind};

use super::{begins, mapped, unmapped};
use crate::{arch::Registers, thread::Current};

const MAP: u16 = Kind::Map as u16;
const BREAK: u16 = Kind::Break as u16;
const UNMAP_BEGIN: u16 = Kind::UnmapBegin as u16;
const UNMAP_END: u16 = Kind::UnmapEnd as u16;
const REMAP_BEGIN: u16 = Kind::RemapBegin as u16;
const REMAP_END: u16 = Kind::RemapEnd as u16;

/// The cookie is the [`Kind`] of what happens at the probe, and whether the kernel single-steps it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub fn mapping_library(ctx: *mut c_void) -> u32 {
    // SAFETY: the context of a uprobe program is the target's `pt_regs`.
    let registers = unsafe { Registers::new(ctx.cast::<pt_regs>()) };
    // SAFETY: the helper takes the program's context.
    let cookie = MappingCookie(unsafe { bpf_get_attach_cookie(ctx) });
    let result = registers.result();
    let range = (registers.argument(1), registers.argument(2));
    if cookie.is_single_stepped()
        && let Some(current) = Current::target()
    {
        current.count.add(Counter::SteppedMapping);
    }
    match cookie.kind() {
        UNMAP_BEGIN => begins(Library, Kind::UnmapBegin, range.0, range.1),
        REMAP_BEGIN => begins(Library, Kind::RemapBegin, range.0, range.1),
        UNMAP_END => unmapped(Library, result),
        MAP => mapped(Library, Kind::Map, result),
        BREAK => mapped(Library, Kind::Break, result),
        REMAP_END => mapped(Library, Kind::RemapEnd, result),
        _ => {}
    }
    0
}
