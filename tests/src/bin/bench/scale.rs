//! `scale`: what a capture costs by threads, by captures at once, and to a program beside it; and whether a storm of
//! allocations is kept within the budget.

mod bystander;
mod captures;
mod storm;
mod threads;

use std::{fmt::Write, process::Command, time::Instant};

use anyhow::{Result, ensure};
use memmgr_tests::{Program, Workload};

/// Measures one part and returns its table.
type Part = fn() -> Result<String>;

const PARTS: [(&str, Part); 4] = [
    ("threads", threads::table),
    ("captures", captures::table),
    ("bystander", bystander::table),
    ("storm", storm::table),
];

/// Measures what the filter names, or everything, and returns the tables.
pub fn run(filter: &str) -> Result<String> {
    let begin = Instant::now();
    let mut text = String::new();
    for (name, part) in PARTS {
        if filter.is_empty() || filter == name {
            let table = part()?;
            eprintln!("{table}\n{} s so far", begin.elapsed().as_secs());
            writeln!(text, "### {name}\n\n{table}")?;
        }
    }
    ensure!(
        !text.is_empty(),
        "nothing is called {filter:?}: try threads, captures, bystander, or storm"
    );
    Ok(text)
}

/// A program whose threads allocate in bursts of 100 pairs, with a pause of so many microseconds after each.
fn bursts(threads: usize, pause_us: u32) -> Workload {
    let mut command = Command::new(Program::c("allocates-in-bursts").build());
    command.args([threads.to_string(), pause_us.to_string()]);
    Workload::spawn(command)
}
