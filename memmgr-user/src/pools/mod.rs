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
mod lists;
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
pub use glibc::{Arena, Parameters};
pub use held::Held;
pub use jemalloc::{Bin, Counted, Jemalloc, JemallocArena};
pub use library::debuginfod_caches;
pub use lists::Free;
pub use settings::{Origin, Setting, Settings};

use crate::{
    allocator::mapped::MappedFile,
    escape::Safe,
    report::Report,
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
    /// Not at all: there is only what a capture saw.
    Nothing,
}

/// An allocator beside the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The file. Hostile.
    pub library: String,
    /// Whether `arenas` and `parameters` are its: then it is glibc.
    pub is_shown: bool,
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
    /// Why this is from before the capture, where there is nothing later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated: Option<String>,
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
    /// Other allocators that are mapped too, and may serve much of what the process allocates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
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

    /// Whether nothing can be done with the process at all.
    pub fn is_of_process(&self) -> bool {
        matches!(self, PoolsError::Process(_))
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
        identity.expect_memory()?;
        let mappings = read_mappings(&dir)?;
        let memory = ProcessMemory::new(dir.open_file("mem")?);
        Ok(Target { roots, pid, caches, dir, identity, mappings, memory })
    }

    fn library(&self, file: &MappedFile) -> io::Result<Library> {
        Library::read(self.roots, self.pid, &self.mappings, file)
    }
}

/// Bytes that are free in glibc's arenas; `None` where that is not known. `caches` are those of debuginfod.
pub fn free_in_glibc(roots: &Roots, pid: Pid, caches: &[PathBuf]) -> Option<u64> {
    let glibc = arenas::look(&Target::open(roots, pid, caches).ok()?).ok()?;
    glibc.arenas.iter().map(Arena::free_bytes).sum()
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
    let named = others.iter().skip(1).filter(|other| other.is_named());
    let mut pools = Pools {
        taken_at,
        pid: pid.0,
        comm: target.identity.comm,
        threads,
        rss_bytes: process.rss_bytes,
        view: View::Arenas,
        beside: named.map(|other| Beside { library: name(&other.file), is_shown: false }).collect(),
        ..Pools::empty()
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
    fn empty() -> Self {
        Pools {
            schema: SCHEMA.to_owned(),
            memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Pools::default()
        }
    }

    /// What a capture saw, beside the look after it; where there is none, beside that before it, or by itself.
    pub fn over(
        before: Result<Pools, PoolsError>,
        after: Result<Pools, PoolsError>,
        report: Report,
    ) -> Self {
        let why = match (report.target.ended.as_str(), &after) {
            ("exited", _) => Some("the process ended".to_owned()),
            ("exec", _) => Some("the process executed another program".to_owned()),
            (_, Err(error)) => Some(error.to_string()),
            (_, Ok(_)) => None,
        };
        let mut pools = match (why, before, after) {
            (None, _, Ok(after)) => after,
            (why, Ok(before), _) => Pools { outdated: why, ..before },
            (_, Err(error), _) => Pools {
                taken_at: report.captured_at.clone(),
                pid: report.target.pid,
                comm: report.target.comm.clone(),
                threads: report.target.threads,
                view: View::Nothing,
                why: Some(error.to_string()),
                ..Pools::empty()
            },
        };
        let course = Course::from(report);
        let said = course.findings.iter().map(|finding| finding.recommendation.clone());
        pools.advice.extend(said);
        pools.course = Some(course);
        pools
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
        if self.parameters.is_some() {
            let library = std::mem::take(&mut self.library);
            self.beside.insert(0, Beside { library, is_shown: true });
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
mod tests {
    use super::*;

    /// What a capture that ended so is beside: `None` is a look that failed.
    #[track_caller]
    fn check(
        before: Option<u64>,
        after: Option<u64>,
        ended: &str,
        expected: (View, u64, Option<&str>),
    ) {
        let look = |rss: Option<u64>| match rss {
            Some(rss) => Ok(Pools { rss_bytes: Some(rss), ..fixture::pools("glibc") }),
            None => Err(PoolsError::NoGlibc(Pid(7))),
        };
        let mut report = Report { duration_s: 3.0, ..Report::default() };
        ended.clone_into(&mut report.target.ended);
        let found = Pools::over(look(before), look(after), report);
        let why = found.outdated.or(found.why);
        assert_eq!((found.view, found.rss_bytes.unwrap_or(0)), (expected.0, expected.1));
        match expected.2 {
            Some(part) => assert!(why.as_ref().is_some_and(|why| why.contains(part)), "{why:?}"),
            None => assert_eq!(why, None),
        }
        assert_eq!(found.course.map(|course| course.duration_s), Some(3.0));
    }

    #[test]
    fn what_a_capture_saw_is_never_lost() {
        check(Some(1), Some(2), "duration", (View::Mappings, 2, None));
        check(Some(1), None, "exited", (View::Mappings, 1, Some("the process ended")));
        check(Some(1), Some(2), "exec", (View::Mappings, 1, Some("another program")));
        check(Some(1), None, "duration", (View::Mappings, 1, Some("has no glibc mapped")));
        check(None, None, "exited", (View::Nothing, 0, Some("has no glibc mapped")));
        check(None, Some(2), "duration", (View::Mappings, 2, None));
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
