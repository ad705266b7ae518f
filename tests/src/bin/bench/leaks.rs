//! `leaks`: every case of `workloads/leaks/` captured and judged, as a table of what was right and what was not.

mod table;

use std::{fs, path::Path, time::Instant};

use anyhow::{Result, ensure};
use memmgr_tests::{
    Outcome,
    leaks::{Case, Load, Verdict, capture},
};

use self::table::Row;
use super::lanes;

/// Captures of light cases at a time: they and their captures mostly wait.
const LANES: usize = 12;

/// Where the reports are left, for whoever wants to know why.
const REPORTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/leak-reports");

/// Captures the cases whose names contain the filter and returns the tables.
pub fn run(filter: &str) -> Result<String> {
    let cases: Vec<Case> =
        Case::all()?.into_iter().filter(|case| case.name.contains(filter)).collect();
    ensure!(!cases.is_empty(), "no case has {filter:?} in its name");
    fs::create_dir_all(REPORTS)?;
    // Compilers beside captures would take the processors from them.
    let processors = std::thread::available_parallelism()?.get();
    lanes::each(processors, &cases, |case| drop(case.command()));

    let begin = Instant::now();
    let (mut light, heavy): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.load == Load::Light);
    // The longest first, so that no lane is left with one at the end.
    light.sort_by_key(|case| std::cmp::Reverse(case.seconds));
    let mut rows = lanes::each(LANES, &light, judge);
    rows.extend(lanes::each(1, &heavy, judge));
    rows.sort_by(|a, b| a.case.order().cmp(&b.case.order()));
    eprintln!(
        "{} captures in {} s; reports are in {REPORTS}",
        rows.len(),
        begin.elapsed().as_secs()
    );
    Ok(table::render(&rows))
}

fn judge(case: &Case) -> Row {
    let outcome = capture(case, case.seconds);
    let row = Row { case: case.clone(), result: read(case, &outcome) };
    eprintln!("{}: {}", case.name, row.judgement());
    row
}

/// What the capture said, or why there was none.
fn read(case: &Case, outcome: &Outcome) -> Result<(Verdict, bool), String> {
    let Some(report) = outcome.report.as_ref().filter(|_| outcome.code == 0) else {
        return Err(outcome.stderr.lines().collect::<Vec<_>>().join("; "));
    };
    // A program that crashed is no quiet one.
    if report.target.ended != "duration" {
        return Err(format!("the program ended: {}", report.target.ended));
    }
    let path = Path::new(REPORTS).join(&case.name).with_extension("json");
    let json = serde_json::to_vec(report).map_err(|error| error.to_string())?;
    fs::write(&path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((Verdict::of(report), report.capture.complete))
}
