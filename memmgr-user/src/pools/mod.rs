//! What an allocator holds of a process's memory, looked at from outside: a snapshot, read while the process runs.
//!
//! ```text
//! mappings → the library → where its state is (symbols, types, or search) → memory → arenas → advice
//!                        → figures of its mappings, settings                       → advice
//! ```
//!
//! The first line is for glibc and for a jemalloc with debug information; of any other allocator only the second is known, and
//! the report says so. Nothing is stopped and nothing is written. What changes while it is read is read again.

mod advice;
mod arenas;
mod course;
mod glibc;
mod held;
mod jemalloc;
mod layout;
mod library;
mod locate;
mod other;
mod settings;
mod suggest;
mod version;

use std::{
    io,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};

pub use course::Course;
pub use glibc::{Arena, Free, Parameters};
pub use held::Held;
pub use jemalloc::{Bin, Counted, Jemalloc, JemallocArena};
pub use library::debuginfod_caches;
pub use settings::{Origin, Setting, Settings};

use crate::{
    allocator::mapped::MappedFile,
    escape::Safe,
    source::{
        identity::{Identity, identity},
        mappings::{Mapping, read_mappings},
        memory::ProcessMemory,
        process::read_figures,
        process_dir::{ProcessDir, ProcessError},
        roots::Roots,
    },
    units::Pid,
};
use arenas::Glibc;
use library::Library;
use other::{Other, Seen};

/// The schema of the JSON form.
pub const SCHEMA: &str = "memmgr.pools/1";
/// A process that allocates all the time may change a list each time it is read.
const TRIES: usize = 20;
/// Heaps of arenas but the main one are at most so large and aligned to it (`HEAP_MAX_SIZE` in malloc/arena.c).
pub(crate) const HEAP: u64 = 64 << 20;

/// How deep the allocator could be looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Its arenas.
    Arenas,
    /// The mappings that may be its own, from outside.
    #[default]
    Mappings,
}

/// An allocator at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Whose allocator it is: `glibc`, `musl`, `jemalloc`, `tcmalloc`, `mimalloc`, or `other`.
    pub allocator: String,
    /// The library, as the process has it mapped. Hostile.
    pub library: String,
    /// Its version: `glibc 2.36`.
    pub version: String,
    /// How it is known where its state is, or whose it is.
    pub found: String,
    /// How deep it could be looked into.
    pub view: View,
    /// Why no deeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Another allocator that is mapped too, and may serve much of what the process allocates. Hostile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// glibc's arenas, the main one first; also where another allocator is the first one, and glibc is used beside it.
    #[serde(default)]
    pub arenas: Vec<Arena>,
    /// What governs glibc's malloc; absent where it is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// What a jemalloc holds, where its inside is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jemalloc: Option<Jemalloc>,
    /// The mappings that may be the allocator's, where it is none of glibc's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// Threads that ran, so that their stacks may be among these mappings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplaced_stacks: Option<u64>,
    /// What governs it, where it is none of glibc's.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub settings: Settings,
    /// Whether the process has written over its environment, so that defaults among these may not be in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settings_assumed: bool,
    /// What was seen of it over some time, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// What could be done, with numbers.
    pub advice: Vec<String>,
    /// Whether a second read of the arenas said the same: otherwise the process allocated meanwhile, and figures are a moment apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_quiet: Option<bool>,
    /// How long reading took, in seconds.
    pub read_s: f64,
}

fn is_empty(settings: &Settings) -> bool {
    settings.0.is_empty()
}

/// Why an allocator cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// The process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No allocator that is known.
    #[error(
        "process {0} has no glibc mapped, whose arenas memmgr can read, and no file with symbols of another allocator: \
         `memmgr stat -p {0}` shows its mappings, and `memmgr leaks -p {0} --mode growth` which code makes it grow"
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
            PoolsError::NoGlibc(_) | PoolsError::NotFound { .. } => true,
            PoolsError::Memory { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// A process that is looked at.
struct Target<'a> {
    roots: &'a Roots,
    pid: Pid,
    /// Of debuginfod.
    caches: &'a [PathBuf],
    dir: ProcessDir,
    identity: Identity,
    mappings: Vec<Mapping>,
    memory: ProcessMemory,
}

impl<'a> Target<'a> {
    fn open(roots: &'a Roots, pid: Pid, caches: &'a [PathBuf]) -> Result<Self, ProcessError> {
        let dir = ProcessDir::open(roots, pid)?;
        let identity = identity(&dir)?;
        let mappings = read_mappings(&dir)?;
        let memory = ProcessMemory::new(dir.open_file("mem")?);
        Ok(Target { roots, pid, caches, dir, identity, mappings, memory })
    }

