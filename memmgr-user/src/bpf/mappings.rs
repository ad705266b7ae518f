//! The ways to watch the mapping system calls: the functions behind them, else their tracepoints.
//!
//! A tracepoint of any system call, once in force, sends every system call of every process of the host through
//! the slow path of entry and exit (kernel/tracepoint.c, syscall_regfunc). A function costs its own callers only.

use std::{
    fmt, io, mem,
    os::fd::{AsFd, OwnedFd},
};

use aya_obj::btf::{Btf, BtfKind};

use crate::own_memory::give_back_unused;

use super::{
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
    links: Vec<OwnedFd>,
    /// Those on functions, to ask what they missed.
    programs: Vec<OwnedFd>,
    /// Why it goes by tracepoints, if it does.
    why_tracepoints: Option<String>,
}

impl Mappings {
    /// Attaches by functions where that misses nothing and the kernel takes it, else by tracepoints. All or nothing.
    pub fn attach(programs: &Programs) -> Result<Self, KernelError> {
        let why = if preemption::in_programs() {
            "this kernel preempts itself, and programs on functions would miss calls".to_owned()
        } else {
            match by_functions(programs) {
                Ok(attached) => return Ok(attached),
                Err(error) => error.to_string(),
            }
        };
        tracing::debug!("mapping system calls by tracepoints: {why}");
        Ok(Mappings { why_tracepoints: Some(why), ..by_tracepoints(programs)? })
    }

    /// Calls that the kernel did not deliver because the program was running already.
    pub fn missed(&self) -> u64 {
        self.programs.iter().filter_map(|program| sys::recursion_misses(program.as_fd()).ok()).sum()
    }

    /// The links, which detach when they are closed.
    pub fn into_links(mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.links)
    }
}

impl fmt::Display for Mappings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why_tracepoints {
            None => write!(f, "watched by fentry and fexit"),
            Some(why) => write!(
                f,
                "watched by tracepoints, which make every system call of the host a little slower: {}",
                why.lines().next().unwrap_or_default()
            ),
        }
    }
}

fn by_functions(programs: &Programs) -> Result<Mappings, KernelError> {
    let functions = Functions::of_this_kernel(programs)?;
    let mut attached = Mappings { links: Vec::new(), programs: Vec::new(), why_tracepoints: None };
    for moment in &MOMENTS {
        let loaded = functions.load(programs, moment)?;
        let link = sys::link_function(loaded.as_fd())
            .map_err(|error| KernelError::Attach { what: moment.function.into(), error })?;
        attached.links.push(link);
        attached.programs.push(loaded);
    }
    drop(functions);
    give_back_unused();
    Ok(attached)
}

fn by_tracepoints(programs: &Programs) -> Result<Mappings, KernelError> {
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
    Ok(Mappings { links, programs: Vec::new(), why_tracepoints: None })
}

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
        .collect()
}
