//! The kernel part behind one type: load, attach, steer, read the books, detach.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use memmgr_common::{
    Counter, MappingWay, Settings,
    limits::{FAULTS, MAX_FUNCTIONS},
    per_cpu::{Calls, Cpu},
};

use crate::units::Pid;

use super::{
    apart,
    attach::{FileProbes, HeapPrograms, Links, Rung, close_together},
    gate::Gate,
    mappings::{self, LibraryProbes, Mappings},
    object::Programs,
    sys::{self, ProgramType},
};

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The object is not what this binary expects; a fault of the build.
    #[error(
        "the eBPF object {0}; it was built from other sources (`cargo xtask ebpf` rebuilds it)"
    )]
    Object(String),
    /// A map could not be made.
    #[error("the kernel refused the maps of memmgr: {error}\n{remedy}")]
    Maps {
        /// What aya said.
        error: String,
        /// What to do.
        remedy: String,
    },
    /// The kernel refused a program.
    #[error(
        "the kernel refused the program {program}: {error}\n{log}\n{}",
        load_remedy(error, log)
    )]
    Load {
        /// Its name.
        program: &'static str,
        /// Why.
        error: io::Error,
        /// The verifier's last lines.
        log: String,
    },
    /// A probe could not be placed.
    #[error("cannot attach to {what}: {error}\n{}", remedy(error))]
    Attach {
        /// Where.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The end of the target cannot be waited for.
    #[error("memmgr cannot watch for the end of the target: {0}")]
    Watch(io::Error),
    /// Reading or writing a map failed.
    #[error("a map of memmgr cannot be used: {0}")]
    Map(String),
}

impl KernelError {
    /// The error of aya's loader, with what to do about it.
    pub fn from_aya(error: aya::EbpfError) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut text = error.to_string();
        let mut code = None;
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                code = io.raw_os_error();
                text = format!("{text}: {io}");
            }
            source = error.source();
        }
        let io = code.map_or_else(|| io::Error::other("unknown"), io::Error::from_raw_os_error);
        KernelError::Maps { error: text, remedy: remedy(&io) }
    }

    /// Whether the verifier refuses a program: then it wrote why.
    pub fn is_by_verifier(&self) -> bool {
        matches!(self, KernelError::Load { log, .. } if !log.is_empty())
    }

    /// Whether more rights would help: exit code 5.
    pub fn is_permission(&self) -> bool {
        match self {
            KernelError::Load { error, .. } => {
                error.kind() == io::ErrorKind::PermissionDenied && !self.is_by_verifier()
            }
            KernelError::Attach { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            KernelError::Maps { remedy, .. } => remedy.contains("root"),
            KernelError::Object(_) | KernelError::Map(_) | KernelError::Watch(_) => false,
        }
    }
}

/// What a person can do about an error of bpf(2).
fn remedy(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "run memmgr as root (`sudo memmgr …`); `memmgr doctor` says what this host lacks".into()
        }
        Some(libc::ENOMEM) => {
            "the host has no memory left for kernel maps; try a smaller --ring-bytes".into()
        }
        _ => "`memmgr doctor` says what this host allows".into(),
    }
}

/// The same for a program: with a log it is the verifier that refuses, which no right mends.
fn load_remedy(error: &io::Error, log: &str) -> String {
    if log.is_empty() {
        return remedy(error);
    }
    "this kernel's verifier refuses a program that others take: please report these lines and `uname -r`".into()
}

/// The kernel part's own books, summed over the processors. Counters only ever grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    values: [u64; Counter::COUNT as usize],
    /// By function of the attach plan.
    pub calls: Vec<Calls>,
    /// Page faults, counted in the same way.
    pub faults: Calls,
    /// The largest interval, in bytes, that the kernel part went over to by itself.
    pub highest_floor: u64,
    /// Probe hits that the kernel did not deliver.
    pub missed: u64,
}

impl Books {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// Books with these figures, for tests of what is computed from them.
    pub fn with(figures: &[(Counter, u64)]) -> Self {
        let mut books = Books::default();
        for (counter, value) in figures {
            books.values[*counter as usize] = *value;
        }
        books
    }

