//! `apps`: the throughput that real programs keep while they are watched, and how soon a leak in them is named.

mod application;
mod heaptrack;
mod leak;
mod meter;
mod table;
mod tracer;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

pub use self::meter::Reading;
use self::{
    application::{Application, Kind},
    leak::{Found, Seed},
    table::{Row, Section},
    tracer::Tracer,
};
use crate::{mode::Mode, statistics::Rounds, target::processor_ns};

/// How often each row is measured.
const ROUNDS: usize = 7;
/// How long it is measured each time.
const SLICE: Duration = Duration::from_secs(2);
/// From an attach until the tracer does what it does for good.
const SETTLE: Duration = Duration::from_secs(2);
/// From the start of a load until it runs evenly.
const WARM_UP: Duration = Duration::from_secs(5);
/// The modes in which the leak has to be found.
const FINDERS: [Mode; 2] = [Mode::Sample, Mode::Auto];

/// What was done in a slice.
#[derive(Clone, Copy)]
struct Speed {
    /// Operations a second.
    rate: f64,
    /// Operations a second of the process's own processor time.
    efficiency: f64,
    /// Percent of a processor that the tracer took.
    beside: f64,
}

/// Measures what the filter names, `APPLICATION` or `APPLICATION:ROW`, and returns the tables.
pub fn run(filter: &str) -> Result<String> {
    let (application, row) = filter.split_once(':').unwrap_or((filter, ""));
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| application.is_empty() || kind.name() == application)
        .collect();
    let tracers: Vec<Tracer> = Tracer::ALL
        .into_iter()
        .filter(|tracer| row.is_empty() || row.split(',').any(|row| tracer.name() == row))
        .filter(|tracer| tracer.is_there())
        .collect();
    ensure!(
        !kinds.is_empty() && !tracers.is_empty(),
        "nothing is called {filter:?}: try redis, or redis:control,auto"
    );
    // What heaptrack brings to an end leaves no core behind.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let begin = Instant::now();
    let mut sections = Vec::new();
    for kind in kinds {
        let section = measure(kind, &tracers)?;
        eprintln!("{section}\n{} s so far", begin.elapsed().as_secs());
        sections.push(section);
    }
    Ok(table::render(&sections))
}

fn measure(kind: Kind, tracers: &[Tracer]) -> Result<Section> {
    let seed = Seed::new()?;
    let mut section = Section::new(kind, tracers);
    // heaptrack changes the program for good, and may end it: it gets one of its own.
    let (memmgr, heaptrack): (Vec<Row>, Vec<Row>) =
        section.rows.into_iter().partition(|row| row.tracer != Tracer::Heaptrack);
    section.rows = memmgr;
    if !section.rows.is_empty() {
        let mut application = start(kind, &seed)?;
        for _ in 0..ROUNDS {
            round(&mut application, &mut section.untraced, &mut section.rows, &seed)?;
        }
        for row in &mut section.rows {
            if let Tracer::Memmgr(mode) = row.tracer
                && FINDERS.contains(&mode)
            {
                row.found = Some(leak::find(application.pid, mode, seed.directory())?);
            }
        }
    }
    for mut row in heaptrack {
        let mut application = start(kind, &seed)?;
        for number in 1..=ROUNDS {
            let rows = std::slice::from_mut(&mut row);
            if let Err(error) = round(&mut application, &mut section.untraced, rows, &seed) {
                row.failed = Some(format!("in round {number}: {error:#}"));
                break;
            }
        }
        section.rows.push(row);
    }
    Ok(section)
}

fn start(kind: Kind, seed: &Seed) -> Result<Application> {
    let application = Application::start(kind, seed)?;
    sleep(WARM_UP);
    Ok(application)
}

/// Every row once, each between two slices without a tracer, whose mean it is compared with.
fn round(
    application: &mut Application,
    untraced: &mut Rounds,
    rows: &mut [Row],
    seed: &Seed,
) -> Result<()> {
    let mut before = speed(application, None)?;
    untraced.0.push(before.rate);
    for row in rows {
        let attached = row.tracer.attach(application.pid, seed)?;
        sleep(SETTLE);
        let traced = speed(application, attached.pid())?;
        let lost = attached.end()?;
        let after = speed(application, None)?;
        row.rate.0.push(traced.rate);
        row.kept.0.push(100.0 * traced.rate / f64::midpoint(before.rate, after.rate));
        let efficiency = f64::midpoint(before.efficiency, after.efficiency);
        row.efficiency_kept.0.push(100.0 * traced.efficiency / efficiency);
        row.beside.0.push(traced.beside);
        row.lost.0.extend(lost);
        before = after;
    }
    Ok(())
}

fn speed(application: &mut Application, tracer: Option<u32>) -> Result<Speed> {
    let beside = || tracer.map_or(Ok(f64::NAN), processor_ns);
    let (from, own_before, beside_before) =
        (application.meter.read()?, processor_ns(application.pid)?, beside()?);
    sleep(SLICE);
    let (to, own, beside) = (application.meter.read()?, processor_ns(application.pid)?, beside()?);
    let (operations, seconds) = (to.operations - from.operations, to.seconds - from.seconds);
    ensure!(operations > 0.0 && seconds > 0.0, "the program stands still");
    Ok(Speed {
        rate: operations / seconds,
        efficiency: operations / ((own - own_before) / 1e9),
        beside: (beside - beside_before) / 1e9 / seconds * 100.0,
    })
}
