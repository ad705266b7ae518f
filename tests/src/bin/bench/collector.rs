//! `collector`: events a second on one core, memory by live allocations, and what an idle capture uses.

mod idle;
mod memory;
mod rate;
mod records;

use std::fmt::Write as _;

use anyhow::Result;
use memmgr::{
    collect::{Caps, Collector},
    modules::Modules,
    units::KernelTime,
};

/// Live allocations.
const LIVE: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

/// Runs the bench and returns its tables. With an argument it is the process that measures its own memory.
pub fn run(live: &str) -> Result<String> {
    if !live.is_empty() {
        return memory::of_this_process(live.parse()?);
    }
    let mut text = String::from(
        "Millions of events a second of processor time, on one core, by live allocations\n\n",
    );
    // A thread of its own is pinned, so that what is started later is not.
    let rates = std::thread::scope(|scope| scope.spawn(|| rate::tables(&mut text)).join());
    rates.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    text.push_str(
        "\nBytes of resident memory for each live allocation, the tables' growth included\n\n",
    );
    memory::table(&mut text)?;
    text.push_str("\nAttached for 20 s in the default mode to a program that sleeps\n\n");
    idle::table(&mut text)?;
    Ok(text)
}

fn collector(modules: Modules) -> Collector {
    Collector::new(KernelTime(0), modules, None, Caps::default())
}

/// The heading of a table with a column for each number of live allocations.
fn heading(text: &mut String, first: &str) -> Result<()> {
    write!(text, "| {first} |")?;
    for live in LIVE {
        write!(text, " {} |", memmgr::units::human_count(live as u64))?;
    }
    writeln!(text, "\n|---|{}", "---:|".repeat(LIVE.len()))?;
    Ok(())
}
