//! Captures that are made again and again to look for findings: whose turn it is, and what the last one found.

use std::{collections::HashMap, time::Duration};

use super::{
    alert::Captured,
    reading::{Key, Reading},
};
use crate::{monitor::Process, source::processes::Row};

/// The checks of a rule.
#[derive(Debug, Default)]
pub struct Checks(HashMap<Process, Check>);

#[derive(Debug)]
struct Check {
    began: Duration,
    runs: bool,
    found: Option<Found>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whether there is a finding that is as bad as the rule says.
    pub over: bool,
    /// The capture.
    pub captured: Captured,
}

impl Found {
    /// How the rule stands with a process of this name.
    pub fn reading(&self, process: Process, comm: &str) -> Reading {
        Reading {
            key: Key::Process(process),
            name: comm.to_owned(),
            value: if self.over { 1.0 } else { 0.0 },
            over: self.over,
            calm: !self.over,
            what: match self.captured.severity {
                Some(severity) if self.over => format!("finding {}", severity.name()),
                _ => "no such finding any more".to_owned(),
            },
        }
    }
}

impl Checks {
    /// The process whose turn it is: one that was never checked, or not for the time `each`; of several the one that waits
    /// longest. It counts as being checked from now on. Processes that are not among the rows any more are forgotten.
    pub fn next<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a Row>,
        at: Duration,
        each: Duration,
    ) -> Option<&'a Row> {
        let mut before = std::mem::take(&mut self.0);
        let mut next: Option<(Option<Duration>, &Row)> = None;
        for row in rows {
            let process = Process::from(row);
            let check = before.remove(&process);
            let began = check.as_ref().map(|check| check.began);
            let waits = check
                .as_ref()
                .is_none_or(|check| !check.runs && at.saturating_sub(check.began) >= each);
            if waits && next.is_none_or(|(first, _)| began < first) {
                next = Some((began, row));
            }
            self.0.extend(check.map(|check| (process, check)));
        }
        let (_, row) = next?;
        let check =
            self.0.entry(row.into()).or_insert(Check { began: at, runs: true, found: None });
        (check.began, check.runs) = (at, true);
        Some(row)
    }

    /// A check has ended; without a result it is made again in its turn.
    pub fn ended(&mut self, process: Process, found: Option<Found>) {
        if let Some(check) = self.0.get_mut(&process) {
            check.runs = false;
            check.found = match (check.found.take(), found) {
                // The report of a finding that stands is the first one.
                (Some(first), Some(found)) if first.over && found.over => Some(first),
                (before, found) => found.or(before),
            };
        }
    }

    /// What the last check of a process found.
    pub fn found(&self, process: Process) -> Option<&Found> {
        self.0.get(&process)?.found.as_ref()
    }

    /// How the rule stands with the processes among the rows that were checked.
    pub fn readings<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Reading> {
        rows.filter_map(|row| {
            let process = Process::from(row);
            Some(self.found(process)?.reading(process, &row.comm))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{units::Pid, watch::config::Severity};

    fn row(pid: u32) -> Row {
        Row {
            pid: Pid(pid),
            start_ticks: 1,
            parent: Pid(1),
            comm: format!("p{pid}"),
            state: 'S',
            threads: 1,
            rss_bytes: 0,
            virtual_bytes: 0,
            minor_faults: 0,
            major_faults: 0,
        }
    }

    fn found(over: bool) -> Found {
        let captured = Captured {
            pid: 1,
            comm: String::new(),
            html: None,
            json: None,
            said: String::new(),
            severity: Some(Severity::Warning),
        };
        Found { over, captured }
    }

    #[test]
    fn each_in_its_turn() {
        let mut checks = Checks::default();
        let rows = [1, 2, 3].map(row);
        let next = |checks: &mut Checks, second: u64, rows: &[Row]| {
            let each = Duration::from_mins(1);
            checks.next(rows.iter(), Duration::from_secs(second), each).map(|row| row.pid.0)
        };
        assert_eq!(next(&mut checks, 0, &rows), Some(1));
        assert_eq!(next(&mut checks, 5, &rows), Some(2));
        assert_eq!(next(&mut checks, 6, &rows), Some(3));
        assert_eq!(next(&mut checks, 7, &rows), None);
        for row in &rows {
            checks.ended(row.into(), None);
        }
        assert_eq!(next(&mut checks, 59, &rows), None);
        assert_eq!(next(&mut checks, 66, &rows), Some(1));
        // One that still runs is not begun again.
        assert_eq!(next(&mut checks, 200, &rows), Some(2));
        assert_eq!(next(&mut checks, 200, &rows), Some(3));
        assert_eq!(next(&mut checks, 200, &rows), None);
        // Another process with that number has not been checked.
        let reborn = [Row { start_ticks: 2, ..row(1) }];
        assert_eq!(next(&mut checks, 201, &reborn), Some(1));
    }

    #[test]
    fn what_was_found_stands_until_the_next_check() {
        let mut checks = Checks::default();
        let rows = [row(1)];
        let process = Process::from(&rows[0]);
        let next = |checks: &mut Checks| {
            checks.next(rows.iter(), Duration::from_secs(9), Duration::ZERO);
        };
        let read = |checks: &Checks| -> Vec<(bool, String)> {
            let readings = checks.readings(rows.iter());
            readings.into_iter().map(|reading| (reading.over, reading.what)).collect()
        };
        next(&mut checks);
        assert_eq!(read(&checks), []);
        checks.ended(process, Some(found(true)));
        next(&mut checks);
        // One that failed says nothing.
        checks.ended(process, None);
        assert_eq!(read(&checks), [(true, "finding warning".to_owned())]);
        next(&mut checks);
        checks.ended(process, Some(found(false)));
        assert_eq!(read(&checks), [(false, "no such finding any more".to_owned())]);
        assert_eq!(checks.readings([].iter()), []);
    }
}
