//! The loop: what comes in, what is drawn, what is done.

use std::{
    panic::resume_unwind,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    capture::CapturePlan,
    escape::Safe,
    monitor::{Look, Monitor, Process},
    pipeline::Ended,
    source::{groups::Extras, process_dir::ProcessDir, processes::Processes, roots::Roots},
    units::Pid,
};

use super::{
    app::{App, Effect},
    capture_view::{CaptureView, Stage},
    details::Details,
    draw::{Theme, draw},
    history::Histories,
    live::{Live, Progress},
    save::save,
    terminal::Screen,
};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Distance of the looks.
    pub interval: Duration,
    /// The process to attach to at once.
    pub pid: Option<Pid>,
}

/// How long the loop sleeps when nothing comes in: what a capture and the readers of details have to tell is looked for
/// so often, and a terminal that is gone is noticed.
const TICK: Duration = Duration::from_millis(200);
/// What may wait for the loop; when the terminal does not take what is drawn, everything waits.
const WAITING: usize = 16;

const NO_THREADS: &str = "memmgr's threads could not be started";

enum Message {
    Input(Event),
    Look(anyhow::Result<Box<Look>>),
    End,
}

/// Shows the host until a person, a signal or the end of the terminal ends it.
///
/// # Errors
/// When there is no terminal, the process to attach to is not there, or the host cannot be looked at.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let roots = Roots::default();
    let mut app = App::new(options.interval);
    let first = options.pid.map(|pid| wanted(&roots, pid)).transpose()?;
    let monitor = Monitor::new(roots.clone(), Extras::default())?;
    let screen = Screen::take()?;
    let (out, messages) = sync_channel(WAITING);
    let watcher = watch_host(monitor, options.interval, out.clone())?;
    read_keys(out.clone())?;
    await_signals(out)?;
    let mut top = Top {
        screen,
        theme: Theme::from_environment(),
        details: Details::new(roots),
        histories: Histories::new(options.interval),
        live: None,
        leaving: Vec::new(),
    };
    if let Some((process, name)) = first {
        top.attach(&mut app, process, &name)?;
    }
    let ended = top.turn(&mut app, &messages, &watcher);
    // Whoever has something to say must not wait for an ear that is gone.
    drop(messages);
    let Top { screen, live, leaving, .. } = top;
    drop(screen);
    live.into_iter().chain(leaving).for_each(Live::wait);
    if watcher.is_finished() {
        watcher.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
    ended
}

/// The process that was named, if it is there.
fn wanted(roots: &Roots, pid: Pid) -> anyhow::Result<(Process, String)> {
    // For its words.
    drop(ProcessDir::open(roots, pid)?);
    let row = Processes::open(roots).and_then(|mut processes| processes.row(pid));
    let row = row.with_context(|| format!("process {pid} cannot be read"))?;
    let row = row.with_context(|| {
        format!("{pid} is a thread of the kernel, which has no memory of its own")
    })?;
    Ok((Process::from(&row), row.comm))
}

struct Top {
    screen: Screen,
    theme: Theme,
    details: Details,
    histories: Histories,
    live: Option<Live>,
    /// Captures that take their probes away.
    leaving: Vec<Live>,
}

