//! `go`: a live Go program at one moment.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use memmgr::{
    go::GoProgram,
    sink::{self, Format, Metric},
    source::roots::Roots,
    units::Pid,
};

use super::{args::RenderFlags, pauses::Pauses, render::Destinations, snapshot::Snapshot, values};

/// What a profile can be written as: formats of stacks, not those that tell of a capture.
const FORMATS: [Format; 6] = [
    Format::Svg,
    Format::Folded,
    Format::Pprof,
    Format::Speedscope,
    Format::Heaptrack,
    Format::Json,
];

/// A Go program, looked at from outside.
#[derive(Debug, Args)]
pub struct Go {
    /// The process
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: u32,
    /// Look at it for so long, and say what grows: 1m is enough for most leaks; 0 until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub duration: Option<Duration>,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::interval, requires = "duration")]
    pub interval: Duration,
    /// Write the heap profile that the program keeps itself to this file, `-` for stdout; as often as wanted. The ending chooses the
    /// format: svg, folded, pb.gz, speedscope.json, heaptrack, json; that of `-` is folded
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "duration", "output"])]
    pub profile: Vec<PathBuf>,
    /// What a flame graph of it shows: inuse_space, inuse_objects, alloc_space or alloc_objects
    #[arg(long, default_value_t = Metric::InuseSpace, requires = "profile")]
    pub metric: Metric,
    /// Where it goes.
    #[command(flatten)]
    pub shown: Snapshot,
}

/// Looks at the program, and shows it.
pub fn run(what: &Go) -> anyhow::Result<()> {
    let roots = Roots::default();
    if !what.profile.is_empty() {
        return profile(what, &roots);
    }
    let output = what.shown.open()?;
    let program = GoProgram::open(&roots, Pid(what.pid))?;
    let stat = match what.duration {
        None => program.look()?,
        Some(time) => {
            let mut pauses = Pauses::new()?;
            let time = Some(time).filter(|time| !time.is_zero());
            let until = time.map_or_else(
                || "until Ctrl-C".to_owned(),
                |time| format!("for {} (Ctrl-C ends it early)", humantime::format_duration(time)),
            );
            let interval = humantime::format_duration(what.interval);
            memmgr::say!("memmgr: looking at {} every {interval} {until}", what.pid);
            program.follow(&roots, time, what.interval, |time| pauses.pause(time))?
        }
    };
    what.shown.write(output, &stat, sink::go)
}

/// Writes the program's own heap profile.
fn profile(what: &Go, roots: &Roots) -> anyhow::Result<()> {
    let flags = RenderFlags {
        output: what.profile.clone(),
        format: None,
        json: false,
        force: what.shown.force,
        metric: what.metric,
        class: None,
        top: what.shown.top,
    };
    let destinations = Destinations::open(&flags, Format::Folded, None)?;
    destinations.expect(&flags, &FORMATS)?;
    let report = GoProgram::open(roots, Pid(what.pid))?.heap_profile(roots)?;
    destinations.write(
        &flags,
        sink::Class::Heap,
        |format, options, out| sink::write(format, &report, options, out),
        // The files are all.
        |_| Ok(Vec::new()),
    )
}
