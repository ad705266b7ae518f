//! What is costly to know of a process, and may never be answered: read on a thread of its own, for the processes on
//! the screen alone.
//!
//! `smaps_rollup` and `cmdline` take the lock of the process's mappings (`fs/proc/task_mmu.c`, `mm/util.c`). One whose
//! thread waits for a dead disk with that lock held lets every reader wait. Such a reader is left alone, and another
//! goes on with the other processes.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use crate::{
    monitor::Process,
    source::{
        cgroup_path::memory_membership, identity::read_identity, process::Sets,
        processes::Processes, roots::Roots,
    },
};

/// A process that has not answered for so long hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Readers that may hang at the same time; with more of them nothing is read any more.
const MOST_HUNG: usize = 8;
/// Reading a process again takes at most this share of the time.
const SHARE: u32 = 20;
/// Figures are at least this old before they are read again.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of a process beside its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Its sets; absent where the kernel refuses them or there are none.
    pub sets: Option<Sets>,
    /// Its memory cgroup. Hostile.
    pub group: Option<String>,
    /// Its arguments, or its executable. Hostile.
    pub command: Option<String>,
}

/// How far a process is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It answered.
    Here(Detail),
    /// It has not answered for seconds.
    Hangs,
}

struct Answer {
    reader: u64,
    process: Process,
    detail: Detail,
    took: Duration,
}

struct Reader {
    number: u64,
    jobs: Sender<Vec<(Process, Option<Detail>)>>,
    /// Answers that are still to come.
    open: usize,
    now: Arc<Mutex<Option<(Process, Instant)>>>,
}

struct Entry {
    detail: Detail,
    again: Instant,
}

/// The details of the processes on the screen.
pub struct Details {
    roots: Roots,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    reader: Option<Reader>,
    readers: u64,
    entries: HashMap<Process, Entry>,
    hung: HashSet<Process>,
}

impl Details {
    /// Of processes of this procfs.
    pub fn new(roots: Roots) -> Self {
        let (answer, answers) = mpsc::channel();
        Details {
            roots,
            answers,
            answer,
            reader: None,
            readers: 0,
            entries: HashMap::new(),
            hung: HashSet::new(),
        }
    }

    /// What is known of a process; nothing yet when it was never on the screen.
    pub fn of(&self, process: Process) -> Option<Known> {
        if self.hung.contains(&process) {
            return Some(Known::Hangs);
        }
        self.entries.get(&process).map(|entry| Known::Here(entry.detail.clone()))
    }

    /// Takes the answers that have come, and asks for those of `visible` whose figures are old. Never waits. Tells whether
    /// anything has changed.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn tick(&mut self, visible: &[Process], now: Instant) -> io::Result<bool> {
        let mut changed = false;
        while let Ok(Answer { reader, process, detail, took }) = self.answers.try_recv() {
            changed = true;
            self.hung.remove(&process);
            self.entries.insert(process, Entry { detail, again: now + FRESH.max(took * SHARE) });
            if let Some(current) = self.reader.as_mut().filter(|current| current.number == reader) {
                current.open -= 1;
            }
        }
        let reading = |reader: &Reader| *reader.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((process, since)) = self.reader.as_ref().and_then(reading)
            && now.saturating_duration_since(since) > PATIENCE
        {
            self.hung.insert(process);
            self.reader = None;
            changed = true;
        }
        if self.reader.as_ref().is_some_and(|reader| reader.open > 0)
            || self.hung.len() >= MOST_HUNG
        {
            return Ok(changed);
        }
        let due = |process: &&Process| {
            !self.hung.contains(process)
                && self.entries.get(process).is_none_or(|entry| entry.again <= now)
        };
        let job: Vec<(Process, Option<Detail>)> = visible
            .iter()
            .filter(due)
            .map(|process| (*process, self.entries.get(process).map(|entry| entry.detail.clone())))
            .collect();
        if job.is_empty() {
            return Ok(changed);
        }
        // Nobody looks at the others; their numbers may be given away again for ever.
        self.entries.retain(|process, _| visible.contains(process));
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.start()?,
        };
        reader.open = job.len();
        // One that is gone has panicked: the next tick starts another.
        self.reader = reader.jobs.send(job).is_ok().then_some(reader);
        Ok(changed)
    }

    fn start(&mut self) -> io::Result<Reader> {
        self.readers += 1;
        let number = self.readers;
        let (jobs, received) = mpsc::channel::<Vec<(Process, Option<Detail>)>>();
        let now = Arc::new(Mutex::new(None));
        let (roots, answer, current) = (self.roots.clone(), self.answer.clone(), Arc::clone(&now));
        let mut processes = Processes::open(&roots)?;
        std::thread::Builder::new().name("details".into()).spawn(move || {
            let set = |to| *current.lock().unwrap_or_else(PoisonError::into_inner) = to;
            for (process, known) in received.into_iter().flatten() {
                let began = Instant::now();
                set(Some((process, began)));
                let detail = read(&roots, &mut processes, process, known);
                set(None);
                let took = began.elapsed();
                if answer.send(Answer { reader: number, process, detail, took }).is_err() {
                    break;
                }
            }
        })?;
        Ok(Reader { number, jobs, open: 0, now })
    }
}

