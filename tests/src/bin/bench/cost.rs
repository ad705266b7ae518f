//! `cost`: nanoseconds a pair of malloc and free by mode, allocator, threads and kind of stack, as ratios to
//! empty programs on the same sites.

mod goals;
mod row;

use std::{fmt::Write, time::Duration};

use anyhow::{Result, ensure};
use memmgr_tests::host::has_library;

pub use self::row::{Row, Stack, measure};
use crate::{
    floor::Sites,
    statistics::Rounds,
    target::{Allocator, Loop},
};

/// Bytes of a block.
pub const SIZE: u64 = 64;
/// How long a row is measured in a round.
pub const SLICE: Duration = Duration::from_millis(150);
const ROUNDS: usize = 5;

/// One table.
struct Configuration {
    allocator: Allocator,
    threads: usize,
}

impl Configuration {
    fn all() -> impl Iterator<Item = Self> {
        let of = |allocator| [1, 2, 4, 16].map(|threads| Configuration { allocator, threads });
        [Allocator::Glibc, Allocator::Jemalloc].into_iter().flat_map(of)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.allocator.name(), self.threads)
    }

    /// By its name, or by that of its allocator.
    fn is_meant(&self, filter: &str) -> bool {
        filter.is_empty() || filter == self.name() || filter == self.allocator.name()
    }
}

/// What a row took in every round.
#[derive(Default)]
struct Measured {
    target_ns: Rounds,
    target_probes: Rounds,
    memmgr_ns: Rounds,
    lost_percent: Rounds,
}

/// Measures the configurations that the filter means and returns their tables.
pub fn run(filter: &str) -> Result<String> {
    let mut tables = String::new();
    let mut reached = Vec::new();
    for configuration in Configuration::all().filter(|each| each.is_meant(filter)) {
        let name = configuration.name();
        if configuration.allocator == Allocator::Jemalloc && !has_library("libjemalloc.so.2") {
            continue;
        }
        let rows = Row::all();
        let measured = rounds(&configuration, &rows)?;
        let table = table(&name, &rows, &measured)?;
        eprintln!("{table}");
        tables.push_str(&table);
        reached.push((name, goals::reached(&rows, &measured)));
    }
    ensure!(!reached.is_empty(), "no configuration is called {filter:?}: try glibc-1, or jemalloc");
    tables.push_str(&goals::table(&reached));
    Ok(tables)
}

fn rounds(configuration: &Configuration, rows: &[Row]) -> Result<Vec<Measured>> {
    let mut target = Loop::start(configuration.allocator, configuration.threads);
    let sites = Sites::find(target.pid(), configuration.allocator.family())?;
    let mut measured: Vec<Measured> = rows.iter().map(|_| Measured::default()).collect();
    for _ in 0..ROUNDS {
        for (row, measured) in rows.iter().zip(&mut measured) {
            let cost = measure(&mut target, &sites, *row)?;
            measured.target_ns.0.push(cost.target_ns);
            measured.target_probes.0.push(cost.target_probes);
            measured.memmgr_ns.0.push(cost.memmgr_ns);
            measured.lost_percent.0.push(cost.lost_percent);
        }
    }
    Ok(measured)
}

fn table(name: &str, rows: &[Row], measured: &[Measured]) -> Result<String> {
    let floor = |wanted| &measured[row::position(rows, wanted)].target_probes;
    let (without, with) = (floor(Row::FLOOR), floor(Row::FLOOR_WITH_RETURN));
    let mut text = format!(
        "### {name}\n\n\
         | | ns a pair | × the floor without return | × the floor with return | memmgr beside it, ns a pair | events lost |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for (row, measured) in rows.iter().zip(measured) {
        let probes = &measured.target_probes;
        write!(
            text,
            "| {row} | {:.0} | {:.2} | {:.2} |",
            measured.target_ns,
            probes.over(without),
            probes.over(with),
        )?;
        let (beside, lost) = (measured.memmgr_ns.median(), measured.lost_percent.median());
        match row {
            Row::Memmgr(..) => writeln!(text, " {beside:.0} | {lost:.0} % |")?,
            _ => writeln!(text, " | |")?,
        }
    }
    text.push('\n');
    Ok(text)
}
