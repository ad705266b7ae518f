//! `memmgr`: what was typed → what it means → what it does → how it ended.

mod cli;

use std::process::ExitCode;

use clap::Parser;

use cli::{args::Arguments, exit, run};
use memmgr::own_memory::keep_little;

fn main() -> ExitCode {
    keep_little();
    cli::log();
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
