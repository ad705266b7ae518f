//! The flags of `optimize`: one subcommand an action, each with the flags that mean something to it.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use memmgr::{
    optimize::action::{Amount, Caches, Only, Scope, Selection, Swappiness, Touched},
    pattern::Pattern,
    units::Pid,
};

use super::values;

/// Give memory back, with figures before and after
#[derive(Debug, Args)]
pub struct Optimize {
    /// What to do.
    #[command(subcommand)]
    pub action: ActionFlags,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum ActionFlags {
    /// Say which actions would help a process, a cgroup or the host, by expected gain and risk
    Plan(Plan),
    /// Have the kernel reclaim memory of a cgroup
    Reclaim(Reclaim),
    /// Move mappings of processes to swap or to their files now
    Pageout(TakeAway),
    /// Have the kernel take mappings of processes first when memory is short
    Cold(TakeAway),
    /// Move anonymous memory of processes to huge pages
    Collapse(Collapse),
    /// Turn on merging of equal pages, for programs that offered their memory for it
    Merge(OnHost),
    /// Move used pages of the host together, so that large blocks become free
    Compact(Compact),
    /// Drop caches of the WHOLE HOST: every program reads from disk again
    DropCaches(DropCaches),
    /// Have the allocator of a process give back what it holds free, by a debugger
    Trim(Trim),
    /// Have the runtime of a process collect garbage: JVM, Node.js
    Gc(Gc),
}

/// What every action takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Do it; without this it is a dry run
    #[arg(long)]
    pub apply: bool,
    /// How long the figures are watched afterwards for what comes back
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::settling)]
    pub settle: Duration,
    /// The log for the lines about what is applied [default: the system's log, or /var/log/memmgr.log]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Where results go.
    #[command(flatten)]
    pub output: Out,
}

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Out {
    /// Write to this file, `-` for stdout; as often as wanted. The ending chooses the format: html, json or txt
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Overwrite existing files
    #[arg(short, long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Rows of a table
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
}

/// A process.
#[derive(Debug, Args)]
pub struct OfProcess {
    /// A process
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Only if the process began at this time, in seconds since the host booted, as `plan` prints it: its number may have gone to another
    #[arg(long, value_name = "SECONDS", requires = "pid")]
    pub started: Option<f64>,
}

impl OfProcess {
    fn scope(&self) -> Option<Scope> {
        self.pid.map(|pid| Scope::Process(Pid(pid), self.started))
    }
}

/// Flags of `optimize plan`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["pid", "cgroup", "host"]))]
pub struct Plan {
    /// The process.
    #[command(flatten)]
    pub process: OfProcess,
    /// A cgroup with all below it: its path as in /proc/PID/cgroup, or its directory
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// The host, which is what is looked at when nothing is named
    #[arg(long)]
    pub host: bool,
    /// Clear the referenced bits of the processes, and look after this time at what they touched: costs them misses of the TLB
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    pub idle: Option<Duration>,
    /// Where results go.
    #[command(flatten)]
    pub output: Out,
}

/// Flags of `optimize reclaim`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["pid", "cgroup", "host"]).required(true))]
#[command(group = ArgGroup::new("how_much").args(["amount", "all"]).required(true))]
pub struct Reclaim {
    /// The process.
    #[command(flatten)]
    pub process: OfProcess,
    /// A cgroup with all below it: its path as in /proc/PID/cgroup, or its directory
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// All cgroups: the root
    #[arg(long)]
    pub host: bool,
    /// How much (cgroup v2)
    #[arg(long, value_name = "BYTES", value_parser = values::positive_size)]
    pub amount: Option<u64>,
    /// As much as the kernel gets
    #[arg(long)]
    pub all: bool,
    /// 0 takes pages of files only, 200 prefers anonymous memory, `max` takes nothing else (cgroup v2, newer kernels)
    #[arg(long, value_name = "0-200|max", value_parser = swappiness)]
    pub swappiness: Option<Swappiness>,
    /// What every action takes.
    #[command(flatten)]
    pub common: Common,
}

