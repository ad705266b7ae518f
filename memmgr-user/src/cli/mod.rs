//! The command line.

pub mod args;
pub mod capture;
mod capture_flags;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod exit;
pub mod generate;
mod go;
mod group;
pub mod input;
pub mod leaking;
pub mod optimize;
pub mod optimize_args;
mod pauses;
mod pools;
mod prospect;
pub mod record;
pub mod render;
pub mod serve;
mod snapshot;
pub mod stat;
pub mod top;
pub mod values;
pub mod watch;

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use memmgr::units::Pid;

use args::{Arguments, Verb};
use capture::Show;

/// Messages for people who look into memmgr itself: `MEMMGR_LOG=debug`.
pub fn log() {
    let filter = EnvFilter::try_from_env("MEMMGR_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).without_time().init();
}

/// Does what was asked for.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.verb {
        Verb::Record(job) => record::run(&job),
        Verb::Flamegraph(job) => capture::run(&job, Show::FlameGraph),
        Verb::Leaks(job) => capture::run(&job, Show::Leaks),
        Verb::Report(job) => capture::run(&job, Show::Report),
        Verb::Diff(comparison) => diff::run(&comparison),
        Verb::Stat(what) => stat::run(&what),
        Verb::Go(what) => go::run(&what),
        Verb::Pools(what) => pools::run(&what),
        Verb::Watch(flags) => watch::watch(&flags),
        Verb::Serve(options) => serve::run(&options),
        Verb::Top(what) => top::run(&what),
        Verb::Optimize(flags) => optimize::run(&flags),
        Verb::Demo(options) => demo::run(&options),
        Verb::Doctor(options) => match options.pid {
            Some(pid) => prospect::run(&options, Pid(pid)),
            None => doctor::run(&options),
        },
        Verb::Generate(what) => generate::run(&what),
        Verb::LeakingProgram => leaking::run(),
    }
}
