//! The flags. One meaning for each, everywhere.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use memmgr::{
    allocator::{AllocatorOption, ProbeOption},
    sink::{Class, Format, Metric},
    watch::{config::Severity, rule::Rule},
};

use super::{
    capture_flags::CaptureFlags, go::Go, input::Input, optimize_args::Optimize, pools::Pools,
    snapshot::Snapshot, values,
};

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
                          4 findings at or above --fail-on; \
                          5 the host lacks a permission or a feature";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Capture a process, or a command from its first allocation, into a recording
    Record(Record),
    /// Capture a process, write a flame graph of its outstanding memory, and print the table by stack
    Flamegraph(Job),
    /// Capture a process and print its outstanding memory by stack, age and size
    Leaks(Job),
    /// Capture a process and write the whole report
    Report(Job),
    /// Compare two reports: what grew, what shrank, what is new and what is gone, by stack
    Diff(Comparison),
    /// Show where the memory of the host, of a cgroup or of a process is, at this moment
    Stat(Stat),
    /// Show a live Go program's heap, collector and goroutines, as its own runtime counts them
    Go(Go),
    /// Show what the allocator of a process holds, in use and free
    Pools(Pools),
    /// Watch the host, cgroups and processes by rules, and tell when one comes true
    Watch(Watch),
    /// Serve the memory of the host, of cgroups and processes to Prometheus and to a browser
    Serve(Serve),
    /// Watch the host, its cgroups and its processes on the terminal, and capture the process that you choose
    Top(Top),
    /// Give memory back to the host, with figures before and after: a dry run unless --apply
    Optimize(Optimize),
    /// Start a small leaking program, attach to it, and show what memmgr finds
    Demo(Demo),
    /// Say what this host allows, what is missing, and the command that mends it; or what a capture would probe in a process
    Doctor(Doctor),
    /// Write the man pages or the shell completions
    #[command(hide = true)]
    Generate(Generate),
    /// The program that `demo` attaches to
    #[command(hide = true)]
    LeakingProgram,
}

/// A capture into a recording.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").args(["pid", "cgroup", "name", "command"]).required(true))]
pub struct Record {
    /// Where to; for several processes a directory [default: memmgr.NAME.PID.db, for several memmgr.NAME]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite an existing recording
    #[arg(short, long)]
    pub force: bool,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureFlags,
    /// Start this command and capture it until it ends; memmgr ends with its exit code
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "follow_forks")]
    pub command: Vec<OsString>,
}

/// A capture or something captured earlier, and what to render from it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["input", "pid", "cgroup", "name"]).required(true))]
pub struct Job {
    /// A recording, a moment of one (FILE@30s), a directory of recordings, a JSON report, or a process of one (FILE#PID): rendered
    /// without a capture
    #[arg(value_name = "RECORDING")]
    pub input: Option<Input>,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureFlags,
    /// How to judge.
    #[command(flatten)]
    pub judge: JudgeFlags,
    /// How to render.
    #[command(flatten)]
    pub render: RenderFlags,
}

/// Render flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct RenderFlags {
    /// Write to this file, `-` for stdout; as often as wanted. The ending chooses the format: html, svg, json, folded, txt, pb.gz, speedscope.json, heaptrack, massif
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// The format of outputs whose name does not say: text, json, svg, folded, pprof, speedscope, heaptrack or massif
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
    /// Which memory a flame graph shows: heap, resident, mapping or file-mapping [default: heap, or resident where no allocator was probed]
    #[arg(long)]
    pub class: Option<Class>,
    /// Rows of a table
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
}