/// Reads a process; its command and its group once, its sets each time.
fn read(
    roots: &Roots,
    processes: &mut Processes,
    process: Process,
    known: Option<Detail>,
) -> Detail {
    let before = known.unwrap_or_else(|| {
        let Ok(identity) = read_identity(roots, process.pid) else { return Detail::default() };
        let group = memory_membership(&identity.cgroups);
        let command = identity.cmdline.join(" ");
        let lossy = |path: &std::path::Path| path.to_string_lossy().into_owned();
        Detail {
            sets: None,
            group: group.map(|(_, membership)| lossy(&membership.path)),
            command: Some(command)
                .filter(|command| !command.is_empty())
                .or_else(|| identity.exe.as_deref().map(lossy)),
        }
    });
    Detail { sets: processes.sets(process.pid).ok().flatten(), ..before }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::{
        source::{
            process::tests::{STAT, STATUS},
            roots::fake::FakeTree,
        },
        units::Pid,
    };

    const ROLLUP: &str = "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss: 500 kB\nPss: 320 kB\n\
                          Private_Clean: 20 kB\nPrivate_Dirty: 280 kB\nSwap: 8 kB\nSwapPss: 4 kB\n";

    fn process(pid: u32) -> Process {
        Process { pid: Pid(pid), start_ticks: 1 }
    }

    /// Ticks until something holds.
    fn wait(details: &mut Details, visible: &[Process], holds: impl Fn(&Details) -> bool) {
        let began = Instant::now();
        while !holds(details) {
            assert!(began.elapsed() < Duration::from_secs(20), "it never holds");
            details.tick(visible, Instant::now()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_process_that_hangs_delays_no_other() {
        let tree = FakeTree::new(&[
            ("proc/7/smaps_rollup", ROLLUP),
            ("proc/7/cmdline", "server\0--port\0"),
            ("proc/7/cgroup", "0::/a/b\n"),
            ("proc/9/smaps_rollup", ROLLUP),
            ("proc/8/cmdline", ""),
        ]);
        tree.write("proc/7/stat", STAT);
        tree.write("proc/7/status", STATUS);
        // Opening a pipe that nobody writes waits for ever, as a file of a process that hangs does.
        let pipe = tree.path().join("proc/8/smaps_rollup");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let visible = [8, 7, 9].map(process);
        let mut details = Details::new(tree.roots());
        assert_eq!(details.of(process(7)), None);
        wait(&mut details, &visible, |details| details.of(process(9)).is_some());
        assert_eq!(details.of(process(8)), Some(Known::Hangs));
        let Some(Known::Here(known)) = details.of(process(7)) else { panic!("not read") };
        assert_eq!(known.sets.unwrap().pss_bytes, 320 << 10);
        assert_eq!(
            (known.group.as_deref(), known.command.as_deref()),
            (Some("/a/b"), Some("server --port"))
        );
        // It comes round: its reader is answered at last.
        std::fs::write(&pipe, ROLLUP).unwrap();
        wait(&mut details, &visible, |details| {
            matches!(details.of(process(8)), Some(Known::Here(_)))
        });
    }

    #[test]
    fn figures_are_read_again_and_those_off_the_screen_forgotten() {
        let tree =
            FakeTree::new(&[("proc/7/smaps_rollup", ROLLUP), ("proc/9/smaps_rollup", ROLLUP)]);
        let mut details = Details::new(tree.roots());
        wait(&mut details, &[process(7)], |details| details.of(process(7)).is_some());
        tree.write("proc/7/smaps_rollup", ROLLUP.replace("320", "321"));
        let pss = |details: &Details| match details.of(process(7)) {
            Some(Known::Here(Detail { sets: Some(sets), .. })) => sets.pss_bytes >> 10,
            _ => 0,
        };
        assert_eq!(pss(&details), 320);
        wait(&mut details, &[process(7)], |details| pss(details) == 321);
        wait(&mut details, &[process(9)], |details| details.of(process(9)).is_some());
        assert_eq!(details.of(process(7)), None);
    }
}
