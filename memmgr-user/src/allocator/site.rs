//! Where inside a function a probe goes: cheap, on a true instruction boundary, with the arguments still in their registers.
//!
//! The kernel emulates a few instructions under a probe and single-steps all others, which costs over ten microseconds a hit on a
//! virtual machine. So the probe goes to the first emulated instruction of the prologue that every call passes with the state that
//! the probe needs; where there is none, to the entry.
//!
//! The functions here speak of bytes, argument positions and offsets, not of registers: a second processor architecture is a second
//! file with the same two functions. This one is for x86-64 with the System V calling convention.

use std::fmt::Write;

use iced_x86::{
    Decoder, DecoderOptions, EncodingKind, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, Register,
};

use super::table::Arguments;

pub mod branches;
pub mod returns;
pub mod system_call;

/// What a probe must find at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The arguments are in their registers.
    Entry,
    /// The return address is on top of the stack as well, so that the return can be probed too.
    EntryAndReturn,
}

/// What the running kernel emulates beyond the instructions that every kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// Every length of `nop`, since about 6.16; before, only the single byte 0x90.
    pub multi_byte_nop_emulated: bool,
}

/// What is asked of a place.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// The state that the probe needs.
    pub need: Need,
    /// The arguments that it reads.
    pub arguments: Arguments,
    /// What the kernel can do.
    pub kernel: KernelFacts,
}

/// A place for a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the function's first instruction.
    pub offset: u32,
    /// Whether the kernel emulates the instruction; otherwise every hit pays for a single step.
    pub emulated: bool,
    /// The place and the instruction for people: `+3 je`, `entry push`.
    pub description: String,
}

/// Why a function cannot be probed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// The bytes at the function's start do not decode.
    #[error("its first bytes are no instruction ({0})")]
    NotCode(String),
    /// The kernel returns ENOTSUPP for this instruction.
    #[error("the kernel puts no probe on the instruction {0}")]
    Refused(String),
    /// One call would be counted more than once.
    #[error("the function jumps back to {0}, so that one call would be counted more than once")]
    Loop(String),
    /// An offset that the straight line from the function's start does not reach as an instruction with the state that is needed.
    #[error(
        "+{0:#x} is not an instruction that every call passes with its arguments and its return address still in place"
    )]
    NotReached(u64),
    /// A function is not what its name says.
    #[error("it does not make system call {0} and no other")]
    NoSystemCall(u32),
    /// There is no place to see the result of a system call at.
    #[error(
        "no branch behind the system call at +{0:#x} is passed with its result and its arguments in place"
    )]
    NotBehind(u64),
}

/// Chooses the place in a function whose instructions are `code`, from the first one up to the function's end.
pub fn choose(code: &[u8], requirement: Requirement) -> Result<Site, SiteError> {
    let line = StraightLine::decode(code, requirement);
    let entry = line
        .positions
        .first()
        .ok_or_else(|| SiteError::NotCode(hex(&code[..code.len().min(8)])))?;
    let cheap = line
        .positions
        .iter()
        .find(|position| line.emulated(position) && line.check(position).is_ok());
    let chosen = cheap.unwrap_or(entry);
    line.check(chosen)?;
    Ok(line.site(chosen))
}

/// Accepts or refuses the place `offset` bytes into a function, for an offset that a person gave.
pub fn verify(code: &[u8], offset: u64, requirement: Requirement) -> Result<Site, SiteError> {
    let line = StraightLine::decode(code, requirement);
    let position = line.positions.iter().find(|position| position.instruction.ip() == offset);
    let position = position.ok_or(SiteError::NotReached(offset))?;
    line.check(position)?;
    Ok(line.site(position))
}

/// An instruction that every call executes, before which the required state is untouched.
struct Position {
    instruction: Instruction,
    /// Whether an instruction before this one wrote to memory.
    after_store: bool,
}

/// The instructions from the entry up to the first branch or the first one that destroys the required state.
///
/// Nothing behind a conditional branch is ever needed: where a probe may stand behind one, the branch itself is as good, is emulated,
/// and is passed by every call.
struct StraightLine<'a> {
    code: &'a [u8],
    kernel: KernelFacts,
    positions: Vec<Position>,
    /// Where the branch of the whole function that goes back farthest leads to.
    lowest_target: Option<u64>,
}

