//! Which processes belong to a group.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::PathBuf,
};

use strsim::damerau_levenshtein;

use crate::{
    capture::target::ProcessKey,
    pattern::Pattern,
    source::{
        cgroup::MemoryCgroup,
        processes::{Processes, Row},
        roots::Roots,
    },
    units::Pid,
};

/// Whom a person means.
#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    /// These processes.
    Pids(Vec<Pid>),
    /// All of a cgroup and of the groups below it.
    Cgroup(PathBuf),
    /// All whose name matches.
    Name(Pattern),
}

/// A process of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub pid: Pid,
    /// The kernel's short name; hostile. Empty for a process that was asked for and is not there.
    pub comm: String,
}

/// Nobody belongs to the group.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoProcess(String);

/// Finds the processes of a group, again and again. memmgr itself and its children belong to none.
pub struct Chooser {
    who: Who,
    /// Whether children of its processes belong to it.
    follow_forks: bool,
    roots: Roots,
    processes: Processes,
    own: Pid,
    /// Processes of the group that were found already and have not ended.
    known: HashSet<ProcessKey>,
    is_first: bool,
}

impl Chooser {
    /// Of those whom a person means.
    ///
    /// # Errors
    /// When procfs cannot be opened.
    pub fn new(roots: &Roots, who: Who, follow_forks: bool) -> io::Result<Self> {
        Ok(Chooser {
            who,
            follow_forks,
            roots: roots.clone(),
            processes: Processes::open(roots)?,
            own: Pid(std::process::id()),
            known: HashSet::new(),
            is_first: true,
        })
    }

    /// The processes of the group that were not found before, the largest first.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn look(&mut self) -> io::Result<Vec<Found>> {
        let rows = self.processes.read()?.rows;
        let in_cgroup: HashSet<Pid> = match &self.who {
            Who::Cgroup(path) => {
                let group = MemoryCgroup::named(&self.roots, path);
                group.map(|group| group.pids().into_iter().collect()).unwrap_or_default()
            }
            Who::Pids(_) | Who::Name(_) => HashSet::new(),
        };
        let is_wanted = |row: &Row| match &self.who {
            // Later the number may be that of another process.
            Who::Pids(pids) => self.is_first && pids.contains(&row.pid),
            Who::Cgroup(_) => in_cgroup.contains(&row.pid),
            Who::Name(name) => name.matches(&row.comm),
        };
        let mut chosen =
            members(&rows, is_wanted, self.follow_forks.then_some(&self.known), self.own);
        let there: HashSet<ProcessKey> = rows.iter().map(key).collect();
        self.known.retain(|process| there.contains(process));
        chosen.retain(|row| self.known.insert(key(row)));
        chosen.sort_by_key(|row| (std::cmp::Reverse(row.rss_bytes), row.pid));
        let mut found: Vec<Found> =
            chosen.iter().map(|row| Found { pid: row.pid, comm: row.comm.clone() }).collect();
        if let (Who::Pids(pids), true) = (&self.who, self.is_first) {
            // Attaching to them will say what is wrong with them.
            let listed: HashSet<Pid> = rows.iter().map(|row| row.pid).collect();
            let missing = pids.iter().filter(|pid| !listed.contains(pid));
            found.extend(missing.map(|pid| Found { pid: *pid, comm: String::new() }));
        }
        self.is_first = false;
        Ok(found)
    }

    /// Finds a process again, which executes another program.
    pub fn forget(&mut self, pid: Pid) {
        self.known.retain(|process| process.pid != pid);
    }

    /// Why there is nobody, and who is there instead.
    pub fn nobody(&mut self) -> NoProcess {
        let rows = self.processes.read().map(|table| table.rows).unwrap_or_default();
        NoProcess(match &self.who {
            Who::Pids(_) => "memmgr does not capture itself, nor its own children".to_owned(),
            Who::Name(name) => format!("no process is called {name}: {}", instead(name, &rows)),
            Who::Cgroup(path) => {
                let shown = path.to_string_lossy();
                match MemoryCgroup::named(&self.roots, path) {
                    Some(_) => format!(
                        "no process is in the cgroup {shown} or in one below it; `memmgr top` shows cgroups and their processes"
                    ),
                    None => format!(
                        "there is no memory cgroup {shown}: give its path as in `/proc/PID/cgroup`, or its directory; \
                         `systemd-cgls` and `memmgr top` show them"
                    ),
                }
            }
        })
    }
}

