//! The benches, run by `cargo xtask bench NAME [FILTER]`. Every time is a median of interleaved rounds; what is
//! judged are ratios within one run, because the machine is not quiet.

mod cost;
mod floor;
mod leaks;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = |number| std::env::args().nth(number).unwrap_or_default();
    let result = match argument(1).as_str() {
        "cost" => cost::run(),
        "leaks" => leaks::run(&argument(2)),
        other => Err(anyhow::anyhow!("there is no bench {other:?}; there are: cost, leaks")),
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
