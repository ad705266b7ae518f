//! `cost`: nanoseconds a pair of malloc and free, by mode, as a ratio to empty programs on the same sites.

use std::fmt::Write;

use anyhow::Result;

use super::{
    floor::{At, Sites},
    target::{Capture, Loop},
};

const PAIRS: u64 = 150_000;
const SIZE: u64 = 64;
const ROUNDS: usize = 9;

/// How a row is measured.
enum Row {
    Untraced,
    Empty(At, bool),
    Memmgr(&'static [&'static str]),
}

/// Runs the bench and returns its tables.
pub fn run() -> Result<String> {
    let directory = tempfile::tempdir()?;
    let mut text = String::new();
    for threads in [1, 2] {
        table(&mut text, directory.path(), threads)?;
    }
    Ok(text)
}

fn table(text: &mut String, directory: &std::path::Path, threads: usize) -> Result<()> {
    let rows = [
        ("untraced", Row::Untraced),
        ("floor: empty programs, malloc entry + free", Row::Empty(At::Site, false)),
        ("floor: empty programs, malloc entry and return + free", Row::Empty(At::Site, true)),
        ("empty programs at the first instructions (naive)", Row::Empty(At::Entry, false)),
        ("sample 512 KiB, unwind tables", Row::Memmgr(&["--mode", "sample", "--stack", "dwarf"])),
        ("sample 512 KiB, frame pointers", Row::Memmgr(&["--mode", "sample", "--stack", "fp"])),
        ("exact, frame pointers", Row::Memmgr(&["--mode", "exact", "--stack", "fp"])),
        ("exact, unwind tables", Row::Memmgr(&["--mode", "exact", "--stack", "dwarf"])),
    ];
    let mut target = Loop::start(directory, threads)?;
    let sites = Sites::find(target.pid())?;
    target.time(PAIRS, SIZE)?;
    let mut times = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, row), times) in rows.iter().zip(&mut times) {
            times.push(measure(&mut target, &sites, row)?);
        }
    }
    let medians: Vec<f64> = times.iter().map(|times| quantile(times, 0.5)).collect();
    writeln!(
        text,
        "malloc({SIZE}) and free on glibc, {threads} thread(s), {ROUNDS} interleaved rounds of {PAIRS} pairs\n"
    )?;
    writeln!(
        text,
        "| | ns a pair, median | quartiles | of the floor without return | of the floor with return |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|")?;
    for ((name, _), (times, median)) in rows.iter().zip(times.iter().zip(&medians)) {
        writeln!(
            text,
            "| {name} | {median:.0} | {:.0} – {:.0} | {:.2} | {:.2} |",
            quantile(times, 0.25),
            quantile(times, 0.75),
            median / medians[1],
            median / medians[2],
        )?;
    }
    writeln!(text)?;
    Ok(())
}

fn measure(target: &mut Loop, sites: &Sites, row: &Row) -> Result<f64> {
    match row {
        Row::Untraced => target.time(PAIRS, SIZE),
        Row::Empty(at, with_return) => {
            let links = sites.attach(*at, *with_return)?;
            let time = target.time(PAIRS, SIZE);
            drop(links);
            time
        }
        Row::Memmgr(flags) => {
            let capture = Capture::start(target.pid(), flags)?;
            let time = target.time(PAIRS, SIZE);
            drop(capture);
            time
        }
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
