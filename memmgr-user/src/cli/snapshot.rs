//! Where what was seen at one moment goes: to one file or stdout, as text or as JSON.

use std::path::PathBuf;

use clap::Args;
use memmgr::output::Output;
use serde::Serialize;

use super::render::terminal;

/// Of verbs that show a moment.
#[derive(Debug, Args)]
pub struct Snapshot {
    /// Write to this file, `-` for stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub output: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Rows of a table
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
}

impl Snapshot {
    /// Opens the place, so that a bad one fails before anything is looked at.
    pub fn open(&self) -> anyhow::Result<Output> {
        Ok(Output::open(&self.output, self.force)?)
    }

    /// Writes it. `text` takes the rows of a table, whether there is colour, and the columns.
    pub fn write<T: Serialize>(
        &self,
        output: Output,
        seen: &T,
        text: impl FnOnce(&T, usize, bool, Option<usize>) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            let mut json = serde_json::to_vec_pretty(seen)?;
            json.push(b'\n');
            return output.commit(&json);
        }
        let (color, width) = if output.is_stdout() { terminal() } else { (false, None) };
        output.commit(text(seen, self.top, color, width).as_bytes())
    }
}
