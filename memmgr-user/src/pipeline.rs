//! The straight line: ring buffer → decode → track → aggregate, and at the end symbolize → report.
//!
//! One task owns all state and is woken by one closed set of causes. Nothing in the kernel wakes it
//! for an event, because a wake-up costs more than the probe: it drains on a timer that follows the
//! fill of the ring buffer.

mod conclude;
mod heirs;
mod observe;
mod pace;
mod residence;
mod steer;

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant, SystemTime},
};

use humantime::format_rfc3339_seconds;
use memmgr_common::{MappingWay, Settings, StackKind};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::unix::AsyncFd,
    sync::watch,
    time::{Instant as TokioInstant, MissedTickBehavior, interval_at, sleep_until},
};

use crate::{
    allocator::open_mapped,
    bpf::{Books, KernelError},
    capture::{CapturePlan, Session, Target, facts::Facts, late::Latecomers, urgent::Urgent},
    collect::{Caps, Collector, Course},
    govern::{Governor, Step},
    recording::{Feed, Recorder, Room},
    report::{account::Standing, last_look::LastLook},
    source::{mappings::read_mappings, roots::Roots},
    units::{Address, KernelTime},
};

pub use conclude::conclude;
use observe::Observer;
use pace::Pace;
use steer::Steering;

/// Why a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The time that was asked for is over.
    Duration,
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// The target ended.
    Exited,
    /// The target runs another program.
    Exec,
    /// The recording could not be written.
    Unwritable,
}

impl Ended {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Duration => "duration",
            Ended::Interrupted => "interrupted",
            Ended::Exited => "exited",
            Ended::Exec => "exec",
            Ended::Unwritable => "unwritable",
        }
    }
}

/// What a person sees while a capture runs.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// Since counting began.
    pub elapsed: Duration,
    /// Events so far.
    pub events: u64,
    /// Tracked bytes outstanding: of the heap, or where there is none of resident memory.
    pub live_bytes: u64,
    /// Resident bytes of the target.
    pub rss_bytes: u64,
    /// Events lost so far.
    pub lost: u64,
    /// Percent of the target's processor time that probing takes, where it is known.
    pub overhead_percent: Option<f64>,
    /// What was done so far to keep the budget.
    pub steps: Vec<String>,
    /// What was found out since the attach.
    pub news: Vec<String>,
}

/// Everything a capture gathered; nothing is attached any more.
pub struct Captured {
    /// Books, live blocks, stacks and code.
    pub collector: Collector,
    /// What the session was.
    pub facts: Facts,
    /// The kernel part's books, after the last event was read.
    pub books: Books,
    /// What the budget was, and what was done to keep it.
    pub governor: Governor,
    /// Why it ended.
    pub ended: Ended,
    /// When counting began and ended.
    pub span: (KernelTime, KernelTime),
    /// Time of day when it ended, RFC 3339, UTC.
    pub captured_at: String,
    /// What was seen last of a target that has ended.
    pub gone: Option<LastLook>,
    /// From the request to detach to its end.
    pub detach_s: f64,
    /// Processor time that memmgr used, from start to end of the capture.
    pub cpu_s: f64,
}

/// What wakes the task.
enum Wake {
    Drain,
    Interval,
    Steer,
    End(Ended),
}

