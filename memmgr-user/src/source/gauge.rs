//! The figures that an action of `optimize` is judged by, read again and again of the same processes and the same cgroup.

use std::{collections::BTreeMap, fs};

use super::{
    cgroup::MemoryCgroup,
    host::{HostError, read_host_stat},
    mappings::{Kind, Mapping, read_mappings},
    pagemap::PageMap,
    process::{Sets, read_figures},
    process_dir::{ProcessDir, ProcessError},
    roots::Roots,
    text,
};
use crate::{
    optimize::figures::{Figures, Group, Merging, Processes},
    report::Process,
};

/// Counters of `/proc/vmstat` that tell what an action cost.
const COUNTERS: [&str; 16] = [
    "compact_fail",
    "compact_stall",
    "compact_success",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "pgscan_direct",
    "pgsteal_direct",
    "pswpin",
    "pswpout",
    "thp_collapse_alloc",
    "thp_collapse_alloc_failed",
    "thp_split_page",
    "workingset_refault_anon",
    "workingset_refault_file",
    "workingset_restore_file",
];

/// Every page of larger processes is not looked at: it takes seconds.
const MOST_LOOKED_AT: u64 = 16 << 30;

/// Reads the same things again and again.
#[derive(Debug)]
pub struct Gauge<'a> {
    roots: &'a Roots,
    members: Vec<&'a ProcessDir>,
    group: Option<&'a MemoryCgroup>,
    tells_inactive: bool,
}

impl<'a> Gauge<'a> {
    /// Of these processes, which are held open, and of this cgroup.
    pub fn new(
        roots: &'a Roots,
        members: Vec<&'a ProcessDir>,
        group: Option<&'a MemoryCgroup>,
    ) -> Self {
        Gauge { roots, members, group, tells_inactive: false }
    }

    /// Looks at every page of the processes too, for what of it is inactive.
    #[must_use]
    pub fn telling_inactive(self, tells_inactive: bool) -> Self {
        Gauge { tells_inactive, ..self }
    }

    /// Everything now. A process that has ended is counted; a cgroup that is gone has no figures.
    ///
    /// # Errors
    /// When the host's figures cannot be read.
    pub fn read(&self, at_s: f64) -> Result<Figures, HostError> {
        Ok(Figures {
            at_s,
            host: read_host_stat(self.roots)?,
            counters: self.counters(),
            cgroup: self
                .group
                .map(|group| Group { cgroup: group.read(), swap_bytes: group.swap_bytes() }),
            processes: (!self.members.is_empty()).then(|| self.processes()),
            merging: self.merging(),
            heap: None,
        })
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let vmstat = fs::read_to_string(self.roots.proc.join("vmstat")).unwrap_or_default();
        let pairs = vmstat.lines().filter_map(|line| line.split_once(' '));
        pairs
            .filter(|(name, _)| COUNTERS.contains(name))
            .filter_map(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?)))
            .collect()
    }

    fn processes(&self) -> Processes {
        let mut all = Processes::default();
        for dir in &self.members {
            match read(dir) {
                Ok(Some(mut one)) => {
                    if self.tells_inactive {
                        one.inactive_bytes = self.inactive_bytes(dir, &one);
                    }
                    add(&mut all, one);
                }
                // Whatever else stands in the way, its figures are not in the sum.
                Ok(None) | Err(_) => all.ended += 1,
            }
        }
        all
    }

    fn inactive_bytes(&self, dir: &ProcessDir, one: &Processes) -> Option<u64> {
        // With generations instead of two lists, no page has the flag (mm/vmscan.c, lru_gen).
        let generations = fs::read_to_string(self.roots.sys.join("kernel/mm/lru_gen/enabled"));
        let has_lists =
            generations.map_or(true, |mask| mask.trim().trim_start_matches("0x") == "0000");
        if !has_lists || one.sum.rss_bytes? > MOST_LOOKED_AT {
            return None;
        }
        let map = PageMap::open(self.roots, dir).ok()?;
        let mappings = read_mappings(dir).ok()?;
        let bytes =
            |mapping: &Mapping| map.inactive_bytes(mapping.start, mapping.end).ok().flatten();
        mappings.iter().filter(|mapping| mapping.kind != Kind::Vsyscall).map(bytes).sum()
    }

    fn merging(&self) -> Option<Merging> {
        let ksm = self.roots.sys.join("kernel/mm/ksm");
        let text = |name: &str| fs::read_to_string(ksm.join(name)).ok();
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        Some(Merging {
            run: number("run")?,
            shared_pages: number("pages_shared")?,
            sharing_pages: number("pages_sharing")?,
            full_scans: number("full_scans")?,
            profit_bytes: text("general_profit").and_then(|text| text.trim().parse().ok()),
        })
    }
}