impl Top {
    fn turn(
        &mut self,
        app: &mut App,
        messages: &Receiver<Message>,
        watcher: &JoinHandle<()>,
    ) -> anyhow::Result<()> {
        let mut stale = true;
        loop {
            // What cannot be drawn on is gone, and nobody is there to be told.
            let Ok(size) = self.screen.size() else { return Ok(()) };
            stale |= self.listen(app);
            stale |= self.details.tick(&app.visible(size), Instant::now()).context(NO_THREADS)?;
            if stale {
                app.details = app
                    .visible(size)
                    .into_iter()
                    .filter_map(|process| Some((process, self.details.of(process)?)))
                    .collect();
                app.settle(size);
                if self.screen.draw(|frame| draw(frame, app, self.theme)).is_err() {
                    return Ok(());
                }
                stale = false;
            }
            let mut message = messages.recv_timeout(TICK);
            // All that has come is one picture.
            loop {
                match message {
                    Ok(Message::Look(look)) => {
                        let moment = self.histories.take(*look?);
                        app.take(moment);
                    }
                    Ok(Message::Input(Event::Key(key))) => {
                        if let Some(effect) = app.key(key)
                            && self.act(app, effect)?
                        {
                            return Ok(());
                        }
                    }
                    Ok(Message::Input(_)) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
                stale = true;
                message = messages.recv_timeout(Duration::ZERO);
            }
            if Screen::is_gone() || watcher.is_finished() {
                return Ok(());
            }
        }
    }

    /// Does what a key asked for; true is the end.
    fn act(&mut self, app: &mut App, effect: Effect) -> anyhow::Result<bool> {
        match effect {
            Effect::Quit => return Ok(true),
            Effect::Redraw => self.screen.forget()?,
            Effect::Attach(process, name) => self.attach(app, process, &name)?,
            Effect::Detach => {
                app.capture = None;
                if let Some(mut live) = self.live.take() {
                    live.detach();
                    app.say(format!("detaching from {} …", live.pid), false);
                    self.leaving.push(live);
                }
            }
            Effect::Write => {
                let report = app.capture.as_ref().and_then(|capture| capture.report.clone());
                match report.map(|report| save(&report)) {
                    None => app.say("there is no report yet", false),
                    Some(Ok(path)) => app.say(format!("wrote {}", path.display()), false),
                    Some(Err(error)) => app.say(format!("{error:#}"), true),
                }
            }
        }
        Ok(false)
    }

    fn attach(&mut self, app: &mut App, process: Process, name: &str) -> anyhow::Result<()> {
        let live = Live::start(CapturePlan::usual(process.pid)).context(NO_THREADS)?;
        self.live = Some(live);
        app.capture = Some(CaptureView::new(process.pid, name));
        Ok(())
    }

    /// Takes what the captures have to tell; says whether there was anything.
    fn listen(&mut self, app: &mut App) -> bool {
        let mut news = false;
        self.leaving.retain_mut(|live| {
            live.check();
            let over = live.progress().is_some_and(|progress| progress.is_over());
            if over {
                app.say(format!("detached from {}", live.pid), false);
                news = true;
            }
            !over
        });
        let (Some(live), Some(view)) = (&mut self.live, &mut app.capture) else { return news };
        live.check();
        if let Some(pulse) = live.pulse() {
            view.take_pulse(pulse);
            news = true;
        }
        if let Some(report) = live.report() {
            view.take_report(report);
            news = true;
        }
        if let Some(progress) = live.progress() {
            view.stage = match progress {
                Progress::Attaching => Stage::Attaching,
                Progress::Counting => Stage::Counting,
                Progress::Detached => Stage::Ended("detached".into()),
                Progress::Ended(ended) => Stage::Ended(why(ended).into()),
                Progress::Failed(why) => Stage::Failed(Safe::from(why.replace('\n', " "))),
            };
            news = true;
        }
        news
    }
}

fn why(ended: Ended) -> &'static str {
    match ended {
        Ended::Exited => "the process has ended",
        Ended::Exec => "the process runs another program now",
        Ended::Unwritable => "the recording has no room left",
        Ended::Duration | Ended::Interrupted => "the capture has ended",
    }
}

/// Looks at the host at the interval; a look that takes longer than that is followed by the next at once.
fn watch_host(
    mut monitor: Monitor,
    interval: Duration,
    out: SyncSender<Message>,
) -> anyhow::Result<JoinHandle<()>> {
    let watch = move || {
        let mut next = Instant::now();
        loop {
            let look = monitor.look().map(Box::new).map_err(Into::into);
            if out.send(Message::Look(look)).is_err() {
                return;
            }
            next = (next + interval).max(Instant::now());
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    Builder::new().name("monitor".into()).spawn(watch).context(NO_THREADS)
}

fn read_keys(out: SyncSender<Message>) -> anyhow::Result<()> {
    let read = move || {
        while let Ok(event) = event::read() {
            if out.send(Message::Input(event)).is_err() {
                return;
            }
        }
        // There is nobody who could be told if this fails.
        let _ = out.send(Message::End);
    };
    Builder::new().name("keys".into()).spawn(read).map(|_| ()).context(NO_THREADS)
}

/// Turns the signals that ask programs to end into a message, so that the terminal is given back first.
fn await_signals(out: SyncSender<Message>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(NO_THREADS)?;
    // Registered before the thread runs: from here on none is missed.
    let [mut interrupt, mut terminate, mut hang_up] = {
        let _inside = runtime.enter();
        [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        let _ = out.send(Message::End);
    };
    Builder::new().name("signals".into()).spawn(wait).map(|_| ()).context(NO_THREADS)
}
