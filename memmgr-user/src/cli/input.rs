//! What a report is made from when nothing is captured: a recording, a moment of one, or a JSON report.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use memmgr::{
    aggregate::Filter,
    escape::Safe,
    judge::{Suppressions, judge},
    recording::{Query, Recording, is_recording},
    report::{Report, SCHEMA, build::build},
    symbolize::symbolize_late,
};

/// `FILE` or `FILE@TIME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub path: PathBuf,
    /// The moment, since counting began.
    pub moment: Option<Duration>,
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A file may have an @ in its name: then it is that file.
        match text.rsplit_once('@') {
            Some((path, moment)) if !path.is_empty() && !Path::new(text).exists() => {
                let moment = super::values::time(moment)
                    .map_err(|error| format!("{moment:?} behind the @ is no time: {error}"))?;
                Ok(Input { path: path.into(), moment: Some(moment) })
            }
            _ => Ok(Input { path: text.into(), moment: None }),
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
        let mut file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let mut head = Vec::new();
        (&mut file)
            .take(16)
            .read_to_end(&mut head)
            .with_context(|| format!("cannot read {shown}"))?;
        if is_recording(&head) {
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
        // It was judged when it was made. Other suppressions make another judgement.
        if reading.suppressions.patterns().next().is_some() {
            judge(&mut report, &reading.suppressions);
        }
        Ok(report)
    }
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
        assert!("rec.db@soon".parse::<Input>().unwrap_err().contains("behind the @"));
    }
}