/// One process; nothing for a zombie, whose memory is gone.
fn read(dir: &ProcessDir) -> Result<Option<Processes>, ProcessError> {
    let mut sum = read_figures(dir)?;
    if sum.rss_bytes.is_none() {
        return Ok(None);
    }
    let rollup = dir.read_optional("smaps_rollup")?.unwrap_or_default();
    let sets = Sets::parse(&rollup);
    sum.pss_bytes = sets.map(|sets| sets.pss_bytes);
    sum.uss_bytes = sets.map(|sets| sets.uss_bytes);
    let huge = text::fields(&rollup).find(|(key, _)| *key == b"AnonHugePages");
    let (mut ran, mut delay, mut known) = (0, 0, false);
    for tid in dir.thread_ids()? {
        let line = dir.read_optional(&format!("task/{tid}/schedstat"))?.unwrap_or_default();
        // Documentation/scheduler/sched-stats.rst: nanoseconds on a processor and nanoseconds of waiting for one.
        let mut words = line.split(u8::is_ascii_whitespace).filter_map(text::decimal);
        if let (Some(on), Some(waiting)) = (words.next(), words.next()) {
            ran += on;
            delay += waiting;
            known = true;
        }
    }
    let seconds = |nanoseconds: u64| known.then_some(nanoseconds as f64 / 1e9);
    Ok(Some(Processes {
        count: 1,
        ended: 0,
        inactive_bytes: None,
        sum,
        huge_bytes: huge.and_then(|(_, value)| text::kilobytes(value)),
        ran_s: seconds(ran),
        run_delay_s: seconds(delay),
    }))
}

/// A figure of a process.
type Figure = fn(&mut Process) -> &mut Option<u64>;

fn add(all: &mut Processes, one: Processes) {
    fn sum<T: std::ops::Add<Output = T>>(to: &mut Option<T>, more: Option<T>) {
        *to = match (to.take(), more) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
    all.count += one.count;
    sum(&mut all.inactive_bytes, one.inactive_bytes);
    sum(&mut all.huge_bytes, one.huge_bytes);
    sum(&mut all.ran_s, one.ran_s);
    sum(&mut all.run_delay_s, one.run_delay_s);
    let (to, more) = (&mut all.sum, one.sum);
    let figures: [(Figure, Option<u64>); 14] = [
        (|sum| &mut sum.rss_bytes, more.rss_bytes),
        (|sum| &mut sum.virtual_bytes, more.virtual_bytes),
        (|sum| &mut sum.pss_bytes, more.pss_bytes),
        (|sum| &mut sum.uss_bytes, more.uss_bytes),
        (|sum| &mut sum.anon_bytes, more.anon_bytes),
        (|sum| &mut sum.file_bytes, more.file_bytes),
        (|sum| &mut sum.shmem_bytes, more.shmem_bytes),
        (|sum| &mut sum.swap_bytes, more.swap_bytes),
        (|sum| &mut sum.page_tables_bytes, more.page_tables_bytes),
        (|sum| &mut sum.locked_bytes, more.locked_bytes),
        (|sum| &mut sum.hugetlb_bytes, more.hugetlb_bytes),
        (|sum| &mut sum.threads, more.threads),
        (|sum| &mut sum.minor_faults, more.minor_faults),
        (|sum| &mut sum.major_faults, more.major_faults),
    ];
    for (of, more) in figures {
        sum(of(to), more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Pid;

    #[test]
    fn this_process_and_its_host_are_read() {
        let roots = Roots::default();
        let dir = |pid| ProcessDir::open(&roots, Pid(pid)).unwrap();
        let own = std::process::id();
        let dirs = [dir(own), dir(own)];
        let gauge = Gauge::new(&roots, dirs.iter().collect(), None);
        let figures = gauge.read(-1.5).unwrap();
        let processes = figures.processes.unwrap();
        assert_eq!((figures.at_s, processes.count, processes.ended), (-1.5, 2, 0));
        let once = read(&dir(own)).unwrap().unwrap();
        let twice = processes.sum.rss_bytes.unwrap() as f64 / once.sum.rss_bytes.unwrap() as f64;
        assert!((1.5..2.5).contains(&twice), "{processes:?}");
        assert!(once.ran_s.unwrap() > 0.0 && once.huge_bytes.is_some(), "{once:?}");
        assert!(figures.counters["pgpgin"] > 0 && figures.host.memory.total_bytes > 0);
    }

    #[test]
    fn those_that_ended_are_counted() {
        let roots = Roots::default();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let dir = ProcessDir::open(&roots, Pid(child.id())).unwrap();
        let gauge = Gauge::new(&roots, vec![&dir], None);
        assert_eq!(gauge.read(0.0).unwrap().processes.unwrap().count, 1);
        child.kill().unwrap();
        child.wait().unwrap();
        let processes = gauge.read(0.0).unwrap().processes.unwrap();
        assert_eq!((processes.count, processes.ended), (0, 1));
    }
}
