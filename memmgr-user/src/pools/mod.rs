//! What an allocator holds of a process's memory, looked at from outside: a snapshot, read while the process runs.
//!
//! ```text
//! mappings → the library → where its state is (symbols or search) → memory → arenas → advice
//! ```
//!
//! Nothing is stopped and nothing is written. A list that changes while it is followed is followed again.

mod advice;
mod glibc;
mod layout;
mod locate;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};

pub use glibc::{Arena, Free, Parameters};

use crate::{
    allocator::{
        elf::Elf,
        mapped::{MappedFile, open_mapped},
    },
    escape::Safe,
    modules::{Modules, file_of, mapped_files},
    source::{
        identity::identity,
        mappings::{Kind, Mapping, MappingFigures, read_mapping_figures, read_mappings},
        memory::ProcessMemory,
        process::read_figures,
        process_dir::{ProcessDir, ProcessError},
        roots::Roots,
    },
    symbolize::debug_file,
    units::Pid,
};
use layout::Layout;
use locate::Place;

/// The schema of the JSON form.
pub const SCHEMA: &str = "memmgr.pools/1";
/// A process that allocates all the time may change a list each time it is read.
const TRIES: usize = 20;
/// Heaps of arenas but the main one are at most so large and aligned to it (`HEAP_MAX_SIZE` in malloc/arena.c).
pub(crate) const HEAP: u64 = 64 << 20;

/// An allocator at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pools {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of memmgr.
    pub memmgr_version: String,
    /// Time of day, RFC 3339, UTC.
    pub taken_at: String,
    /// The process.
    pub pid: u32,
    /// Its name, as the kernel has it. Hostile.
    pub comm: String,
    /// Its threads.
    pub threads: u64,
    /// Resident memory of the process, for comparison.
    pub rss_bytes: Option<u64>,
    /// The library, as the process has it mapped. Hostile.
    pub library: String,
    /// Its version: `glibc 2.36`.
    pub version: String,
    /// How it is known where its state is.
    pub found: String,
    /// Another allocator that is mapped too, and may serve much of what the process allocates. Hostile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// The arenas, the main one first.
    pub arenas: Vec<Arena>,
    /// What governs it.
    pub parameters: Parameters,
    /// What could be done, with numbers.
    pub advice: Vec<String>,
    /// Whether a second read said the same: otherwise the process allocated meanwhile, and figures are a moment apart.
    pub is_quiet: bool,
    /// How long reading took, in seconds.
    pub read_s: f64,
}

/// Why an allocator cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// The process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Another allocator.
    #[error(
        "process {0} has no glibc mapped, whose arenas memmgr can read: `memmgr stat -p {0}` shows its mappings, and \
         `memmgr report -p {0}` what of them is outstanding"
    )]
    NoGlibc(Pid),
    /// The library's file.
    #[error("{path} cannot be read: {error}")]
    File {
        /// The file.
        path: Safe,
        /// Why.
        error: io::Error,
    },
    /// Another malloc comes first.
    #[error(
        "{other} takes the place of glibc's malloc in process {pid}, and memmgr reads glibc's arenas only: `memmgr stat -p {pid}` shows its \
         mappings, and `memmgr report -p {pid}` what of them is outstanding"
    )]
    Other {
        /// The process.
        pid: Pid,
        /// The library.
        other: Safe,
    },
    /// Neither symbols nor a search.
    #[error(
        "where {library} keeps its arenas was not found: install its debug symbols (Debian: libc6-dbg); a program whose malloc is \
         another one, or that has not allocated yet, has none there; glibc before 2.26 is not known"
    )]
    NotFound {
        /// The file.
        library: Safe,
    },
    /// The memory.
    #[error("the memory of process {pid} cannot be read: {error}")]
    Memory {
        /// The process.
        pid: Pid,
        /// Why.
        error: io::Error,
    },
    /// It changes all the time.
    #[error(
        "the lists of free chunks of process {0} changed each of {TRIES} times that they were read: it allocates all the time; try again when it is less busy"
    )]
    Busy(Pid),
}

