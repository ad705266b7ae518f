//! `cargo xtask bench`: runs a bench and writes what it measured to its document in `docs/`.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{fmt::Write as _, fs, process::Stdio};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which bench
    #[arg(value_enum)]
    bench: Bench,
    /// Run only a part of the bench, and write no document: of `leaks` the cases whose names contain this, of
    /// `cost` one configuration (`glibc-1`) or allocator, of `apps` one application (`redis`) or rows of it
    /// (`redis:control,auto`), of `scale` one part (`storm`)
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Bench {
    /// Throughput that real programs keep, and how soon a leak in them is named
    Apps,
    /// Events a second, memory, and what an idle capture uses
    Collector,
    /// Nanoseconds a pair of malloc and free, by mode
    Cost,
    /// What it takes to look at a host with many processes
    Host,
    /// Verdicts over programs that leak and programs that do not
    Leaks,
    /// Size of long recordings, and the time to render them
    Recording,
    /// Time and memory to symbolize and render
    Render,
    /// Cost by threads and by captures at once, to other programs, and in a storm of allocations
    Scale,
}

/// Where tables go.
struct Document {
    path: &'static str,
    title: &'static str,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Bench::Apps => "apps",
            Bench::Collector => "collector",
            Bench::Cost => "cost",
            Bench::Host => "host",
            Bench::Leaks => "leaks",
            Bench::Recording => "recording",
            Bench::Render => "render",
            Bench::Scale => "scale",
        }
    }

    fn document(self) -> Document {
        match self {
            Bench::Leaks => Document { path: "docs/leaks.md", title: "Verdicts" },
            _ => Document { path: "docs/benchmarks.md", title: "Benchmarks" },
        }
    }

    /// What stands above the tables.
    fn introduction(self) -> &'static str {
        match self {
            Bench::Apps => {
                "Programs work as fast as they can, and leak 1 MiB a second in one function (`seeded_leak`), in blocks of 1 KiB, \
                 also where nothing traces them. Each tracer is attached, given 2 s to settle, and the operations of the \
                 next 2 s are compared with the mean of those of 2 s before and 2 s after it; all tracers in turn, \
                 7 times: figures are medians, with quartiles. What a program does per second of its own processor time says \
                 the same on a machine that is not quiet. `auto` has its default budget; `sample` and `exact` have none. \
                 Then one capture of a minute, under the same load, is looked at in steps of 5 s: when does it have a \
                 warning that names the function. heaptrack is injected by gdb into a process of its own; \
                 where that ends or hangs the program, its row says so."
            }
            Bench::Cost => {
                "A loop of `malloc(64)` and `free` is timed while different probes stand on them, on glibc and on jemalloc \
                 (preloaded), in 1 to 16 threads. All rows are measured in turn, several times, in one run on one process: \
                 figures are medians, with quartiles. Nanoseconds are processor time of the program's threads, with what \
                 the kernel does for the probes; memmgr's own processor time stands in a column of its own. The machine \
                 is not quiet, so that nanoseconds mean little from one run to the next: what counts are the ratios to \
                 *empty* programs on the same sites, which is what the kernel takes for trapping there. They are \
                 medians of the ratios within each round, and what is compared is not nanoseconds but multiples of what an \
                 empty probe on another function of the program costs in the same milliseconds: so the machine's moods \
                 are in neither. `sample` and `exact` run without a budget here."
            }
            Bench::Collector => {
                "Records as the kernel part writes them are handed to the collector, as fast as one core takes them, from 10,000 \
                 distinct stacks; an interval ends after every million. Rates are by processor time and exclude making the records. Copied stacks \
                 are those of a program of 1,600 functions, 12 to 60 frames deep. Memory is measured in processes that do nothing else."
            }
            Bench::Render => {
                "A program allocates from so many stacks of 30 frames, with a function inlined in each, and more around them. It is captured by \
                 `memmgr record`, which is killed, so that its recording holds no frames; then `memmgr report` makes each format of it. The \
                 program and its debug information are dropped from the page cache before each run; *read* is what came from disk. *End of a capture* is from \
                 Ctrl-C to the end of a `memmgr record` that is not killed, with the debug information not in memory either. Times \
                 are medians of three, and memory is the peak of what was resident."
            }
            Bench::Recording => {
                "Recordings are written as a capture writes them, with 30 frames a stack and 20,000 call sites, and rendered by `memmgr report`; \
                 times are from the start of the process to its end, medians of three."
            }
            Bench::Host => {
                "1,000 processes sleep. Times are those of reading all of them, medians of interleaved rounds with quartiles; smem is timed as a \
                 whole, from start to end. What a verb takes is its processor time over 20 s, 5 s after its start."
            }
            Bench::Scale => {
                "Everything is measured in turn with the same without captures, several times in one run: figures are medians, with quartiles."
            }
            Bench::Leaks => {
                "Every program of `tests/workloads/leaks/` is started, captured once with `memmgr report`, and judged from \
                 the JSON report alone. Its expectation is in the comment on top of its file. A leak is found when a finding \
                 of severity `warning` or `critical` is about a stack, and it is right when the first of them names the \
                 function that leaks. A program that does not leak is right when no finding at all has one of these \
                 severities."
            }
        }
    }
}

/// Builds memmgr and the benches, runs one as root, and replaces its section of the document.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.filter.is_some() && matches!(options.bench, Bench::Recording | Bench::Host) {
        bail!("`{}` takes no filter", options.bench.name());
    }
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
        .args(&options.filter)
        .env("MEMMGR_TEST_BIN", workspace.target.join("release/memmgr"))
        .stderr(Stdio::inherit());
    let tables = process::output(&mut command)?;
    println!("{tables}");
    if options.filter.is_some() {
        return Ok(());
    }
    let document = options.bench.document();
    let path = workspace.path(document.path);
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::create_dir_all(workspace.path("docs"))?;
    let section = section(options.bench, &tables)?;
    let after = replace_section(&before, document.title, options.bench.name(), &section);
    fs::write(&path, after).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", document.path);
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
fn replace_section(document: &str, title: &str, name: &str, section: &str) -> String {
    let fresh = format!("# {title}\n\nWritten by `cargo xtask bench`; do not edit by hand.\n");
    let document = if document.is_empty() { &fresh } else { document };
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
        let replace =
            |document: &str, name, section| replace_section(document, "Benchmarks", name, section);
        let first = replace("", "cost", "## cost\n\nold\n");
        assert!(first.starts_with("# Benchmarks\n\nWritten"), "{first}");
        assert!(first.ends_with("by hand.\n\n## cost\n\nold\n"), "{first}");
        let both = replace(&first, "apps", "## apps\n\nredis\n");
        let again = replace(&both, "cost", "## cost\n\nnew\n");
        assert!(
            again.contains("## cost\n\nnew\n\n## apps\n\nredis\n") && !again.contains("old"),
            "{again}"
        );
    }
}
