//! `pools`: what the allocator of a process holds.

use std::time::Duration;

use clap::Args;
use memmgr::{
    capture::CapturePlan,
    judge::Suppressions,
    pools::{debuginfod_caches, look},
    sink,
    source::roots::Roots,
    units::Pid,
};

use super::{capture::capture, snapshot::Snapshot, values};

/// The allocator of a process, looked at from outside.
#[derive(Debug, Args)]
pub struct Pools {
    /// The process
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: u32,
    /// Capture it for so long too, within the usual budget: hit and miss, and what is outstanding on which pages
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub duration: Option<Duration>,
    /// Where it goes.
    #[command(flatten)]
    pub shown: Snapshot,
}

/// Looks at the allocator, and shows it.
pub fn run(what: &Pools) -> anyhow::Result<()> {
    let output = what.shown.open()?;
    let pid = Pid(what.pid);
    let look = || look(&Roots::default(), pid, &debuginfod_caches());
    let pools = match what.duration {
        None => look()?,
        Some(time) => {
            let duration = Some(time).filter(|time| !time.is_zero());
            let plan = CapturePlan { duration, ..CapturePlan::usual(pid) };
            let report = capture(&plan, &Suppressions::default())?;
            look()?.over(report.into())
        }
    };
    what.shown.write(output, &pools, sink::pools)
}