impl<'a> StraightLine<'a> {
    fn decode(code: &'a [u8], requirement: Requirement) -> Self {
        let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
        let mut info = InstructionInfoFactory::new();
        let mut positions = Vec::new();
        let mut after_store = false;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            positions.push(Position { instruction, after_store });
            let effects = info.info(&instruction);
            let destroys = effects.used_registers().iter().any(|used| {
                writes(used.access()) && requirement.holds_in(used.register().full_register())
            });
            if instruction.flow_control() != FlowControl::Next || destroys {
                break;
            }
            after_store |= effects.used_memory().iter().any(|used| writes(used.access()));
        }
        let lowest_target = Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
            .into_iter()
            .filter(|i| {
                matches!(
                    i.flow_control(),
                    FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
                )
            })
            .map(|branch| branch.near_branch_target())
            .min();
        StraightLine { code, kernel: requirement.kernel, positions, lowest_target }
    }

    /// Whether the kernel accepts a probe here and one call meets it once.
    fn check(&self, position: &Position) -> Result<(), SiteError> {
        let bytes = self.bytes(position);
        if refused(&position.instruction, bytes, self.kernel) {
            return Err(SiteError::Refused(format!(
                "{} ({})",
                mnemonic(&position.instruction),
                hex(bytes)
            )));
        }
        // A branch from behind the site to a place between the entry and the site leads through the site again.
        match self.lowest_target {
            Some(target) if target <= position.instruction.ip() => {
                Err(SiteError::Loop(format!("+{target:#x}")))
            }
            _ => Ok(()),
        }
    }

    fn site(&self, position: &Position) -> Site {
        let (offset, name) = (position.instruction.ip(), mnemonic(&position.instruction));
        let description =
            if offset == 0 { format!("entry {name}") } else { format!("+{offset} {name}") };
        Site { offset: offset as u32, emulated: self.emulated(position), description }
    }

    /// Whether the kernel carries the instruction out itself: arch/x86/kernel/uprobes.c, `branch_setup_xol_ops` and
    /// `push_setup_xol_ops`. This is the only list of them, and it takes only the encodings that compilers write: no prefix but the
    /// REX.B of `push`, and 0x66 before a long `nop`.
    fn emulated(&self, position: &Position) -> bool {
        match self.bytes(position) {
            // nop and push; jmp and jcc with 8 bits; call and jmp with 32; jcc with 32
            [0x90 | 0x50..=0x57]
            | [0x41, 0x50..=0x57]
            | [0xeb | 0x70..=0x7f, _]
            | [0xe8 | 0xe9, _, _, _, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _] => true,
            // A nop of five or ten bytes may become a call, which writes below the stack pointer. At a function's start
            // nothing lives there; once the function has stored something, something may.
            bytes => {
                self.kernel.multi_byte_nop_emulated && !position.after_store && is_long_nop(bytes)
            }
        }
    }

    fn bytes(&self, position: &Position) -> &'a [u8] {
        let start = position.instruction.ip() as usize;
        &self.code[start..start + position.instruction.len()]
    }
}

impl Requirement {
    /// Whether this 64-bit register holds something that the probe needs.
    fn holds_in(self, register: Register) -> bool {
        const ARGUMENTS: [Register; 6] = [
            Register::RDI,
            Register::RSI,
            Register::RDX,
            Register::RCX,
            Register::R8,
            Register::R9,
        ];
        match ARGUMENTS.iter().position(|&argument| argument == register) {
            Some(position) => self.arguments.contains(position as u8),
            None => register == Register::RSP && self.need == Need::EntryAndReturn,
        }
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// `nop` with 0x66 prefixes only. Compilers also write 0x2e before long ones, which the kernel refuses.
fn is_long_nop(bytes: &[u8]) -> bool {
    match bytes {
        [0x66, rest @ ..] => is_long_nop(rest),
        [0x90] => true,
        [0x0f, 0x1f, modrm, ..] => modrm & 0b0011_1000 == 0,
        _ => false,
    }
}

/// Whether the kernel refuses a probe on this instruction, or has ever carried it out wrongly: arch/x86/kernel/uprobes.c,
/// `is_prefix_bad`, `good_insns_64`, `branch_setup_xol_ops`.
fn refused(instruction: &Instruction, bytes: &[u8], kernel: KernelFacts) -> bool {
    let is_prefix =
        |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let prefixes = bytes.iter().take_while(|byte| is_prefix(byte)).count();
    let (prefixes, rest) = bytes.split_at(prefixes);
    let (rex, opcode) = match rest {
        [0x40..=0x4f, opcode, ..] => (true, *opcode),
        [opcode, ..] => (false, *opcode),
        [] => return true,
    };
    let word_sized = prefixes.contains(&0x66);
    let branch = instruction.flow_control() != FlowControl::Next;
    // lock, and the segments that mean nothing in 64-bit mode (0x3e is also CET's notrack)
    prefixes.iter().any(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0))
        // vex, evex and xop: decoded by some kernels only
        || instruction.encoding() != EncodingKind::Legacy
        || instruction.is_privileged()
        // ins, outs, int3, int, iret, in, out, int1, hlt, cli, sti
        || matches!(opcode, 0x6c..=0x6f | 0xcc..=0xcf | 0xe4..=0xe7 | 0xec..=0xef | 0xf1 | 0xf4 | 0xfa | 0xfb)
        || matches!(
            instruction.flow_control(),
            FlowControl::Interrupt | FlowControl::Exception | FlowControl::XbeginXabortXend
        )
        || matches!(instruction.mnemonic(), Mnemonic::Syscall | Mnemonic::Sysenter)
        // mov to ss masks the trap of a single step
        || opcode == 0x8e
        || branch && word_sized
        // `xchg` with r8 shares 0x90 with `nop`, and kernels before 6.16 take it for one
        || rex && opcode == 0x90
        || opcode == 0x90 && word_sized && !kernel.multi_byte_nop_emulated
}

fn mnemonic(instruction: &Instruction) -> String {
    format!("{:?}", instruction.mnemonic()).to_lowercase()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let gap = if text.is_empty() { "" } else { " " };
        write!(text, "{gap}{byte:02x}").expect("a String takes all text");
    }
    text
}

#[cfg(test)]
mod tests;
