//! Captures at once, each of a program of its own.

use std::{
    fmt::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use memmgr_tests::{Capture, Workload};

use super::bursts;
use crate::{
    cost::{Row, measure},
    floor::Sites,
    lanes,
    statistics::{Rounds, marked},
    target::{Allocator, Loop, lost_percent, processor_ns},
    usage::resident_bytes,
};

const CAPTURES: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Of a hit in a program that no other capture is about.
const ROUNDS: usize = 3;
/// Between two bursts of a program.
const PAUSE_US: u32 = 100_000;
/// How long the processor time of every memmgr is measured.
const SPAN: Duration = Duration::from_secs(3);

/// Measures, and writes a line for each number of captures.
pub fn table() -> Result<String> {
    let mut text = String::from(
        "As many programs as captures, each with 1,000 pairs of malloc and free a second; every event of each is \
         recorded (`--mode exact`), and all captures begin in the same moment. *Attached* is when the last one counts. Medians \
         of the captures, with quartiles. The last column is a program that is not captured by them, with empty programs on the \
         same sites of the same C library, which the captures share.\n\n\
         | captures | attached | lost events | of a processor each | resident each | a hit elsewhere, × without captures |\n\
         |---:|---:|---:|---:|---:|---:|\n",
    );
    let mut elsewhere = Loop::start(Allocator::Glibc, 1);
    let sites = Sites::find(elsewhere.pid(), Allocator::Glibc.family())?;
    for count in CAPTURES {
        let mut hits = |rounds: &mut Rounds| -> Result<()> {
            for _ in 0..ROUNDS {
                rounds.0.push(measure(&mut elsewhere, &sites, Row::FLOOR)?.target_probes);
            }
            Ok(())
        };
        let (mut without, mut with) = (Rounds::default(), Rounds::default());
        hits(&mut without)?;
        let begin = Instant::now();
        let captures = Captures::start(count)?;
        let attached = begin.elapsed();
        let used = captures.used()?;
        hits(&mut with)?;
        let losing = captures.end();
        hits(&mut without)?;
        writeln!(
            text,
            "| {count} | {:.1} s | {} | {:.1} % | {:.1} MiB | {:.2} |",
            attached.as_secs_f64(),
            marked(&losing, losing == "none"),
            used.percent,
            used.resident_mib,
            with.median() / without.median(),
        )?;
    }
    Ok(text)
}

/// Programs, and a capture of each.
struct Captures {
    running: Vec<Capture>,
    _programs: Vec<Workload>,
}

/// What every memmgr used.
struct Used {
    percent: Rounds,
    resident_mib: Rounds,
}

impl Captures {
    /// Fails unless all of them attach.
    fn start(count: usize) -> Result<Self> {
        let programs: Vec<Workload> = (0..count).map(|_| bursts(1, PAUSE_US)).collect();
        for program in &programs {
            program.output().next().context("a program ended")?;
        }
        let pids: Vec<u32> = programs.iter().map(Workload::pid).collect();
        let attach = |pid: &u32| Capture::try_start(*pid, &["--mode", "exact"]);
        let mut running = Vec::new();
        for capture in lanes::each(count, &pids, attach) {
            running.push(capture.map_err(|outcome| {
                anyhow::anyhow!("of {count} captures one is refused: {}", outcome.stderr)
            })?);
        }
        Ok(Captures { running, _programs: programs })
    }

    fn used(&self) -> Result<Used> {
        let of_all = || self.running.iter().map(|capture| processor_ns(capture.pid())).collect();
        let (begin, before): (_, Result<Vec<f64>>) = (Instant::now(), of_all());
        sleep(SPAN);
        let (elapsed, after): (_, Result<Vec<f64>>) = (begin.elapsed(), of_all());
        let percent = |(before, after)| (after - before) / elapsed.as_nanos() as f64 * 100.0;
        let percent = before?.into_iter().zip(after?).map(percent).collect();
        let resident =
            |capture: &Capture| Ok(resident_bytes(capture.pid(), "VmRSS:")? as f64 / 1_048_576.0);
        let resident_mib = self.running.iter().map(resident).collect::<Result<_>>()?;
        Ok(Used { percent: Rounds(percent), resident_mib: Rounds(resident_mib) })
    }

    /// Ends them all, and says which lost how much.
    fn end(self) -> String {
        let end = |capture: Capture| capture.interrupt();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let ending: Vec<_> =
                self.running.into_iter().map(|capture| scope.spawn(|| end(capture))).collect();
            ending.into_iter().map(|ended| ended.join().expect("no panic")).collect()
        });
        let lost = outcomes.iter().map(|outcome| lost_percent(outcome.expect_report()));
        let losing: Vec<f64> = lost.filter(|percent| *percent > 0.0).collect();
        match losing.iter().copied().reduce(f64::max) {
            None => "none".to_owned(),
            Some(most) => format!("{} captures, up to {most:.1} %", losing.len()),
        }
    }
}
