//! Where a function that may throw returns: every `ret` of its own, and those of the functions that it ends with a jump into.

use super::elf::Elf;
use super::site::branches::{STUB_BYTES, slot_of_stub};
use super::site::returns::{Leaves, leaves};
use crate::units::FileOffset;

/// So many functions may follow each other by jumps.
const MOST_FUNCTIONS: usize = 16;
/// A probe stands on each of them.
const MOST_EXITS: usize = 32;

/// The places in the file. The error says why not all of them are known: a call whose end is not seen must not be seen to begin.
///
/// A function behind the first may jump into one that it is told, as tcmalloc's do when memory is out. An end there is not seen;
/// then the next call shows that this one was left, which is counted.
pub(super) fn exits(elf: &Elf, address: u64, size: u64) -> Result<Vec<FileOffset>, String> {
    let mut seen: Vec<(u64, u64)> = Vec::new();
    let mut ahead = vec![(address, size)];
    let mut found = Vec::new();
    while let Some((start, size)) = ahead.pop() {
        if seen.iter().any(|(from, to)| (*from..*to).contains(&start)) {
            continue;
        }
        if seen.len() == MOST_FUNCTIONS {
            return Err("it returns from too many functions that it jumps into".into());
        }
        let code = elf.code(start, size).map_err(|error| error.to_string())?;
        seen.push((start, start + code.len() as u64));
        let Leaves { returns, jumps, computed } =
            leaves(&code, start).ok_or("its instructions cannot all be read")?;
        if computed && seen.len() == 1 {
            return Err("it jumps to places that are computed".into());
        }
        found.extend(returns);
        for jump in jumps {
            ahead.push(behind_stub(elf, jump)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    if found.is_empty() || found.len() > MOST_EXITS {
        return Err(format!("it has {} places where it returns", found.len()));
    }
    found.into_iter().map(|exit| elf.place(exit).map_err(|why| why.to_string())).collect()
}

/// A function, by what is jumped to: its address, and its size as far as that is known.
fn behind_stub(elf: &Elf, target: u64) -> Result<(u64, u64), String> {
    let stub = elf.code(target, STUB_BYTES).map_err(|error| error.to_string())?;
    let Some(slot) = slot_of_stub(&stub, target) else { return Ok((target, 0)) };
    let name = elf.linked(slot).ok_or("it jumps through a pointer that nobody knows")?;
    let found = elf.functions(|function, _, _| function == name).map_err(|e| e.to_string())?;
    let function = found.first().ok_or("it ends in a function of another file")?;
    Ok((function.address, function.size))
}
