//! `flamegraph`, `leaks` and `report`: capture, then render; or render an earlier report.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use memmgr::{
    capture::{AttachError, CapturePlan, Selection, Session, Target, TargetError, stack_choice},
    escape::Safe,
    pipeline::{self, Captured, Pulse},
    progress,
    report::{
        Report, SCHEMA,
        build::{Snapshot, build},
        last_look::LastLook,
    },
    sink::{Format, leaks_table, render},
    source::roots::Roots,
    symbolize::symbolize,
    units::human_bytes,
};

use super::{
    args::{Job, RenderFlags},
    render::Destinations,
};

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
    let destinations = open(&job.render, show, job.capture.pid)?;
    let report = match (&job.report, job.capture.plan()) {
        (Some(path), _) => load(path)?,
        (None, Some(plan)) => capture(&plan)?,
        (None, None) => anyhow::bail!("name a process with -p PID, or a report"),
    };
    destinations.write(
        &job.render,
        |format, options| render(format, &report, options),
        |options| match show {
            Show::Report => render(Format::Text, &report, options),
            Show::FlameGraph | Show::Leaks => Ok(leaks_table(&report, options).into_bytes()),
        },
    )
}

/// A flame graph that was not told where to go gets a file, and the table goes to stdout.
fn open(flags: &RenderFlags, show: Show, pid: Option<u32>) -> anyhow::Result<Destinations> {
    if show != Show::FlameGraph {
        return Destinations::open(flags, Format::Text, None);
    }
    let usual: PathBuf =
        pid.map_or_else(|| "memmgr.svg".into(), |pid| format!("memmgr.{pid}.svg").into());
    Destinations::open(flags, Format::Svg, Some(usual))
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

/// Reads a report from a JSON file.
pub fn load(path: &Path) -> anyhow::Result<Report> {
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
