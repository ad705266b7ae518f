//! `flamegraph`, `leaks` and `report`: capture, then render; or render an earlier report.

use std::{io, path::PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use memmgr::{
    capture::{CapturePlan, Selection, Session, Target},
    escape::Safe,
    govern::Budget,
    judge::{Suppressions, judge},
    pipeline::{self, Captured, Pulse},
    progress,
    recording::{Query, Recorder, Recording},
    report::{Finding, Report, build::build},
    sink::{Class, Format, leaks_table, render, write},
    source::roots::Roots,
    symbolize::Symbols,
    units::human_bytes,
};

use super::{
    args::{Job, JudgeFlags, RenderFlags, SeverityFlag},
    capture_flags::Whom,
    exit::Found,
    group,
    input::Reading,
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
    let whom = job.capture.whom();
    let destinations = open(&job.render, show, whom.as_ref())?;
    let suppressions = suppressions(&job.judge)?;
    let mut report = match (&job.input, whom) {
        (Some(input), _) => {
            let debug_directories = job.judge.debug_dir.clone();
            input.load(&Reading {
                filter: job.capture.filter(),
                debug_directories,
                suppressions,
            })?
        }
        (None, Some(Whom::One(pid))) => capture(&job.capture.plan(pid), &suppressions)?,
        (None, Some(Whom::Group(who))) => group::capture(&job.capture, who, &suppressions)?,
        (None, None) => anyhow::bail!("name a process with -p PID, or a recording"),
    };
    report.drop_flat_series();
    destinations.write(
        &job.render,
        Class::main_of(&report),
        |format, options, out| write(format, &report, options, out),
        |options| match show {
            Show::Report => render(Format::Text, &report, options),
            Show::FlameGraph | Show::Leaks => Ok(leaks_table(&report, options).into_bytes()),
        },
    )?;
    let limit = job.judge.fail_on;
    let found = |finding: &Finding| limit.is_some_and(|limit| severity(finding) >= Some(limit));
    if report.findings.iter().any(found) { Err(Found.into()) } else { Ok(()) }
}

fn severity(finding: &Finding) -> Option<SeverityFlag> {
    SeverityFlag::from_str(&finding.severity, false).ok()
}

/// All files of suppressions, read before anything is captured.
fn suppressions(flags: &JudgeFlags) -> anyhow::Result<Suppressions> {
    let mut text = String::new();
    for path in &flags.suppress {
        let shown = Safe::bytes(path.as_os_str().as_encoded_bytes());
        let file = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        // Each by itself first, so that a complaint names its file and line.
        Suppressions::parse(&file).with_context(|| shown.to_string())?;
        text.push_str(&file);
        text.push('\n');
    }
    Ok(Suppressions::parse(&text)?)
}

/// A flame graph that was not told where to go gets a file, and the table goes to stdout.
fn open(flags: &RenderFlags, show: Show, whom: Option<&Whom>) -> anyhow::Result<Destinations> {
    if show != Show::FlameGraph {
        return Destinations::open(flags, Format::Text, None);
    }
    let usual: PathBuf = match whom {
        Some(Whom::One(pid)) => format!("memmgr.{pid}.svg").into(),
        Some(Whom::Group(_)) | None => "memmgr.svg".into(),
    };
    Destinations::open(flags, Format::Svg, Some(usual))
}

/// Attaches, captures, builds the report and judges it.
pub fn capture(plan: &CapturePlan, suppressions: &Suppressions) -> anyhow::Result<Report> {
    let roots = Roots::default();
    let recording = Recording::in_memory(plan.count_scale())?;
    let session = Session::attach(&roots, plan, None)?;
    let recording = record(&roots, plan, session, recording, Until::Interrupted, || Ok(()))?;
    let query = Query { filter: plan.filter, ..Query::default() };
    let mut report = build(&recording.read(&query)?, &Symbols::new(), plan.filter);
    judge(&mut report, suppressions);
    Ok(report)
}

/// What ends a capture beside its duration and the target's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Ctrl-C, and whatever else ends programs.
    Interrupted,
    /// Not Ctrl-C: the terminal sends it to the captured command too, whose end is awaited.
    Ended,
}

/// Captures into a recording, symbols and all. `go` is called when every call counts.
pub fn record(
    roots: &Roots,
    plan: &CapturePlan,
    session: Session,
    recording: Recording,
    until: Until,
    go: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Recording> {
    // One thread: with a second one for timers every drain would be a wake-up of both.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("memmgr's threads could not be started")?;
    let recorder = Recorder::start(recording).context("memmgr's threads could not be started")?;
    let (captured, target) =
        runtime.block_on(follow(roots, plan, session, &recorder, until, go))?;
    let last = captured.last_look(roots, &target);
    pipeline::conclude(roots, plan, captured, last, recorder)
}

/// Ends when a signal asks for it. To be called within a runtime.
pub fn interrupted(until: Until) -> io::Result<impl Future<Output = ()> + Unpin> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(Box::pin(async move {
        tokio::select! {
            () = async { while interrupt.recv().await.is_none() || until == Until::Ended {} } => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }))
}

async fn follow(
    roots: &Roots,
    plan: &CapturePlan,
    session: Session,
    recorder: &Recorder,
    until: Until,
    go: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<(Captured, Target)> {
    let (pulse, pulses) = watch::channel(Pulse::default());
    let shown =
        progress::start(pulses, plan.duration).context("memmgr's threads could not be started")?;
    let interrupted = interrupted(until)?;
    // Said only now: who waits for this line may rely on every call from here on, and on Ctrl-C.
    let mut gone = Ok(());
    let counting = |session: &Session| {
        memmgr::say!("{}", attached(plan, session, until));
        gone = go();
    };
    let captured =
        pipeline::run(roots, plan, session, recorder, &pulse, counting, interrupted).await;
    drop(pulse);
    shown.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    gone?;
    Ok(captured?)
}

fn attached(plan: &CapturePlan, session: &Session, until: Until) -> String {
    let what = match session.rung {
        Some(rung) => {
            format!("{} functions probed by {}", session.plan.functions().len(), rung.name())
        }
        None => "page faults and mappings traced".to_owned(),
    };
    let mode = match plan.selection {
        Selection::Growth { .. } if plan.budget.is_below_a_window() => {
            "so small a budget allows no probe in an allocator: only a few page faults and mappings are looked at".to_owned()
        }
        Selection::Exact => "every call, whatever it costs".to_owned(),
        Selection::Auto { .. } => match plan.budget {
            Budget::Off => "every call, whatever it costs".to_owned(),
            Budget::Percent(percent) => format!("every call, as far as {percent} % of its time go"),
        },
        Selection::Sample { interval } | Selection::Growth { interval } => {
            format!("a sample every {}", human_bytes(interval))
        }
    };
    let until = match plan.duration {
        None if until == Until::Ended => "until it ends".to_owned(),
        Some(duration) => {
            format!("{} (Ctrl-C ends it early)", humantime::format_duration(duration))
        }
        None => "until Ctrl-C".to_owned(),
    };
    format!(
        "memmgr: capturing {} ({}): {what} in {:.0} ms; {mode}; {until}",
        Safe::text(&session.target.identity.comm),
        plan.pid,
        session.attach_s * 1e3,
    )
}
