//! `pools`: what the allocator of a process holds.

use std::time::Duration;

use clap::Args;
use memmgr::{
    capture::CapturePlan,
    judge::Suppressions,
    pools::{self, debuginfod_caches, look},
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
    /// Capture it for so long too, within the usual budget: hit and miss, and what is outstanding on which pages; 0 until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub duration: Option<Duration>,
    /// Capture it although a debugger traces it
    #[arg(long, requires = "duration")]
    pub allow_traced: bool,
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
            let before = match look() {
                Err(error) if error.is_of_process() => return Err(error.into()),
                before => before,
            };
            let plan = CapturePlan {
                duration: Some(time).filter(|time| !time.is_zero()),
                allow_traced: what.allow_traced,
                ..CapturePlan::usual(pid)
            };
            let report = capture(&plan, &Suppressions::default())?;
            pools::Pools::over(before, look(), report)
        }
    };
    what.shown.write(output, &pools, sink::pools)
}
