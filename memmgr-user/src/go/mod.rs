//! A live Go program, looked at from outside: its runtime's own figures, read from its memory while it runs.
//!
//! ```text
//! file → version, layout (symbols, and by types the fields) → memory → figures, goroutines
//! ```
//!
//! Nothing is stopped and nothing is written. What is read is what the program's own `runtime.ReadMemStats` would say.

mod buckets;
mod course;
mod figures;
mod goroutines;
mod layout;
mod memory;
mod profile;
mod table;
mod version;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    time::{Duration, Instant, SystemTime},
};

use humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};

pub use course::Course;
pub use figures::{Collector, Figures, Heap};
pub use goroutines::{Goroutines, Group};

use crate::{
    judge::room_bytes,
    report::{Finding, Process},
    source::{
        cgroup::read_cgroup,
        host::read_host,
        identity::{Identity, identity},
        mappings::read_mappings,
        memory::ProcessMemory,
        process::read_figures,
        process_dir::{ProcessDir, ProcessError},
        roots::Roots,
    },
    units::Pid,
};
use figures::Lacks;
use layout::Layout;
use memory::Memory;

/// Bits of an address that are inside a page.
const PAGE_OFFSET: u64 = 0xfff;

/// The schema of the JSON form.
pub const SCHEMA: &str = "memmgr.go/1";

/// A Go program at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoStat {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of memmgr.
    pub memmgr_version: String,
    /// Time of day, RFC 3339, UTC.
    pub taken_at: String,
    /// The process.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub comm: String,
    /// The version of Go that made it: `go1.19.8`.
    pub go_version: String,
    /// Resident memory, for comparison.
    pub rss_bytes: Option<u64>,
    /// What the runtime counts.
    #[serde(flatten)]
    pub figures: Figures,
    /// The goroutines.
    pub goroutines: Goroutines,
    /// How long reading took, in seconds.
    pub read_s: f64,
    /// How its figures moved, where it was looked at for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// What grows, the most severe first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// Why a program cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum GoError {
    /// The process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Not made by Go.
    #[error(
        "the program has no mark of Go's linker (.go.buildinfo): it is not a Go program, or was made by Go before 1.18"
    )]
    NotGo,
    /// No symbols.
    #[error(
        "the {0} program has no symbols (it was linked with -ldflags=-s, or stripped): where the runtime keeps its figures cannot be \
         found. Link it without -s, or look at it from outside with `memmgr stat` and `memmgr leaks --mode growth`"
    )]
    Stripped(String),
    /// Symbols, but no types.
    #[error(
        "the {0} program has no debug information (it was linked with -ldflags=-w), and memmgr does not know by itself where this \
         version keeps the fields of the runtime's figures. Link it without -w"
    )]
    NoDebugInformation(String),
    /// The file.
    #[error("the program's file cannot be used: {0}")]
    File(String),
    /// A field.
    #[error("{version} keeps no {field} where memmgr knows it: this version is not supported yet")]
    Unknown {
        /// The program's version.
        version: String,
        /// What was looked for.
        field: &'static str,
    },
    /// The program keeps no profile.
    #[error(
        "the program keeps no heap profile: nothing in it asks for one (net/http/pprof, runtime/pprof.WriteHeapProfile, \
         runtime.MemProfile), so that Go's linker turned it off, or it sets runtime.MemProfileRate to 0. Its figures are shown \
         without --profile, and `memmgr leaks --mode growth` tells which code makes it grow"
    )]
    NoProfile,
    /// The memory.
    #[error("the memory of process {pid} cannot be read: {error}")]
    Memory {
        /// The process.
        pid: Pid,
        /// Why.
        error: io::Error,
    },
    /// The figures contradict each other.
    #[error(
        "the figures that were read make no sense ({0}): the layout of {1} is not what its debug information says"
    )]
    Implausible(&'static str, String),
}

