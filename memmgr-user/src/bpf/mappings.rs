//! The ways to watch the mapping system calls: the functions behind them, else the C library around them, else their
//! tracepoints.
//!
//! A tracepoint of any system call, once in force, sends every system call of every process of the host through
//! the slow path of entry and exit (kernel/tracepoint.c, syscall_regfunc). A function costs its own callers only, and a
//! probe on the library the target alone; but that does not see calls that are made without the library.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
};

use aya_obj::btf::{Btf, BtfKind};
use memmgr_common::MappingWay;

use crate::{own_memory::give_back_unused, units::Pid};

use super::{
    attach::{FileProbes, Links, Rung, place_entries},
    kernel::KernelError,
    object::Programs,
    preemption,
    sys::{self, AttachType, ProgramType},
    tracefs::{self, Tracefs},
};

/// One moment of one system call, and the programs for it.
struct Moment {
    function: &'static str,
    attach: AttachType,
    by_function: &'static str,
    tracepoint: &'static str,
    by_tracepoint: &'static str,
}

const fn moment(
    (function, attach, by_function): (&'static str, AttachType, &'static str),
    (tracepoint, by_tracepoint): (&'static str, &'static str),
) -> Moment {
    Moment { function, attach, by_function, tracepoint, by_tracepoint }
}

use AttachType::{FunctionEntry as Entry, FunctionExit as Exit};

/// In the order in which they are attached: an end without its beginning is harmless.
const MOMENTS: [Moment; 6] = [
    moment(("__x64_sys_mmap", Exit, "fexit_mmap"), ("sys_exit_mmap", "exit_mmap")),
    moment(("__x64_sys_brk", Exit, "fexit_brk"), ("sys_exit_brk", "exit_brk")),
    moment(("__x64_sys_mremap", Exit, "fexit_mremap"), ("sys_exit_mremap", "exit_mremap")),
    moment(("__x64_sys_mremap", Entry, "fentry_mremap"), ("sys_enter_mremap", "enter_mremap")),
    moment(("__x64_sys_munmap", Exit, "fexit_munmap"), ("sys_exit_munmap", "exit_munmap")),
    moment(("__x64_sys_munmap", Entry, "fentry_munmap"), ("sys_enter_munmap", "enter_munmap")),
];

/// Attached programs; dropping it detaches them.
pub struct Mappings {
    links: Links,
    /// Those on functions, to ask what they missed.
    programs: Vec<OwnedFd>,
    /// Those on the target's C library.
    library: Option<FileProbes>,
    way: Way,
}

/// How the calls are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel's functions.
    Functions,
    /// The C library of the target.
    Library {
        /// Why not by functions.
        why: String,
    },
    /// The tracepoints of system calls.
    Tracepoints {
        /// Why not by functions.
        why: String,
    },
}

/// Where the target's C library makes the calls. The cookie of each point is a `MappingCookie`.
pub struct LibraryProbes<'a> {
    /// The process.
    pub pid: Pid,
    /// The places.
    pub file: FileProbes,
    /// The rungs to try.
    pub ladder: &'a [Rung],
}

impl Way {
    /// For the settings.
    pub fn in_settings(&self) -> MappingWay {
        match self {
            Way::Functions | Way::Tracepoints { .. } => MappingWay::Kernel,
            Way::Library { .. } => MappingWay::Library,
        }
    }
}

impl Mappings {
    /// Attaches by functions where that misses nothing and the kernel takes it, else by the library where that will do, else by
    /// tracepoints. All or nothing.
    pub fn attach<'a>(
        programs: &Programs,
        library: impl FnOnce() -> Option<LibraryProbes<'a>>,
    ) -> Result<Self, KernelError> {
        let why = if preemption::in_programs() {
            "this kernel preempts itself, and programs on functions would miss calls".to_owned()
        } else {
            match by_functions(programs) {
                Ok(attached) => return Ok(attached),
                Err(error) => error.to_string(),
            }
        };
        tracing::debug!("mapping system calls not by functions: {why}");
        if let Some(library) = library() {
            match by_library(programs, &library) {
                Ok(links) => {
                    let (library, way) = (Some(library.file), Way::Library { why });
                    return Ok(Mappings { links, programs: Vec::new(), library, way });
                }
                Err(error) => {
                    tracing::debug!("mapping system calls not by the library: {error}");
                }
            }
        }
        let (links, way) = (by_tracepoints(programs)?, Way::Tracepoints { why });
        Ok(Mappings { links, programs: Vec::new(), library: None, way })
    }

    /// The probes on the target's C library.
    pub fn library(&self) -> Option<&FileProbes> {
        self.library.as_ref()
    }

    /// How the calls are watched.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Goes over from the library to the tracepoints. `put_in_force` is called when both are in place, to let the one
    /// programs work instead of the others. Nothing is changed on an error.
    pub fn leave_library(
        &mut self,
        programs: &Programs,
        put_in_force: impl FnOnce() -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        let Way::Library { why } = &self.way else { return Ok(()) };
        let way = Way::Tracepoints { why: why.clone() };
        let links = by_tracepoints(programs)?;
        put_in_force()?;
        (self.links, self.way, self.library) = (links, way, None);
        Ok(())
    }

    /// Calls that the kernel did not deliver because the program was running already.
    pub fn missed(&self) -> u64 {
        self.programs.iter().filter_map(|program| sys::recursion_misses(program.as_fd()).ok()).sum()
    }

    /// The links, which detach when they are closed.
    pub fn into_links(self) -> Vec<OwnedFd> {
        self.links.into_descriptors()
    }
}

