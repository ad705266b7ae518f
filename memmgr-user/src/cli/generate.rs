//! Man pages and shell completions, from the same definition as `--help`.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Arguments, Generate, Generated};

/// Writes them.
pub fn run(what: &Generate) -> anyhow::Result<()> {
    let directory = &what.directory;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let mut command = Arguments::command();
    match what.what {
        Generated::Man => clap_mangen::generate_to(command, directory)?,
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish] {
                clap_complete::generate_to(shell, &mut command, "memmgr", directory)?;
            }
        }
    }
    Ok(())
}
