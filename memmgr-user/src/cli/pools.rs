//! `pools`: what the allocator of a process holds.

use clap::Args;
use memmgr::{
    pools::{debuginfod_caches, look},
    sink,
    source::roots::Roots,
    units::Pid,
};

use super::snapshot::Snapshot;

/// The allocator of a process, looked at from outside.
#[derive(Debug, Args)]
pub struct Pools {
    /// The process
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: u32,
    /// Where it goes.
    #[command(flatten)]
    pub shown: Snapshot,
}

/// Looks at the allocator, and shows it.
pub fn run(what: &Pools) -> anyhow::Result<()> {
    let output = what.shown.open()?;
    let pools = look(&Roots::default(), Pid(what.pid), &debuginfod_caches())?;
    what.shown.write(output, &pools, sink::pools)
}
