//! Which functions of a file lead into which others, directly or through the linker's stubs.

use super::elf::{Elf, Symbol};
use super::site::branches::{STUB_BYTES, branches, slot_of_stub};
use super::survey::{Group, Survey};

/// So many functions stand between one and the one that does its work.
const DEEPEST: u32 = 3;

/// Reads the functions of one file.
pub(super) struct Reach<'a> {
    pub(super) elf: &'a Elf,
    pub(super) survey: &'a Survey,
}

impl Reach<'_> {
    /// The functions that this one calls or jumps to, by address, as far as they have names that matter here.
    pub(super) fn entered(&self, group: &Group) -> Vec<u64> {
        self.entered_from(group.address, group.size).0
    }

    /// Whether a function does nothing but hand on what it was given to one of `others`: it enters one of them, and writes nothing
    /// by itself.
    pub(super) fn hands_on(&self, group: &Group, others: &[u64]) -> bool {
        let (entered, stores) = self.entered_from(group.address, group.size);
        !stores && entered.iter().any(|target| *target != group.address && others.contains(target))
    }

    /// Whether a function ends in one of `probed`, directly or through others with a name.
    pub(super) fn ends_in(&self, symbol: &Symbol, probed: &[u64]) -> bool {
        self.ends_in_within(symbol, probed, DEEPEST)
    }

    fn ends_in_within(&self, symbol: &Symbol, probed: &[u64], deepest: u32) -> bool {
        let entered = self.entered_from(symbol.address, symbol.size).0;
        entered.iter().any(|target| probed.contains(target))
            || deepest > 0
                && entered.iter().any(|target| {
                    let next = self.survey.symbols.iter().find(|next| next.address == *target);
                    next.is_some_and(|next| self.ends_in_within(next, probed, deepest - 1))
                })
    }

    /// Addresses of functions, and whether the one at `address` writes to memory other than its stack.
    fn entered_from(&self, address: u64, size: u64) -> (Vec<u64>, bool) {
        // What cannot be read is not probed either.
        let Ok(code) = self.elf.code(address, size) else { return (Vec::new(), true) };
        let branches = branches(&code, address);
        let direct = branches.targets.iter().filter_map(|target| {
            if self.survey.symbols.iter().any(|symbol| symbol.address == *target) {
                return Some(*target);
            }
            let stub = self.elf.code(*target, STUB_BYTES).ok()?;
            self.linked(slot_of_stub(&stub, *target)?)
        });
        let linked = branches.slots.iter().filter_map(|slot| self.linked(*slot));
        (direct.chain(linked).collect(), branches.stores)
    }

    /// The function of this file that a pointer of the linker stands for, unless another file has one of that name in front of it:
    /// then the same is true of the other.
    fn linked(&self, slot: u64) -> Option<u64> {
        let name = self.elf.linked(slot)?;
        self.survey.symbols.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.address)
    }
}
