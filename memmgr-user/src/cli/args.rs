//! The flags. One meaning for each, everywhere.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use memmgr::{
    aggregate::Filter,
    allocator::{AllocatorOption, ProbeOption},
    capture::{CapturePlan, Selection, StackOption},
    sink::{Class, Format, Metric},
    units::Pid,
};

use super::values;

/// Where did this process's memory go, and who holds it?
///
/// memmgr attaches to a running process without restarting it and without putting code into it.
#[derive(Debug, Parser)]
#[command(name = "memmgr", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the target went away before anything was captured; \
                          5 the host lacks a permission or a feature";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Capture a process, write a flame graph of its outstanding memory, and print the table by stack
    Flamegraph(Job),
    /// Capture a process and print its outstanding memory by stack, age and size
    Leaks(Job),
    /// Capture a process and write the whole report
    Report(Job),
    /// Compare two reports: what grew, what shrank, what is new and what is gone, by stack
    Diff(Comparison),
    /// Start a small leaking program, attach to it, and show what memmgr finds
    Demo(Demo),
    /// Say what this host allows, what is missing, and the command that mends it
    Doctor(Doctor),
    /// Write the man pages or the shell completions
    #[command(hide = true)]
    Generate(Generate),
    /// The program that `demo` attaches to
    #[command(hide = true)]
    LeakingProgram,
}

/// A capture or an earlier report, and what to render from it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["report", "pid"]).required(true))]
pub struct Job {
    /// A report written by `memmgr report -o FILE.json`, to render without a capture
    #[arg(value_name = "REPORT")]
    pub report: Option<PathBuf>,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureFlags,
    /// How to render.
    #[command(flatten)]
    pub render: RenderFlags,
}

/// Capture flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture")]
pub struct CaptureFlags {
    /// The process to attach to
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// How long to capture; 0 is until Ctrl-C
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = values::time, requires = "pid")]
    pub duration: Duration,
    /// Every call, or Poisson sampling by bytes
    #[arg(long, value_enum, default_value_t = ModeFlag::Sample, requires = "pid")]
    pub mode: ModeFlag,
    /// Mean bytes between samples
    #[arg(long, value_name = "BYTES", default_value = "512KiB", value_parser = values::sample_interval, requires = "pid")]
    pub sample_interval: u64,
    /// Distance of the points of the timeline
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::interval, requires = "pid")]
    pub interval: Duration,
    /// Frame pointers, unwind tables, or what the mapped files allow
    #[arg(long, value_enum, default_value_t = StackFlag::Auto, requires = "pid")]
    pub stack: StackFlag,
    /// Bytes of stack to copy where unwind tables are used: 4KiB to 64KiB
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = values::stack_bytes, requires = "pid")]
    pub stack_bytes: u32,
    /// Size of the ring buffer between the kernel and memmgr [default: 8MiB, in exact mode 16MiB]
    #[arg(long, value_name = "BYTES", value_parser = values::ring_bytes, requires = "pid")]
    pub ring_bytes: Option<u32>,
    /// Show only outstanding blocks of at least this age
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = values::time, requires = "pid")]
    pub min_age: Duration,
    /// Show only outstanding blocks of at least this size
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = values::size, requires = "pid")]
    pub min_size: u64,
    /// Probe malloc, free and so on in this mapped file, with this before their names
    #[arg(long, value_name = "PATH[:PREFIX]", requires = "pid")]
    pub allocator: Vec<AllocatorOption>,
    /// Probe a function that has no symbol: malloc@0x1234, free@/lib/x.so:0x5678 (file offsets)
    #[arg(long, value_name = "FUNC@OFFSET", requires = "pid")]
    pub probe: Vec<ProbeOption>,
    /// Attach although a debugger traces the process
    #[arg(long, requires = "pid")]
    pub allow_traced: bool,
}

/// Which calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeFlag {
    /// Every call: exact figures, for short captures and targets that allocate little
    Exact,
    /// Poisson sampling by bytes: estimates at a small cost
    Sample,
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
    /// What the flags mean; `None` without `--pid`.
    pub fn plan(&self) -> Option<CapturePlan> {
        Some(CapturePlan {
            pid: Pid(self.pid?),
            selection: match self.mode {
                ModeFlag::Exact => Selection::Exact,
                ModeFlag::Sample => Selection::Sample { interval: self.sample_interval },
            },
            stack: match self.stack {
                StackFlag::Auto => StackOption::Auto,
                StackFlag::Fp => StackOption::FramePointers,
                StackFlag::Dwarf => StackOption::Tables,
            },
            stack_bytes: self.stack_bytes,
            ring_bytes: self.ring_bytes.unwrap_or(match self.mode {
                ModeFlag::Exact => 16 << 20,
                ModeFlag::Sample => 8 << 20,
            }),
            duration: (!self.duration.is_zero()).then_some(self.duration),
            interval: self.interval,
            filter: Filter { min_age_s: self.min_age.as_secs_f64(), min_size: self.min_size },
            allocators: self.allocator.clone(),
            probes: self.probe.clone(),
            allow_traced: self.allow_traced,
        })
    }
}

/// Render flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct RenderFlags {
    /// Write to this file, `-` for stdout; as often as wanted. The ending chooses the format: svg, json, folded, txt
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// The format of outputs whose name does not say
    #[arg(long)]
    pub format: Option<Format>,
    /// Print the report as JSON
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Overwrite existing files
    #[arg(short, long)]
    pub force: bool,
    /// What a flame graph shows: inuse_space, inuse_objects, alloc_space or alloc_objects
    #[arg(long, default_value_t = Metric::InuseSpace)]
    pub metric: Metric,
    /// Which memory a flame graph shows: heap, mapping or file-mapping
    #[arg(long, default_value_t = Class::Heap)]
    pub class: Class,
    /// Rows of a table
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
}

/// Two reports, and what to render of their difference.
#[derive(Debug, Args)]
pub struct Comparison {
    /// The first report, written by `memmgr report -o FILE.json`
    #[arg(value_name = "BEFORE")]
    pub before: String,
    /// The second report
    #[arg(value_name = "AFTER")]
    pub after: String,
    /// Show what was allocated after the first and not freed by the second; needs two moments of one recording
    #[arg(long)]
    pub kept: bool,
    /// Give the flame graph the widths of the first, so that what is gone can be seen
    #[arg(long, conflicts_with = "kept")]
    pub gone: bool,
    /// How to render.
    #[command(flatten)]
    pub render: RenderFlags,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Directory for the results; made if it is not there
    #[arg(short, long, value_name = "DIR", default_value = "memmgr-demo")]
    pub output: PathBuf,
    /// How long to capture
    #[arg(short, long, value_name = "TIME", default_value = "8s", value_parser = values::interval)]
    pub duration: Duration,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `generate` writes.
#[derive(Debug, Args)]
pub struct Generate {
    /// Man pages or completions
    #[arg(value_enum)]
    pub what: Generated,
    /// Where to
    pub directory: PathBuf,
}

/// Kinds of generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// A man page a verb
    Man,
    /// Completions for bash, zsh, fish and elvish
    Completions,
}
