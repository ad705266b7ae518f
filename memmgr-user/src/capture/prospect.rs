//! What a capture will find in a process: its allocators, their functions and the places for probes. Nothing is attached for it.

use std::{fs::File, io, path::PathBuf};

use memmgr_common::FunctionKind;

use crate::{
    allocator::{
        AttachPlan, KernelFacts, MappedFile, PlannedAllocator, PlannedFunction, Request,
        discover::DEBUG_DIRECTORY, open_mapped, plan,
    },
    bpf::Rung,
    govern::Priced,
    modules::{Modules, mapped_files},
    report::{Allocator, NotCovered},
    source::{
        mappings::{Mapping, read_mappings},
        roots::Roots,
    },
    units::Pid,
};

use super::{
    AttachError, CapturePlan, Target, facts,
    hazards::{Release, return_probe_hazard, running_kernel},
    launch::Launch,
    stack_choice::{Choice, choose},
};

/// What was found.
pub struct Prospect {
    /// What will be probed.
    pub plan: AttachPlan,
    /// Which stacks will be taken.
    pub stack: Choice,
    pub(super) mappings: Vec<Mapping>,
    pub(super) files: Vec<MappedFile>,
    pub(super) request: Request,
    /// The code that is mapped, and its ranges.
    pub(super) modules: Modules,
    pub(super) new_ranges: Vec<u64>,
}

impl Prospect {
    /// Of a process that runs.
    pub fn of_process(roots: &Roots, capture: &CapturePlan) -> Result<(Target, Self), AttachError> {
        let target = Target::open(roots, capture.pid, capture.allow_traced)?;
        let prospect = Self::find(roots, capture, None, &target)?;
        Ok((target, prospect))
    }

    /// Of this target; `launch` is a command that waits to be let go.
    pub(super) fn find(
        roots: &Roots,
        capture: &CapturePlan,
        launch: Option<&Launch>,
        target: &Target,
    ) -> Result<Self, AttachError> {
        let kernel_release = running_kernel();
        if capture.probes_allocators()
            && let Some(hazard) = return_probe_hazard(kernel_release, target.facts())
        {
            return Err(AttachError::Hazard(hazard));
        }
        // Of a command that does not run yet, its files are known and none of its addresses.
        let mappings = if launch.is_none() { read_mappings(&target.dir)? } else { Vec::new() };
        let files = launch.map_or_else(
            || mark_main(roots, capture, mapped_files(&mappings)),
            |launch| launch.files.clone(),
        );
        let open = opener(roots, capture.pid, launch);
        let request = Request {
            kernel: kernel_facts(kernel_release),
            allocators: capture.allocators.clone(),
            probes: capture.probes.clone(),
            debug_directories: debug_directories(roots, capture.pid),
        };
        let plan = if capture.probes_allocators() {
            find_allocators(&files, open, &request)?
        } else {
            AttachPlan::default()
        };
        let mut modules = Modules::default();
        let new_ranges = modules.update(&mappings, open);
        let executed = files.iter().filter(|file| file.ranges.iter().any(|range| range.executable));
        let stack = choose(
            capture,
            executed.filter_map(|file| Some((file.path.as_path(), open(file).ok()?))),
        );
        Ok(Prospect { plan, stack, mappings, files, request, modules, new_ranges })
    }

    /// The allocators, and what the price of each of their functions depends on, where the kernel takes the best way of attaching
    /// that its release knows.
    pub fn allocators(&self) -> Vec<(Allocator, Vec<Priced>)> {
        let rung = Rung::ladder(running_kernel()).first();
        let price = |function: &PlannedFunction| {
            priced(function, rung != Some(&Rung::Session) || !function.cookie.is_leaf())
        };
        let prices = |planned: &PlannedAllocator| planned.functions.iter().map(price).collect();
        let prices = self.plan.allocators.iter().map(prices);
        facts::allocators(&self.plan, &[]).into_iter().zip(prices).collect()
    }

    /// What will not be seen, and why.
    pub fn not_covered(&self) -> Vec<NotCovered> {
        facts::not_covered(&self.plan).collect()
    }
}

/// What the price of a hit on a function depends on; `always_returns` says that the kernel follows the return of every call that it
/// follows of some.
pub fn priced(function: &PlannedFunction, always_returns: bool) -> Priced {
    Priced {
        name: function.symbol.clone(),
        // The kernel single-steps every return instruction.
        single_stepped: !function.site.emulated || function.role.throws(),
        always_returns: function.needs_return && !function.role.throws() && always_returns,
        can_be_dropped: function.cookie.kind() == FunctionKind::Alloc as u8,
    }
}

/// Opens mapped files: those of a process through it, those of a command by their paths.
pub(super) fn opener<'a>(
    roots: &'a Roots,
    pid: Pid,
    launch: Option<&Launch>,
) -> impl Fn(&MappedFile) -> io::Result<File> + Copy + use<'a> {
    let runs = launch.is_none();
    move |file| if runs { open_mapped(&roots.proc, pid, file) } else { File::open(&file.path) }
}

fn find_allocators(
    files: &[MappedFile],
    open: impl FnMut(&MappedFile) -> io::Result<File>,
    request: &Request,
) -> Result<AttachPlan, AttachError> {
    let plan = plan(files, open, request)?;
    if plan.allocators.is_empty() {
        return Err(AttachError::NoAllocator(facts::not_covered(&plan).collect()));
    }
    Ok(plan)
}

/// In the target's root, then in that of the host.
fn debug_directories(roots: &Roots, pid: Pid) -> Vec<PathBuf> {
    let own = roots.process(pid).join("root").join(DEBUG_DIRECTORY.trim_start_matches('/'));
    vec![own, DEBUG_DIRECTORY.into()]
}

pub(super) fn kernel_facts((major, minor, _): Release) -> KernelFacts {
    // arch/x86/kernel/uprobes.c learned all nops with 6.16 (610f6e14).
    KernelFacts { multi_byte_nop_emulated: (major, minor) >= (6, 16) }
}

/// The file that the process runs, by inode: on overlay filesystems the device of a mapping is not that of stat.
fn mark_main(roots: &Roots, capture: &CapturePlan, mut files: Vec<MappedFile>) -> Vec<MappedFile> {
    let exe = roots.process(capture.pid).join("exe");
    let inode = || -> io::Result<u64> { Ok(rustix::fs::stat(&exe)?.st_ino) };
    if let Ok(inode) = inode() {
        let target = std::fs::read_link(&exe).ok();
        for file in &mut files {
            file.main = file.inode == inode
                && target.as_ref().is_none_or(|path| file.deleted || *path == file.path);
        }
    }
    files
}