/// How an earlier capture is read and judged.
#[derive(Debug, Args)]
#[command(next_help_heading = "Judgement")]
pub struct JudgeFlags {
    /// Leaks that are known: a file of lines `leak:PATTERN`, as LeakSanitizer reads it; as often as wanted
    #[arg(long, value_name = "FILE")]
    pub suppress: Vec<PathBuf>,
    /// End with code 4 when there is a finding of at least this severity
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<SeverityFlag>,
    /// Where debug files are, for a recording whose capture was cut off; as often as wanted
    #[arg(long, value_name = "DIR")]
    pub debug_dir: Vec<PathBuf>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum SeverityFlag {
    /// Worth knowing
    Info,
    /// A leak, or near to harm
    Warning,
    /// Harm soon
    Critical,
}

/// Two reports, and what to render of their difference.
#[derive(Debug, Args)]
pub struct Comparison {
    /// The first: a recording, a moment of one (FILE@30s), or a JSON report
    #[arg(value_name = "BEFORE")]
    pub before: Input,
    /// The second
    #[arg(value_name = "AFTER")]
    pub after: Input,
    /// Show what was allocated after the first and not freed by the second; needs two moments of one recording
    #[arg(long)]
    pub kept: bool,
    /// Give the flame graph the widths of the first, so that what is gone can be seen
    #[arg(long, conflicts_with = "kept")]
    pub gone: bool,
    /// Where debug files are, for a recording whose capture was cut off; as often as wanted
    #[arg(long, value_name = "DIR")]
    pub debug_dir: Vec<PathBuf>,
    /// How to render.
    #[command(flatten)]
    pub render: RenderFlags,
}

/// What `stat` shows: the host, unless something is named.
#[derive(Debug, Args)]
pub struct Stat {
    /// A process
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// A cgroup with all below it: its path as in /proc/PID/cgroup, or its directory
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// The host, beside what else is named
    #[arg(long)]
    pub host: bool,
    /// Where it goes.
    #[command(flatten)]
    pub shown: Snapshot,
}

/// Rules, and what to do when one comes true.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rules").args(["when", "config", "history"]).required(true).multiple(true))]
pub struct Watch {
    /// A rule, as often as wanted: 'host available < 5% for 10s', 'process:nginx* grows > 1MiB/s for 30s', 'cgroup:/web full within 10m', 'host pressure.full > 10% in 2s', 'host oom_kill'
    #[arg(short, long, value_name = "RULE")]
    pub when: Vec<When>,
    /// A file of rules, in TOML
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only say whether the rules are understood
    #[arg(long)]
    pub check: bool,
    /// How bad it is when a rule of --when comes true
    #[arg(long, value_enum, default_value_t = SeverityFlag::Warning)]
    pub severity: SeverityFlag,
    /// Tell of one subject at most once in this time
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = values::time)]
    pub every: Duration,
    /// A command for the shell, with the facts in MEMMGR_TEXT, MEMMGR_PID and others
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    /// Post alerts as JSON to this address
    #[arg(long, value_name = "URL", value_parser = memmgr::watch::config::webhook)]
    pub webhook: Option<String>,
    /// Capture the process, or the one that grows fastest in the group or on the host, for this long
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    pub capture: Option<Duration>,
    /// Where the reports of captures go [default: here]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Distance of two looks, at least 100ms [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    pub interval: Option<Duration>,
    /// Keep what is seen in this file, an SQLite database
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Show what was kept in this file, instead of watching
    #[arg(long, value_name = "FILE", conflicts_with_all = ["when", "config", "keep"])]
    pub history: Option<PathBuf>,
    /// How far back the history is shown
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::time)]
    pub since: Duration,
    /// Rows of a table of the history
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// How long to watch; 0 is until Ctrl-C
    #[arg(short, long, value_name = "TIME", default_value = "0", value_parser = values::time)]
    pub duration: Duration,
    /// Print alerts as JSON, one a line, or the history as JSON
    #[arg(long)]
    pub json: bool,
}

/// A rule with its words.
#[derive(Clone, Debug)]
pub struct When {
    /// As it was typed.
    pub text: String,
    /// What it means.
    pub rule: Rule,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(When { text: text.to_owned(), rule: text.parse()? })
    }
}

impl From<SeverityFlag> for Severity {
    fn from(flag: SeverityFlag) -> Self {
        match flag {
            SeverityFlag::Info => Severity::Info,
            SeverityFlag::Warning => Severity::Warning,
            SeverityFlag::Critical => Severity::Critical,
        }
    }
}

/// What is served, and to whom.
#[derive(Debug, Args)]
pub struct Serve {
    /// The address and port to listen at; one that other hosts reach needs --token-file
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9464")]
    pub listen: SocketAddr,
    /// Answer only who sends `Authorization: Bearer` with the token in this file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Answer requests to this host name too; localhost and addresses always do; as often as wanted
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// How often the host is looked at
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::interval)]
    pub interval: Duration,
    /// Tell of the reports in this directory too, as `watch --capture` writes them
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// How many processes are told one by one
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub top: usize,
    /// How many cgroups are told one by one
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub top_cgroups: usize,
}

/// Flags of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Attach to this process at once
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Distance of the looks at the host, at least 100ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::interval)]
    pub interval: Duration,
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
    /// Not the host, but a process: what a capture would probe in it, at which places, for how much of its time, and what it would not
    /// see. Nothing is attached to it
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Malloc, free and so on of this mapped file too, with this before their names
    #[arg(long, value_name = "PATH[:PREFIX]", requires = "pid")]
    pub allocator: Vec<AllocatorOption>,
    /// A function that has no symbol too: malloc@0x1234, free@/lib/x.so:0x5678 (file offsets)
    #[arg(long, value_name = "FUNC@OFFSET", requires = "pid")]
    pub probe: Vec<ProbeOption>,
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
