//! How far a program under load is, read from outside.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use memmgr_tests::{Workload, lines::Lines};

/// Longest wait for a sign of life; they come every second at least.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was done until a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Seconds of the meter's own clock.
    pub seconds: f64,
    /// Operations since the begin.
    pub operations: f64,
}

impl Reading {
    /// A line "NANOSECONDS OPERATIONS" of a program.
    pub fn parse(line: &str) -> Result<Self> {
        let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        let &[nanoseconds, operations] = numbers.as_slice() else {
            bail!("the program said {line:?}")
        };
        Ok(Reading { seconds: nanoseconds / 1e9, operations })
    }

    /// Operations a second from this moment to a later one.
    pub fn rate_until(self, later: Reading) -> f64 {
        (later.operations - self.operations) / (later.seconds - self.seconds)
    }
}

/// Reads how far a program is at the moment of the call, or soon after it.
pub enum Meter {
    /// Lines "NANOSECONDS OPERATIONS" of the program itself.
    Own(Workload),
    /// The counter of redis-server, over a connection.
    Redis(BufReader<TcpStream>, Instant),
    /// pgbench's progress: its lines, and the sum of what they said.
    Pgbench(Lines, Reading),
}

impl Meter {
    /// Of a redis-server on this port.
    pub fn redis(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        Ok(Meter::Redis(BufReader::new(stream), Instant::now()))
    }

    /// Of a pgbench with `--progress=1`.
    pub fn pgbench(lines: Lines) -> Self {
        Meter::Pgbench(lines, Reading { seconds: 0.0, operations: 0.0 })
    }

    /// Reads it.
    pub fn read(&mut self) -> Result<Reading> {
        match self {
            Meter::Own(workload) => {
                drop(workload.output().come());
                Reading::parse(&next(workload.output())?)
            }
            Meter::Redis(stream, began) => {
                let operations = redis_commands(stream)?;
                Ok(Reading { seconds: began.elapsed().as_secs_f64(), operations })
            }
            Meter::Pgbench(lines, last) => {
                // All lines count, for the sum; the last of them has to be a new one.
                let come = lines.come();
                let fresh = next(lines)?;
                for line in come.iter().chain([&fresh]) {
                    *last = pgbench(line, *last).with_context(|| format!("pgbench: {line}"))?;
                }
                Ok(*last)
            }
        }
    }
}

fn next(lines: &Lines) -> Result<String> {
    lines.within(PATIENCE)?.context("the program ended")
}

/// `total_commands_processed` of `INFO stats`.
fn redis_commands(stream: &mut BufReader<TcpStream>) -> Result<f64> {
    stream.get_mut().write_all(b"INFO stats\r\n")?;
    let mut length = String::new();
    stream.read_line(&mut length)?;
    let length: usize = length.trim().trim_start_matches('$').parse().context("no length")?;
    let mut text = vec![0; length + 2];
    std::io::Read::read_exact(stream, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    let count = text.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    Ok(count.context("redis-server counts no commands")?.parse()?)
}

/// `progress: 3.0 s, 1234.5 tps, lat 0.8 ms stddev 0.1, 0 failed`: a rate since the line before.
fn pgbench(line: &str, before: Reading) -> Option<Reading> {
    let mut parts = line.strip_prefix("progress: ")?.split(", ");
    let seconds: f64 = parts.next()?.strip_suffix(" s")?.parse().ok()?;
    let rate: f64 = parts.next()?.strip_suffix(" tps")?.parse().ok()?;
    let operations = before.operations + rate * (seconds - before.seconds);
    Some(Reading { seconds, operations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_pgbench_is_added_up() {
        let reading = |seconds, operations| Some(Reading { seconds, operations });
        let line = "progress: 3.0 s, 1000.5 tps, lat 0.781 ms stddev 0.1, 0 failed";
        let before = Reading { seconds: 1.0, operations: 500.0 };
        assert_eq!(pgbench(line, before), reading(3.0, 2501.0));
        assert_eq!(pgbench("pgbench: error: no server", before), None);
    }

    #[test]
    fn progress_of_a_program() {
        let reading = Reading { seconds: 1.5, operations: 7.0 };
        assert_eq!(Reading::parse("1500000000 7").expect("a reading"), reading);
        assert!(Reading::parse("ready").is_err());
    }
}
