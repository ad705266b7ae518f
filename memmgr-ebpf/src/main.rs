//! The eBPF programs of memmgr: one generic program for every allocator function, page faults, the mapping
//! system calls, and the ends of threads and processes.
//!
//! House rules here: every helper's result is checked, every failure is counted, and no program
//! does anything for a process that is not a target.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic additions, see count.rs")]
#![allow(
    missing_docs,
    reason = "a program: what crosses the boundary is documented in memmgr-common"
)]

mod arch;
mod count;
mod emit;
mod fault;
mod heap;
mod lifecycle;
mod limit;
mod mapping;
mod maps;
mod sampled;
mod sampler;
mod stack;
mod thread;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects programs that could reach this: there is no panic at run time.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