fn key(row: &Row) -> ProcessKey {
    ProcessKey { pid: row.pid, start_time_ticks: row.start_ticks }
}

/// The processes that are wanted, and those that descend from them or from those `followed`. Neither zombies, which
/// have no memory, nor `own` and what descends from it.
fn members<'a>(
    rows: &'a [Row],
    is_wanted: impl Fn(&Row) -> bool,
    followed: Option<&HashSet<ProcessKey>>,
    own: Pid,
) -> Vec<&'a Row> {
    let by_pid: HashMap<Pid, &Row> = rows.iter().map(|row| (row.pid, row)).collect();
    let parent = |row: &&'a Row| by_pid.get(&row.parent).copied();
    // The process and those that it descends from. The list is no snapshot: a number that was used again while it was
    // read could make a circle.
    let line = |row: &'a Row| std::iter::successors(Some(row), parent).take(rows.len());
    let belongs = |row: &'a Row| match followed {
        None => is_wanted(row),
        Some(known) => line(row).any(|row| is_wanted(row) || known.contains(&key(row))),
    };
    rows.iter()
        .filter(|row| !matches!(row.state, 'Z' | 'X' | 'x'))
        .filter(|row| belongs(row) && line(row).all(|row| row.pid != own))
        .collect()
}

/// Names that are like the one that nobody has, else the largest processes, each with how many there are.
fn instead(name: &Pattern, rows: &[Row]) -> String {
    /// Names that are told.
    const TOLD: usize = 6;
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let (count, rss_bytes) = counts.entry(&row.comm).or_default();
        *count += 1;
        *rss_bytes += row.rss_bytes;
    }
    let asked = name.to_string().replace('*', "").to_lowercase();
    let is_similar = |comm: &str| {
        let comm = comm.to_lowercase();
        !asked.is_empty()
            && (comm.contains(&asked)
                || (comm.len() > 2 && asked.contains(&comm))
                || damerau_levenshtein(&asked, &comm) <= 1 + asked.len() / 6)
    };
    let mut largest: Vec<(&str, u64, u64)> =
        counts.into_iter().map(|(comm, (count, bytes))| (comm, count, bytes)).collect();
    largest.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
    let similar: Vec<_> = largest.iter().filter(|(comm, ..)| is_similar(comm)).collect();
    let (said, told) = if similar.is_empty() {
        ("of those that run the largest are", largest.iter().collect())
    } else {
        ("similar names are", similar)
    };
    let names: Vec<String> = told
        .into_iter()
        .take(TOLD)
        .map(|(comm, count, _)| match count {
            1 => (*comm).to_owned(),
            count => format!("{comm} ({count} processes)"),
        })
        .collect();
    format!("{said} {}; `memmgr top` shows all", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::roots::fake::FakeTree;

    /// `pid parent state megabytes name`, one process a line.
    fn rows(text: &str) -> Vec<Row> {
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| words[at].parse::<u32>().unwrap();
            Row {
                pid: Pid(number(0)),
                start_ticks: u64::from(number(0)) * 10,
                parent: Pid(number(1)),
                comm: words[4].to_owned(),
                state: words[2].chars().next().unwrap(),
                threads: 1,
                rss_bytes: u64::from(number(3)) << 20,
                virtual_bytes: 0,
                minor_faults: 0,
                major_faults: 0,
            }
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
    }

    const HOST: &str = "
        1 0 S 5 init
        10 1 S 8 nginx
        11 10 S 20 nginx
        12 10 Z 0 nginx
        13 11 S 3 helper
        14 13 S 3 helper
        20 1 S 9 memmgr
        21 20 S 9 nginx
        30 31 S 1 circle
        31 30 S 1 circle";

    #[track_caller]
    fn check(wanted: &str, followed: Option<&[u32]>, expected: &[u32]) {
        let rows = rows(HOST);
        let pattern = Pattern::new(wanted).unwrap();
        let known = followed.map(|pids| {
            pids.iter()
                .map(|pid| ProcessKey { pid: Pid(*pid), start_time_ticks: u64::from(*pid) * 10 })
                .collect()
        });
        let chosen = members(&rows, |row| pattern.matches(&row.comm), known.as_ref(), Pid(20));
        assert_eq!(chosen.iter().map(|row| row.pid.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn members_are_those_that_are_wanted_and_their_children_if_followed() {
        check("nginx", None, &[10, 11]);
        check("nginx", Some(&[]), &[10, 11, 13, 14]);
        check("nobody", Some(&[13]), &[13, 14]);
        check("nobody", Some(&[]), &[]);
        check("circle", Some(&[]), &[30, 31]);
        // Not itself, nor what it started.
        check("memmgr", None, &[]);
        check("init", Some(&[]), &[1, 10, 11, 13, 14]);
    }

    #[test]
    fn a_number_that_is_used_again_is_nobodys_child() {
        let mut rows = rows(HOST);
        let known = [ProcessKey { pid: Pid(13), start_time_ticks: 130 }].into();
        rows.iter_mut().find(|row| row.pid == Pid(13)).unwrap().start_ticks = 999;
        assert_eq!(members(&rows, |_| false, Some(&known), Pid(20)), Vec::<&Row>::new());
    }

    fn stat(pid: u32, parent: u32, comm: &str, pages: u32) -> String {
        format!(
            "{pid} ({comm}) S {parent} 7 7 0 -1 4194304 1 5 3 6 1 2 0 0 20 0 1 0 {} 3133440 {pages} 1844\n",
            pid * 10
        )
    }

    #[test]
    fn the_largest_first_and_each_once() {
        let tree = FakeTree::new(&[
            ("proc/7/stat", &stat(7, 1, "web", 10)),
            ("proc/8/stat", &stat(8, 1, "web", 30)),
        ]);
        let name = Who::Name(Pattern::new("we*").unwrap());
        let mut chooser = Chooser::new(&tree.roots(), name, false).unwrap();
        let pids = |found: Vec<Found>| found.iter().map(|found| found.pid.0).collect::<Vec<_>>();
        assert_eq!(pids(chooser.look().unwrap()), [8, 7]);
        assert!(chooser.look().unwrap().is_empty());
        tree.write("proc/9/stat", stat(9, 1, "web", 1));
        assert_eq!(pids(chooser.look().unwrap()), [9]);
        chooser.forget(Pid(8));
        assert_eq!(pids(chooser.look().unwrap()), [8]);

        let asked = Who::Pids(vec![Pid(7), Pid(99)]);
        let mut chooser = Chooser::new(&tree.roots(), asked, false).unwrap();
        assert_eq!(pids(chooser.look().unwrap()), [7, 99]);
        assert!(chooser.look().unwrap().is_empty());
    }

    #[test]
    fn processes_of_a_cgroup() {
        let tree = FakeTree::new(&[
            ("proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("cgroup/a/memory.stat", "anon 3000\n"),
            ("cgroup/a/cgroup.procs", "7\n0\n"),
            ("cgroup/a/b/cgroup.procs", "8\n"),
            ("cgroup/empty/memory.stat", "anon 0\n"),
            ("proc/7/stat", &stat(7, 1, "web", 10)),
            ("proc/8/stat", &stat(8, 1, "db", 30)),
            ("proc/9/stat", &stat(9, 1, "db", 30)),
        ]);
        let chooser =
            |path: &str| Chooser::new(&tree.roots(), Who::Cgroup(path.into()), false).unwrap();
        let found = chooser("/a").look().unwrap();
        assert_eq!(found.iter().map(|found| found.pid.0).collect::<Vec<_>>(), [8, 7]);
        assert!(chooser("/empty").nobody().to_string().starts_with("no process is in the cgroup"));
        assert!(chooser("/b").nobody().to_string().starts_with("there is no memory cgroup /b"));
    }

    #[test]
    fn nobody_of_that_name_is_answered_with_those_who_are_there() {
        let rows = rows(HOST);
        for (name, expected) in [
            ("ngnix", "similar names are nginx (4 processes);"),
            ("nginx-worker", "similar names are nginx (4 processes);"),
            ("nglnx", "similar names are nginx (4 processes);"),
            ("NGINX*", "similar names are nginx (4 processes);"),
            (
                "postgres",
                "of those that run the largest are nginx (4 processes), memmgr, helper (2 processes), init, circle",
            ),
        ] {
            let said = instead(&Pattern::new(name).unwrap(), &rows);
            assert!(said.starts_with(expected), "{name}: {said}");
        }
    }
}
