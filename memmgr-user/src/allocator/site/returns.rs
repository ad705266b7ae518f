//! How calls of a function end: by a return, or by a jump into another function.

use iced_x86::{Decoder, DecoderOptions, FlowControl};

/// The ends of a function's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// Addresses of the instructions that return.
    pub returns: Vec<u64>,
    /// Addresses outside the function that it jumps to.
    pub jumps: Vec<u64>,
    /// Whether it jumps to places that are computed: to cases of a switch, which are its own, or into functions that nobody knows.
    pub computed: bool,
}

/// Reads a function whose instructions are `code`, at `address`, up to its end. `None` where it is not all instructions, or a return
/// does more than to return.
pub fn leaves(code: &[u8], address: u64) -> Option<Leaves> {
    let own = address..address + code.len() as u64;
    let mut found = Leaves::default();
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return None;
        }
        let at = (instruction.ip() - address) as usize;
        match instruction.flow_control() {
            FlowControl::Return => match code[at..at + instruction.len()] {
                [0xc3] | [0xf3, 0xc3] => found.returns.push(instruction.ip()),
                _ => return None,
            },
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                if !own.contains(&target) {
                    found.jumps.push(target);
                }
            }
            FlowControl::IndirectBranch => found.computed = true,
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &[u8], expected: Option<(&[u64], &[u64], bool)>) {
        let expected = expected.map(|(returns, jumps, computed)| Leaves {
            returns: returns.to_vec(),
            jumps: jumps.to_vec(),
            computed,
        });
        assert_eq!(leaves(code, 0x1000), expected, "{code:02x?}");
    }

    #[test]
    fn every_end_of_a_function() {
        // je +1; ret; repz ret
        check(&[0x74, 1, 0xc3, 0xf3, 0xc3], Some((&[0x1002, 0x1003], &[], false)));
        // call (which comes back); jne out; jmp out
        check(
            &[0xe8, 0, 0, 0, 0, 0x0f, 0x85, 0, 1, 0, 0, 0xe9, 0, 1, 0, 0],
            Some((&[], &[0x110b, 0x1110], false)),
        );
        // ret and jmp *%rax; ret $8; no instruction
        check(&[0xc3, 0xff, 0xe0], Some((&[0x1000], &[], true)));
        check(&[0xc2, 8, 0], None);
        check(&[0x06], None);
    }
}
