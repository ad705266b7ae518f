//! The actions: what each does, what it can cost, and whether it can be undone.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    pattern::Pattern,
    units::{Pid, human_bytes},
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The kernel takes back what a cgroup can spare.
    Reclaim {
        /// How much.
        amount: Amount,
        /// How much it shall prefer anonymous memory to files.
        swappiness: Option<Swappiness>,
    },
    /// Mappings leave memory at once.
    PageOut(Selection),
    /// Mappings are the first to go when memory is short.
    Cold(Selection),
    /// Anonymous memory moves to huge pages.
    Collapse(Selection),
    /// Equal pages become one.
    Merge,
    /// Free memory moves together.
    Compact {
        /// Of this node only.
        node: Option<u32>,
    },
    /// The host's caches go.
    DropCaches(Caches),
    /// The allocator of a process gives back what it holds free.
    Trim,
    /// The runtime of a process collects garbage.
    Gc,
}

/// How much is to be reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// As much as the kernel gets.
    All,
}

/// The kernel's choice between anonymous memory and files: 0 takes files only, 200 prefers anonymous memory, `max` takes
/// nothing else (Linux 6.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swappiness {
    /// 0 to 200.
    Value(u8),
    /// Anonymous memory only.
    Max,
}

impl fmt::Display for Swappiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Swappiness::Value(value) => value.fmt(f),
            Swappiness::Max => f.write_str("max"),
        }
    }
}

/// Which mappings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// What they are.
    pub only: Only,
    /// Their file, or the name that the process gave.
    pub name: Option<Pattern>,
    /// Only those that are touched so, found out by clearing the referenced bits first.
    pub touched: Option<Touched>,
}

/// How much of a mapping a process touches in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// Next to nothing.
    Hardly(Duration),
    /// Most of it.
    Mostly(Duration),
}

impl Touched {
    /// For how long is looked.
    pub fn time(self) -> Duration {
        match self {
            Touched::Hardly(time) | Touched::Mostly(time) => time,
        }
    }
}

/// What mappings are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// Heaps and other memory of the process's own; not its stacks.
    #[default]
    Anonymous,
    /// Of files.
    File,
    /// Both.
    All,
}

/// Which caches go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// Pages of files.
    Pages,
    /// Names and inodes.
    Slab,
    /// Both.
    All,
}

impl Caches {
    /// What `/proc/sys/vm/drop_caches` takes.
    pub fn code(self) -> &'static str {
        match self {
            Caches::Pages => "1",
            Caches::Slab => "2",
            Caches::All => "3",
        }
    }
}

/// Over what.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// A process, and if it is given the time at which it must have begun, in seconds since boot.
    Process(Pid, Option<f64>),
    /// A cgroup with all below it.
    Cgroup(PathBuf),
    /// The host.
    Host,
}

/// What people are told before anything happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// What it will do.
    pub does: String,
    /// What it can cost.
    pub costs: String,
    /// Whether and how it is undone.
    pub undo: String,
}

impl Action {
    /// Whether it moves memory out of what is used often.
    pub fn is_cold(&self) -> bool {
        matches!(self, Action::Cold(_))
    }