    /// Sum over several counters.
    pub fn sum(&self, counters: &[Counter]) -> u64 {
        counters.iter().map(|counter| self.get(*counter)).sum()
    }

    /// Hits that the programs began to handle.
    pub fn seen(&self) -> u64 {
        self.get(Counter::Seen)
            + self.calls.iter().map(|calls| calls.hits).sum::<u64>()
            + self.faults.hits
    }

    /// `seen - filtered - sampled_out - submitted - lost`: 0 when the books balance.
    pub fn residual(&self) -> i64 {
        let accounted = self.sum(&Counter::FILTERED)
            + self.get(Counter::SampledOut)
            + self.get(Counter::Submitted)
            + self.sum(&Counter::LOST);
        self.seen().wrapping_sub(accounted) as i64
    }
}

/// The loaded kernel part. Dropping it detaches everything: all links are owned by descriptors and nothing is pinned.
pub struct Kernel {
    programs: Programs,
    /// The allocators' probes.
    pub heap: Option<Gate>,
    mappings: Option<Mappings>,
    other_links: Vec<OwnedFd>,
    settings: Array<MapData, PodSettings>,
    /// Functions of the attach plan.
    functions: u32,
}

/// [`Settings`] as a map value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodSettings(Settings);
// SAFETY: `Settings` is repr(C), made of integers without padding (its size is asserted).
unsafe impl aya::Pod for PodSettings {}

/// [`Cpu`] as a map value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodCpu(Cpu);
// SAFETY: `Cpu` is repr(C), made of 64-bit integers (its size is asserted).
unsafe impl aya::Pod for PodCpu {}

/// [`Calls`] as a map value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PodCalls(Calls);
// SAFETY: `Calls` is repr(C), made of two 64-bit integers.
unsafe impl aya::Pod for PodCalls {}

impl Kernel {
    /// Makes the maps and loads nothing yet. `ring_bytes` must be a power of two and at least a page.
    pub fn load(ring_bytes: u32) -> Result<Self, KernelError> {
        let mut programs = Programs::new(ring_bytes)?;
        let settings = programs
            .maps
            .take_map("SETTINGS")
            .ok_or_else(|| KernelError::Object("has no map SETTINGS".into()))?;
        let settings = Array::try_from(settings).map_err(map_error)?;
        Ok(Kernel {
            programs,
            heap: None,
            mappings: None,
            other_links: Vec::new(),
            settings,
            functions: 0,
        })
    }

    /// Marks a process as a target.
    pub fn add_target(&mut self, pid: Pid, state: u32) -> Result<(), KernelError> {
        let map = self
            .programs
            .maps
            .map_mut("TARGETS")
            .ok_or_else(|| KernelError::Object("has no map TARGETS".into()))?;
        let mut targets: HashMap<_, u32, u32> = HashMap::try_from(map).map_err(map_error)?;
        targets.insert(pid.0, state, 0).map_err(map_error)?;
        let map = self
            .programs
            .maps
            .map_mut("ONLY_TARGET")
            .ok_or_else(|| KernelError::Object("has no map ONLY_TARGET".into()))?;
        let mut only: Array<_, u32> = Array::try_from(map).map_err(map_error)?;
        only.set(0, pid.0, 0).map_err(map_error)
    }

    /// Attaches the heap probes, by the best rung that this kernel takes.
    pub fn attach_heap(
        &mut self,
        pid: Pid,
        files: Vec<FileProbes>,
        ladder: &[Rung],
    ) -> Result<Rung, KernelError> {
        let (programs, links) = HeapPrograms::place_first(&self.programs, pid, &files, ladder)?;
        let rung = programs.rung;
        self.count_functions(&files);
        self.heap = Some(Gate::open(programs, pid, files, links));
        Ok(rung)
    }

    /// Takes in heap probes that were placed while the others work.
    pub fn add_heap(&mut self, files: Vec<FileProbes>, links: Links) -> Result<(), KernelError> {
        let Some(gate) = &mut self.heap else { return Ok(()) };
        let added = gate.add(files.clone(), links);
        self.count_functions(&files);
        added
    }