    fn library(&self, file: &MappedFile) -> io::Result<Library> {
        Library::read(self.roots, self.pid, &self.mappings, file)
    }
}

/// Bytes that are free in glibc's arenas. `caches` are those of debuginfod.
///
/// # Errors
/// When the process does not use them, or is gone.
pub fn free_in_glibc(roots: &Roots, pid: Pid, caches: &[PathBuf]) -> Result<u64, PoolsError> {
    let glibc = arenas::look(&Target::open(roots, pid, caches)?)?;
    Ok(glibc.arenas.iter().map(Arena::free_bytes).sum())
}

/// Looks at the allocator of a process. `caches` are those of debuginfod.
///
/// # Errors
/// When it is none that is known, glibc's state is not found, or the process is gone.
pub fn look(roots: &Roots, pid: Pid, caches: &[PathBuf]) -> Result<Pools, PoolsError> {
    let taken_at = format_rfc3339_seconds(SystemTime::now()).to_string();
    let began = Instant::now();
    let target = Target::open(roots, pid, caches)?;
    let others = other::others(&target);
    let glibc = arenas::look(&target);
    // An allocator that somebody put in serves the process. One without a known name may be no more than a layer over glibc's.
    let first = others.first().filter(|other| other.is_named() || glibc.is_err());
    let (glibc, seen) = match first {
        Some(other) => {
            let seen = other::look(&target, other, glibc.is_ok())?;
            (glibc.ok(), Some((other, seen)))
        }
        None => (Some(glibc?), None),
    };
    let process = read_figures(&target.dir)?;
    let threads = process.threads.unwrap_or(target.identity.threads);
    let mut pools = Pools {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        pid: pid.0,
        comm: target.identity.comm,
        threads,
        rss_bytes: process.rss_bytes,
        view: View::Arenas,
        beside: others.get(1).filter(|other| other.is_named()).map(|other| name(&other.file)),
        ..Pools::default()
    };
    if let Some(glibc) = glibc {
        pools.add_glibc(glibc);
    }
    if let Some((other, seen)) = seen {
        pools.add_other(other, seen);
    }
    pools.read_s = began.elapsed().as_secs_f64();
    Ok(pools)
}

fn name(file: &MappedFile) -> String {
    file.path.to_string_lossy().into_owned()
}

impl Pools {
    /// Adds what a capture saw.
    #[must_use]
    pub fn over(mut self, course: Course) -> Self {
        let said = course.findings.iter().map(|finding| finding.recommendation.clone());
        self.advice.extend(said);
        self.course = Some(course);
        self
    }

    fn add_glibc(&mut self, glibc: Glibc) {
        "glibc".clone_into(&mut self.allocator);
        self.library = name(&glibc.file);
        self.version = glibc.version;
        self.found = glibc.found;
        self.advice = advice::advice(self.pid, self.threads, &glibc.arenas, &glibc.parameters);
        self.arenas = glibc.arenas;
        self.parameters = Some(glibc.parameters);
        self.is_quiet = Some(glibc.is_quiet);
    }

    /// Puts it first; what there is of glibc is beside it.
    fn add_other(&mut self, other: &Other, seen: Seen) {
        if self.parameters.is_some() && self.beside.is_none() {
            self.beside = Some(std::mem::take(&mut self.library));
        }
        other.is.family.name().clone_into(&mut self.allocator);
        self.library = name(&other.file);
        self.version = seen.version;
        self.found = seen.found;
        self.view = seen.view;
        self.why = seen.why;
        self.jemalloc = seen.jemalloc;
        self.held = seen.held;
        self.unplaced_stacks = Some(seen.unplaced_stacks).filter(|stacks| *stacks > 0);
        self.settings = seen.settings;
        self.settings_assumed = seen.is_assumed;
        self.is_quiet = match (seen.is_quiet, self.is_quiet) {
            (Some(own), Some(glibc)) => Some(own && glibc),
            (own, glibc) => own.or(glibc),
        };
        let mut advice = suggest::advice(self);
        advice.append(&mut self.advice);
        self.advice = advice;
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// Of which nothing is known but whose it is.
    pub(crate) fn pools(allocator: &str) -> Pools {
        Pools {
            schema: SCHEMA.to_owned(),
            pid: 7,
            comm: "server".to_owned(),
            threads: 40,
            allocator: allocator.to_owned(),
            library: format!("/usr/lib/lib{allocator}.so"),
            version: allocator.to_owned(),
            found: "by its name".to_owned(),
            ..Pools::default()
        }
    }
}