    /// The verb.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Reclaim { .. } => "reclaim",
            Action::PageOut(_) => "pageout",
            Action::Cold(_) => "cold",
            Action::Collapse(_) => "collapse",
            Action::Merge => "merge",
            Action::Compact { .. } => "compact",
            Action::DropCaches(_) => "drop-caches",
            Action::Trim => "trim",
            Action::Gc => "gc",
        }
    }

    /// How the mappings are touched that it is about, where that matters.
    pub fn touched(&self) -> Option<Touched> {
        match self {
            Action::PageOut(selection) | Action::Cold(selection) | Action::Collapse(selection) => {
                selection.touched.filter(|touched| !touched.time().is_zero())
            }
            _ => None,
        }
    }

    /// The words for what it is done to.
    pub fn words(&self, whom: &str) -> Words {
        let words = |does: String, costs: &str, undo: &str| Words {
            does,
            costs: costs.to_owned(),
            undo: undo.to_owned(),
        };
        match self {
            Action::Reclaim { amount, swappiness } => {
                let how_much = match amount {
                    Amount::Bytes(bytes) => human_bytes(*bytes),
                    Amount::All => "all that it can".to_owned(),
                };
                let preferring = swappiness
                    .map_or_else(String::new, |swappiness| format!(", with swappiness {swappiness}"));
                words(
                    format!("has the kernel reclaim {how_much} from {whom}{preferring}: pages of files that were not used for longest, and with swap anonymous ones"),
                    "what is used again is read again from disk or swap, and its readers wait for that; changed pages of files are written first",
                    "by itself: pages that are used come back",
                )
            }
            Action::PageOut(selection) => words(
                format!("writes {} of {whom} to swap or to their files, and takes them out of memory{}", selection.what(), selection.touched_words()),
                "the next access to each page waits for the disk; pages that other processes have mapped too stay",
                "by itself: pages that are used come back",
            ),
            Action::Cold(selection) => words(
                format!("tells the kernel that {} of {whom} are the first to take when memory is short{}", selection.what(), selection.touched_words()),
                "nothing now; under pressure these pages go before others",
                "by itself: pages that are used become warm again",
            ),
            Action::Collapse(selection) => words(
                format!("moves {} of {whom} to huge pages, where at least half of a huge page is in use: fewer misses of the TLB, smaller page tables{}", selection.what(), selection.touched_words()),
                "copies the memory, takes what was not in use within a huge page, and holds the process's mappings meanwhile",
                "not at once: the kernel splits huge pages when it reclaims them",
            ),
            Action::Merge => words(
                "has the kernel look for equal pages in memory that programs offered for it (MADV_MERGEABLE, MemoryKSM=), and keep one of each (/sys/kernel/mm/ksm/run = 1)".to_owned(),
                "ksmd takes processor time as long as it is on; a write to a merged page copies it; sharing can be observed from other processes",
                "echo 2 > /sys/kernel/mm/ksm/run",
            ),
            Action::Compact { node } => words(
                match node {
                    Some(node) => format!("moves used pages of node {node} together, so that large blocks become free"),
                    None => "moves used pages together, so that large blocks become free (vm.compact_memory)".to_owned(),
                },
                "takes processor time for seconds on a large host, and those who touch a page that moves wait for it; what is free does not become more",
                "not needed: nothing is taken away",
            ),
            Action::DropCaches(caches) => {
                let what = match caches {
                    Caches::Pages => "the pages of files that are not changed",
                    Caches::Slab => "the kernel's caches of names and inodes",
                    Caches::All => "the pages of files that are not changed, and the kernel's caches of names and inodes",
                };
                words(
                    format!("drops {what}, of the WHOLE HOST (vm.drop_caches = {})", caches.code()),
                    "EVERY program on this host reads from disk what it had in the cache; the kernel gives this memory back by itself when it is needed, so that this helps nothing but measurements",
                    "not at all: caches fill again as files are read",
                )
            }
            Action::Trim => words(
                format!("stops {whom} with gdb, calls its allocator's own function that gives free memory back, and lets it go on"),
                "the process stands still meanwhile; a call into a process that did not expect it can hang or crash it; a system call that a thread waits in may end with EINTR",
                "by itself: what the process allocates comes from the kernel again",
            ),
            Action::Gc => words(
                format!("asks the runtime of {whom} by its own interface for a full garbage collection"),
                "the runtime stops the program for as long as a full collection takes; a JVM to which nobody attached yet is asked to listen by SIGQUIT, \
                 and one that will not prints what its threads do",
                "not needed: only garbage goes",
            ),
        }
    }
}

impl Selection {
    fn what(&self) -> String {
        let kind = match self.only {
            Only::Anonymous => "heaps and other anonymous mappings",
            Only::File => "mappings of files",
            Only::All => "mappings, stacks excepted,",
        };
        match &self.name {
            Some(name) => format!("{kind} named {name}"),
            None => kind.to_owned(),
        }
    }

    fn touched_words(&self) -> String {
        let Some(touched) = self.touched else { return String::new() };
        let how = match touched {
            Touched::Hardly(_) => "at most 5 %",
            Touched::Mostly(_) => "at least half",
        };
        let time = humantime::format_duration(touched.time());
        format!(
            "; only those of which {how} is touched within {time}, for which the referenced bits are cleared first"
        )
    }
}
