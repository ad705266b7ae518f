//! The file of an allocator, as a process has it mapped, and where its symbols are told.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{
    allocator::{
        elf::Elf,
        mapped::{MappedFile, open_mapped},
    },
    modules::{Modules, file_of},
    source::{
        mappings::{Kind, Mapping},
        roots::Roots,
    },
    symbolize::debug_file,
    units::Pid,
};

/// A file with code that a process has mapped.
pub(super) struct Library {
    pub(super) file: MappedFile,
    pub(super) build_id: Option<String>,
    /// What is added to an address of the file to get one of the process.
    pub(super) bias: u64,
}

impl Library {
    /// Finds out where it is mapped.
    pub(super) fn read(
        roots: &Roots,
        pid: Pid,
        mappings: &[Mapping],
        file: &MappedFile,
    ) -> io::Result<Self> {
        let open = |file: &MappedFile| open_mapped(&roots.proc, pid, file);
        let elf = Elf::open(open(file)?).map_err(io::Error::other)?;
        let mut modules = Modules::default();
        let own: Vec<Mapping> = mappings
            .iter()
            .filter(|mapping| file_of(mapping) == (file.device, file.inode))
            .cloned()
            .collect();
        let starts = modules.update(&own, open);
        let bias = starts.iter().find_map(|start| Some(modules.mapped_module(*start)?.2));
        let bias = bias.ok_or_else(|| io::Error::other("none of its code is mapped"))?;
        Ok(Library { file: file.clone(), build_id: elf.build_id().map(str::to_owned), bias })
    }

    /// The files that tell its symbols and types: debug files of the target's root and the host, those in the caches of
    /// debuginfod, and the file itself.
    pub(super) fn symbol_files(
        &self,
        roots: &Roots,
        pid: Pid,
        caches: &[PathBuf],
    ) -> impl Iterator<Item = (File, PathBuf)> {
        let debug_files = self.build_id.iter().flat_map(move |build_id| {
            let cached = caches.iter().map(move |cache| cache.join(build_id).join("debuginfo"));
            debug_file(build_id, pid, &roots.proc).into_iter().chain(cached)
        });
        // What is no file may never open.
        let debug_files = debug_files
            .filter(|path| path.is_file())
            .filter_map(|path| Some((File::open(&path).ok()?, path)));
        let own = open_mapped(&roots.proc, pid, &self.file).ok();
        debug_files.chain(own.map(|file| (file, self.file.path.clone())))
    }

    /// Where what its file has at this address is in the process.
    pub(super) fn loaded(&self, address: u64) -> u64 {
        address.wrapping_add(self.bias)
    }

    /// Its writable data, and what follows without a file.
    pub(super) fn own_memory(&self, mappings: &[Mapping]) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut end = None;
        for mapping in mappings.iter().filter(|mapping| mapping.permissions.write) {
            let is_own = file_of(mapping) == (self.file.device, self.file.inode);
            let follows =
                end == Some(mapping.start) && matches!(mapping.kind, Kind::Anonymous { .. });
            if is_own || follows {
                ranges.push((mapping.start, mapping.end));
                end = Some(mapping.end);
            }
        }
        ranges
    }
}

/// The caches of debuginfod that this environment names.
pub fn debuginfod_caches() -> Vec<PathBuf> {
    caches(|name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(|value| Path::new(&value).into())
    })
}

/// The caches of debuginfod's clients (debuginfod-find(1), "CACHE").
fn caches(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let home = variable("HOME");
    let usual =
        variable("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
    [
        variable("DEBUGINFOD_CACHE_PATH"),
        usual.map(|cache| cache.join("debuginfod_client")),
        home.map(|home| home.join(".debuginfod_client_cache")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_debuginfod() {
        let caches = caches(|name| (name == "HOME").then(|| PathBuf::from("/h")));
        let expected = ["/h/.cache/debuginfod_client", "/h/.debuginfod_client_cache"];
        assert_eq!(caches, expected.map(PathBuf::from));
    }
}
