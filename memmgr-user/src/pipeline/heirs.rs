//! Children that begin with a copy of the target's probes, and what they pay until they are freed of them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{source::cpu_clock::CpuClock, units::Pid};

/// The most that one pays: one that does nothing but allocate loses nearly all of its time, for as long as it takes to see it and to
/// take the probes out (10 to 30 ms on a virtual machine with two processors).
const MOST: Duration = Duration::from_millis(20);
/// One that has ended by then, or has become another program, whose memory has no probes: such a child makes few calls before.
const BRIEF: Duration = Duration::from_micros(100);
/// When a child is looked at: by then it is free.
const AGE: Duration = Duration::from_millis(30);
/// Children are listed by thread: for so many times as long as that took nobody looks again.
const PAUSE: u32 = 20;

/// What was found of them.
pub(super) struct Heirs {
    /// The target's directory in procfs, and what it runs.
    process: PathBuf,
    exe: Option<PathBuf>,
    /// The children that were there at the last look, and when the next may be. No longer than that: numbers are given out again.
    known: HashSet<Pid>,
    next: Instant,
    young: Vec<(Pid, Instant)>,
    /// How many were made, and processor time that they lost at most.
    made: u64,
    lost: Duration,
}

impl Heirs {
    /// Begins. `process` is the target's directory in procfs.
    pub(super) fn of(process: PathBuf) -> Self {
        Heirs {
            exe: fs::read_link(process.join("exe")).ok(),
            known: children(&process).unwrap_or_default().into_iter().collect(),
            next: Instant::now(),
            young: Vec::new(),
            made: 0,
            lost: Duration::ZERO,
            process,
        }
    }

    /// Processor time that they lost at most.
    pub(super) fn lost(&self) -> Duration {
        self.lost
    }

    /// Looks at them, which costs nothing where there are none. So many were made until now; `inherit` says that those since the last look
    /// have probes.
    pub(super) fn look(&mut self, made: u64, inherit: bool) {
        let now = Instant::now();
        if made > self.made && now >= self.next {
            self.meet(if inherit { made - self.made } else { 0 }, now);
            self.made = made;
            self.next = Instant::now() + PAUSE * now.elapsed();
        }
        let exe = &self.exe;
        let directory = self.process.parent().unwrap_or(Path::new("/proc"));
        self.young.retain(|(pid, seen)| {
            let is_young = seen.elapsed() < AGE;
            if !is_young {
                let own = fs::read_link(directory.join(pid.to_string()).join("exe")).ok();
                let is_same = own.is_some() && own == *exe;
                let used = CpuClock::of(*pid).and_then(CpuClock::read).filter(|_| is_same);
                self.lost += used.unwrap_or(BRIEF).min(MOST);
            }
            is_young
        });
    }

    /// Finds the children among so many new ones that are there.
    fn meet(&mut self, fresh: u64, now: Instant) {
        // A kernel without CONFIG_PROC_CHILDREN does not list them: the worst is supposed.
        let Some(there) = children(&self.process) else {
            self.lost += MOST * u32::try_from(fresh).unwrap_or(u32::MAX);
            return;
        };
        let there: HashSet<Pid> = there.into_iter().collect();
        let new: Vec<Pid> = there.difference(&self.known).copied().collect();
        self.known = there;
        let gone = fresh.saturating_sub(new.len() as u64);
        self.lost += BRIEF * u32::try_from(gone).unwrap_or(u32::MAX);
        let inherited = usize::try_from(fresh).unwrap_or(usize::MAX);
        self.young.extend(new.into_iter().take(inherited).map(|pid| (pid, now)));
    }
}

/// The children of all threads of a process; `None` where the kernel does not list them.
fn children(process: &Path) -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    for task in fs::read_dir(process.join("task")).ok()?.flatten() {
        let Ok(list) = fs::read_to_string(task.path().join("children")) else {
            // A thread that has just ended has no such file either.
            if task.path().exists() {
                return None;
            }
            continue;
        };
        found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid));
    }
    Some(found)
}
