//! Attaching: from a plan to a session in which every probe is in place and nothing is counted yet.

use std::{iter, time::Instant};

use aya::maps::{MapData, RingBuf};
use memmgr_common::{
    Cookie, StackKind,
    target::{CAPTURED, LAUNCHED},
};

use crate::{
    allocator::{
        AttachPlan, LibraryCalls, PlanError, PlannedFunction, mapping_calls, mapping_calls::Place,
    },
    bpf::{
        FileProbes, Kernel, KernelError, LibraryProbes, Mappings, Moment, ProbePoint, Rung, Way,
    },
    modules::Modules,
    report::NotCovered,
    source::{mappings::Mapping, process_dir::ProcessError, roots::Roots},
    units::Pid,
};

use super::{
    CapturePlan,
    hazards::running_kernel,
    late::Latecomers,
    launch::Launch,
    prospect::{Prospect, opener},
    stack_choice::Choice,
    target::{Target, TargetError, has_ended},
    urgent::Urgent,
};

/// Why nothing was attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The process.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// procfs.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// `--allocator` or `--probe`.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A probe would harm the target.
    #[error("{0}; nothing was attached")]
    Hazard(String),
    /// There is nothing to probe.
    #[error("no allocator was found in the target: {}\nname one with --allocator PATH[:PREFIX] or --probe FUNC@OFFSET; --mode growth needs none: page faults and mappings tell which code makes the process grow", reasons(.0))]
    NoAllocator(Vec<NotCovered>),
    /// A library was written to since it was read.
    #[error("{0} was changed while memmgr attached; nothing was attached, try again")]
    Changed(String),
}

impl AttachError {
    /// Whether the process is not there (any more).
    pub fn is_gone(&self) -> bool {
        match self {
            AttachError::Target(error) => error.is_gone(),
            AttachError::Process(error) => error.is_gone(),
            _ => false,
        }
    }
}

fn reasons(not_covered: &[NotCovered]) -> String {
    if not_covered.is_empty() {
        return "none of its mapped files defines malloc and free".into();
    }
    not_covered.iter().map(|n| format!("\n  {}: {}", n.what, n.why)).collect()
}

/// Everything that is held while a capture runs.
pub struct Session {
    /// The process.
    pub target: Target,
    /// The kernel part, attached. Dropping it detaches.
    pub kernel: Kernel,
    /// The reading end of the ring buffer.
    pub events: RingBuf<MapData>,
    /// What is probed.
    pub plan: AttachPlan,
    /// Where the target's C library makes mapping calls, if they are watched there. Its probes are placed by the descriptor
    /// that this holds.
    pub library_calls: Option<LibraryCalls>,
    /// What is not, beyond what the plan says.
    pub not_covered: Vec<NotCovered>,
    /// How the allocator's probes are attached; `None` where there are none.
    pub rung: Option<Rung>,
    /// Which stacks are taken.
    pub stack: Choice,
    /// The code that is mapped.
    pub modules: Modules,
    /// Ranges of `modules` that an unwinder has not seen.
    pub new_ranges: Vec<u64>,
    /// Who looks at files that are mapped later.
    pub late: Latecomers,
    /// Where brk's heap ends.
    pub program_break: Option<u64>,
    /// Whether memmgr started the process and waits for it to become its command.
    pub launched: bool,
    /// Whether other captures of ours have probes at the same places.
    pub in_group: bool,
    /// When attaching began.
    pub began: Instant,
    /// How long it took until counting began, in seconds.
    pub attach_s: f64,
}

impl Session {
    /// Attaches by this plan; `launch` is a command that waits to be let go. Nothing is counted until the settings say so; on an error nothing stays attached.
    pub fn attach(
        roots: &Roots,
        capture: &CapturePlan,
        launch: Option<&Launch>,
    ) -> Result<Self, AttachError> {
        let began = Instant::now();
        let _urgent = Urgent::begin();
        let mut target = Target::open(roots, capture.pid, capture.allow_traced)?;
        if let Some(launch) = launch {
            target.identity.comm = launch.name();
        }
        let pidfd = target.pidfd.try_clone().map_err(|e| TargetError::Pidfd(capture.pid, e))?;
        match Self::attach_to(roots, capture, launch, target, began) {
            // Whatever failed, this is why: its mappings were empty, its number belonged to nobody.
            Err(_) if has_ended(&pidfd) => Err(TargetError::Ended(capture.pid).into()),
            result => result,
        }
    }

