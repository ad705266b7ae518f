//! Everything in the kernel part that depends on the processor: which register holds what.
//!
//! x86-64, System V calling convention. Another architecture is another version of this file.

use aya_ebpf::bindings::pt_regs;

/// Bytes that a return takes off the stack: the return address.
pub const RETURN_POPS: u64 = 8;

/// Bits of a page fault's error code (Intel SDM 3A, 4.7): the page was there; the access was a write.
pub const FAULT_PRESENT: u64 = 1;
pub const FAULT_WRITE: u64 = 2;
/// The half of the address space that is not the program's.
pub const FAULT_BEYOND_USER: u64 = 1 << 63;

/// The registers of the target at a probe.
#[derive(Clone, Copy)]
pub struct Registers(*const pt_regs);

/// What an unwinder starts from.
#[derive(Clone, Copy)]
pub struct UnwindStart {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register.
    pub bp: u64,
}

impl Registers {
    /// # Safety
    /// `pt_regs` must be the context of a uprobe program, memory that holds a whole `pt_regs`, or a pointer to
    /// one that the verifier knows by its type.
    pub unsafe fn new(pt_regs: *const pt_regs) -> Self {
        Registers(pt_regs)
    }

    /// The integer argument at `position`, counted from 1; 0 for a position that is not in use.
    pub fn argument(self, position: u8) -> u64 {
        // All four are read at fixed offsets, as the verifier demands of a context; a choice among
        // the loads would be turned into one load at a variable offset.
        // SAFETY: `new` promises a whole `pt_regs`.
        let [rdi, rsi, rdx, rcx] = unsafe {
            [
                (&raw const (*self.0).rdi).read_volatile(),
                (&raw const (*self.0).rsi).read_volatile(),
                (&raw const (*self.0).rdx).read_volatile(),
                (&raw const (*self.0).rcx).read_volatile(),
            ]
        };
        match position {
            1 => rdi,
            2 => rsi,
            3 => rdx,
            4 => rcx,
            _ => 0,
        }
    }

    /// The result of a function or of a system call.
    pub fn result(self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.0).rax }
    }

    /// Instruction pointer.
    pub fn ip(self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.0).rip }
    }

    /// Stack pointer.
    pub fn sp(self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.0).rsp }
    }

    /// What an unwinder starts from.
    pub fn unwind_start(self) -> UnwindStart {
        // SAFETY: as in `argument`.
        unsafe { UnwindStart { ip: (*self.0).rip, sp: (*self.0).rsp, bp: (*self.0).rbp } }
    }
}