/// Runs a capture from the first event to the last. `counting` is called once from the moment on
/// that every call counts. The target is given back: it goes on living.
pub async fn run(
    roots: &Roots,
    plan: &CapturePlan,
    mut session: Session,
    recorder: &Recorder,
    pulse: &watch::Sender<Pulse>,
    counting: impl FnOnce(&Session),
    mut interrupted: impl Future<Output = ()> + Unpin,
) -> Result<(Captured, Target), KernelError> {
    let exited = watch_exit(&session.target.pidfd).map_err(KernelError::Watch)?;
    let modules = std::mem::take(&mut session.modules);
    let caps = Caps { divide: plan.filter.min_size, ..Caps::default() };
    let mut collector = Collector::new(now(), modules, session.program_break.map(Address), caps);
    // Before the first event: a busy target fills the ring buffer in the time that the tables take.
    collector.learn(&std::mem::take(&mut session.new_ranges));
    residence::prepare(roots, &mut collector);
    let (mut feed, mut observer) = (Feed::default(), Observer::default());
    let mut pace = Pace::new(plan.ring_bytes as usize);
    let mut ticks = interval_at(TokioInstant::now() + plan.interval, plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let deadline = plan.duration.map(|duration| TokioInstant::now() + duration);
    let began = now();
    session.attach_s = session.began.elapsed().as_secs_f64();
    let mapping_way = session.kernel.mapping_way() as u64;
    let settings = Settings { mapping_way, ..plan.settings(session.stack_kind()) };
    session.kernel.set(settings)?;
    let mut steering = Steering::begin(plan, &session, settings, began);
    let mut heirs_freed = 0;
    counting(&session);
    // A moment, not a distance from the last wake-up: whatever else wakes the task puts no drain off.
    let mut drain_at = TokioInstant::now();

    let ended = loop {
        let wake = tokio::select! {
            biased;
            () = &mut interrupted => Wake::End(Ended::Interrupted),
            () = until(deadline) => Wake::End(Ended::Duration),
            _ = exited.readable() => Wake::End(Ended::Exited),
            _ = ticks.tick() => Wake::Interval,
            () = sleep_until(steering.next()) => Wake::Steer,
            () = sleep_until(drain_at) => Wake::Drain,
        };
        match wake {
            Wake::Drain => {
                let (bytes, course) = drain(roots, &mut session, &mut collector, pace.batch());
                pace.drained(bytes);
                drain_at = TokioInstant::now() + pace.delay(steering.is_open());
                if course == Course::Exec {
                    break Ended::Exec;
                }
            }
            Wake::Steer => {
                let held = collector.blocks.len();
                let mut course = Course::On;
                steering.look(&mut session, held, |session| {
                    course = drain(roots, session, &mut collector, usize::MAX).1;
                    let opening = now();
                    collector.resume(opening);
                    opening
                })?;
                drain_at = drain_at.min(TokioInstant::now() + pace.delay(steering.is_open()));
                let steps = steering.governor.steps();
                if steps.len() > pulse.borrow().steps.len() {
                    pulse.send_modify(|pulse| pulse.steps = said(steps));
                }
                if course == Course::Exec {
                    break Ended::Exec;
                }
            }
            Wake::Interval => {
                // In the C library nobody sees what the dynamic linker maps.
                if session.kernel.mapping_way() != MappingWay::Kernel && session.late.is_due() {
                    let Session { target, late, .. } = &mut session;
                    read_code(roots, target, late, &mut collector);
                }
                let books = session.kernel.books()?;
                // A disk that is behind makes intervals longer; events never wait for it.
                match recorder.room() {
                    Room::Here(permit) => {
                        let facts = Facts::of(&session, &books.calls);
                        let dir = &session.target.dir;
                        residence::look(roots, dir, &mut collector, plan.interval, now());
                        let span = (began, now());
                        let standing = Standing {
                            plan,
                            facts: &facts,
                            collector: &collector,
                            books: &books,
                            governor: &steering.governor,
                            span,
                            ended: None,
                        };
                        let observed = observer.observe(roots, &session, &standing);
                        steering.memory(span.1, observed.private_bytes());
                        let news = session.late.news().to_vec();
                        pulse.send_replace(Pulse {
                            news,
                            ..observed.pulse(&collector, &books, &steering.governor)
                        });
                        let seeing = steering.interval(span.1);
                        permit.send(observed.entry(&mut feed, &mut collector, span.1, seeing));
                    }
                    Room::Later => {}
                    Room::Never => break Ended::Unwritable,
                }
            }
            Wake::End(ended) => break ended,
        }
        // At once: a child pays for every call until then.
        let heirs = collector.counts.heirs;
        steering.children(heirs);
        if heirs > heirs_freed && session.kernel.free_heirs() {
            heirs_freed = heirs;
        }
        if session.take_in_late(roots, plan.pid, now().seconds_since(began)) {
            steering.more_functions(&session);
        }
        if session.late.news().len() > pulse.borrow().news.len() {
            pulse.send_modify(|pulse| pulse.news = session.late.news().to_vec());
        }
    };

    // Counting ends everywhere at this moment; only then are the probes taken away, which waits for
    // every program that still runs, so that the last drain misses nothing and the books balance.
    session.kernel.set(stopped(plan.settings(StackKind::Copy)))?;
    let end = now();
    let detaching = Instant::now();
    let urgent = Urgent::begin();
    let missed = session.kernel.books()?.missed;
    session.kernel.detach();
    drop(urgent);
    let detach_s = detaching.elapsed().as_secs_f64();
    while drain(roots, &mut session, &mut collector, usize::MAX).0 > 0 {}
    residence::look(roots, &session.target.dir, &mut collector, plan.interval, end);
    let mut books = session.kernel.books()?;
    books.missed = missed;
    steering.last_look(&books, collector.blocks.len());
    let facts = Facts::of(&session, &books.calls);
    let standing = Standing {
        plan,
        facts: &facts,
        collector: &collector,
        books: &books,
        governor: &steering.governor,
        span: (began, end),
        ended: Some(ended),
    };
    let observed = observer.observe(roots, &session, &standing);
    let seeing = steering.interval(end);
    recorder.last(observed.entry(&mut feed, &mut collector, end, seeing)).await;
    let cpu_s = clock_seconds(ClockId::ProcessCPUTime);
    let captured = Captured {
        collector,
        facts,
        books,
        governor: steering.governor,
        ended,
        span: (began, end),
        captured_at: format_rfc3339_seconds(SystemTime::now()).to_string(),
        gone: observer.of_the_gone(),
        detach_s,
        cpu_s,
    };
    Ok((captured, session.target))
}

/// Reads up to `most` bytes of events; returns how many there were. Code that was mapped since is
/// taken in as soon as a stack leads into it.
fn drain(
    roots: &Roots,
    session: &mut Session,
    collector: &mut Collector,
    most: usize,
) -> (usize, Course) {
    let mut bytes = 0;
    while let Some(record) = session.events.next() {
        bytes += record.len();
        let mut course = collector.take(&record);
        drop(record);
        if course == Course::Exec && session.launched {
            collector.begin_program();
            session.target.identify();
            course = Course::On;
        }
        if collector.is_stale() {
            read_code(roots, &session.target, &mut session.late, collector);
        }
        if course == Course::Exec || bytes >= most {
            return (bytes, course);
        }
    }
    (bytes, Course::On)
}

/// Takes in the code that is mapped now.
fn read_code(roots: &Roots, target: &Target, late: &mut Latecomers, collector: &mut Collector) {
    let mappings = read_mappings(&target.dir).unwrap_or_default();
    let open = |file: &_| open_mapped(&roots.proc, target.identity.pid, file);
    let changed = collector.modules.update(&mappings, open);
    collector.learn(&changed);
    late.look(&mappings);
}

/// Steps for the screen.
fn said(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

fn stopped(settings: Settings) -> Settings {
    Settings { capturing: 0, ..settings }
}

async fn until(deadline: Option<TokioInstant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Becomes readable when the process ends (pidfd_open(2)).
fn watch_exit(pidfd: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the `AsyncFd` and closed after it is deregistered.
    unsafe { AsyncFd::register(pidfd.try_clone()?) }.map_err(Into::into)
}

/// The kernel part's clock.
pub fn now() -> KernelTime {
    let time = clock_gettime(ClockId::Monotonic);
    KernelTime(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

pub(crate) fn clock_seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
