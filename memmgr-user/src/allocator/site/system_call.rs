//! Places right behind the `syscall` instructions of a function: the kernel's result is known there and the arguments are
//! still in the registers that the system call took them from, so that one probe sees the whole call.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind,
    Register,
};

use super::{KernelFacts, Position, Site, SiteError, StraightLine, writes};
use crate::allocator::table::Arguments;

/// Where the kernel takes arguments from (arch/x86/entry/entry_64.S).
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::R10, Register::R8, Register::R9];

/// The places behind each system call `number` of a function whose instructions are `code`, where the result and these
/// `arguments` are in their registers. Only places that the kernel emulates: these stand on every call's way.
///
/// # Errors
/// When the function makes another system call, or none, or when there is no such place behind one.
pub fn behind(
    code: &[u8],
    number: u32,
    arguments: Arguments,
    kernel: KernelFacts,
) -> Result<Vec<Site>, SiteError> {
    let instructions: Vec<Instruction> =
        Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().collect();
    let line = StraightLine { code, kernel, positions: Vec::new(), lowest_target: None };
    let mut loaded = None;
    let mut sites = Vec::new();
    for (index, instruction) in instructions.iter().enumerate() {
        if let Some(value) = loads_number(instruction) {
            loaded = Some(value);
        }
        if instruction.mnemonic() != Mnemonic::Syscall {
            continue;
        }
        if loaded != Some(number) {
            return Err(SiteError::NoSystemCall(number));
        }
        let site = first_place(&line, &instructions[index + 1..], arguments)
            .ok_or(SiteError::NotBehind(instruction.ip()))?;
        let range = instruction.ip() + 1..=u64::from(site.offset);
        let mut branches = instructions.iter().filter(|other| is_branch(other));
        if let Some(branch) = branches.find(|branch| range.contains(&branch.near_branch_target())) {
            let target = branch.near_branch_target();
            return Err(SiteError::Loop(format!("+{target:#x}")));
        }
        sites.push(site);
    }
    if sites.is_empty() { Err(SiteError::NoSystemCall(number)) } else { Ok(sites) }
}

/// The first place that the kernel emulates, before anything destroys what is needed.
fn first_place(
    line: &StraightLine<'_>,
    behind: &[Instruction],
    arguments: Arguments,
) -> Option<Site> {
    let mut info = InstructionInfoFactory::new();
    for &instruction in behind {
        // Something may live below the stack pointer by now, which rules out the nops that become calls.
        let position = Position { instruction, after_store: true };
        if instruction.is_invalid() {
            return None;
        }
        if line.emulated(&position) && line.check(&position).is_ok() {
            return Some(line.site(&position));
        }
        let destroys = info.info(&instruction).used_registers().iter().any(|used| {
            let register = used.register().full_register();
            let place = ARGUMENTS.iter().position(|&argument| argument == register);
            writes(used.access())
                && (register == Register::RAX
                    || place.is_some_and(|place| arguments.contains(place as u8)))
        });
        if destroys || instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
}

/// The number of a system call, if that is what the instruction loads: `mov eax, NUMBER`.
fn loads_number(instruction: &Instruction) -> Option<u32> {
    (instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_register() == Register::EAX
        && instruction.op1_kind() == OpKind::Immediate32)
        .then(|| instruction.immediate32())
}

fn is_branch(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::site::tests::{NEW_KERNEL, bytes};

    fn check(number: u32, arguments: &[u8], code: &str, expected: &str) {
        let found = behind(&bytes(code), number, arguments.iter().copied().collect(), NEW_KERNEL);
        let found = found.map_or_else(
            |error| error.to_string(),
            |sites| {
                sites.iter().map(|site| site.description.as_str()).collect::<Vec<_>>().join(", ")
            },
        );
        assert_eq!(found, expected, "{code}");
    }

    #[test]
    fn glibc_2_36() {
        // mmap, munmap, brk
        check(
            9,
            &[1, 2, 3],
            "4189ca 41f7c1ff0f0000 7514 b809000000 0f05 483d00f0ffff 7725 c3",
            "+25 ja",
        );
        check(11, &[], "b80b000000 0f05 483d01f0ffff 7301 c3", "+13 jae");
        check(12, &[], "b80c000000 0f05 488b15e2510d00 488902 4839f8 720a 31c0 c3", "+20 jb");
    }

    #[test]
    fn every_call_of_a_function_has_its_place() {
        let two = "b819000000 0f05 483d00f0ffff 7701 c3 b819000000 0f05 483d00f0ffff 7701 c3";
        check(25, &[2], two, "+13 ja, +29 ja");
    }

    #[test]
    fn a_place_without_the_result_or_the_arguments_is_none() {
        let none = "no branch behind the system call at +0x5 is passed with its result and its arguments in place";
        // rax is changed; rdx is changed; it returns
        check(11, &[], "b80b000000 0f05 4883c001 7301 c3", none);
        check(11, &[2], "b80b000000 0f05 31d2 7301 c3", none);
        check(11, &[1], "b80b000000 0f05 31d2 7301 c3", "+9 jae");
        check(11, &[], "b80b000000 0f05 c3", none);
    }

    #[test]
    fn another_system_call_is_not_taken_for_it() {
        let other = "it does not make system call 11 and no other";
        check(11, &[], "b80c000000 0f05 483d01f0ffff 7301 c3", other);
        check(11, &[], "c3", other);
        check(11, &[], "0f05 7301 c3", other);
    }

    #[test]
    fn a_way_to_the_place_around_the_call_is_refused() {
        check(
            11,
            &[],
            "b80b000000 eb02 0f05 483d01f0ffff 7301 c3",
            "the function jumps back to +0x9, so that one call would be counted more than once",
        );
    }
}
