//! What one step of unwinding does at an address, learned once.
//!
//! framehop remembers the rules of 509 addresses, and looks all others up in the unwind tables again. A
//! large program has tens of thousands of return addresses, and then this is nine tenths of the work. Its rules cannot be
//! had from it, but at nearly every address all that a step does is to move the stack pointer by a constant, or to follow
//! the frame pointer. Which of them it is shows in what framehop makes of made-up registers.

use framehop::{
    Error, FrameAddress, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use hashbrown::HashMap;

use super::{WORD, recall::Trace};

/// Addresses that are remembered, about 30 bytes each at most; more than any program has on its stacks.
const MOST_ADDRESSES: usize = 256 << 10;

/// What unwinding from an address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This is the outermost frame.
    End,
    /// The caller's stack pointer is so many words on; its frame pointer is the same, or is so many words from the
    /// stack pointer.
    Offset { caller: u16, frame_pointer: Option<i16> },
    /// The frame pointer leads to the caller's, with the return address behind it. Whether one that is 0 is the outermost.
    FramePointer { ends_at_0: bool },
    /// Something else.
    Other,
}

/// The steps of one process, until its mappings change.
#[derive(Default)]
pub(super) struct Steps {
    /// By twice the address, and one more where it is the first of its stack, whose rules differ. Addresses of
    /// programs do not need the highest bit.
    known: HashMap<u64, Step>,
}

impl Steps {
    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// One step: `Ok(None)` at the outermost frame, else the return address, with the registers as they are there. The same
    /// as [`framehop::Unwinder::unwind_frame`].
    pub(super) fn unwind<F: FnMut(u64) -> Result<u64, ()>>(
        &mut self,
        unwinder: &UnwinderX86_64<Vec<u8>>,
        cache: &mut CacheX86_64,
        address: FrameAddress,
        registers: &mut UnwindRegsX86_64,
        read: &mut F,
        trace: &mut Trace,
    ) -> Result<Option<u64>, Error> {
        let first = !address.is_return_address();
        let key = address.address_for_lookup() << 1 | u64::from(first);
        let step = if let Some(step) = self.known.get(&key) {
            *step
        } else {
            if self.known.len() >= MOST_ADDRESSES {
                self.known.clear();
            }
            let step = learn(unwinder, address);
            self.known.insert(key, step);
            step
        };
        let (sp, bp) = (registers.sp(), registers.bp());
        let load = |at: u64, read: &mut F| read(at).map_err(|()| Error::CouldNotReadStack(at));
        let (caller, frame_pointer) = match step {
            Step::End => return Ok(None),
            Step::Offset { caller, frame_pointer } => {
                let caller = sp.checked_add(u64::from(caller) * WORD);
                let caller = caller.ok_or(Error::IntegerOverflow)?;
                let frame_pointer = match frame_pointer {
                    None => bp,
                    Some(offset) => {
                        let at = sp.checked_add_signed(i64::from(offset) * WORD as i64);
                        let at = at.ok_or(Error::IntegerOverflow)?;
                        match load(at, read) {
                            // Popped already, below what was copied: the register has it.
                            Err(_) if first && offset < 0 => bp,
                            result => {
                                let saved = result?;
                                trace.frame_pointer(at, saved);
                                saved
                            }
                        }
                    }
                };
                (caller, frame_pointer)
            }
            Step::FramePointer { ends_at_0: true } if bp == 0 => {
                trace.is_unclear();
                return Ok(None);
            }
            Step::FramePointer { .. } => {
                // One that leads into the stack is not 0.
                trace.follows_frame_pointer();
                let caller = bp.checked_add(2 * WORD).ok_or(Error::IntegerOverflow)?;
                if caller <= sp {
                    return Err(Error::FramepointerUnwindingMovedBackwards);
                }
                let saved = load(bp, read)?;
                trace.frame_pointer(bp, saved);
                (caller, saved)
            }
            Step::Other => {
                trace.is_unclear();
                return unwinder.unwind_frame(address, registers, cache, read);
            }
        };
        let return_address = load(caller - WORD, read)?;
        trace.return_address(caller - WORD, return_address);
        if return_address == 0 {
            return Ok(None);
        }
        registers.set_ip(return_address);
        registers.set_sp(caller);
        registers.set_bp(frame_pointer);
        Ok(Some(return_address))
    }
}

