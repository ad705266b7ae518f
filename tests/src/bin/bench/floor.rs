//! Empty programs on the sites that memmgr probes: what any tool pays that traps there.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use memmgr::{
    allocator::{AttachPlan, Family, KernelFacts, Request, elf::Elf, open_mapped, plan},
    bpf::sys::{self, AttachType, Instruction, ProgramType, UprobeTargets},
    modules::mapped_files,
    source::{mappings::read_mappings, process_dir::ProcessDir, roots::Roots},
    units::Pid,
};

/// Where malloc and free of the target are.
pub struct Sites {
    plan: AttachPlan,
    path: PathBuf,
    pid: u32,
    _reference: OwnedFd,
    /// Chosen site and entry of malloc, then of free.
    pub malloc: (u64, u64),
    /// As above.
    pub free: (u64, u64),
}

/// Which place of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The one that memmgr chooses.
    Site,
    /// Its first instruction.
    Entry,
}

impl Sites {
    /// Finds those of the allocator that the target uses, as memmgr does; and puts an empty program on the
    /// target's function `reference`, for as long as this lives.
    pub fn find(pid: u32, family: Family) -> Result<Self> {
        let roots = Roots::default();
        let mappings = read_mappings(&ProcessDir::open(&roots, Pid(pid))?)?;
        let kernel = KernelFacts { multi_byte_nop_emulated: true };
        let request = Request::of(kernel);
        let open = |file: &_| open_mapped(&roots.proc, Pid(pid), file);
        let plan = plan(&mapped_files(&mappings), open, &request)?;
        let allocator = plan
            .allocators
            .iter()
            .find(|allocator| allocator.family == family)
            .with_context(|| format!("the target has no allocator {family:?}"))?;
        let of = |name: &str| {
            let is_meant = |symbol: &str| symbol.split('=').any(|each| each == name);
            let function = allocator.functions.iter().find(|function| is_meant(&function.symbol));
            function
                .map(|function| (function.probe.0, function.function.0))
                .with_context(|| format!("{family:?} has no {name}"))
        };
        let (malloc, free) = (of("malloc")?, of("free")?);
        let path = allocator.attach_path();
        let reference = empty_on_reference(pid)?;
        Ok(Sites { plan, path, pid, _reference: reference, malloc, free })
    }

    /// Empty programs on malloc and free; with the return of malloc or without. Dropping the result detaches.
    pub fn attach(&self, at: At, with_return: bool) -> Result<Vec<OwnedFd>> {
        assert!(!self.plan.allocators.is_empty(), "the plan keeps the file open");
        let place = |(site, entry): (u64, u64)| match at {
            At::Site => site,
            At::Entry => entry,
        };
        let entry = AttachType::UprobeMulti;
        let malloc = if with_return { AttachType::UprobeSession } else { entry };
        Ok(vec![
            empty(&self.path, self.pid, entry, place(self.free))?,
            empty(&self.path, self.pid, malloc, place(self.malloc))?,
        ])
    }
}

fn empty_on_reference(pid: u32) -> Result<OwnedFd> {
    let program = PathBuf::from(format!("/proc/{pid}/exe"));
    let functions =
        Elf::open(File::open(&program)?)?.functions(|name, _, _| name == "reference")?;
    let place = functions.first().context("the target has no function `reference`")?.place?;
    empty(&program, pid, AttachType::UprobeMulti, place.0)
}

fn empty(path: &Path, pid: u32, attach: AttachType, offset: u64) -> Result<OwnedFd> {
    // r0 = 0; exit. A session that returns 0 at entry is called again on return.
    let instructions = [Instruction::mov(0, 0), Instruction::exit()];
    let program = sys::load_program(
        "empty",
        ProgramType::Kprobe,
        Some(attach),
        0,
        &instructions.map(Into::into),
    )
    .map_err(|(error, log)| anyhow::anyhow!("the empty program was refused: {error} {log}"))?;
    let targets = UprobeTargets { path, offsets: &[offset], cookies: &[0], pid };
    sys::link_uprobes(program.as_fd(), attach, false, &targets)
        .context("the empty program cannot be attached")
}