    fn attach_to(
        roots: &Roots,
        capture: &CapturePlan,
        launch: Option<&Launch>,
        target: Target,
        began: Instant,
    ) -> Result<Self, AttachError> {
        let Prospect { plan, stack, mappings, files, request, modules, new_ranges } =
            Prospect::find(roots, capture, launch, &target)?;
        let ladder = Rung::ladder(running_kernel());

        let mut kernel = Kernel::load(capture.ring_bytes)?;
        let events = kernel.take_events()?;
        let state = if launch.is_some() { LAUNCHED } else { CAPTURED };
        kernel.add_target(capture.pid, state)?;
        kernel.attach_lifecycle()?;
        let mut not_covered = Vec::new();
        let library = || {
            if !capture.allows_library() {
                return Err("every call is asked for, or no probe is allowed".to_owned());
            }
            mapping_calls(&files, opener(roots, capture.pid, launch), request.kernel)
        };
        let mut library_calls = None;
        not_covered.extend(attach_mappings(
            &mut kernel,
            capture.pid,
            library,
            &mut library_calls,
            ladder,
        ));
        for allocator in &plan.allocators {
            if !allocator.is_unchanged().unwrap_or(false) {
                return Err(AttachError::Changed(allocator.path.display().to_string()));
            }
        }
        let rung = if capture.probes_allocators() {
            Some(kernel.attach_heap(capture.pid, heap_probes(&plan), ladder)?)
        } else {
            None
        };
        if capture.traces_faults() {
            kernel.attach_faults()?;
        }
        target.check_same(roots)?;

        Ok(Session {
            kernel,
            events,
            plan,
            library_calls,
            not_covered,
            rung,
            stack,
            modules,
            new_ranges,
            late: Latecomers::new(&files, request),
            program_break: program_break(&mappings),
            launched: launch.is_some(),
            in_group: capture.in_group,
            began,
            attach_s: began.elapsed().as_secs_f64(),
            target,
        })
    }

    /// Whether the return of a call of this function is followed even when the call is passed over: also where several
    /// sessions stand at one place, because the kernel asks each of them, and those of other processes answer with 0, which
    /// is to follow it (`uprobe_multi_link_handler` in kernel/trace/bpf_trace.c).
    pub fn always_returns(&self, cookie: Cookie) -> bool {
        self.in_group || self.rung != Some(Rung::Session) || !cookie.is_leaf()
    }

    /// How events come, in a word.
    pub fn attached_by(&self) -> &'static str {
        self.rung.map_or("tracepoint", Rung::name)
    }

    /// The stacks that the kernel part takes.
    pub fn stack_kind(&self) -> StackKind {
        self.stack.kind
    }
}

/// Attaches to the mapping system calls. Says what is not seen of them.
fn attach_mappings(
    kernel: &mut Kernel,
    pid: Pid,
    library: impl FnOnce() -> Result<LibraryCalls, String>,
    calls: &mut Option<LibraryCalls>,
    ladder: &[Rung],
) -> Option<NotCovered> {
    let probes = || match library() {
        Ok(found) if found.is_unchanged().unwrap_or(false) => {
            let found = calls.insert(found);
            let point = |place: &Place| ProbePoint {
                offset: place.offset,
                cookie: Cookie(place.cookie.0),
                moment: Moment::Entry,
            };
            let points = found.places.iter().map(point).collect();
            let file = FileProbes { path: found.attach_path(), points };
            Some(LibraryProbes { pid, file, ladder })
        }
        Ok(_) => None,
        Err(why) => {
            tracing::debug!("mapping system calls not by the C library: {why}");
            None
        }
    };
    match kernel.attach_mappings(probes).map(Mappings::way) {
        Ok(Way::Functions | Way::Tracepoints { .. }) => None,
        Ok(Way::Library { .. }) => Some(NotCovered {
            what: "memory that the target maps by system calls of its own, or the dynamic linker for it".into(),
            why: "mmap, munmap, mremap and brk are watched in the C library: on this kernel every other way slows all system calls \
                  of the host down; `--mode exact` takes it"
                .into(),
        }),
        Err(error) => Some(NotCovered {
            what: "memory that the target maps by itself (mmap, munmap, mremap, brk)".into(),
            why: error.to_string(),
        }),
    }
}

pub(super) fn heap_probes(plan: &AttachPlan) -> Vec<FileProbes> {
    plan.allocators
        .iter()
        .map(|allocator| FileProbes {
            path: allocator.attach_path(),
            points: allocator.functions.iter().flat_map(points).collect(),
        })
        .collect()
}

fn points(function: &PlannedFunction) -> impl Iterator<Item = ProbePoint> {
    let point = |offset, moment| ProbePoint { offset, cookie: function.cookie, moment };
    let moment = match (function.role.throws(), function.role.needs_return()) {
        (false, true) => Moment::EntryAndReturn,
        _ => Moment::Entry,
    };
    let exits = function.exits.iter().map(move |exit| point(*exit, Moment::Exit));
    iter::once(point(function.probe, moment)).chain(exits)
}

/// Where `[heap]` ends; `None` before the first brk.
fn program_break(mappings: &[Mapping]) -> Option<u64> {
    use crate::source::mappings::Kind;
    mappings.iter().filter(|mapping| mapping.kind == Kind::Heap).map(|mapping| mapping.end).max()
}
