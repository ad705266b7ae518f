//! The benches, run by `cargo xtask bench NAME [FILTER]`. Every time is a median of interleaved rounds; what is
//! judged are ratios within one run, because the machine is not quiet.

mod apps;
mod cost;
mod floor;
mod leaks;
mod mode;
mod recording;
mod statistics;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = |number| std::env::args().nth(number).unwrap_or_default();
    let result = match argument(1).as_str() {
        "apps" => apps::run(&argument(2)),
        "cost" => cost::run(&argument(2)),
        "leaks" => leaks::run(&argument(2)),
        "recording" => recording::run(),
        other => Err(anyhow::anyhow!(
            "there is no bench {other:?}; there are: apps, cost, leaks, recording"
        )),
    };
    match result {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
