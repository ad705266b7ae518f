//! The flags that say whom to capture and how.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use memmgr::{
    aggregate::Filter,
    allocator::{AllocatorOption, ProbeOption},
    capture::{CapturePlan, Selection, StackOption},
    govern::Budget,
    group::Who,
    pattern::Pattern,
    units::Pid,
};

use super::values;

/// How long a process is captured when nobody says.
const USUAL_DURATION: Duration = Duration::from_secs(30);

/// Capture flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture")]
pub struct CaptureFlags {
    /// The process to attach to; as often as wanted
    #[arg(short, long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// Attach to all processes of a cgroup and of those below it, also to those that join it: its path as in /proc/PID/cgroup,
    /// or its directory
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Attach to all processes of this name, in which `*` stands for anything, also to those that start later
    #[arg(long, value_name = "COMM", value_parser = Pattern::of_process)]
    pub name: Option<Pattern>,
    /// Attach to the processes that these make, too
    #[arg(long)]
    pub follow_forks: bool,
    /// How long to capture; 0 is until Ctrl-C [default: 30s, for a command until it ends]
    #[arg(short, long, value_name = "TIME", value_parser = values::time)]
    pub duration: Option<Duration>,
    /// Which calls are captured
    #[arg(long, value_enum, default_value_t = ModeFlag::Auto)]
    pub mode: ModeFlag,
    /// Percent of the process's processor time that the capture may take; `off` for no limit [default: 5, in exact mode off]
    #[arg(long, value_name = "PERCENT", value_parser = values::budget, allow_hyphen_values = true)]
    pub max_overhead: Option<Budget>,
    /// Mean bytes between samples
    #[arg(long, value_name = "BYTES", default_value = "512KiB", value_parser = values::sample_interval)]
    pub sample_interval: u64,
    /// Distance of the points of the timeline
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::interval)]
    pub interval: Duration,
    /// Frame pointers, unwind tables, or what the mapped files allow
    #[arg(long, value_enum, default_value_t = StackFlag::Auto)]
    pub stack: StackFlag,
    /// Bytes of stack to copy where unwind tables are used: 4KiB to 64KiB
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = values::stack_bytes)]
    pub stack_bytes: u32,
    /// Size of the ring buffer between the kernel and memmgr, one a process [default: 4MiB, in exact mode 16MiB, for a command
    /// 64MiB, for many processes less]
    #[arg(long, value_name = "BYTES", value_parser = values::ring_bytes)]
    pub ring_bytes: Option<u32>,
    /// Show only outstanding blocks of at least this age
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = values::time)]
    pub min_age: Duration,
    /// Show only outstanding blocks of at least this size
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = values::size)]
    pub min_size: u64,
    /// Probe malloc, free and so on in this mapped file, with this before their names
    #[arg(long, value_name = "PATH[:PREFIX]")]
    pub allocator: Vec<AllocatorOption>,
    /// Probe a function that has no symbol: malloc@0x1234, free@/lib/x.so:0x5678 (file offsets)
    #[arg(long, value_name = "FUNC@OFFSET")]
    pub probe: Vec<ProbeOption>,
    /// Attach although a debugger traces the process
    #[arg(long)]
    pub allow_traced: bool,
}

/// Whom to capture.
#[derive(Clone, Debug, PartialEq)]
pub enum Whom {
    /// One process.
    One(Pid),
    /// Several, side by side.
    Group(Who),
}

/// Which calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeFlag {
    /// What --max-overhead allows: every call, else samples, else windows of time beside page faults and mappings
    Auto,
    /// Every call: exact figures, for short captures and targets that allocate little
    Exact,
    /// Poisson sampling by bytes: estimates at a small cost
    Sample,
    /// No allocator is probed: page faults and mappings tell which code makes the process grow, at almost no cost
    Growth,
}

/// Which stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StackFlag {
    /// What the mapped files allow
    Auto,
    /// Frame pointers
    Fp,
    /// Unwind tables
    Dwarf,
}

impl CaptureFlags {
    /// What the flags mean for this process.
    pub fn plan(&self, pid: Pid) -> CapturePlan {
        let budget = match (self.max_overhead, self.mode) {
            // All of its time is no limit.
            (Some(Budget::Percent(100.0)), _) | (None, ModeFlag::Exact) => Budget::Off,
            (None, ModeFlag::Auto | ModeFlag::Sample | ModeFlag::Growth) => Budget::Percent(5.0),
            (Some(budget), _) => budget,
        };
        CapturePlan {
            pid,
            selection: match self.mode {
                // No probe is for nothing: as near to that as there is.
                _ if budget.is_below_a_window() => {
                    Selection::Growth { interval: self.sample_interval }
                }
                ModeFlag::Auto => Selection::Auto { growth_first: true },
                // A budget may forbid it: then as near to it as the budget allows.
                ModeFlag::Exact if budget != Budget::Off => Selection::Auto { growth_first: false },
                ModeFlag::Exact => Selection::Exact,
                ModeFlag::Sample => Selection::Sample { interval: self.sample_interval },
                ModeFlag::Growth => Selection::Growth { interval: self.sample_interval },
            },
            stack: match self.stack {
                StackFlag::Auto => StackOption::Auto,
                StackFlag::Fp => StackOption::FramePointers,
                StackFlag::Dwarf => StackOption::Tables,
            },
            stack_bytes: self.stack_bytes,
            ring_bytes: self.ring_bytes.unwrap_or(match self.mode {
                ModeFlag::Exact => 16 << 20,
                ModeFlag::Auto | ModeFlag::Sample | ModeFlag::Growth => 4 << 20,
            }),
            duration: Some(self.duration.unwrap_or(USUAL_DURATION)).filter(|d| !d.is_zero()),
            interval: self.interval,
            filter: self.filter(),
            allocators: self.allocator.clone(),
            probes: self.probe.clone(),
            allow_traced: self.allow_traced,
            budget,
            in_group: false,
        }
    }

    /// Whom to capture; nobody where no process is meant.
    pub fn whom(&self) -> Option<Whom> {
        match (&self.cgroup, &self.name, self.pid.as_slice()) {
            (Some(path), ..) => Some(Whom::Group(Who::Cgroup(path.clone()))),
            (_, Some(name), _) => Some(Whom::Group(Who::Name(name.clone()))),
            (_, _, []) => None,
            (_, _, [pid]) if !self.follow_forks => Some(Whom::One(Pid(*pid))),
            (_, _, pids) => {
                Some(Whom::Group(Who::Pids(pids.iter().map(|pid| Pid(*pid)).collect())))
            }
        }
    }

    /// Which outstanding blocks are shown.
    pub fn filter(&self) -> Filter {
        Filter { min_age_s: self.min_age.as_secs_f64(), min_size: self.min_size }
    }
}
