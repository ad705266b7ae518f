//! glibc's arenas of a process: which library, where its state is, and what is in it.

use std::io;

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
        for _ in 0..TRIES {
            match glibc::read(memory, &place, known) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(PoolsError::Memory { pid: *pid, error });
                }
                // If it is gone, this is why.
                Err(_) => target.dir.read("stat").map(drop)?,
            }
        }
        Err(PoolsError::Busy(*pid))
    };
    let first = read()?;
    let second = read()?;
    let is_quiet = first == second;
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
    let open = |file: &MappedFile| open_mapped(&target.roots.proc, target.pid, file);
    let has_it =
        |file: &&MappedFile| open(file).is_ok_and(|file| locate::by_symbols(file).is_some());
    // The program itself comes first, where it is statically linked and not stripped.
    let file = files
        .iter()
        .find(|file| locate::is_glibc(&file.path))
        .or_else(|| files.iter().take(1).find(has_it))?;
    let read = || -> io::Result<_> { Ok((target.library(file)?, locate::version(open(file)?))) };
    Some(read().map_err(|error| PoolsError::File {
        path: Safe::bytes(file.path.as_os_str().as_encoded_bytes()),
        error,
    }))
}

fn place(target: &Target, library: &Library, layout: &Layout) -> Option<Place> {
    let Target { memory, mappings, .. } = target;
    let files = library.symbol_files(target.roots, target.pid, target.caches);
    let by_symbols = files.into_iter().find_map(|(file, path)| {
        let [arena, parameters] = locate::by_symbols(file)?.map(|at| library.loaded(at));
        let by = format!("by the symbols of {}", path.display());
        Some(Place { arena, parameters, by })
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
