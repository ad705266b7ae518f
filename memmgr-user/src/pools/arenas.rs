//! glibc's arenas of a process: which library, where its state is, and what is in it.

use std::{io, path::PathBuf};

use super::{
    HEAP, PoolsError, TRIES, Target,
    glibc::{self, Arena, Parameters},
    layout::{self, Layout},
    library::Library,
    locate::{self, Place},
};
use crate::{
    allocator::mapped::{MappedFile, open_mapped},
    escape::Safe,
    modules::mapped_files,
    source::{
        mappings::{Kind, MappingFigures, read_mapping_figures},
        memory::ProcessMemory,
    },
};

/// What glibc holds.
pub(super) struct Glibc {
    pub(super) file: MappedFile,
    /// `glibc 2.36`.
    pub(super) version: String,
    /// How it is known where its state is.
    pub(super) found: String,
    pub(super) arenas: Vec<Arena>,
    pub(super) parameters: Parameters,
    /// Whether a second read said the same.
    pub(super) is_quiet: bool,
}

/// Looks at the arenas of glibc, if the process uses them.
pub(super) fn look(target: &Target) -> Result<Glibc, PoolsError> {
    let Target { pid, memory, .. } = target;
    let (library, minor) = library(target).ok_or(PoolsError::NoGlibc(*pid))??;
    let mut layouts = layout::layouts(minor).iter();
    let found = layouts.find_map(|layout| Some((place(target, &library, layout)?, layout)));
    let (place, known) = found.ok_or_else(|| PoolsError::NotFound {
        library: Safe::bytes(library.file.path.as_os_str().as_encoded_bytes()),
    })?;
    let read = || {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match glibc::read(memory, &place, known) {
                Ok(found) => return Ok(found),
                Err(error) if tries == 0 || error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(PoolsError::Memory { pid: *pid, error });
                }
                // If it is gone, this is why.
                Err(_) => target.dir.read("stat").map(drop)?,
            }
        }
    };
    let first = read()?;
    let second = read()?;
    let is_quiet = first == second && second.0.iter().all(|arena| arena.in_use_bytes.is_some());
    let (mut arenas, parameters) = second;
    add_resident(&mut arenas, memory, &read_mapping_figures(&target.dir)?);
    Ok(Glibc {
        file: library.file,
        version: minor.map_or_else(
            || "glibc, statically linked".to_owned(),
            |minor| format!("glibc 2.{minor}"),
        ),
        found: place.by,
        arenas,
        parameters,
        is_quiet,
    })
}

/// The C library of a process, and its version: 36 of 2.36, not known of a program that it is linked into.
fn library(target: &Target) -> Option<Result<(Library, Option<u32>), PoolsError>> {
    let files = mapped_files(&target.mappings);
    let read = |file: &MappedFile| -> io::Result<_> {
        let version = locate::version(open_mapped(&target.roots.proc, target.pid, file)?);
        Ok((target.library(file)?, version))
    };
    if let Some(file) = files.iter().find(|file| locate::is_glibc(&file.path)) {
        return Some(read(file).map_err(|error| PoolsError::File {
            path: Safe::bytes(file.path.as_os_str().as_encoded_bytes()),
            error,
        }));
    }
    // The program itself comes first: it may be linked statically, with its symbols in it or in its debug file.
    let (program, version) = read(files.first()?).ok()?;
    by_symbols(target, &program).map(|_| Ok((program, version)))
}

/// Addresses in the file of the main arena and the parameters, and the file that tells them.
fn by_symbols(target: &Target, library: &Library) -> Option<([u64; 2], PathBuf)> {
    let mut files = library.symbol_files(target.roots, target.pid, target.caches);
    files.find_map(|(file, path)| Some((locate::by_symbols(file)?, path)))
}

fn place(target: &Target, library: &Library, layout: &Layout) -> Option<Place> {
    let Target { memory, mappings, .. } = target;
    let by_symbols = by_symbols(target, library).map(|(addresses, path)| {
        let [arena, parameters] = addresses.map(|at| library.loaded(at));
        Place { arena, parameters, by: format!("by the symbols of {}", path.display()) }
    });
    let by_symbols = by_symbols.filter(|place| locate::is_right(memory, place, layout));
    by_symbols.or_else(|| {
        let heap = mappings.iter().find(|mapping| mapping.kind == Kind::Heap);
        let heap = heap.map(|mapping| mapping.start);
        locate::by_search(memory, &library.own_memory(mappings), heap, layout)
    })
}

/// What of the heaps of each arena is resident: of the main one what brk gave, of others mappings whose first word says whose
/// they are (`heap_info` in malloc/arena.c).
fn add_resident(arenas: &mut [Arena], memory: &ProcessMemory, mappings: &[MappingFigures]) {
    for arena in &mut *arenas {
        arena.resident_bytes = Some(0);
    }
    for figures in mappings {
        let mapping = &figures.mapping;
        let owner = match mapping.kind {
            Kind::Heap => arenas.iter_mut().find(|arena| arena.is_main),
            Kind::Anonymous { .. } if mapping.start.is_multiple_of(HEAP) => {
                let owner = memory.word(mapping.start).unwrap_or(0);
                arenas.iter_mut().find(|arena| !arena.is_main && arena.address == owner)
            }
            _ => None,
        };
        if let Some(bytes) = owner.and_then(|arena| arena.resident_bytes.as_mut()) {
            *bytes += figures.rss;
        }
    }
}
