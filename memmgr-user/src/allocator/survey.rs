//! The allocator functions of one file, by their names.

use std::collections::BTreeMap;

use memmgr_common::FunctionKind;

use super::elf::{Elf, ElfError, Symbol, Unprobeable};
use super::extended::{EXTENDED, OPERATORS};
use super::mapped::MappedFile;
use super::table::{FAMILIES, Family, FamilyMarks, PREFIXES, Role, SYMBOLS};
use crate::units::FileOffset;

/// The symbols of one file that matter here.
pub(super) struct Survey {
    pub(super) symbols: Vec<Symbol>,
    /// The prefixes under which the file has an allocator.
    prefixes: Vec<String>,
    /// glibc's ld.so, whose own malloc serves it only until libc is loaded.
    pub(super) dynamic_linker: bool,
}

/// Whose allocator a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// Whose it is.
    pub family: Family,
    /// What stands before the names of its functions; empty where it serves the program's own `malloc`.
    pub prefix: String,
}

/// Whose allocator a mapped file holds; nothing where it holds none.
pub fn recognise(file: &MappedFile, elf: &Elf) -> Result<Option<Recognised>, ElfError> {
    let survey = Survey::new(elf, None, &[])?;
    let family = survey.family(file);
    if survey.dynamic_linker || survey.prefixes.is_empty() && family == Family::Other {
        return Ok(None);
    }
    // mimalloc's own functions have a prefix that is none of these.
    let prefix = survey.prefixes.first().cloned().unwrap_or_else(|| "mi_".to_owned());
    Ok(Some(Recognised { family, prefix }))
}

/// A function with all its names.
pub(super) struct Group {
    symbols: Vec<String>,
    pub(super) role: Role,
    /// Whether only one allocator has such a function.
    pub(super) extended: bool,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) place: Result<FileOffset, Unprobeable>,
}

impl Group {
    pub(super) fn names(&self) -> String {
        self.symbols.join("=")
    }
}

impl Survey {
    /// Looks for functions in the file's symbols, and where it has none of its own in those of its debug file.
    pub(super) fn new(elf: &Elf, debug: Option<&Elf>, wanted: &[&str]) -> Result<Self, ElfError> {
        const LINKER: &str = "_dl_allocate_tls";
        let prefixes: Vec<&str> = PREFIXES.iter().chain(wanted).copied().collect();
        let marks = |name: &str| {
            FAMILIES.iter().any(|m| m.symbols.contains(&name) || m.unprobed.contains(&name))
        };
        let keep = |name: &str, _: u64, _: u64| {
            let standard = prefixes
                .iter()
                .filter_map(|prefix| name.strip_prefix(prefix))
                .any(|plain| SYMBOLS.iter().any(|(symbol, _)| *symbol == plain));
            let extended = || {
                EXTENDED.iter().any(|own| own.role_of(name).is_some())
                    || OPERATORS.iter().any(|(operator, _)| *operator == name)
            };
            standard || extended() || marks(name) || name == LINKER
        };
        let mut symbols = elf.functions(keep)?;
        if let Some(debug) = debug {
            // Its segments have no contents; the addresses are those of the file itself.
            let more = debug.functions(keep)?.into_iter().map(|symbol| Symbol {
                place: symbol
                    .place
                    .err()
                    .filter(|why| *why == Unprobeable::Indirect)
                    .map_or_else(|| elf.place(symbol.address), Err),
                dynamic: false,
                ..symbol
            });
            symbols.extend(more);
        }
        // A name that other files are linked by is not shadowed by a private function of the same name.
        let dynamic: Vec<String> =
            symbols.iter().filter(|s| s.dynamic).map(|s| s.name.clone()).collect();
        symbols.retain(|symbol| symbol.dynamic || !dynamic.contains(&symbol.name));
        let mut found: Vec<String> = prefixes
            .iter()
            .filter(|prefix| is_complete(prefix, &symbols))
            .map(|&prefix| prefix.to_owned())
            .collect();
        found.dedup();
        let dynamic_linker = dynamic.iter().any(|name| name == LINKER);
        Ok(Survey { symbols, prefixes: found, dynamic_linker })
    }

    /// Whether the file holds an allocator by name.
    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.prefixes.iter().any(|found| found == prefix)
    }

    pub(super) fn family(&self, file: &MappedFile) -> Family {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let is_told_by = |marks: &&FamilyMarks| {
            marks.symbols.iter().any(|mark| self.symbols.iter().any(|symbol| symbol.name == *mark))
                || marks.file_names.iter().any(|part| name.contains(part))
        };
        FAMILIES.iter().find(is_told_by).map_or(Family::Other, |marks| marks.family)
    }

    /// The functions by address, with their names. Of names at one address, the first in the table says what the function is; all
    /// C compilers and linkers fold only functions that do the same.
    pub(super) fn functions(&self, family: Family) -> Vec<Group> {
        let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
        let mut add = |name: &str, role: Role, extended: bool| {
            for symbol in self.symbols.iter().filter(|symbol| symbol.name == name) {
                let group = groups.entry(symbol.address).or_insert_with(|| Group {
                    symbols: Vec::new(),
                    role,
                    extended,
                    address: symbol.address,
                    size: symbol.size,
                    place: symbol.place,
                });
                if !group.symbols.iter().any(|known| known == name) {
                    group.symbols.push(name.to_owned());
                }
            }
        };
        for prefix in &self.prefixes {
            for (plain, role) in SYMBOLS {
                add(&format!("{prefix}{plain}"), role, false);
            }
        }
        for own in EXTENDED.iter().filter(|own| self.has_prefix(own.beside)) {
            for (plain, role) in own.rows {
                add(&format!("{}{plain}", own.prefix), *role, true);
            }
        }
        if family.has_operators() && !self.is_empty() {
            for (name, role) in OPERATORS {
                add(name, role, true);
            }
        }
        groups.into_values().collect()
    }
}

/// Whether the functions with this prefix are an allocator: `malloc` and `free`; and where the prefix alone tells whose they are, any
/// that allocates and any that frees, because linkers leave out what nobody calls, as Rust programs call no `_rjem_free`.
fn is_complete(prefix: &str, symbols: &[Symbol]) -> bool {
    let has = |plain: &str| symbols.iter().any(|s| s.name.strip_prefix(prefix) == Some(plain));
    let rows = || {
        let own = EXTENDED.iter().filter(|own| own.prefix == prefix).flat_map(|own| own.rows);
        SYMBOLS.iter().chain(own)
    };
    let any = |kind| rows().any(|(plain, role)| role.kind() == kind && has(plain));
    let telling = !prefix.is_empty() && PREFIXES.contains(&prefix);
    has("malloc") && has("free") || telling && any(FunctionKind::Alloc) && any(FunctionKind::Free)
}
