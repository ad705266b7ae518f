//! `flamegraph`, `leaks` and `report`: capture, then render; or render an earlier report.

use std::{
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use memmgr::{
    capture::{AttachError, CapturePlan, Selection, Session, Target, TargetError, stack_choice},
    escape::Safe,
    output::Output,
    pipeline::{self, Captured, Pulse},
    progress,
    report::{
        Report, SCHEMA,
        build::{Snapshot, build},
        last_look::LastLook,
    },
    sink::{Format, RenderOptions, leaks_table, render},
    source::roots::Roots,
    symbolize::symbolize,
    units::human_bytes,
};

use super::args::{Job, RenderFlags};

/// What a verb prints on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// The table; the flame graph goes to a file.
    FlameGraph,
    /// The table.
    Leaks,
    /// The whole report.
    Report,
}

/// Runs one of the three verbs.
pub fn run(job: &Job, show: Show) -> anyhow::Result<()> {
    let destinations = Destinations::open(&job.render, show, job.capture.pid)?;
    let report = match (&job.report, job.capture.plan()) {
        (Some(path), _) => load(path)?,
        (None, Some(plan)) => capture(&plan)?,
        (None, None) => anyhow::bail!("name a process with -p PID, or a report"),
    };
    destinations.write(&report, &job.render, show)
}

/// Attaches, captures and builds the report.
pub fn capture(plan: &CapturePlan) -> anyhow::Result<Report> {
    let roots = Roots::default();
    let session = Session::attach(&roots, plan)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("memmgr's threads could not be started")?;
    let (captured, target) = runtime.block_on(follow(&roots, plan, session))?;
    // Figures first: symbolizing takes a while, and the target goes on living.
    let last = LastLook::take(&roots, &target.dir);
    let snapshot = Snapshot::take(&captured, plan.filter);
    let modules = &captured.collector.modules;
    let symbols = symbolize(modules, plan.pid, &roots.proc, &snapshot.addresses());
    let stack = stack_choice::describe(&captured.facts.stack, plan, modules);
    let report = build(plan, &captured, &snapshot, &symbols, stack, last);
    if report.capture.accounting.seen == 0 && report.target.ended == "exited" {
        return Err(AttachError::Target(TargetError::Ended(plan.pid)).into());
    }
    Ok(report)
}

async fn follow(
    roots: &Roots,
    plan: &CapturePlan,
    session: Session,
) -> anyhow::Result<(Captured, Target)> {
    let (pulse, pulses) = watch::channel(Pulse::default());
    let shown = tokio::spawn(progress::show(pulses, plan.duration));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let interrupted = Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    });
    // Said only now: who waits for this line may rely on every call from here on, and on Ctrl-C.
    let counting = |session: &Session| eprintln!("{}", attached(plan, session));
    let captured = pipeline::run(roots, plan, session, &pulse, counting, interrupted).await;
    drop(pulse);
    shown.await.context("the progress line failed")?;
    Ok(captured?)
}

fn attached(plan: &CapturePlan, session: &Session) -> String {
    let probes = session.plan.functions().len();
    let mode = match plan.selection {
        Selection::Exact => "every call".to_owned(),
        Selection::Sample { interval } => format!("a sample every {}", human_bytes(interval)),
    };
    let until = match plan.duration {
        Some(duration) => {
            format!("{} (Ctrl-C ends it early)", humantime::format_duration(duration))
        }
        None => "until Ctrl-C".to_owned(),
    };
    format!(
        "memmgr: capturing {} ({}): {probes} functions probed by {} in {:.0} ms; {mode}; {until}",
        Safe::text(&session.target.identity.comm),
        plan.pid,
        session.rung.name(),
        session.attach_s * 1e3,
    )
}

fn load(path: &Path) -> anyhow::Result<Report> {
    let shown = Safe::bytes(path.as_os_str().as_encoded_bytes());
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let report: Report = serde_json::from_slice(&bytes)
        .with_context(|| format!("{shown} is no report of memmgr"))?;
    anyhow::ensure!(
        report.schema == SCHEMA,
        "{shown} has the schema {}, this memmgr reads {SCHEMA}",
        Safe::text(&report.schema)
    );
    Ok(report)
}

/// Where the results go; opened before the capture, so that a bad path fails before the wait.
struct Destinations {
    files: Vec<(PathBuf, Format, Output)>,
    stdout_taken: bool,
}

impl Destinations {
    fn open(flags: &RenderFlags, show: Show, pid: Option<u32>) -> anyhow::Result<Self> {
        let mut paths = flags.output.clone();
        if paths.is_empty() && show == Show::FlameGraph && flags.format.is_none() && !flags.json {
            paths.push(
                pid.map_or_else(|| "memmgr.svg".into(), |pid| format!("memmgr.{pid}.svg")).into(),
            );
        }
        let fallback = flags.format.unwrap_or(match show {
            Show::FlameGraph => Format::Svg,
            Show::Leaks | Show::Report => Format::Text,
        });
        let mut files = Vec::new();
        for path in paths {
            let format = format_of(&path, flags.format, fallback)?;
            let output = Output::open(&path, flags.force)?;
            files.push((path, format, output));
        }
        let stdout_taken = files.iter().any(|(_, _, output)| output.is_stdout());
        Ok(Destinations { files, stdout_taken })
    }

    fn write(self, report: &Report, flags: &RenderFlags, show: Show) -> anyhow::Result<()> {
        let terminal = stdout().is_terminal();
        let options = RenderOptions {
            metric: flags.metric,
            class: flags.class,
            top: flags.top,
            color: false,
            width: None,
        };
        for (path, format, output) in self.files {
            let on_stdout = output.is_stdout();
            output.commit(&render(format, report, &options)?)?;
            if !on_stdout {
                eprintln!("memmgr: wrote {}", Safe::bytes(path.as_os_str().as_encoded_bytes()));
            }
        }
        if self.stdout_taken {
            return Ok(());
        }
        let on_terminal = RenderOptions {
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: terminal.then(terminal_width).flatten(),
            ..options
        };
        let bytes = match (flags.json, flags.format, show) {
            (true, ..) => render(Format::Json, report, &on_terminal)?,
            (_, Some(format), _) => render(format, report, &on_terminal)?,
            (_, None, Show::Report) => render(Format::Text, report, &on_terminal)?,
            (_, None, Show::FlameGraph | Show::Leaks) => {
                leaks_table(report, &on_terminal).into_bytes()
            }
        };
        Ok(Output::open(Path::new("-"), false)?.commit(&bytes)?)
    }
}

/// The ending decides, then `--format`; an ending that means nothing is an error before the capture.
fn format_of(path: &Path, asked: Option<Format>, fallback: Format) -> anyhow::Result<Format> {
    match (Format::from_extension(path), asked) {
        (Some(format), _) | (None, Some(format)) => Ok(format),
        (None, None) if path.extension().is_none() => Ok(fallback),
        (None, None) => anyhow::bail!(
            "the ending of {} says no format: use .svg, .json, .folded, .txt, .pb.gz, .speedscope.json, .heaptrack or .massif, or give --format",
            Safe::bytes(path.as_os_str().as_encoded_bytes())
        ),
    }
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
