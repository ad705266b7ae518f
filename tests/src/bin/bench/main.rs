//! The benches, run by `cargo xtask bench NAME [FILTER]`. Every time is a median of interleaved rounds; what is
//! judged are ratios within one run, because the machine is not quiet.

mod apps;
mod collector;
mod cost;
mod floor;
mod heap_calls;
mod host;
mod lanes;
mod leaks;
mod mode;
mod recording;
mod render;
mod scale;
mod service;
mod statistics;
mod target;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = |number| std::env::args().nth(number).unwrap_or_default();
    let result = match argument(1).as_str() {
        "apps" => apps::run(&argument(2)),
        "collector" => collector::run(&argument(2)),
        "cost" => cost::run(&argument(2)),
        "host" => host::run(),
        "leaks" => leaks::run(&argument(2)),
        "recording" => recording::run(),
        "render" => render::run(),
        "scale" => scale::run(&argument(2)),
        other => Err(anyhow::anyhow!(
            "there is no bench {other:?}; there are: apps, collector, cost, host, leaks, recording, render, scale"
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
