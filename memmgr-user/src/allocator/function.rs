//! From one function, found by name or given by a person, to its place in the plan.

use super::elf::Elf;
use super::exits::exits;
use super::mapped::MappedFile;
use super::overrides::ProbeOption;
use super::plan::PlannedFunction;
use super::site::{self, KernelFacts, Need, Requirement, Site};
use super::survey::Group;
use super::table::Role;
use crate::units::FileOffset;

/// Plans a function that was found by its names. The error says why it cannot be probed.
pub(super) fn by_name(
    file: &MappedFile,
    elf: &Elf,
    group: &Group,
    kernel: KernelFacts,
) -> Result<PlannedFunction, String> {
    let start = group.place.map_err(|why| why.to_string())?;
    let code = elf.code(group.address, group.size).map_err(|error| error.to_string())?;
    let site =
        site::choose(&code, requirement(group.role, kernel)).map_err(|error| error.to_string())?;
    planned(file, elf, group.names(), group.role, (start, group.address, group.size), site)
}

/// Plans a place that a person gave: a function's start, or an instruction inside one that is as good.
pub(super) fn by_offset(
    file: &MappedFile,
    elf: &Elf,
    option: &ProbeOption,
    kernel: KernelFacts,
) -> Result<PlannedFunction, String> {
    let address = elf
        .address(option.offset)
        .ok_or("the offset is not in a segment with code; give an offset in the file")?;
    let (start, size) = function_around(elf, address)?;
    let begin = elf.place(start).map_err(|why| why.to_string())?;
    let code = elf.code(start, size).map_err(|error| error.to_string())?;
    let requirement = requirement(option.role, kernel);
    let site = if address == start {
        site::choose(&code, requirement).map_err(|error| error.to_string())?
    } else {
        site::verify(&code, address - start, requirement)
            .map_err(|error| format!("{error}; the function begins at {begin:#x}"))?
    };
    planned(file, elf, option.role.name().to_owned(), option.role, (begin, start, size), site)
}

fn requirement(role: Role, kernel: KernelFacts) -> Requirement {
    let need = if role.needs_return() { Need::EntryAndReturn } else { Need::Entry };
    Requirement { need, arguments: role.arguments(), kernel }
}

/// The start and the size (0: unknown) of the function around an address, from the symbols or else from the unwind tables.
fn function_around(elf: &Elf, address: u64) -> Result<(u64, u64), String> {
    let symbols = elf
        .functions(|_, start, size| {
            address.checked_sub(start).is_some_and(|inside| inside < size.max(1))
        })
        .map_err(|error| error.to_string())?;
    if let Some(symbol) =
        symbols.iter().max_by_key(|symbol| (symbol.address, symbol.place.is_err()))
    {
        return match symbol.place {
            Ok(_) => Ok((symbol.address, symbol.size)),
            Err(why) => Err(why.to_string()),
        };
    }
    let frames = elf.frames();
    let from_tables = frames.and_then(|frames| {
        let function = frames.function_at(address)?;
        frames
            .is_function_start(function.start)
            .then_some((function.start, function.end - function.start))
    });
    from_tables.ok_or_else(|| {
        "neither a symbol nor the unwind tables say that a function is there, so that it could be the middle of an instruction".into()
    })
}

/// `function` is where it begins in the file and in the file's own addresses, and its size.
fn planned(
    file: &MappedFile,
    elf: &Elf,
    symbol: String,
    role: Role,
    (function, address, size): (FileOffset, u64, u64),
    site: Site,
) -> Result<PlannedFunction, String> {
    let probe = FileOffset(function.0 + u64::from(site.offset));
    if !file.executes(probe) {
        return Err("the process has not mapped it as code".into());
    }
    let exits = if role.throws() { exits(elf, address, size)? } else { Vec::new() };
    if !exits.iter().all(|exit| file.executes(*exit)) {
        return Err("the process has not mapped all of it as code".into());
    }
    // The cookie gets its number when all functions are known.
    let cookie = role.cookie(0, false);
    Ok(PlannedFunction {
        symbol,
        role,
        function,
        probe,
        site,
        needs_return: role.needs_return(),
        exits,
        alone: false,
        cookie,
    })
}
