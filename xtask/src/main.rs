//! The chores of memmgr, run as `cargo xtask CHORE`.

mod bench;
mod dist;
mod ebpf;
mod go_toolchains;
mod object;
mod packages;
mod process;
mod stamp;
mod test;
mod tidy;
mod toolchain;
mod totals;
mod vm;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

/// The chores of memmgr.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the eBPF object from source and stamp it
    Ebpf(ebpf::Options),
    /// Install what is missing, check everything and run every test
    Test(test::Options),
    /// Measure, and write the tables to docs/
    Bench(bench::Options),
    /// Boot older kernels under QEMU and capture in each
    Vm(vm::Options),
    /// Check the house rules
    Tidy,
    /// Pack the release binary, man pages and completions into target/dist
    Dist,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Ebpf(options) => ebpf::run(&workspace, options),
        Chore::Test(options) => test::run(&workspace, options),
        Chore::Bench(options) => bench::run(&workspace, options),
        Chore::Vm(options) => vm::run(&workspace, options),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Dist => dist::run(&workspace),
    }
}
