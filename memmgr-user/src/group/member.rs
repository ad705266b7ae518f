//! The capture of one process of a group, in a thread of its own.

use std::{
    thread::{Builder, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::sync::{Semaphore, watch};

use super::{Found, Part, Terms};
use crate::{
    capture::{CapturePlan, Session},
    escape::Safe,
    judge::judge,
    pipeline::{self, Pulse},
    recording::{Query, Recorder},
    report::build::build,
    symbolize::Symbols,
};

const NO_THREADS: &str = "memmgr's threads could not be started";
const TOO_LATE: &str = "the capture was over before this process was attached to";

/// How far the whole capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Those that were there first are being attached to.
    Gathering,
    /// Whoever is attached counts.
    Counting {
        /// Since when.
        began: Instant,
        /// When everybody ends by himself.
        until: Option<Instant>,
    },
    /// Whoever still counts ends.
    Over,
}

/// How far one process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// Probes are put in place.
    #[default]
    Attaching,
    /// They are, and wait for the others.
    Attached {
        /// How many functions have probes.
        functions: usize,
        /// By which means.
        by: &'static str,
    },
    /// Its calls count.
    Counting,
}

/// What all threads share.
pub(super) struct Shared<'a> {
    pub(super) terms: &'a Terms<'a>,
    pub(super) phase: watch::Sender<Phase>,
    /// For what takes a processor for a while: attaching, and making a report.
    pub(super) turns: Semaphore,
}

/// A process that is captured.
pub(super) struct Member<'scope> {
    pub(super) found: Found,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) pulse: watch::Receiver<Pulse>,
    /// Whether it was said that it is captured.
    pub(super) is_announced: bool,
    /// Whether others counted already when it was found.
    pub(super) is_late: bool,
    /// Steps of the pulse that were told.
    told: usize,
    pub(super) thread: ScopedJoinHandle<'scope, anyhow::Result<Part>>,
}

impl<'scope> Member<'scope> {
    /// Begins to attach.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        shared: &'env Shared<'env>,
        found: Found,
    ) -> anyhow::Result<Self> {
        let (told, progress) = watch::channel(Progress::default());
        let (pulse_in, pulse) = watch::channel(Pulse::default());
        let plan = CapturePlan { pid: found.pid, in_group: true, ..shared.terms.plan.clone() };
        let capture = move || capture(shared, plan, &told, &pulse_in);
        let thread = Builder::new()
            .name("capture".into())
            .spawn_scoped(scope, capture)
            .context(NO_THREADS)?;
        let is_late = *shared.phase.borrow() != Phase::Gathering;
        Ok(Member { found, progress, pulse, is_announced: false, is_late, told: 0, thread })
    }

    /// Its name and number.
    pub(super) fn name(&self) -> String {
        let Found { pid, comm } = &self.found;
        match comm.as_str() {
            "" => format!("process {pid}"),
            comm => format!("{} ({pid})", Safe::text(comm)),
        }
    }

    /// Lines that a person should read, each once.
    pub(super) fn news(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.is_announced && *self.progress.borrow() == Progress::Counting {
            self.is_announced = true;
            lines.push(format!("capturing {} too", self.name()));
        }
        let pulse = self.pulse.borrow();
        let new = pulse.steps.iter().skip(self.told);
        lines.extend(new.map(|step| format!("{}: {step}", self.name())));
        self.told = pulse.steps.len();
        lines
    }
}

fn capture(
    shared: &Shared<'_>,
    mut plan: CapturePlan,
    told: &watch::Sender<Progress>,
    pulse: &watch::Sender<Pulse>,
) -> anyhow::Result<Part> {
    let Terms { roots, keep, suppressions, .. } = shared.terms;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(NO_THREADS)?;
    let turn = runtime.block_on(shared.turns.acquire())?;
    let session = Session::attach(roots, &plan, None)?;
    drop(turn);
    let recorder =
        Recorder::start(keep(&plan, &session.target.identity.comm)?).context(NO_THREADS)?;
    told.send_replace(Progress::Attached {
        functions: session.plan.functions().len(),
        by: session.attached_by(),
    });

    let mut phase = shared.phase.subscribe();
    let waits = phase.wait_for(|phase| *phase != Phase::Gathering);
    let Phase::Counting { began, until } = *runtime.block_on(waits)? else {
        bail!("{TOO_LATE}");
    };
    plan.duration = until.map(|until| until.saturating_duration_since(Instant::now()));
    if plan.duration == Some(Duration::ZERO) {
        bail!("{TOO_LATE}");
    }
    let mut since_s = 0.0;
    let counting = |_: &Session| {
        since_s = began.elapsed().as_secs_f64();
        told.send_replace(Progress::Counting);
    };
    // A supervisor that is gone wants no capture either.
    let over = Box::pin(async move { drop(phase.wait_for(|phase| *phase == Phase::Over).await) });
    let run = pipeline::run(roots, &plan, session, &recorder, pulse, counting, over);
    let (captured, target) = runtime.block_on(run)?;

    let last = captured.last_look(roots, &target);
    // The debug information of a program can be large, and here are many of the same program.
    let _turn = runtime.block_on(shared.turns.acquire())?;
    let recording = pipeline::conclude(roots, &plan, captured, last, recorder)?;
    let query = Query { filter: plan.filter, ..Query::default() };
    let mut report = build(&recording.read(&query)?, &Symbols::new(), plan.filter);
    judge(&mut report, suppressions);
    Ok(Part { report, since_s })
}
