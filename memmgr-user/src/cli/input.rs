//! What a report is made from when nothing is captured: a recording, a moment of one, a directory of recordings, a JSON report, or
//! one process of a merged one.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use memmgr::{
    aggregate::Filter,
    escape::Safe,
    group::{
        Part,
        merge::{merge, parts_of},
    },
    judge::{Suppressions, judge},
    recording::{Query, Recording, is_recording},
    report::{Member, Report, SCHEMA, build::build},
    symbolize::symbolize_late,
};

/// `FILE`, `FILE@TIME` or `FILE#PID`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub path: PathBuf,
    /// The moment, since counting began.
    pub moment: Option<Duration>,
    /// The process, of those in a merged report.
    pub process: Option<u32>,
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A file may have an @ or a # in its name: then it is that file.
        let split = |mark| match text.rsplit_once(mark) {
            Some((path, rest)) if !path.is_empty() && !Path::new(text).exists() => {
                Some((path, rest))
            }
            _ => None,
        };
        if let Some((path, pid)) = split('#')
            && let Ok(pid) = pid.parse()
        {
            return Ok(Input { path: path.into(), process: Some(pid), ..Input::default() });
        }
        match split('@') {
            Some((path, moment)) => {
                let moment = super::values::time(moment)
                    .map_err(|error| format!("{moment:?} behind the @ is no time: {error}"))?;
                Ok(Input { path: path.into(), moment: Some(moment), ..Input::default() })
            }
            None => Ok(Input { path: text.into(), ..Input::default() }),
        }
    }
}

/// How a recording is read.
#[derive(Default)]
pub struct Reading {
    /// Which outstanding blocks.
    pub filter: Filter,
    /// Where debug files are, for frames that were not resolved when memmgr was killed.
    pub debug_directories: Vec<PathBuf>,
    /// What is known to leak.
    pub suppressions: Suppressions,
}

impl Input {
    /// The report, judged.
    pub fn load(&self, reading: &Reading) -> anyhow::Result<Report> {
        self.read(reading, None)
    }

    /// The report of what was allocated after `since` and is outstanding at this moment.
    pub fn load_since(&self, since: Duration, reading: &Reading) -> anyhow::Result<Report> {
        self.read(reading, Some(since))
    }

    fn read(&self, reading: &Reading, since: Option<Duration>) -> anyhow::Result<Report> {
        let path = &self.path;
        let shown = Safe::bytes(path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            ensure!(
                self.moment.is_none() && since.is_none() && self.process.is_none(),
                "{shown} is a directory, and its recordings began at times of their own: name one of them"
            );
            return directory(path, &shown, reading);
        }
        let mut file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let mut head = Vec::new();
        (&mut file)
            .take(16)
            .read_to_end(&mut head)
            .with_context(|| format!("cannot read {shown}"))?;
        if is_recording(&head) {
            ensure!(
                self.process.is_none(),
                "{shown} is the recording of one process: leave out what is behind the #"
            );
            let query = Query {
                since_s: since.map(|since| since.as_secs_f64()),
                until_s: self.moment.map(|moment| moment.as_secs_f64()),
                filter: reading.filter,
            };
            let recorded = Recording::open(path)?.read(&query)?;
            let late = symbolize_late(&recorded, &reading.debug_directories);
            let mut report = build(&recorded, &late, reading.filter);
            judge(&mut report, &reading.suppressions);
            return Ok(report);
        }
        ensure!(
            !head.is_empty(),
            "{shown} is empty: it is neither a recording nor a report of memmgr"
        );
        if self.moment.is_some() || since.is_some() {
            bail!("{shown} is no recording: only a recording holds more than one moment");
        }
        ensure!(
            reading.filter == Filter::default(),
            "{shown} is a report, which knows no single blocks: --min-age and --min-size need a recording or -p PID"
        );
        file.read_to_end(&mut head).with_context(|| format!("cannot read {shown}"))?;
        let mut report: Report = serde_json::from_slice(&head)
            .with_context(|| format!("{shown} is neither a recording nor a report of memmgr"))?;
        ensure!(
            report.schema == SCHEMA,
            "{shown} has the schema {}, this memmgr reads {SCHEMA}",
            Safe::text(&report.schema)
        );
        if let Some(pid) = self.process {
            report = process(report, pid, &shown)?;
        }
        // It was judged when it was made. Other suppressions make another judgement.
        if reading.suppressions.patterns().next().is_some() {
            report = judge_again(report, &reading.suppressions);
        }
        Ok(report)
    }
}

/// A merged report is judged by process.
fn judge_again(mut report: Report, suppressions: &Suppressions) -> Report {
    if report.processes.is_empty() {
        judge(&mut report, suppressions);
        return report;
    }
    let part = |process: Member| {
        let mut report = *process.report?;
        judge(&mut report, suppressions);
        Some(Part { report, since_s: process.since_s })
    };
    let parts = report.processes.into_iter().filter_map(part).collect();
    // Who is not in it is known from the capture alone.
    let target = report.target;
    Report { target, ..merge(parts) }
}

/// One process of a merged report.
fn process(report: Report, pid: u32, shown: &Safe) -> anyhow::Result<Report> {
    let pids: Vec<String> =
        report.processes.iter().map(|process| process.pid.to_string()).collect();
    ensure!(
        !pids.is_empty(),
        "{shown} is the report of one process: leave out what is behind the #"
    );
    let found = report.processes.into_iter().find(|process| process.pid == pid);
    let report = found.and_then(|process| process.report);
    report.map(|report| *report).with_context(|| {
        format!("{shown} holds no report of a process {pid}; it has {}", pids.join(", "))
    })
}

/// All recordings of a directory, merged.
fn directory(path: &Path, shown: &Safe, reading: &Reading) -> anyhow::Result<Report> {
    let unreadable = || format!("cannot read {shown}");
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        paths.extend(
            Some(path).filter(|path| path.extension().is_some_and(|ending| ending == "db")),
        );
    }
    paths.sort();
    let load = |path| Input { path, ..Input::default() }.load(reading);
    let mut reports = paths.into_iter().map(load).collect::<anyhow::Result<Vec<_>>>()?;
    // Of one that ended before it counted there is a file and nothing in it.
    reports.retain(|report| report.duration_s > 0.0);
    ensure!(
        !reports.is_empty(),
        "there is no recording in the directory {shown}: their names end with .db"
    );
    Ok(merge(parts_of(reports)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &str, moment_s: Option<f64>) {
        let input: Input = text.parse().unwrap();
        assert_eq!(input.path, Path::new(path));
        assert_eq!(input.moment.map(|moment| moment.as_secs_f64()), moment_s);
    }

    #[test]
    fn moments_stand_behind_an_at_sign() {
        check("rec.db", "rec.db", None);
        check("rec.db@30s", "rec.db", Some(30.0));
        check("a@b/rec.db@1m", "a@b/rec.db", Some(60.0));
        check("rec.db@0", "rec.db", Some(0.0));
        check("rec#a.db", "rec#a.db", None);
        let process: Input = "all.json#17".parse().unwrap();
        assert_eq!((process.path, process.process), ("all.json".into(), Some(17)));
        assert!("rec.db@soon".parse::<Input>().unwrap_err().contains("behind the @"));
    }
}