impl PoolsError {
    /// Whether something could be installed, or memmgr know more: exit code 5.
    pub fn is_lacking(&self) -> bool {
        match self {
            PoolsError::NoGlibc(_) | PoolsError::Other { .. } | PoolsError::NotFound { .. } => true,
            PoolsError::Memory { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// Looks at the allocator of a process. `caches` are those of debuginfod.
///
/// # Errors
/// When it is none that is known, its state is not found, or the process is gone.
pub fn look(roots: &Roots, pid: Pid, caches: &[PathBuf]) -> Result<Pools, PoolsError> {
    let taken_at = format_rfc3339_seconds(SystemTime::now()).to_string();
    let began = Instant::now();
    let dir = ProcessDir::open(roots, pid)?;
    let identity = identity(&dir)?;
    let mappings = read_mappings(&dir)?;
    let library = Library::find(roots, pid, &mappings).ok_or(PoolsError::NoGlibc(pid))??;
    let memory = ProcessMemory::new(dir.open_file("mem")?);
    let shown = || Safe::bytes(library.file.path.as_os_str().as_encoded_bytes());
    let mut layouts = layout::layouts(library.minor).iter();
    let found = layouts.find_map(|layout| {
        Some((library.place(roots, pid, &memory, &mappings, layout, caches)?, layout))
    });
    let other = mapped_files(&mappings).into_iter().find(|file| locate::is_other(&file.path));
    let shown_other = |other: &MappedFile| Safe::bytes(other.path.as_os_str().as_encoded_bytes());
    let (place, known) = found.ok_or_else(|| match &other {
        Some(other) => PoolsError::Other { pid, other: shown_other(other) },
        None => PoolsError::NotFound { library: shown() },
    })?;
    let read = || {
        for _ in 0..TRIES {
            match glibc::read(&memory, &place, known) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(PoolsError::Memory { pid, error });
                }
                // If it is gone, this is why.
                Err(_) => dir.read("stat").map(drop)?,
            }
        }
        Err(PoolsError::Busy(pid))
    };
    let first = read()?;
    let second = read()?;
    let is_quiet = first == second;
    let (mut arenas, parameters) = second;
    add_resident(&mut arenas, &memory, &read_mapping_figures(&dir)?);
    let process = read_figures(&dir)?;
    let threads = process.threads.unwrap_or(identity.threads);
    Ok(Pools {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        pid: pid.0,
        comm: identity.comm,
        threads,
        rss_bytes: process.rss_bytes,
        library: library.file.path.to_string_lossy().into_owned(),
        version: library.minor.map_or_else(
            || "glibc, statically linked".to_owned(),
            |minor| format!("glibc 2.{minor}"),
        ),
        found: place.by.clone(),
        beside: other.map(|other| other.path.to_string_lossy().into_owned()),
        advice: advice::advice(pid.0, threads, &arenas, &parameters),
        arenas,
        parameters,
        is_quiet,
        read_s: began.elapsed().as_secs_f64(),
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

/// The C library of a process.
struct Library {
    file: MappedFile,
    build_id: Option<String>,
    /// 36 of 2.36; not known of a program that it is linked into.
    minor: Option<u32>,
    /// What is added to an address of the file.
    bias: u64,
}

impl Library {
    fn find(roots: &Roots, pid: Pid, mappings: &[Mapping]) -> Option<Result<Self, PoolsError>> {
        let files = mapped_files(mappings);
        let has_it = |file: &&MappedFile| {
            let open = open_mapped(&roots.proc, pid, file);
            open.is_ok_and(|file| locate::by_symbols(file).is_some())
        };
        // The program itself comes first, where it is statically linked and not stripped.
        let file = files
            .iter()
            .find(|file| locate::is_glibc(&file.path))
            .or_else(|| files.iter().take(1).find(has_it))?;
        Some(Self::read(roots, pid, mappings, file).map_err(|error| PoolsError::File {
            path: Safe::bytes(file.path.as_os_str().as_encoded_bytes()),
            error,
        }))
    }

    fn read(roots: &Roots, pid: Pid, mappings: &[Mapping], file: &MappedFile) -> io::Result<Self> {
        let open = |file: &MappedFile| open_mapped(&roots.proc, pid, file);
        let minor = locate::version(open(file)?);
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
        Ok(Library { file: file.clone(), build_id: elf.build_id().map(str::to_owned), minor, bias })
    }

    fn place(
        &self,
        roots: &Roots,
        pid: Pid,
        memory: &ProcessMemory,
        mappings: &[Mapping],
        layout: &Layout,
        caches: &[PathBuf],
    ) -> Option<Place> {
        let debug_files = self.build_id.iter().flat_map(|build_id| {
            let cached = caches.iter().map(move |cache| cache.join(build_id).join("debuginfo"));
            debug_file(build_id, pid, &roots.proc).into_iter().chain(cached)
        });
        // What is no file may never open.
        let debug_files = debug_files
            .filter(|path| path.is_file())
            .filter_map(|path| Some((File::open(&path).ok()?, path)));
        let own = open_mapped(&roots.proc, pid, &self.file).ok();
        let files = debug_files.chain(own.map(|file| (file, self.file.path.clone())));
        let by_symbols = files.into_iter().find_map(|(file, path)| {
            let [arena, parameters] = locate::by_symbols(file)?;
            let at = |address: u64| address.wrapping_add(self.bias);
            let by = format!("by the symbols of {}", path.display());
            Some(Place { arena: at(arena), parameters: at(parameters), by })
        });
        let by_symbols = by_symbols.filter(|place| locate::is_right(memory, place, layout));
        by_symbols.or_else(|| {
            let heap = mappings.iter().find(|mapping| mapping.kind == Kind::Heap);
            let heap = heap.map(|mapping| mapping.start);
            locate::by_search(memory, &self.own_memory(mappings), heap, layout)
        })
    }

    /// Its writable data, and what follows without a file.
    fn own_memory(&self, mappings: &[Mapping]) -> Vec<(u64, u64)> {
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
    locate::debuginfod_caches(|name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(|value| Path::new(&value).into())
    })
}
