//! A capture on threads of its own, looked at while it runs.
//!
//! ```text
//! capture ─ pipeline ─ recorder ──(a moment, when nobody is busy with the last)──→ reporter ─ report ─→ screen
//! ```
//!
//! Nothing here waits for the screen: of each thing only the newest is kept.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::sync::{oneshot, watch};

use crate::{
    aggregate::Filter,
    capture::{CapturePlan, Session},
    judge::{Suppressions, judge},
    own_memory::give_back_unused,
    pipeline::{self, Ended, Pulse, conclude},
    recording::{Query, Recorded, Recorder, Recording},
    report::{Report, build::build},
    source::roots::Roots,
    symbolize::{Symbols, symbolize_late},
    units::Pid,
};

/// Making reports takes at most one part in so many of the time.
const SHARE: u32 = 4;

/// How far a capture is.
#[derive(Clone, Debug, Default)]
pub enum Progress {
    /// Probes are put in place.
    #[default]
    Attaching,
    /// Calls count.
    Counting,
    /// The target ended it, in this way; the last report is there.
    Ended(Ended),
    /// Detached by a person.
    Detached,
    /// It could not be made, or broke off.
    Failed(String),
}

impl Progress {
    /// Whether its threads are done.
    pub fn is_over(&self) -> bool {
        !matches!(self, Progress::Attaching | Progress::Counting)
    }
}

/// A running capture. Dropped, it detaches and does not wait for that.
pub struct Live {
    /// The process.
    pub pid: Pid,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    progress: watch::Receiver<Progress>,
    pulses: watch::Receiver<Pulse>,
    reports: watch::Receiver<Option<Arc<Report>>>,
}

impl Live {
    /// Begins to attach.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(plan: CapturePlan) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (progress_in, progress) = watch::channel(Progress::default());
        let (pulse, pulses) = watch::channel(Pulse::default());
        let (report, reports) = watch::channel(None);
        let pid = plan.pid;
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            let out = Out { progress: progress_in, pulse, report };
            let end = match capture(&plan, stopped, &out) {
                Ok(Ended::Interrupted) => Progress::Detached,
                Ok(ended) => Progress::Ended(ended),
                Err(error) => Progress::Failed(format!("{error:#}")),
            };
            out.progress.send_replace(end);
        })?;
        Ok(Live { pid, stop: Some(stop), thread: Some(thread), progress, pulses, reports })
    }

    /// How far it is, if that is news.
    pub fn progress(&mut self) -> Option<Progress> {
        news(&mut self.progress)
    }

    /// The figures of the last interval, if they are news.
    pub fn pulse(&mut self) -> Option<Pulse> {
        news(&mut self.pulses)
    }

    /// The last report, if it is news.
    pub fn report(&mut self) -> Option<Arc<Report>> {
        news(&mut self.reports).flatten()
    }

    /// Begins to detach.
    pub fn detach(&mut self) {
        self.stop = None;
    }

    /// Waits until it has detached.
    pub fn wait(mut self) {
        self.detach();
        self.join();
    }

    /// Takes part in the end of a thread that has ended without a word.
    pub fn check(&mut self) {
        let silent = !self.progress.borrow().is_over();
        if silent && self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join();
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

fn news<T: Clone>(receiver: &mut watch::Receiver<T>) -> Option<T> {
    let value = receiver.borrow_and_update();
    value.has_changed().then(|| value.clone())
}

struct Out {
    progress: watch::Sender<Progress>,
    pulse: watch::Sender<Pulse>,
    report: watch::Sender<Option<Arc<Report>>>,
}

fn capture(plan: &CapturePlan, stopped: oneshot::Receiver<()>, out: &Out) -> anyhow::Result<Ended> {
    const NO_THREADS: &str = "memmgr's threads could not be started";
    let roots = Roots::default();
    let session = Session::attach(&roots, plan, None)?;
    let recording = Recording::in_memory(plan.count_scale())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(NO_THREADS)?;
    let reporter = Reporter::start(&roots, plan.pid, out.report.clone()).context(NO_THREADS)?;
    let recorder = Recorder::start_watched(recording, move |recording| reporter.offer(recording))
        .context(NO_THREADS)?;
    let counting = |_: &Session| {
        out.progress.send_replace(Progress::Counting);
    };
    // Whoever holds the other end and is gone wants no capture either.
    let stopped = Box::pin(async { drop(stopped.await) });
    let run = pipeline::run(&roots, plan, session, &recorder, &out.pulse, counting, stopped);
    let (captured, target) = runtime.block_on(run)?;
    let ended = captured.ended;
    if ended != Ended::Interrupted {
        let last = captured.last_look(&roots, &target);
        let recording = conclude(&roots, plan, captured, last, recorder)?;
        let recorded = recording.read(&Query::default())?;
        out.report.send_replace(Some(Arc::new(report(&recorded, &Symbols::new()))));
    }
    Ok(ended)
}

/// Makes reports of moments, one at a time.
struct Reporter {
    idle: Arc<AtomicBool>,
    moments: mpsc::Sender<(Recorded, Duration)>,
}

impl Reporter {
    fn start(
        roots: &Roots,
        pid: Pid,
        reports: watch::Sender<Option<Arc<Report>>>,
    ) -> io::Result<Self> {
        let (moments, received) = mpsc::channel::<(Recorded, Duration)>();
        let idle = Arc::new(AtomicBool::new(true));
        let ready = Arc::clone(&idle);
        // The target's files as it sees them: it may live in a container.
        let root = roots.process(pid).join("root");
        let files = [root.join("usr/lib/debug"), root];
        std::thread::Builder::new().name("reporter".into()).spawn(move || {
            let mut symbols = Symbols::new();
            for (mut recorded, read) in received {
                let began = Instant::now();
                resolve(&mut recorded, &mut symbols, &files);
                let report = report(&recorded, &symbols);
                drop(recorded);
                // The last report, after the target's end, is a better one.
                reports.send_if_modified(|shown| {
                    let newer = shown
                        .as_ref()
                        .is_none_or(|shown: &Arc<Report>| shown.duration_s < report.duration_s);
                    if newer {
                        *shown = Some(Arc::new(report));
                    }
                    newer
                });
                give_back_unused();
                std::thread::sleep((read + began.elapsed()) * (SHARE - 1));
                ready.store(true, Ordering::Release);
            }
        })?;
        Ok(Reporter { idle, moments })
    }

    /// Takes the moment that was just written, unless the last one still keeps it busy.
    fn offer(&self, recording: &Recording) {
        if !self.idle.swap(false, Ordering::AcqRel) {
            return;
        }
        let began = Instant::now();
        match recording.read(&Query::default()) {
            // A reporter that is gone has panicked: the view goes on without news of it.
            Ok(recorded) => drop(self.moments.send((recorded, began.elapsed()))),
            Err(error) => {
                tracing::debug!("no report of this moment: {error}");
                self.idle.store(true, Ordering::Release);
            }
        }
    }
}

/// Looks up the addresses that were not looked up for an earlier report.
fn resolve(recorded: &mut Recorded, symbols: &mut Symbols, files: &[PathBuf]) {
    recorded.unresolved.retain(|location| !symbols.contains_key(&location.address));
    if !recorded.unresolved.is_empty() {
        symbols.extend(symbolize_late(recorded, files));
    }
}

fn report(recorded: &Recorded, symbols: &Symbols) -> Report {
    let mut report = build(recorded, symbols, Filter::default());
    judge(&mut report, &Suppressions::default());
    report
}
