//! An action of `optimize`, or a plan, as one page.

use serde::Serialize;

use super::{STYLE, fill, json};
use crate::{
    escape::hostile_ranges,
    optimize::{
        report::Report,
        rows::{Table, rates, tables},
    },
};

const PAGE: &str = include_str!("optimize.html");
/// One module: the files share its scope, and the last one starts.
const SCRIPT: &str =
    concat!(include_str!("words.js"), include_str!("dom.js"), include_str!("optimize.js"));

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    /// The characters that are shown as escapes.
    hostile: String,
    report: &'a Report,
    /// What it is about, in words.
    subject: String,
    /// What it changed, in words.
    effect: Option<String>,
    tables: Vec<Table>,
    rates: Option<Table>,
}

/// The page.
///
/// # Errors
/// When a figure cannot be written as JSON.
pub fn page(report: &Report) -> anyhow::Result<Vec<u8>> {
    let data = json::for_script(&Data {
        hostile: hostile_ranges(),
        report,
        subject: report.subject.words(),
        effect: report.changed.as_ref().map(|changed| changed.effect.words()),
        tables: tables(report),
        rates: rates(report),
    })?;
    Ok(fill(PAGE, STYLE, SCRIPT, &data))
}