impl GoError {
    /// Whether the program would have to be made in another way, or memmgr know more: exit code 5.
    pub fn is_lacking(&self) -> bool {
        match self {
            GoError::Stripped(_)
            | GoError::NoDebugInformation(_)
            | GoError::NoProfile
            | GoError::Unknown { .. } => true,
            GoError::Memory { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// A program that can be looked at again and again.
pub struct GoProgram {
    dir: ProcessDir,
    identity: Identity,
    layout: Layout,
    memory: Memory,
}

impl GoProgram {
    /// Finds out where the runtime of this process keeps its figures.
    pub fn open(roots: &Roots, pid: Pid) -> Result<Self, GoError> {
        let dir = ProcessDir::open(roots, pid)?;
        let identity = identity(&dir)?;
        identity.expect_memory()?;
        let exe = dir.open_file("exe")?;
        let inode =
            rustix::fs::fstat(&exe).map_err(|error| GoError::File(error.to_string()))?.st_ino;
        let layout = Layout::read(exe)?;
        let (address, offset) = layout.first_segment;
        let first = read_mappings(&dir)?
            .into_iter()
            .find(|mapping| mapping.inode == inode && mapping.offset == offset & !PAGE_OFFSET);
        let first = first.ok_or_else(|| GoError::File("it is not mapped".into()))?;
        let bias = first.start.wrapping_sub(address & !PAGE_OFFSET);
        let memory = Memory::new(ProcessMemory::new(dir.open_file("mem")?), bias);
        Ok(GoProgram { dir, identity, layout, memory })
    }

    /// Reads the figures as they are now. The process runs on meanwhile, so that figures can be a moment apart.
    pub fn look(&self) -> Result<GoStat, GoError> {
        let taken_at = format_rfc3339_seconds(SystemTime::now()).to_string();
        let began = Instant::now();
        let figures = figures::figures(&self.memory, &self.layout);
        let figures = figures.map_err(|lacks| self.error(lacks))?;
        let goroutines = goroutines::goroutines(&self.memory, &self.layout);
        let goroutines = goroutines.map_err(|lacks| self.error(lacks))?;
        let read_s = began.elapsed().as_secs_f64();
        let process = read_figures(&self.dir)?;
        if let Some(why) = contradiction(&figures, &process) {
            // What is read of a program that ends makes no sense.
            self.expect_alive()?;
            return Err(GoError::Implausible(why, self.layout.version.clone()));
        }
        Ok(GoStat {
            schema: SCHEMA.to_owned(),
            memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at,
            pid: self.dir.pid().0,
            comm: self.identity.comm.clone(),
            go_version: self.layout.version.clone(),
            rss_bytes: process.rss_bytes,
            figures,
            goroutines,
            read_s,
            course: None,
            findings: Vec::new(),
        })
    }

    /// Looks at it again and again for a time, or without one until `pause` says that it was interrupted or the program ends. What
    /// the last look was, with how the figures moved.
    ///
    /// # Errors
    /// When not even one look succeeds.
    pub fn follow(
        &self,
        roots: &Roots,
        time: Option<Duration>,
        interval: Duration,
        mut pause: impl FnMut(Duration) -> bool,
    ) -> Result<GoStat, GoError> {
        let began = Instant::now();
        let mut course = Course::default();
        let mut last = self.look()?;
        course.add(0.0, &last);
        let ended = loop {
            let left = time.map_or(interval, |time| time.saturating_sub(began.elapsed()));
            if left.is_zero() {
                break "duration";
            }
            if !pause(left.min(interval)) {
                break "interrupted";
            }
            match self.look() {
                Ok(stat) => last = stat,
                Err(GoError::Process(error)) if error.is_gone() => break "exited",
                // Of a program that runs on, a moment can be contradictory: the next is looked at again.
                Err(GoError::Implausible(..)) => continue,
                Err(error) => return Err(error),
            }
            course.add(began.elapsed().as_secs_f64(), &last);
        };
        ended.clone_into(&mut course.ended);
        let cgroup = read_cgroup(roots, self.dir.pid());
        let room = read_host(roots).ok().and_then(|host| room_bytes(cgroup.as_ref(), &host));
        last.findings = course.findings(&last, room);
        last.course = Some(course);
        Ok(last)
    }

    /// Fails when the program has ended, also where its parent has not taken note of it yet.
    fn expect_alive(&self) -> Result<(), ProcessError> {
        identity(&self.dir)?.expect_memory()
    }

    fn error(&self, lacks: Lacks) -> GoError {
        match lacks {
            Lacks::Field(field) => GoError::Unknown { version: self.layout.version.clone(), field },
            // Whatever failed, this is why.
            Lacks::Memory(error) => match self.expect_alive() {
                Err(gone) => gone.into(),
                Ok(()) => GoError::Memory { pid: self.dir.pid(), error },
            },
        }
    }
}

/// The table of the places of fields by version that memmgr has, and the one that these programs, which have debug information,
/// make: it is right when both are the same.
///
/// # Errors
/// When one of the files is no program of Go's with debug information.
pub fn tables(programs: impl Iterator<Item = File>) -> Result<(&'static str, String), GoError> {
    let mut versions = BTreeMap::new();
    for program in programs {
        let layout = Layout::read(program)?;
        versions.insert(layout.minor(), layout.fields());
    }
    Ok((table::text(), table::render(&versions)))
}

/// What cannot be, whatever the program does: then a field is not where it was looked for. Figures are read one after the
/// other, which the room is for.
fn contradiction(figures: &Figures, process: &Process) -> Option<&'static str> {
    const ROOM: u64 = 64 << 20;
    let heap = &figures.heap;
    let checks = [
        (heap.alloc_bytes > heap.in_use_bytes + ROOM, "more is allocated than the heap has"),
        (heap.released_bytes > heap.idle_bytes, "more was released than is idle"),
        (heap.objects > heap.alloc_bytes, "there are more objects than bytes"),
        (
            !(0.0..=1.0).contains(&figures.gc.cpu_fraction),
            "the collector's share of the time is none",
        ),
        (
            heap.in_use_bytes > process.virtual_bytes.unwrap_or(u64::MAX),
            "the heap is larger than the address space",
        ),
    ];
    checks.into_iter().find_map(|(is_wrong, why)| is_wrong.then_some(why))
}

/// For tests: a program with next to nothing.
#[cfg(test)]
pub(crate) fn example() -> GoStat {
    GoStat {
        schema: SCHEMA.to_owned(),
        memmgr_version: "0.0.0".to_owned(),
        taken_at: "2026-01-01T00:00:00Z".to_owned(),
        pid: 7,
        comm: "server".to_owned(),
        go_version: "go1.19.8".to_owned(),
        rss_bytes: Some(200 << 20),
        figures: Figures::default(),
        goroutines: Goroutines::default(),
        read_s: 0.001,
        course: None,
        findings: Vec::new(),
    }
}