impl fmt::Display for Mappings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Functions => write!(f, "watched by fentry and fexit"),
            Way::Library { .. } => write!(f, "watched by probes on the C library"),
            Way::Tracepoints { why } => write!(
                f,
                "watched by tracepoints, which make every system call of the host a little slower; in the C library alone where the target has \
                 glibc and not every call is asked for: {}",
                why.lines().next().unwrap_or_default()
            ),
        }
    }
}

fn by_functions(programs: &Programs) -> Result<Mappings, KernelError> {
    let functions = Functions::of_this_kernel(programs)?;
    let (mut links, mut loaded_programs) = (Vec::new(), Vec::new());
    for moment in &MOMENTS {
        let loaded = functions.load(programs, moment)?;
        let link = sys::link_function(loaded.as_fd())
            .map_err(|error| KernelError::Attach { what: moment.function.into(), error })?;
        links.push(link);
        loaded_programs.push(loaded);
    }
    drop(functions);
    give_back_unused();
    let (programs, way) = (loaded_programs, Way::Functions);
    Ok(Mappings { links: links.into(), programs, library: None, way })
}

fn by_library(programs: &Programs, library: &LibraryProbes<'_>) -> Result<Links, KernelError> {
    let LibraryProbes { pid, file, ladder } = library;
    place_entries(programs, BY_LIBRARY, *pid, file, ladder)
}

fn by_tracepoints(programs: &Programs) -> Result<Links, KernelError> {
    let failed = |what: &str, error| KernelError::Attach { what: what.to_owned(), error };
    let tracefs = Tracefs::open(&tracefs::USUAL).map_err(|error| {
        failed("tracefs (`mount -t tracefs tracefs /sys/kernel/tracing`)", error)
    })?;
    let mut links = Vec::new();
    for Moment { tracepoint, by_tracepoint, .. } in &MOMENTS {
        let loaded = programs.load(by_tracepoint, ProgramType::Tracepoint, None)?;
        let link = tracefs
            .tracepoint_id("syscalls", tracepoint)
            .and_then(sys::perf_tracepoint)
            .and_then(|event| sys::link_perf_event(loaded.as_fd(), event.as_fd(), 0))
            .map_err(|error| failed(tracepoint, error))?;
        links.push(link);
    }
    Ok(links.into())
}

/// The program on the library.
const BY_LIBRARY: &str = "mapping_library";

/// The kernel's functions by name.
struct Functions(Btf);

impl Functions {
    /// Reads the kernel's types, which takes tens of megabytes for a moment: not where it refuses such programs whatever
    /// function they are for, as some do that are locked down.
    fn of_this_kernel(programs: &Programs) -> Result<Self, KernelError> {
        const NO_FUNCTION: u32 = 1;
        let Moment { by_function, attach, .. } = MOMENTS[0];
        match programs.load_for(by_function, ProgramType::Tracing, Some(attach), NO_FUNCTION) {
            Err(error) if error.is_permission() => return Err(error),
            _ => {}
        }
        Btf::from_sys_fs().map(Functions).map_err(|error| KernelError::Attach {
            what: "functions of the kernel".into(),
            error: io::Error::other(error),
        })
    }

    fn load(&self, programs: &Programs, moment: &Moment) -> Result<OwnedFd, KernelError> {
        let id = self.0.id_by_type_name_kind(moment.function, BtfKind::Func).map_err(|error| {
            KernelError::Attach { what: moment.function.into(), error: io::Error::other(error) }
        })?;
        programs.load_for(moment.by_function, ProgramType::Tracing, Some(moment.attach), id)
    }
}

/// Loads every program: the name and what the kernel said. Those on functions only where this kernel has such
/// programs at all, which [`Mappings`] tells.
pub fn try_every_program(programs: &Programs) -> Vec<(&'static str, Result<(), KernelError>)> {
    let functions = Functions::of_this_kernel(programs).ok();
    MOMENTS
        .iter()
        .flat_map(|moment| {
            let name = moment.by_tracepoint;
            let tracepoint = programs.load(name, ProgramType::Tracepoint, None).map(drop);
            let function = functions
                .as_ref()
                .map(|functions| functions.load(programs, moment).map(drop))
                .filter(|tried| tried.as_ref().err().is_none_or(KernelError::is_by_verifier));
            [Some((name, tracepoint)), function.map(|tried| (moment.by_function, tried))]
        })
        .flatten()
        .chain([(BY_LIBRARY, programs.load(BY_LIBRARY, ProgramType::Kprobe, None).map(drop))])
        .collect()
}