/// Which mappings of which processes.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["pid", "cgroup"]).required(true))]
pub struct Mappings {
    /// The process.
    #[command(flatten)]
    pub process: OfProcess,
    /// All processes of a cgroup and of those below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Only mappings of this file or of this name; `*` stands for anything, `heap` for what brk gave
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub name: Option<Pattern>,
    /// What every action takes.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `optimize pageout` and `optimize cold`.
#[derive(Debug, Args)]
pub struct TakeAway {
    /// Which mappings of which processes.
    #[command(flatten)]
    pub mappings: Mappings,
    /// Which mappings
    #[arg(long, value_enum, default_value_t = OnlyFlag::Anonymous)]
    pub only: OnlyFlag,
    /// Only mappings of which at most 5 % is touched for this long; the referenced bits are cleared first
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    pub idle: Option<Duration>,
}

/// Flags of `optimize collapse`.
#[derive(Debug, Args)]
pub struct Collapse {
    /// Which mappings of which processes.
    #[command(flatten)]
    pub mappings: Mappings,
    /// Only mappings of which at least half is touched within this time; the referenced bits are cleared first
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    pub hot: Option<Duration>,
}

/// Which mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnlyFlag {
    /// Heaps and other memory of their own; stacks never
    Anonymous,
    /// Files
    File,
    /// Both, and shared memory
    All,
}

/// Flags of actions on the host.
#[derive(Debug, Args)]
pub struct OnHost {
    /// The host: there is nothing else to choose
    #[arg(long)]
    pub host: bool,
    /// What every action takes.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `optimize compact`.
#[derive(Debug, Args)]
pub struct Compact {
    /// Only this node
    #[arg(long, value_name = "N")]
    pub node: Option<u32>,
    /// The host.
    #[command(flatten)]
    pub host: OnHost,
}

/// Flags of `optimize drop-caches`.
#[derive(Debug, Args)]
pub struct DropCaches {
    /// Which caches
    #[arg(long, value_enum, default_value_t = CachesFlag::Pages)]
    pub what: CachesFlag,
    /// The host.
    #[command(flatten)]
    pub host: OnHost,
}

/// Which caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CachesFlag {
    /// Pages of files
    Pages,
    /// Names and inodes
    Slab,
    /// Both
    All,
}

/// Flags of `optimize trim`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["pid"]).required(true))]
pub struct Trim {
    /// The process.
    #[command(flatten)]
    pub process: OfProcess,
    /// I know that gdb stops the process and calls a function in it, which can hang or crash it
    #[arg(long)]
    pub i_accept_the_risk: bool,
    /// What every action takes.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `optimize gc`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["pid"]).required(true))]
pub struct Gc {
    /// The process.
    #[command(flatten)]
    pub process: OfProcess,
    /// What every action takes.
    #[command(flatten)]
    pub common: Common,
}

impl Plan {
    /// Over what.
    pub fn scope(&self) -> Scope {
        scope(&self.process, self.cgroup.as_ref())
    }
}

impl Reclaim {
    /// Over what.
    pub fn scope(&self) -> Scope {
        if self.host {
            Scope::Cgroup(PathBuf::from("/"))
        } else {
            scope(&self.process, self.cgroup.as_ref())
        }
    }

    /// How much.
    pub fn amount(&self) -> Amount {
        self.amount.map_or(Amount::All, Amount::Bytes)
    }
}

impl Mappings {
    /// Over what.
    pub fn scope(&self) -> Scope {
        scope(&self.process, self.cgroup.as_ref())
    }
}

impl TakeAway {
    /// Which mappings.
    pub fn selection(&self) -> Selection {
        Selection {
            only: match self.only {
                OnlyFlag::Anonymous => Only::Anonymous,
                OnlyFlag::File => Only::File,
                OnlyFlag::All => Only::All,
            },
            name: self.mappings.name.clone(),
            touched: self.idle.map(Touched::Hardly),
        }
    }
}

impl Collapse {
    /// Which mappings.
    pub fn selection(&self) -> Selection {
        Selection {
            only: Only::Anonymous,
            name: self.mappings.name.clone(),
            touched: self.hot.map(Touched::Mostly),
        }
    }
}

impl DropCaches {
    /// Which caches.
    pub fn caches(&self) -> Caches {
        match self.what {
            CachesFlag::Pages => Caches::Pages,
            CachesFlag::Slab => Caches::Slab,
            CachesFlag::All => Caches::All,
        }
    }
}

/// The process, or the cgroup, or the host.
pub fn scope(process: &OfProcess, cgroup: Option<&PathBuf>) -> Scope {
    let cgroup = cgroup.map(|path| Scope::Cgroup(path.clone()));
    process.scope().or(cgroup).unwrap_or(Scope::Host)
}

fn swappiness(text: &str) -> Result<Swappiness, String> {
    match text.parse() {
        Ok(value @ 0..=200) => Ok(Swappiness::Value(value)),
        _ if text == "max" => Ok(Swappiness::Max),
        _ => Err("a number from 0 to 200, or `max`".into()),
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).ok_or_else(|| "a name, in which * stands for anything".into())
}
