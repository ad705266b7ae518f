//! Allocators that a target maps while it is captured (dlopen(3)): looked for in every file that is new, probed, and told of.
//!
//! Reading a file's symbols and placing probes takes a while, for which events must not wait: it happens in a thread of its own.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use memmgr_common::limits::MAX_FUNCTIONS;

use crate::{
    allocator::{
        AttachPlan, FileKey, MappedFile, PlannedAllocator, Request, open_mapped, plan_more,
    },
    bpf::{FileProbes, HeapPrograms, Links},
    escape::Safe,
    modules::mapped_files,
    report::NotCovered,
    source::{mappings::Mapping, roots::Roots},
    units::Pid,
};

use super::{Session, attach::heap_probes};

/// How long a file may stay unseen where the kernel does not tell of mappings that the dynamic linker makes.
const BLIND: Duration = Duration::from_secs(3);

/// Who looks at files that are mapped later.
pub struct Latecomers {
    request: Request,
    /// Files that were looked at, by device and inode.
    known: HashSet<(u64, u64)>,
    waiting: Vec<MappedFile>,
    work: Option<JoinHandle<Result<Placed, String>>>,
    looked: Instant,
    /// What a person is told.
    news: Vec<String>,
}

struct Placed {
    plan: AttachPlan,
    probes: Vec<FileProbes>,
    links: Option<Links>,
}

impl Latecomers {
    /// Knows the files that were mapped when memmgr attached, and how their functions were looked for.
    pub fn new(files: &[MappedFile], request: Request) -> Self {
        Latecomers {
            request,
            known: files.iter().map(|file| (file.device, file.inode)).collect(),
            waiting: Vec::new(),
            work: None,
            looked: Instant::now(),
            news: Vec::new(),
        }
    }

    /// Takes in the mappings as they are now.
    pub fn look(&mut self, mappings: &[Mapping]) {
        self.looked = Instant::now();
        for file in mapped_files(mappings) {
            let executed = file.ranges.iter().any(|range| range.executable);
            if executed && self.known.insert((file.device, file.inode)) {
                self.waiting.push(file);
            }
        }
    }

    /// Whether the mappings should be read although no event said so.
    pub fn is_due(&self) -> bool {
        self.looked.elapsed() >= BLIND
    }

    /// What a person is told, each once.
    pub fn news(&self) -> &[String] {
        &self.news
    }

    fn begin(
        &mut self,
        proc_root: PathBuf,
        pid: Pid,
        programs: Arc<HeapPrograms>,
        so_far: &AttachPlan,
    ) {
        let (files, request) = (std::mem::take(&mut self.waiting), self.request.clone());
        let probed: Vec<FileKey> = so_far.allocators.iter().map(PlannedAllocator::key).collect();
        let index = so_far.functions().len() as u16;
        let work = move || {
            let open = |file: &MappedFile| open_mapped(&proc_root, pid, file);
            let plan = plan_more(&files, open, &request, &probed, index);
            place(plan.map_err(|error| error.to_string())?, pid, &programs)
        };
        match std::thread::Builder::new().name("late".into()).spawn(work) {
            Ok(thread) => self.work = Some(thread),
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// Places the probes of a plan.
fn place(plan: AttachPlan, pid: Pid, programs: &HeapPrograms) -> Result<Placed, String> {
    let unchanged = |allocator: &PlannedAllocator| allocator.is_unchanged().unwrap_or(false);
    if !plan.allocators.iter().all(unchanged) {
        return Err("it was overwritten while memmgr looked at it".into());
    }
    let highest = plan.functions().last().map_or(0, |(_, function)| function.cookie.function());
    if u32::from(highest) >= MAX_FUNCTIONS {
        return Err(format!("there are more than {MAX_FUNCTIONS} functions to probe"));
    }
    let probes = heap_probes(&plan);
    let links = if probes.is_empty() {
        None
    } else {
        Some(programs.place(pid, &probes).map_err(|error| error.to_string())?)
    };
    Ok(Placed { plan, probes, links })
}

impl Session {
    /// Carries on with the files that were mapped since: takes in what has been placed, and begins with what is new. True when there
    /// are more functions than before. `since_s` is the time since counting began.
    pub fn take_in_late(&mut self, roots: &Roots, pid: Pid, since_s: f64) -> bool {
        let Some(gate) = &self.kernel.heap else { return false };
        if let Some(work) = self.late.work.take_if(|work| work.is_finished()) {
            let placed = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            return self.settle(placed, since_s);
        }
        if self.late.work.is_none() && !self.late.waiting.is_empty() {
            let programs = Arc::clone(&gate.programs);
            self.late.begin(roots.proc.clone(), pid, programs, &self.plan);
        }
        false
    }

    fn settle(&mut self, placed: Result<Placed, String>, since_s: f64) -> bool {
        let Placed { plan, probes, links } = match placed {
            Ok(placed) => placed,
            Err(why) => {
                self.miss("an allocator that the target mapped while it was captured".into(), why);
                return false;
            }
        };
        for gap in plan.not_covered {
            self.miss(gap.what, gap.why);
        }
        let Some(links) = links else { return false };
        if let Err(error) = self.kernel.add_heap(probes, links) {
            tracing::debug!("{error}");
        }
        for allocator in plan.allocators {
            let (path, count) = (allocator.path.to_string_lossy(), allocator.functions.len());
            let path = Safe::text(&path).to_string();
            let family = allocator.family.name();
            self.late.news.push(format!(
                "the target mapped {path}: its {count} functions ({family}) are probed since {since_s:.1} s"
            ));
            self.not_covered.push(NotCovered {
                what: format!("blocks that {path} gave out in the first {since_s:.1} s"),
                why: "the target mapped it while it was captured; since then it is probed".into(),
            });
            self.plan.allocators.push(allocator);
        }
        true
    }

    fn miss(&mut self, what: String, why: String) {
        self.late.news.push(format!("not covered: {what}: {why}"));
        self.not_covered.push(NotCovered { what, why });
    }
}
