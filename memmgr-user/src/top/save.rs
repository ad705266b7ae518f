//! A report as a page in a new file.

use std::path::PathBuf;

use crate::{
    output::{Output, OutputError},
    report::Report,
    sink::{Class, Format, RenderOptions, write},
};

/// Names that are tried: a person does not keep more of one process in one directory.
const MOST: usize = 1000;

/// Writes the report, and says where: `memmgr.NAME.PID.html` in the working directory, or with a number where that is
/// taken. Nothing is ever overwritten.
///
/// # Errors
/// When it cannot be written there.
pub fn save(report: &Report) -> anyhow::Result<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = report.target.comm.chars().map(plain).collect();
    let stem = format!("memmgr.{name}.{}", report.target.pid);
    let mut report = report.clone();
    report.drop_flat_series();
    let options = RenderOptions { class: Class::main_of(&report), ..RenderOptions::default() };
    for number in 1..MOST {
        let path = PathBuf::from(match number {
            1 => format!("{stem}.html"),
            _ => format!("{stem}.{number}.html"),
        });
        let output = match Output::open(&path, false) {
            Err(OutputError::Exists(_)) => continue,
            output => output?,
        };
        output.commit_with(|out| write(Format::Html, &report, &options, out))?;
        return Ok(path);
    }
    anyhow::bail!("there are {MOST} files like {stem}.html here: move them away")
}
