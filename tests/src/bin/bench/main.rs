//! The benches, run by `cargo xtask bench`. Every figure is a median of interleaved rounds; what is
//! judged are ratios within one run, because the machine is not quiet.

mod cost;
mod floor;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let result = match name.as_str() {
        "cost" => cost::run(),
        other => Err(anyhow::anyhow!("there is no bench {other:?}; there is: cost")),
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
