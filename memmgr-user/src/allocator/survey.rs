//! The allocator functions of one file, by their names.

use std::collections::BTreeMap;

use super::elf::{Elf, ElfError, Symbol, Unprobeable};
use super::mapped::MappedFile;
use super::table::{FAMILIES, Family, FamilyMarks, PREFIXES, Role, SYMBOLS};
use crate::units::FileOffset;

/// The symbols of one file that matter here.
pub(super) struct Survey {
    pub(super) symbols: Vec<Symbol>,
    /// The prefixes under which the file has `malloc` and `free`.
    prefixes: Vec<String>,
    /// glibc's ld.so, whose own malloc serves it only until libc is loaded.
    pub(super) dynamic_linker: bool,
}

/// A function with all its names.
pub(super) struct Group {
    symbols: Vec<String>,
    pub(super) role: Role,
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
    pub(super) fn new(elf: &Elf, wanted: &[&str]) -> Result<Self, ElfError> {
        const LINKER: &str = "_dl_allocate_tls";
        let prefixes: Vec<&str> = PREFIXES.iter().chain(wanted).copied().collect();
        let marks = |name: &str| {
            FAMILIES.iter().any(|m| m.symbols.contains(&name) || m.unprobed.contains(&name))
        };
        let mut symbols = elf.functions(|name, _, _| {
            let is_function = || {
                prefixes
                    .iter()
                    .filter_map(|prefix| name.strip_prefix(prefix))
                    .any(|plain| role(plain).is_some())
            };
            is_function() || marks(name) || name == LINKER
        })?;
        // A name that other files are linked by is not shadowed by a private function of the same name.
        let dynamic: Vec<String> =
            symbols.iter().filter(|s| s.dynamic).map(|s| s.name.clone()).collect();
        symbols.retain(|symbol| symbol.dynamic || !dynamic.contains(&symbol.name));
        let has = |name: String| symbols.iter().any(|symbol| symbol.name == name);
        let complete =
            |prefix: &&&str| has(format!("{prefix}malloc")) && has(format!("{prefix}free"));
        let mut found: Vec<String> =
            prefixes.iter().filter(complete).map(|&prefix| prefix.to_owned()).collect();
        found.dedup();
        let dynamic_linker = dynamic.iter().any(|name| name == LINKER);
        Ok(Survey { symbols, prefixes: found, dynamic_linker })
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
    pub(super) fn functions(&self) -> Vec<Group> {
        let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
        for prefix in &self.prefixes {
            for (plain, role) in SYMBOLS {
                let name = format!("{prefix}{plain}");
                for symbol in self.symbols.iter().filter(|symbol| symbol.name == name) {
                    let group = groups.entry(symbol.address).or_insert_with(|| Group {
                        symbols: Vec::new(),
                        role,
                        address: symbol.address,
                        size: symbol.size,
                        place: symbol.place,
                    });
                    if !group.symbols.contains(&name) {
                        group.symbols.push(name.clone());
                    }
                }
            }
        }
        groups.into_values().collect()
    }
}

fn role(plain: &str) -> Option<Role> {
    SYMBOLS.iter().find(|(name, _)| *name == plain).map(|(_, role)| *role)
}
