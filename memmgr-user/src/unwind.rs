//! Copied stacks → return addresses, by the unwind tables of the mapped files (framehop).

mod recall;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use framehop::{
    Error, ExplicitModuleSectionInfo, FrameAddress, Module as UnwindModule, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};

use recall::Recall;
use steps::Steps;

use crate::{
    decode::CopiedStack,
    modules::Modules,
    stacks::{Outer, StackHandle, Stacks},
    units::Address,
};

/// The kernel puts the page that its return probes lead to at the upper end of the address space
/// (kernel/events/uprobes.c, xol_add_vma), where nothing else is. A return address in there is hidden
/// by a return probe of somebody else: another tracer, or another memmgr.
const TRAMPOLINES: u64 = 0x7fff_ffff_0000;

/// More frames than this are a runaway recursion or a broken table.
const MOST_FRAMES: usize = 512;

/// Bytes of a word.
const WORD: u64 = 8;

/// What a copied stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwound<'a> {
    /// One that was unwound before.
    Again(StackHandle),
    /// Return addresses, leaf first, and how the stack ends.
    Frames(&'a [Address], Outer),
}

/// Unwinds the stacks of one process.
#[derive(Default)]
pub struct Unwinder {
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
    steps: Steps,
    recall: Recall,
    known: HashSet<u64>,
    frames: Vec<Address>,
}

impl Unwinder {
    /// Takes in ranges that are new or changed (see [`Modules::update`]).
    pub fn add(&mut self, modules: &Modules, changed: &[u64]) {
        if !changed.is_empty() {
            self.steps.clear();
            self.recall.clear();
        }
        for &start in changed {
            if !self.known.insert(start) {
                self.unwinder.remove_module(start);
            }
            let Some((end, module, bias)) = modules.mapped_module(start) else { continue };
            let names = [".text", ".got", ".eh_frame", ".eh_frame_hdr", ".debug_frame"];
            let Ok([text, got, eh_frame, eh_frame_hdr, debug_frame]) = module.sections(names)
            else {
                continue;
            };
            let address = |section: &Option<crate::modules::Section>| {
                section.as_ref().map(|section| section.address.clone())
            };
            let info = ExplicitModuleSectionInfo {
                base_svma: 0,
                text_svma: address(&text),
                got_svma: address(&got),
                eh_frame_svma: address(&eh_frame),
                eh_frame_hdr_svma: address(&eh_frame_hdr),
                eh_frame: eh_frame.map(|section| section.bytes),
                eh_frame_hdr: eh_frame_hdr.map(|section| section.bytes),
                debug_frame: debug_frame.map(|section| section.bytes),
                ..ExplicitModuleSectionInfo::default()
            };
            let name = module.path.display().to_string();
            self.unwinder.add_module(UnwindModule::new(name, start..end, bias, info));
        }
    }

    /// Finds the return addresses, unless it is a stack that was remembered.
    ///
    /// The registers are those after the allocator returned, so that the first instruction pointer
    /// is a return address too.
    pub fn unwind(&mut self, stack: CopiedStack<'_>) -> Unwound<'_> {
        let mut read = |address| stack.read(address).ok_or(());
        self.recall.begin(&stack);
        let mut registers = UnwindRegsX86_64::new(stack.ip.0, stack.sp.0, stack.bp.0);
        let mut address = FrameAddress::from_instruction_pointer(stack.ip.0);
        self.frames.clear();
        // Not yet left, and whether it was left by what is known of its begin instead of by tables.
        let (mut call, mut is_shortcut) = (stack.call, false);
        let outer = loop {
            // What lies beyond a trampoline can only be guessed.
            if self.frames.len() == MOST_FRAMES || address.address() >= TRAMPOLINES {
                break Outer::Cut;
            }
            self.frames.push(Address(address.address()));
            if !is_shortcut
                && let Some(again) = self.recall.stack(&stack, &self.frames, registers.sp())
            {
                return Unwound::Again(again);
            }
            let (unwinder, cache) = (&self.unwinder, &mut self.cache);
            let trace = &mut self.recall.trace;
            let next =
                self.steps.unwind(unwinder, cache, address, &mut registers, &mut read, trace);
            let next = match next.map(|next| next.map(FrameAddress::from_return_address)) {
                Ok(Some(Some(next))) if next.address() < TRAMPOLINES => Ok(next),
                // A null return address is how a thread's first frame looks where the tables do not mark it.
                Ok(None | Some(None)) | Err(Error::ReturnAddressIsNull) => Err(Outer::Whole),
                Ok(Some(Some(_))) | Err(_) => Err(Outer::Cut),
            };
            if let Some(inside) = call {
                let beyond = inside.slot.0.wrapping_add(WORD);
                if next.is_err() || registers.sp() >= beyond {
                    call = None;
                }
                let is_right = next.is_ok_and(|next| {
                    registers.sp() == beyond && next.address() == inside.return_address.0
                });
                // A library without tables (musl): what it called is lost, not who called it.
                if call.is_none()
                    && !is_right
                    && let Some(caller) = FrameAddress::from_return_address(inside.return_address.0)
                {
                    // Frames are return addresses, one byte behind what they are about.
                    self.frames.push(Address(inside.function.0 + 1));
                    let (ip, bp) = (inside.return_address.0, inside.bp.0);
                    registers = UnwindRegsX86_64::new(ip, beyond, bp);
                    address = caller;
                    is_shortcut = true;
                    self.recall.trace.is_unclear();
                    continue;
                }
            }
            address = match next {
                Ok(next) => next,
                Err(outer) => break outer,
            };
        };
        Unwound::Frames(&self.frames, outer)
    }

    /// The stack that was unwound last is kept under this handle: found again as long as it is a whole one.
    pub fn remember(&mut self, outer: Outer, stack: StackHandle) {
        if outer == Outer::Whole && stack != Stacks::root(Outer::NotKept) {
            self.recall.remember(&self.frames, stack);
        }
    }
}
