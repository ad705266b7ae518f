//! `cargo xtask bench`: runs a bench and writes what it measured to `docs/benchmarks.md`.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{fmt::Write as _, fs};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which bench
    #[arg(value_enum)]
    bench: Bench,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Bench {
    /// Nanoseconds a pair of malloc and free, by mode
    Cost,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Bench::Cost => "cost",
        }
    }

    /// What stands above the tables.
    fn introduction(self) -> &'static str {
        match self {
            Bench::Cost => {
                "A loop of `malloc` and `free` is timed while different probes stand on them. All rows are measured in \
                 turn, many times, in one run on one process; figures are medians. The machine is not quiet, so that \
                 nanoseconds mean little from one run to the next: the ratios to *empty* programs on the same sites, \
                 which is what the kernel takes for trapping there, are what counts."
            }
        }
    }
}

const DOCUMENT: &str = "docs/benchmarks.md";

/// Builds memmgr and the benches, runs one as root, and replaces its section of the document.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("probes need root: run `sudo cargo xtask bench {}`", options.bench.name());
    }
    for package in ["memmgr-user", "memmgr-tests"] {
        process::run(
            workspace.cargo(["build", "--quiet", "--release"]).args(["--package", package]),
        )?;
    }
    let mut command = std::process::Command::new(workspace.target.join("release/bench"));
    command
        .arg(options.bench.name())
        .env("MEMMGR_TEST_BIN", workspace.target.join("release/memmgr"));
    let tables = process::output(&mut command)?;
    println!("{tables}");
    let path = workspace.path(DOCUMENT);
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::create_dir_all(workspace.path("docs"))?;
    let after = replace_section(&before, options.bench.name(), &section(options.bench, &tables)?);
    fs::write(&path, after).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {DOCUMENT}");
    Ok(())
}

fn section(bench: Bench, tables: &str) -> Result<String> {
    let mut text = format!("## {}\n\n{}\n\n", bench.name(), bench.introduction());
    writeln!(
        text,
        "Repeat it with `sudo cargo xtask bench {}`. Measured on {}.\n",
        bench.name(),
        machine()?
    )?;
    text.push_str(tables.trim());
    text.push('\n');
    Ok(text)
}

/// The machine in a line: processor, processors, memory, kernel, and whether it is a guest.
fn machine() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))
            .map_or("unknown", |(_, value)| value.trim())
    };
    let guest =
        if field("flags").contains("hypervisor") { "a virtual machine" } else { "bare metal" };
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = rustix::system::uname();
    Ok(format!(
        "{guest}, {cores} × {}, Linux {}",
        field("model name"),
        kernel.release().to_string_lossy()
    ))
}

/// Puts a section in the place of the one with the same heading, or at the end.
fn replace_section(document: &str, name: &str, section: &str) -> String {
    const TITLE: &str = "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit by hand.\n";
    let document = if document.is_empty() { TITLE } else { document };
    let heading = format!("## {name}\n");
    let Some(start) = document.find(&heading) else {
        return format!("{}\n\n{section}", document.trim_end());
    };
    let rest = &document[start + heading.len()..];
    let end = rest.find("\n## ").map_or("", |end| &rest[end..]);
    format!("{}{}{end}", &document[..start], section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_elder() {
        let first = replace_section("", "cost", "## cost\n\nold\n");
        assert!(first.ends_with("by hand.\n\n## cost\n\nold\n"), "{first}");
        let both = replace_section(&first, "apps", "## apps\n\nredis\n");
        let again = replace_section(&both, "cost", "## cost\n\nnew\n");
        assert!(
            again.contains("## cost\n\nnew\n\n## apps\n\nredis\n") && !again.contains("old"),
            "{again}"
        );
    }
}
