//! `cargo xtask test`: the one test command.
//!
//! Tests that need root or BPF decide by themselves: they fail when `CI` is set, and otherwise append
//! a line `NAME: REASON` to the file that `MEMMGR_TEST_SKIPS` names and return. A skip on CI is a failure here.

use crate::{
    ebpf, go_toolchains, packages, process, tidy, totals::Totals, vm, workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind},
    path::Path,
    process::Stdio,
    time::Instant,
};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install nothing
    #[arg(long)]
    no_install: bool,
    /// Run only the tests whose names contain this, and none of the checks before them
    filter: Option<String>,
}

/// A name and what it does.
type Step = (&'static str, fn(&Workspace) -> Result<()>);

const INSTALL: Step = ("packages", packages::install);
const GO: Step = ("Go toolchains", go_toolchains::fetch);
const CHECKS: [Step; 4] = [
    ("tidy", tidy::house_rules),
    ("rustfmt", rustfmt),
    ("clippy", clippy),
    ("eBPF object", ebpf::check),
];
const BUILD: Step = ("release binary", build);
const README: Step = ("README", tidy::readme);
const GUESTS: Step = ("kernel guests", vm::older);

/// Runs the steps in order. A failed step does not stop the next, so that one run shows everything.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let begin = Instant::now();
    let filter = options.filter.as_deref();
    let mut steps = Vec::new();
    if filter.is_none() {
        steps.extend((!options.no_install).then_some([INSTALL, GO]).into_iter().flatten());
        steps.extend(CHECKS);
    }
    steps.push(BUILD);
    steps.extend(filter.is_none().then_some(README));

    let mut failed = Vec::new();
    let guests = filter.is_none().then_some(GUESTS);
    let count = steps.len() + 1 + usize::from(guests.is_some());
    let mut step = |number: usize, name: &'static str, act: &mut dyn FnMut() -> Result<()>| {
        println!("\n== {number}/{count} {name}");
        let begin = Instant::now();
        let result = act();
        let seconds = begin.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("-- {name}: ok, {seconds:.1} s"),
            Err(error) => {
                println!("-- {name}: FAILED, {seconds:.1} s: {error:#}");
                failed.push(name);
            }
        }
    };
    let before = steps.len();
    for (index, (name, act)) in steps.into_iter().enumerate() {
        step(index + 1, name, &mut || act(workspace));
    }
    let mut totals = Totals::default();
    step(before + 1, "tests", &mut || tests(workspace, filter, &mut totals));
    if let Some((name, act)) = guests {
        step(count, name, &mut || act(workspace));
    }

    for skip in &totals.skipped {
        println!("skipped: {skip}");
    }
    for name in &totals.failed {
        println!("failed: {name}");
    }
    let seconds = begin.elapsed().as_secs();
    if failed.is_empty() {
        println!("\ncargo xtask test: ok: {count} steps; {totals}; {seconds} s");
        return Ok(());
    }
    println!("\ncargo xtask test: FAILED: {}; {totals}; {seconds} s", failed.join(", "));
    bail!("{} of {count} steps failed", failed.len())
}

fn rustfmt(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo(["fmt", "--all", "--check", "--", "-l"]))
        .context("run `cargo fmt --all`")
}

fn clippy(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--exclude=memmgr-ebpf",
        "--all-targets",
        "--",
        "--deny=warnings",
    ]))
}

fn build(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo(["build", "--quiet", "--release", "--package=memmgr-user"]))
}

/// Every test program of the workspace, against the release binary.
fn tests(workspace: &Workspace, filter: Option<&str>, totals: &mut Totals) -> Result<()> {
    let binary = workspace.target.join("release/memmgr");
    let skips = workspace.target.join("skipped-tests.txt");
    remove_if_there(&skips)?;
    let mut command = workspace.cargo([
        "test",
        "--quiet",
        "--workspace",
        "--exclude=memmgr-ebpf",
        "--no-fail-fast",
    ]);
    let mut child = command
        .args(["--", "--format=pretty"])
        .args(filter)
        .env("MEMMGR_TEST_BIN", &binary)
        .env("MEMMGR_TEST_SKIPS", &skips)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::line(&command)))?;
    let output = child.stdout.take().context("the tests have no output")?;
    for line in BufReader::new(output).split(b'\n') {
        // A test may write any bytes.
        let line = line.context("cannot read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.line(&line);
    }
    let status = child.wait().context("cannot wait for the tests")?;
    totals.skipped = lines_if_there(&skips)?;
    if !status.success() {
        bail!("`{}` failed: {status}", process::line(&command));
    }
    if totals.ran() == 0 {
        bail!(
            "no test ran{}",
            filter.map_or(String::new(), |name| format!(": none is named like `{name}`"))
        );
    }
    if process::is_ci() && !totals.skipped.is_empty() {
        bail!("{} tests were skipped, on CI", totals.skipped.len());
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn lines_if_there(path: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
