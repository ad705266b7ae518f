//! `cargo xtask vm`: memmgr on older kernels, in guests under QEMU by emulation.

mod guest;
mod kernel;
mod optimized;
mod verdict;
mod watched;

use crate::{process, workspace::Workspace};
use anyhow::{Result, bail};
use kernel::Series;
use std::{env, path::PathBuf, time::Instant};

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kernel series that Debian offers; each must attach in the best way it has
    #[arg(value_name = "KERNEL", default_values = ["6.1", "6.12"])]
    kernels: Vec<Series>,
}

/// The chore for the tests: a kernel without uprobe.multi and one with it.
pub(crate) fn older(workspace: &Workspace) -> Result<()> {
    run(workspace, &Options { kernels: vec![Series(6, 1), Series(6, 12)] })
}

/// Boots each kernel, captures in it, and prints a line that begins with VERDICT or `skipped:`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target.join("vm");
    let tools = match guest::Tools::find() {
        Ok(tools) => tools,
        Err(why) => return skip("kernel guests", &why),
    };
    let binary = binary(workspace)?;
    let initramfs = guest::initramfs(workspace, &tools, &binary, &folder)?;
    let mut failed = 0;
    for &series in &options.kernels {
        let kernel = match kernel::get(series, &folder) {
            Ok(kernel) => kernel,
            Err(why) => {
                skip(&format!("kernel {series}"), &why)?;
                continue;
            }
        };
        let begin = Instant::now();
        let verdict = guest::boot(&tools, &kernel, &initramfs, &folder)
            .and_then(|evidence| verdict::judge(&evidence, series.rung()));
        let seconds = begin.elapsed().as_secs_f64();
        match verdict {
            Ok(summary) => println!("VERDICT {} ok: {summary}, {seconds:.0} s", kernel.release),
            Err(why) => {
                failed += 1;
                println!("VERDICT {} FAILED, {seconds:.0} s: {why:#}", kernel.release);
            }
        }
    }
    if failed > 0 {
        bail!(
            "{failed} of {} kernels failed; {} has the logs",
            options.kernels.len(),
            folder.display()
        );
    }
    Ok(())
}

/// What cannot run here is a skip, but a failure on CI.
fn skip(what: &str, why: &anyhow::Error) -> Result<()> {
    if process::is_ci() {
        bail!("{what}: {why:#}");
    }
    println!("skipped: {what}: {why:#}");
    Ok(())
}

/// The memmgr to test: the one that the tests name, else a fresh release binary.
fn binary(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(binary) = env::var_os("MEMMGR_TEST_BIN") {
        return Ok(binary.into());
    }
    process::run(&mut workspace.cargo(["build", "--quiet", "--release", "--package=memmgr-user"]))?;
    Ok(workspace.target.join("release/memmgr"))
}
