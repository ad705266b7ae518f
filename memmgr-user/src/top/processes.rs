//! The process table as state: which processes, in which order, and which one is chosen.

use std::{cmp::Ordering, collections::HashMap};

use crate::monitor::Process;

use super::{
    history::ShownProcess,
    list::{List, Step},
};

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// The number.
    Pid,
    /// The name.
    Name,
    /// Resident memory, the largest first.
    #[default]
    Rss,
    /// Growth, the fastest first.
    Growth,
    /// Threads, the most first.
    Threads,
}

impl Column {
    const ALL: [Column; 5] =
        [Column::Pid, Column::Name, Column::Rss, Column::Growth, Column::Threads];

    /// The column so many places further, round and round.
    fn moved(self, by: usize) -> Self {
        let place = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        Self::ALL[(place + by) % Self::ALL.len()]
    }

    fn compare(self, a: &ShownProcess, b: &ShownProcess) -> Ordering {
        let number = |process: &ShownProcess| process.row.pid;
        match self {
            Column::Pid => Ordering::Equal,
            Column::Name => a.row.comm.to_lowercase().cmp(&b.row.comm.to_lowercase()),
            Column::Rss => b.row.rss_bytes.cmp(&a.row.rss_bytes),
            Column::Growth => {
                let growth = |process: &ShownProcess| process.growth.unwrap_or(f64::NEG_INFINITY);
                growth(b).total_cmp(&growth(a))
            }
            Column::Threads => b.row.threads.cmp(&a.row.threads),
        }
        .then_with(|| number(a).cmp(&number(b)))
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which of the processes.
    pub at: usize,
    /// How deep it is in the tree.
    pub depth: usize,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessTable {
    /// The processes, by their numbers.
    pub processes: Vec<ShownProcess>,
    /// Those that the filter lets through, in order.
    pub lines: Vec<Line>,
    /// What is chosen.
    pub list: List<Process>,
    /// What it is sorted by.
    pub sort: Column,
    /// The other way round.
    pub reversed: bool,
    /// Below their parents.
    pub tree: bool,
    /// Only processes whose name has this in it, or whose number begins with it.
    pub filter: String,
    /// What was searched for last.
    pub search: String,
}

impl ProcessTable {
    /// Takes the figures of a moment. Gives back the chosen process if it is gone: then nothing is chosen, rather than
    /// its neighbour, for which nobody pressed the key that comes next.
    pub fn take(&mut self, processes: Vec<ShownProcess>) -> Option<ShownProcess> {
        let before = std::mem::replace(&mut self.processes, processes);
        self.arrange();
        let chosen = self.list.chosen?;
        let is_chosen = |process: &ShownProcess| process.id() == chosen;
        if self.processes.iter().any(is_chosen) {
            return None;
        }
        self.list.chosen = None;
        before.into_iter().find(is_chosen)
    }

    /// Filters and sorts.
    pub fn arrange(&mut self) {
        let filter = self.filter.to_lowercase();
        let mut kept: Vec<usize> =
            (0..self.processes.len()).filter(|at| matches(&self.processes[*at], &filter)).collect();
        kept.sort_by(|a, b| {
            let order = self.sort.compare(&self.processes[*a], &self.processes[*b]);
            if self.reversed { order.reverse() } else { order }
        });
        self.lines = if self.tree {
            self.as_tree(&kept)
        } else {
            kept.into_iter().map(|at| Line { at, depth: 0 }).collect()
        };
    }

    /// Each process below its parent, if the parent is there; in the given order among siblings.
    fn as_tree(&self, kept: &[usize]) -> Vec<Line> {
        let parent = |at: usize| self.processes[at].row.parent;
        let numbers: HashMap<_, _> =
            kept.iter().map(|at| (self.processes[*at].row.pid, *at)).collect();
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut roots = Vec::new();
        for &at in kept {
            match numbers.get(&parent(at)) {
                Some(&above) if above != at => children.entry(above).or_default().push(at),
                _ => roots.push(at),
            }
        }
        let (mut lines, mut done) =
            (Vec::with_capacity(kept.len()), vec![false; self.processes.len()]);
        // Numbers that are given away again while the list is read can make a circle, which no root leads to.
        for &root in roots.iter().chain(kept) {
            let mut todo = vec![Line { at: root, depth: 0 }];
            while let Some(line) = todo.pop() {
                if std::mem::replace(&mut done[line.at], true) {
                    continue;
                }
                lines.push(line);
                let below = children.get(&line.at).into_iter().flatten().rev();
                todo.extend(below.map(|at| Line { at: *at, depth: line.depth + 1 }));
            }
        }
        lines
    }

    /// The processes in the order of the lines.
    pub fn order(&self) -> Vec<Process> {
        self.lines.iter().map(|line| self.processes[line.at].id()).collect()
    }

    /// The chosen process, if it is shown: nobody means one that a filter hides.
    pub fn chosen(&self) -> Option<&ShownProcess> {
        let chosen = self.list.chosen?;
        let mut shown = self.lines.iter().map(|line| &self.processes[line.at]);
        shown.find(|process| process.id() == chosen)
    }

    /// What is on a screen of this height.
    pub fn settle(&mut self, height: usize) {
        let order = self.order();
        self.list.settle(height, &order);
    }

    /// Chooses another.
    pub fn step(&mut self, step: Step) {
        let order = self.order();
        self.list.step(step, &order);
    }

    /// Sorts by the next column, or the one before.
    pub fn sort_by(&mut self, forward: bool) {
        self.sort = self.sort.moved(if forward { 1 } else { Column::ALL.len() - 1 });
        self.arrange();
    }

    /// Chooses the next process that was searched for: from the chosen one on, or from the one after it, or back.
    /// Tells whether there is any.
    pub fn find(&mut self, from: From) -> bool {
        let search = self.search.to_lowercase();
        let count = self.lines.len();
        let order = self.order();
        let here = self.list.place(&order);
        let step = |n: usize| match (from, here) {
            (_, None) | (From::Here, Some(_)) => (here.unwrap_or(0) + n) % count,
            (From::After, Some(here)) => (here + 1 + n) % count,
            (From::Before, Some(here)) => (here + 2 * count - 1 - n) % count,
        };
        let found = (0..count)
            .map(step)
            .find(|place| matches(&self.processes[self.lines[*place].at], &search));
        if let Some(place) = found {
            self.list.chosen = Some(order[place]);
        }
        found.is_some()
    }
}

/// Where a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the chosen process.
    Here,
    /// Behind it.
    After,
    /// Before it, upwards.
    Before,
}

/// Whether a process is meant by what was typed, in lower case.
fn matches(process: &ShownProcess, typed: &str) -> bool {
    process.row.comm.to_lowercase().contains(typed)
        || (!typed.is_empty() && process.row.pid.to_string().starts_with(typed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::history::tests::row;

    fn shown(pid: u32, parent: u32, comm: &str, rss_bytes: u64, growth: f64) -> ShownProcess {
        ShownProcess {
            row: row(pid, parent, comm, rss_bytes),
            growth: Some(growth),
            course: Vec::new(),
        }
    }

    fn table() -> ProcessTable {
        let mut table = ProcessTable::default();
        table.take(vec![
            shown(1, 0, "init", 10, 0.0),
            shown(20, 1, "nginx", 30, -1.0),
            shown(21, 20, "nginx", 50, 7.0),
            shown(22, 20, "nginx", 40, 9.0),
            shown(300, 1, "Redis", 90, 0.0),
        ]);
        table
    }

    fn pids(table: &ProcessTable) -> Vec<u32> {
        table.order().iter().map(|process| process.pid.0).collect()
    }

    #[test]
    fn columns_sort() {
        let check = |sort, reversed, expected: &[u32]| {
            let mut table = ProcessTable { sort, reversed, ..table() };
            table.arrange();
            assert_eq!(pids(&table), expected, "{sort:?} {reversed}");
        };
        check(Column::Pid, false, &[1, 20, 21, 22, 300]);
        check(Column::Pid, true, &[300, 22, 21, 20, 1]);
        check(Column::Name, false, &[1, 20, 21, 22, 300]);
        check(Column::Rss, false, &[300, 21, 22, 20, 1]);
        check(Column::Rss, true, &[1, 20, 22, 21, 300]);
        check(Column::Growth, false, &[22, 21, 1, 300, 20]);
        check(Column::Threads, false, &[1, 20, 21, 22, 300]);
    }

    #[test]
    fn columns_go_round() {
        let mut table = table();
        let mut seen = Vec::new();
        for forward in [true, true, true, false, false, false] {
            table.sort_by(forward);
            seen.push(table.sort);
        }
        use Column::{Growth, Pid, Rss, Threads};
        assert_eq!(seen, [Growth, Threads, Pid, Threads, Growth, Rss]);
    }

    #[test]
    fn filters_are_parts_of_names_or_begin_numbers() {
        let check = |filter: &str, expected: &[u32]| {
            let mut table = ProcessTable { filter: filter.to_owned(), ..table() };
            table.arrange();
            assert_eq!(pids(&table), expected, "{filter}");
        };
        check("", &[300, 21, 22, 20, 1]);
        check("INX", &[21, 22, 20]);
        check("redis", &[300]);
        check("2", &[21, 22, 20]);
        check("nothing", &[]);
    }

    #[test]
    fn the_tree_has_children_below_their_parents() {
        let check = |processes: Vec<ShownProcess>, filter: &str, expected: &[(u32, usize)]| {
            let mut table =
                ProcessTable { tree: true, filter: filter.to_owned(), processes, ..table() };
            table.arrange();
            let lines: Vec<(u32, usize)> = table
                .lines
                .iter()
                .map(|line| (table.processes[line.at].row.pid.0, line.depth))
                .collect();
            assert_eq!(lines, expected);
        };
        check(table().processes, "", &[(1, 0), (300, 1), (20, 1), (21, 2), (22, 2)]);
        check(table().processes, "nginx", &[(20, 0), (21, 1), (22, 1)]);
        // A circle, and a process that is its own parent.
        let odd =
            vec![shown(1, 2, "a", 2, 0.0), shown(2, 1, "b", 1, 0.0), shown(3, 3, "c", 9, 0.0)];
        check(odd, "", &[(3, 0), (1, 0), (2, 1)]);
    }

    #[test]
    fn searches_go_on_and_come_round() {
        let mut table = table();
        "nginx".clone_into(&mut table.search);
        let mut found = Vec::new();
        for from in [From::Here, From::Here, From::After, From::After, From::After, From::Before] {
            assert!(table.find(from));
            found.push(table.list.chosen.unwrap().pid.0);
        }
        assert_eq!(found, [21, 21, 22, 20, 21, 20]);
        "nothing".clone_into(&mut table.search);
        assert!(!table.find(From::After) && table.list.chosen.unwrap().pid.0 == 20);
        table.lines.clear();
        assert!(!table.find(From::Before));
    }

    #[test]
    fn a_chosen_process_that_is_hidden_is_not_meant() {
        let mut table = table();
        table.step(Step::Down);
        "nginx".clone_into(&mut table.filter);
        table.arrange();
        assert_eq!(table.chosen(), None);
        table.filter.clear();
        table.arrange();
        assert_eq!(table.chosen().unwrap().row.pid.0, 300);
    }

    #[test]
    fn a_chosen_process_that_ends_is_said_and_none_takes_its_place() {
        let mut table = table();
        table.step(Step::Down);
        assert_eq!(table.chosen().unwrap().row.comm, "Redis");
        assert_eq!(table.take(table.processes.clone()), None);
        // Another that has its number is another.
        let mut reborn = table.processes.clone();
        reborn.last_mut().unwrap().row.start_ticks += 1;
        assert_eq!(table.take(reborn).unwrap().row.pid.0, 300);
        assert!(table.chosen().is_none() && table.list.chosen.is_none());
    }
}