/// Registers that no stack has, twice, so that a distance from one of them can be told from that from another.
const MADE_UP: [(u64, u64); 2] = [(0x1000_0000, 0x2000_0000), (0x3000_0000, 0x7000_0000)];
/// What is at an address of the made-up stack: the address, and this bit.
const CONTENTS: u64 = 1 << 40;

/// What a step from an address does.
pub(super) fn learn(unwinder: &UnwinderX86_64<Vec<u8>>, address: FrameAddress) -> Step {
    // A failure with made-up registers is remembered too, so that the cache is not the one for real ones.
    let mut cache = CacheX86_64::new();
    let mut step = |sp, bp| {
        let mut registers = UnwindRegsX86_64::new(address.address(), sp, bp);
        let mut read = |at: u64| Ok(at | CONTENTS);
        let found = unwinder.unwind_frame(address, &mut registers, &mut cache, &mut read);
        (found, registers)
    };
    let [first, second] = MADE_UP.map(|(sp, bp)| {
        let (found, after) = step(sp, bp);
        // Distances of whole words.
        let words = |from: u64, to: u64| {
            let bytes = to.wrapping_sub(from) as i64;
            (bytes % WORD as i64 == 0).then_some(bytes / WORD as i64)
        };
        match found {
            Ok(None) => Step::End,
            Ok(Some(found)) if found == (after.sp() - WORD) | CONTENTS => {
                let loaded = (after.bp() & CONTENTS != 0).then_some(after.bp() & !CONTENTS);
                if loaded == Some(bp) && words(bp, after.sp()) == Some(2) {
                    return Step::FramePointer { ends_at_0: step(sp, 0).0 == Ok(None) };
                }
                let caller = words(sp, after.sp()).and_then(|words| u16::try_from(words).ok());
                let at = |from| words(sp, from).and_then(|words| i16::try_from(words).ok());
                match (caller, loaded, loaded.and_then(at)) {
                    (Some(caller @ 1..), None, _) if after.bp() == bp => {
                        Step::Offset { caller, frame_pointer: None }
                    }
                    (Some(caller @ 1..), Some(_), frame_pointer @ Some(_)) => {
                        Step::Offset { caller, frame_pointer }
                    }
                    _ => Step::Other,
                }
            }
            _ => Step::Other,
        }
    });
    // What is not remembered is computed from the registers in another way.
    if first == second && cache.stats().hits() > 0 { first } else { Step::Other }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, strategy::ValueTree as _};

    use super::*;
    use crate::unwind::tests::own;

    #[test]
    fn steps_do_what_framehop_does() {
        let (unwinder, addresses) = own();
        let mut others = 0;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for (i, address) in addresses.iter().enumerate() {
            let address = if i % 4 == 0 {
                FrameAddress::from_instruction_pointer(*address)
            } else {
                FrameAddress::from_return_address(*address).unwrap()
            };
            let step = learn(&unwinder.unwinder, address);
            if step == Step::Other {
                others += 1;
                continue;
            }
            // Stacks of 64 words that hold zeroes and addresses in and beside themselves, cut at any place.
            const SP: u64 = 0x7ffd_0000_1000;
            let word = prop_oneof![Just(0), SP - 64..SP + 600, any::<u64>()];
            let strategy = (
                prop::collection::vec(word.clone(), 0..64),
                prop_oneof![Just(0), (0..70_u64).prop_map(|n| SP + n * 8), word],
            );
            let (words, bp) = strategy.new_tree(&mut runner).unwrap().current();
            let mut read = |at: u64| {
                let index = at.checked_sub(SP).filter(|offset| offset % 8 == 0).ok_or(())? / 8;
                words.get(index as usize).copied().ok_or(())
            };
            let start = UnwindRegsX86_64::new(address.address(), SP, bp);
            let (mut own, mut theirs) = (start, start);
            let mut steps = Steps::default();
            let cache = &mut CacheX86_64::new();
            let trace = &mut Trace::default();
            let found =
                steps.unwind(&unwinder.unwinder, cache, address, &mut own, &mut read, trace);
            let expected = unwinder.unwinder.unwind_frame(address, &mut theirs, cache, &mut read);
            assert_eq!(found, expected, "{step:?} at {address:?}");
            if matches!(found, Ok(Some(_))) {
                let all = |r: &UnwindRegsX86_64| (r.ip(), r.sp(), r.bp());
                assert_eq!(all(&own), all(&theirs), "{step:?} at {address:?}");
            }
        }
        assert!(
            addresses.len() > 5_000 && others * 50 < addresses.len(),
            "{others} of {}",
            addresses.len()
        );
    }
}
