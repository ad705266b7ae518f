//! Where a function leads to besides its own code, and whether it writes anything itself.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpKind, Register,
};

use super::writes;

/// What a function's instructions say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branches {
    /// Addresses outside the function that it calls or jumps to.
    pub targets: Vec<u64>,
    /// Addresses of pointers that it calls or jumps through.
    pub slots: Vec<u64>,
    /// Whether an instruction writes to memory other than the stack.
    pub stores: bool,
}

/// Reads a function whose instructions are `code`, at `address`, up to its end.
pub fn branches(code: &[u8], address: u64) -> Branches {
    let mut info = InstructionInfoFactory::new();
    let own = address..address + code.len() as u64;
    let mut found = Branches::default();
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            break;
        }
        match instruction.flow_control() {
            FlowControl::Call
            | FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                if !own.contains(&target) {
                    found.targets.push(target);
                }
            }
            FlowControl::IndirectBranch | FlowControl::IndirectCall => {
                let through_memory = instruction.op0_kind() == OpKind::Memory;
                if through_memory && instruction.memory_base() == Register::RIP {
                    found.slots.push(instruction.memory_displacement64());
                }
            }
            _ => {}
        }
        let memory = info.info(&instruction).used_memory();
        found.stores |=
            memory.iter().any(|used| writes(used.access()) && used.base() != Register::RSP);
    }
    found
}

/// A stub is no longer.
pub const STUB_BYTES: u64 = 16;

/// The pointer that a stub of the linker jumps through: nothing but `endbr64` may stand before that jump.
pub fn slot_of_stub(code: &[u8], address: u64) -> Option<u64> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .into_iter()
        .find(|instruction| instruction.mnemonic() != Mnemonic::Endbr64)
        .filter(|jump| jump.flow_control() == FlowControl::IndirectBranch)
        .filter(|jump| jump.op0_kind() == OpKind::Memory && jump.memory_base() == Register::RIP)
        .map(|jump| jump.memory_displacement64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &[u8], targets: &[u64], slots: &[u64], stores: bool) {
        let (targets, slots) = (targets.to_vec(), slots.to_vec());
        assert_eq!(branches(code, 0x1000), Branches { targets, slots, stores }, "{code:02x?}");
    }

    #[test]
    fn what_leads_out_and_what_writes() {
        // jmp 0x1105; jne to itself; call *0x10(%rip)
        check(&[0xe9, 0, 1, 0, 0], &[0x1105], &[], false);
        check(&[0x75, 0xfe, 0xc3], &[], &[], false);
        check(&[0xff, 0x15, 0x10, 0, 0, 0], &[], &[0x1016], false);
        // mov %rax,(%rdi); mov %rax,8(%rsp); push %rbx; call 0x100b
        check(&[0x48, 0x89, 0x07], &[], &[], true);
        check(&[0x48, 0x89, 0x44, 0x24, 8, 0x53, 0xe8, 0, 0, 0, 0, 0xc3], &[], &[], false);
        check(&[0xe8, 1, 0, 0, 0], &[0x1006], &[], false);
    }

    #[test]
    fn stubs_of_the_linker() {
        let jump = [0xff, 0x25, 0x20, 0, 0, 0];
        assert_eq!(slot_of_stub(&jump, 0x1000), Some(0x1026));
        let with_endbr = [&[0xf3, 0x0f, 0x1e, 0xfa][..], &jump].concat();
        assert_eq!(slot_of_stub(&with_endbr, 0x1000), Some(0x102a));
        assert_eq!(slot_of_stub(&[0x53, 0xff, 0x25, 0, 0, 0, 0], 0x1000), None);
        assert_eq!(slot_of_stub(&[0xe9, 0, 1, 0, 0], 0x1000), None);
    }
}
