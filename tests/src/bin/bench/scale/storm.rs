//! A storm of allocations on all processors, captured within the budget.

use std::{fmt::Write, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use memmgr_tests::Workload;

use super::bursts;
use crate::{
    apps::Reading,
    mode::Mode,
    statistics::{Rounds, marked},
    target::{capture, lost_percent, processor_ns},
};

/// `auto` has its default budget, and is judged; the others stand beside it.
const MODES: [Mode; 3] = [Mode::Growth, Mode::Sample, Mode::Auto];
const ROUNDS: usize = 3;
/// How long it is captured until it has settled, and from then on.
const SETTLING: Duration = Duration::from_secs(5);
const SETTLED: Duration = Duration::from_secs(3);
/// How long it runs untraced before and after.
const UNTRACED: Duration = Duration::from_millis(1_500);
/// The least percent of its speed that it keeps once it has settled.
const LEAST: f64 = 90.0;
/// The longest time below half of its speed, in seconds.
const LONGEST_BELOW_HALF_S: f64 = 2.0;

/// Measures, and writes a line for each mode.
pub fn table() -> Result<String> {
    let modes: Vec<Mode> = MODES.into_iter().filter(|mode| mode.is_there()).collect();
    let mut measured: Vec<Measured> = modes.iter().map(|_| Measured::default()).collect();
    let storm = bursts(std::thread::available_parallelism()?.get(), 0);
    for _ in 0..ROUNDS {
        let mut before = run(&storm, UNTRACED)?;
        for (mode, measured) in modes.iter().zip(&mut measured) {
            drop(storm.output().come());
            let capture = capture(storm.pid(), &mode.flags());
            sleep(SETTLING);
            let beside = processor_ns(capture.pid())?;
            sleep(SETTLED);
            let beside = processor_ns(capture.pid())? - beside;
            let course = read(&storm)?;
            let lost = lost_percent(capture.interrupt().expect_report());
            let after = run(&storm, UNTRACED)?;
            let untraced = f64::midpoint(rate(&before)?, rate(&after)?);
            measured.kept.0.push(100.0 * rate(last(&course, SETTLED))? / untraced);
            measured.below_half_s.0.push(longest_below(&course, untraced / 2.0));
            measured.beside.0.push(100.0 * beside / SETTLED.as_nanos() as f64);
            measured.lost.0.push(lost);
            before = after;
        }
    }
    write(&modes, &measured)
}

/// By round.
#[derive(Default)]
struct Measured {
    /// Percent of its speed once it has settled.
    kept: Rounds,
    /// The longest time below half of its speed, in seconds.
    below_half_s: Rounds,
    /// Percent of a processor that memmgr takes beside it.
    beside: Rounds,
    /// Percent of the events that were lost.
    lost: Rounds,
}

fn write(modes: &[Mode], measured: &[Measured]) -> Result<String> {
    let mut text = format!(
        "Loops of malloc and free on all processors; a look every 100 ms. `auto` has the default budget, and keeps at \
         least {LEAST:.0} % in the {} s that begin {} s after the attach, and is never below half for longer than {LONGEST_BELOW_HALF_S:.0} s; \
         bold where it does not. `sample` has no budget.\n\n\
         | | % of its speed once settled | longest below half, s | memmgr beside it, % of a processor | events lost |\n\
         |---|---:|---:|---:|---:|\n",
        SETTLED.as_secs(),
        SETTLING.as_secs(),
    );
    for (mode, measured) in modes.iter().zip(measured) {
        let Measured { kept, below_half_s, beside, lost } = measured;
        let judged = *mode == Mode::Auto;
        let kept = marked(&format!("{kept:.1}"), !judged || kept.median() >= LEAST);
        let held = !judged || below_half_s.median() <= LONGEST_BELOW_HALF_S;
        let below = marked(&format!("{below_half_s:.1}"), held);
        let (beside, lost) = (beside.median(), lost.median());
        writeln!(text, "| {} | {kept} | {below} | {beside:.1} | {lost:.0} % |", mode.name())?;
    }
    Ok(text)
}

/// Lets it run, and returns what it said.
fn run(storm: &Workload, time: Duration) -> Result<Vec<Reading>> {
    drop(storm.output().come());
    sleep(time);
    read(storm)
}

fn read(storm: &Workload) -> Result<Vec<Reading>> {
    storm.output().come().iter().map(|line| Reading::parse(line)).collect()
}

/// Operations a second from the first reading to the last.
fn rate(readings: &[Reading]) -> Result<f64> {
    let (first, last) = (readings.first(), readings.last());
    let (first, last) = first.zip(last).context("the storm says nothing")?;
    ensure!(last.seconds > first.seconds, "the storm was heard only once");
    Ok(first.rate_until(*last))
}

/// The readings of the time before the last one.
fn last(readings: &[Reading], time: Duration) -> &[Reading] {
    let end = readings.last().map_or(0.0, |last| last.seconds);
    let from = readings.partition_point(|reading| reading.seconds < end - time.as_secs_f64());
    &readings[from..]
}

/// Seconds of the longest time in which every step is slower than this.
fn longest_below(readings: &[Reading], rate: f64) -> f64 {
    let (mut longest, mut current) = (0.0, 0.0);
    for step in readings.windows(2) {
        let slow = step[0].rate_until(step[1]) < rate;
        current = if slow { current + step[1].seconds - step[0].seconds } else { 0.0 };
        longest = f64::max(longest, current);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings every 100 ms, from the rates between them.
    fn readings(rates: &[f64]) -> Vec<Reading> {
        let mut last = Reading { seconds: 5.0, operations: 0.0 };
        let mut readings = vec![last];
        for rate in rates {
            last =
                Reading { seconds: last.seconds + 0.1, operations: last.operations + rate * 0.1 };
            readings.push(last);
        }
        readings
    }

    #[test]
    fn the_longest_time_below() {
        let check = |rates: &[f64], expected: f64| {
            let longest = longest_below(&readings(rates), 50.0);
            assert!((longest - expected).abs() < 1e-6, "{rates:?}: {longest}");
        };
        check(&[], 0.0);
        check(&[100.0, 60.0], 0.0);
        check(&[40.0, 100.0, 30.0, 20.0, 90.0, 10.0], 0.2);
        check(&[40.0; 7], 0.7);
    }

    #[test]
    fn what_has_settled_is_at_the_end() {
        let readings = readings(&[1.0, 1.0, 1.0, 9.0, 9.0, 9.0]);
        // Half a step more than is wanted, so that no rounding moves the edge.
        let settled = rate(last(&readings, Duration::from_millis(250))).expect("a rate");
        assert!((settled - 9.0).abs() < 1e-6, "{settled}");
        assert!(rate(&readings[..1]).is_err());
    }
}