    fn count_functions(&mut self, files: &[FileProbes]) {
        let points = files.iter().flat_map(|file| &file.points);
        let functions = points.map(|point| u32::from(point.cookie.function()) + 1).max();
        self.functions = self.functions.max(functions.unwrap_or(0)).min(MAX_FUNCTIONS);
    }

    /// Attaches to fork, exec and exit.
    pub fn attach_lifecycle(&mut self) -> Result<(), KernelError> {
        self.attach_raw(&[
            ("new_task", c"task_newtask"),
            ("process_exec", c"sched_process_exec"),
            ("thread_exit", c"sched_process_exit"),
        ])
    }

    fn attach_raw(&mut self, programs: &[(&'static str, &CStr)]) -> Result<(), KernelError> {
        for (program, tracepoint) in programs {
            let loaded = self.programs.load(program, ProgramType::RawTracepoint, None)?;
            let link = sys::open_raw_tracepoint(loaded.as_fd(), tracepoint).map_err(|error| {
                KernelError::Attach { what: tracepoint.to_string_lossy().into_owned(), error }
            })?;
            self.other_links.push(link);
        }
        Ok(())
    }

    /// Attaches to page faults, of the target's own code and of system calls on its memory.
    pub fn attach_faults(&mut self) -> Result<(), KernelError> {
        self.attach_raw(&[
            ("page_fault_user", c"page_fault_user"),
            ("page_fault_kernel", c"page_fault_kernel"),
        ])
    }

    /// Attaches to the mapping system calls; `library` finds where the target's C library makes them, where that
    /// will do.
    pub fn attach_mappings<'a>(
        &mut self,
        library: impl FnOnce() -> Option<LibraryProbes<'a>>,
    ) -> Result<&Mappings, KernelError> {
        let attached = Mappings::attach(&self.programs, library)?;
        Ok(self.mappings.insert(attached))
    }

    /// How the mapping system calls are watched.
    pub fn mapping_way(&self) -> MappingWay {
        self.mappings.as_ref().map_or(MappingWay::Kernel, |mappings| mappings.way().in_settings())
    }

    /// Watches the mapping system calls by tracepoints from now on, instead of in the target's C library. `settings` are
    /// those in force then. Nothing is changed on an error.
    pub fn leave_library(&mut self, settings: Settings) -> Result<(), KernelError> {
        let Some(mappings) = &mut self.mappings else { return Ok(()) };
        mappings.leave_library(&self.programs, || {
            self.settings.set(0, PodSettings(settings), 0).map_err(map_error)
        })
    }

    /// Begins to take the breakpoints out of processes that the target has made, which inherited them. Whether it does; where
    /// there is nothing of the allocator's, it cannot.
    pub fn free_heirs(&mut self) -> bool {
        let library = self.mappings.as_ref().and_then(Mappings::library);
        self.heap.as_mut().is_some_and(|gate| gate.free_heirs(library))
    }

    /// Puts settings in force; every program sees them at its next hit.
    pub fn set(&mut self, settings: Settings) -> Result<(), KernelError> {
        self.settings.set(0, PodSettings(settings), 0).map_err(map_error)
    }

    /// The reading end of the ring buffer. Can be taken once.
    pub fn take_events(&mut self) -> Result<RingBuf<MapData>, KernelError> {
        let map = self
            .programs
            .maps
            .take_map("EVENTS")
            .ok_or_else(|| KernelError::Object("has no map EVENTS".into()))?;
        RingBuf::try_from(map).map_err(map_error)
    }

    /// The counters as they are now.
    pub fn books(&self) -> Result<Books, KernelError> {
        let cpus: PerCpuArray<_, PodCpu> =
            PerCpuArray::try_from(self.map("CPUS")?).map_err(map_error)?;
        let missed = self.heap.as_ref().map_or(0, |gate| gate.programs.missed())
            + self.mappings.as_ref().map_or(0, Mappings::missed);
        let mut books = Books { missed, ..Books::default() };
        for cpu in cpus.get(&0, 0).map_err(map_error)?.iter() {
            for (sum, value) in books.values.iter_mut().zip(cpu.0.counters) {
                *sum += value;
            }
            books.highest_floor = books.highest_floor.max(cpu.0.highest_floor);
        }
        let calls: PerCpuArray<_, PodCalls> =
            PerCpuArray::try_from(self.map("CALLS")?).map_err(map_error)?;
        let of = |function: u32| -> Result<Calls, KernelError> {
            let mut sum = Calls::default();
            for PodCalls(calls) in calls.get(&function, 0).map_err(map_error)?.iter() {
                sum.hits += calls.hits;
                sum.chosen += calls.chosen;
            }
            Ok(sum)
        };
        books.calls = (0..self.functions).map(of).collect::<Result<_, _>>()?;
        books.faults = of(FAULTS.into())?;
        Ok(books)
    }

    fn map(&self, name: &str) -> Result<&Map, KernelError> {
        let map = self.programs.maps.map(name);
        map.ok_or_else(|| KernelError::Object(format!("has no map {name}")))
    }

    /// Detaches every probe. The maps stay readable.
    pub fn detach(&mut self) {
        let heap = self.heap.take().map(Gate::into_descriptors).unwrap_or_default();
        let heap = heap.into_iter().map(|link| (link, apart::close as fn(OwnedFd)));
        let mappings = self.mappings.take().map(Mappings::into_links).unwrap_or_default();
        let other =
            self.other_links.drain(..).chain(mappings).map(|link| (link, drop as fn(OwnedFd)));
        close_together(heap.chain(other), |(link, close)| close(link));
    }

    /// Loads every program once, for `doctor` and the tests of kernels: the name and what the kernel said.
    pub fn try_every_program(&self) -> Vec<(&'static str, Result<(), KernelError>)> {
        use sys::AttachType::{UprobeMulti, UprobeSession};
        [
            ("heap_session", ProgramType::Kprobe, Some(UprobeSession)),
            ("heap_entry", ProgramType::Kprobe, Some(UprobeMulti)),
            ("heap_return", ProgramType::Kprobe, Some(UprobeMulti)),
            ("heap_exit", ProgramType::Kprobe, Some(UprobeMulti)),
            ("new_task", ProgramType::RawTracepoint, None),
            ("process_exec", ProgramType::RawTracepoint, None),
            ("thread_exit", ProgramType::RawTracepoint, None),
            ("page_fault_user", ProgramType::RawTracepoint, None),
            ("page_fault_kernel", ProgramType::RawTracepoint, None),
        ]
        .into_iter()
        .map(|(name, kind, expected)| (name, self.programs.load(name, kind, expected).map(drop)))
        .chain(mappings::try_every_program(&self.programs))
        .collect()
    }
}

fn map_error(error: aya::maps::MapError) -> KernelError {
    KernelError::Map(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rights_do_not_mend_what_the_verifier_refuses() {
        let check = |log: &str, permission: bool, expected: &str| {
            let error = io::Error::from_raw_os_error(libc::EACCES);
            let error = KernelError::Load { program: "heap_entry", error, log: log.into() };
            assert_eq!(error.is_permission(), permission, "{log:?}");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("", true, "run memmgr as root");
        check("R2 unbounded memory access", false, "please report these lines");
    }

    #[test]
    fn books_balance_when_every_hit_is_accounted_for() {
        let mut figures =
            vec![(Counter::Seen, 100), (Counter::Submitted, 60), (Counter::SampledOut, 10)];
        figures.extend([
            (Counter::FilteredNested, 20),
            (Counter::LostAllocRing, 7),
            (Counter::LostFreeRing, 3),
        ]);
        assert_eq!(Books::with(&figures).residual(), 0);
        figures.push((Counter::FilteredNull, 2));
        assert_eq!(Books::with(&figures).residual(), -2);
        // Records beside the hits do not touch the balance.
        assert_eq!(
            Books::with(&[(Counter::StackSubmitted, 5), (Counter::StackMissing, 5)]).residual(),
            0
        );
    }
}
