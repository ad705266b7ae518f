//! An action from its order to its report.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use humantime::format_rfc3339_seconds;

use super::{
    act::ActError,
    action::{Action, Amount, Scope, Touched},
    audit::{Log, LogError, who},
    figures::{Figures, Rates},
    plan::{Facts, suggest},
    prepare::{Heaps, Prepared, summary},
    report::{Changed, Chosen, Report, SCHEMA},
    subject::Subject,
    verdict::{Goal, LEAST_BYTES, Verdict, judge},
};
use crate::{
    source::{
        cgroup_tree::NoCgroup, gauge::Gauge, host::HostError, process_dir::ProcessError,
        roots::Roots,
    },
    units::human_bytes,
};

/// How long is looked at what happens anyway, before an action; no longer than it settles.
const BASELINE: Duration = Duration::from_secs(3);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// What.
    pub action: Action,
    /// To what.
    pub scope: Scope,
    /// Not a dry run.
    pub apply: bool,
    /// How long the figures are watched afterwards.
    pub settle: Duration,
    /// The log, if it is not the system's.
    pub log: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum OptimizeError {
    /// The action.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The host's figures.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The cgroup.
    #[error(transparent)]
    NoCgroup(#[from] NoCgroup),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A line could not be written to the open log, before the action.
    #[error(
        "{log} cannot be written ({source}), and no action is applied without a line there: nothing was done"
    )]
    Line {
        /// The log.
        log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Ended from outside before the action.
    #[error("interrupted before the action: it was not begun")]
    Interrupted,
}

/// Does what was asked for, or says what it would do. `pause` waits, and says whether it was not interrupted; `progress` is told
/// what goes on.
///
/// # Errors
/// When it cannot be done; nothing was done then, save what the text says.
pub fn optimize(
    roots: &Roots,
    order: &Order,
    pause: impl FnMut(Duration) -> bool,
    progress: impl FnMut(&str),
) -> Result<Report, OptimizeError> {
    let subject = Subject::find(roots, &order.scope)?;
    let prepared = Prepared::of(roots, &order.action, &subject)?;
    let mut report = begun(&order.action, &subject);
    report.mappings = prepared.mappings(&subject)?;
    if !report.mappings.is_empty() {
        report.notes.push(summary(&report.mappings));
    }
    note_members(&mut report, &subject, &order.action);
    if order.apply {
        let log = Log::open(order.log.as_deref())?;
        return Apply { roots, order, subject: &subject, prepared, log, pause, progress }
            .run(report);
    }
    report.steps.push(prepared.step());
    report.before = gauge(roots, &subject).telling_inactive(order.action.is_cold()).read(0.0)?;
    Ok(report)
}

/// An action that is applied.
struct Apply<'a, P, T> {
    roots: &'a Roots,
    order: &'a Order,
    subject: &'a Subject,
    prepared: Prepared,
    log: Log,
    pause: P,
    progress: T,
}

impl<P: FnMut(Duration) -> bool, T: FnMut(&str)> Apply<'_, P, T> {
    fn run(mut self, mut report: Report) -> Result<Report, OptimizeError> {
        self.leave_out_what_is_touched_otherwise(&mut report)?;
        let step = self.prepared.step();
        let line =
            format!("optimize {} of {}, by {}", report.action, report.subject.words(), who());
        self.log
            .line(&format!("{line}: {step}"))
            .map_err(|source| OptimizeError::Line { log: self.log.shown().to_owned(), source })?;
        let done = self.act(&mut report, &step);
        let outcome = match &done {
            Ok(changed) => format!("done: {}", changed.effect.words()),
            Err(error) => format!("failed: {error}"),
        };
        // The action is over: a log that is full now is told, and no reason to lose the report.
        if let Err(error) = self.log.line(&format!("{line}: {outcome}")) {
            report.notes.push(format!("the outcome could not be logged: {error}"));
        }
        report.changed = Some(done?);
        report.applied = true;
        report.logged = Some(self.log.shown().to_owned());
        Ok(report)
    }

    /// Where only mappings are meant that are touched so or so: looks which are.
    fn leave_out_what_is_touched_otherwise(
        &mut self,
        report: &mut Report,
    ) -> Result<(), OptimizeError> {
        let Some(how) = self.order.action.touched() else { return Ok(()) };
        let shown = humantime::format_duration(how.time());
        (self.progress)(&format!("looking for {shown} at what is touched"));
        clear_referenced(self.subject)?;
        self.wait(how.time())?;
        report.mappings = Prepared::touched(self.subject, &report.mappings, how)?;
        report.notes.push(format!("of these, by what was touched: {}", summary(&report.mappings)));
        if report.mappings.is_empty() {
            let flag = match how {
                Touched::Hardly(_) => {
                    "every mapping that is meant was touched within {}: nothing was done; without --idle all of them are taken"
                }
                Touched::Mostly(_) => {
                    "of no mapping that is meant was half touched within {}: nothing was done; without --hot all of them are taken"
                }
            };
            return Err(ActError::Refused(flag.replace("{}", &shown.to_string())).into());
        }
        Ok(())
    }

    /// Figures, the action, figures, and figures again.
    fn act(&mut self, report: &mut Report, step: &str) -> Result<Changed, OptimizeError> {
        let gauge = gauge(self.roots, self.subject).telling_inactive(self.order.action.is_cold());
        let mut heaps = self.prepared.heaps(self.subject, &mut self.pause)?;
        let baseline = BASELINE.min(self.order.settle);
        let first = self.read(&gauge, &mut heaps, -baseline.as_secs_f64())?;
        self.wait(baseline)?;
        self.subject.check_same()?;
        report.before = self.read(&gauge, &mut heaps, 0.0)?;
        (self.progress)(&format!("{}: {step}", report.action));
        let begin = Instant::now();
        report.steps = self.prepared.run(
            self.roots,
            self.subject,
            &report.mappings,
            &mut heaps,
            &mut self.pause,
        )?;
        let took_s = begin.elapsed().as_secs_f64();
        let after = self.read_afterwards(&gauge, &mut heaps, took_s)?;
        let settle = self.order.settle;
        (self.progress)(&format!(
            "watching for {} what comes back",
            humantime::format_duration(settle)
        ));
        if !(self.pause)(settle) {
            report.notes.push(
                "interrupted while it settled: what comes back later was not seen".to_owned(),
            );
        }
        let settled = self.read_afterwards(&gauge, &mut heaps, begin.elapsed().as_secs_f64())?;
        report.steps.extend(heaps.as_mut().and_then(Heaps::close));
        let ended = ended(self.subject, &settled);
        let rates_before = Rates::between(&first, &report.before).unwrap_or_default();
        let rates_settling = Rates::between(&after, &settled).unwrap_or_default();
        let goal = Goal::of(&self.order.action, &report.before);
        let mut effect =
            judge(goal, &report.before, &after, &settled, &rates_before, &rates_settling);
        if effect.verdict == Verdict::Unknown {
            effect.why.extend(ended);
        } else {
            report.notes.extend(ended);
        }
        report.notes.extend(heap_kept(&report.before, &settled));
        if effect.verdict == Verdict::Helped && matches!(self.order.action, Action::PageOut(_)) {
            effect.why.extend(swap_cached(effect.kept_bytes, &report.before, &settled));
        }
        Ok(Changed { took_s, after, settled, rates_before, rates_settling, effect })
    }

    fn read(
        &mut self,
        gauge: &Gauge<'_>,
        heaps: &mut Option<Heaps>,
        at_s: f64,
    ) -> Result<Figures, OptimizeError> {
        let heap = heaps.as_mut().map(|heaps| heaps.read(&mut self.pause)).transpose()?;
        Ok(Figures { heap, ..gauge.read(at_s)? })
    }

    /// The same when the action is done: a runtime that answers no more has no figure, and the rest of the report stands.
    fn read_afterwards(
        &mut self,
        gauge: &Gauge<'_>,
        heaps: &mut Option<Heaps>,
        at_s: f64,
    ) -> Result<Figures, OptimizeError> {
        let heap = heaps.as_mut().and_then(|heaps| {
            heaps.read(&mut self.pause).inspect_err(|error| tracing::debug!("{error}")).ok()
        });
        Ok(Figures { heap, ..gauge.read(at_s)? })
    }

    fn wait(&mut self, time: Duration) -> Result<(), OptimizeError> {
        if (self.pause)(time) { Ok(()) } else { Err(OptimizeError::Interrupted) }
    }
}

/// What would help.
///
/// # Errors
/// When the subject is not there, or the host's figures cannot be read. With `idle` referenced bits are cleared for that long.
pub fn plan(
    roots: &Roots,
    scope: &Scope,
    idle: Option<Duration>,
    mut pause: impl FnMut(Duration) -> bool,
) -> Result<Report, OptimizeError> {
    let subject = Subject::find(roots, scope)?;
    let gauge = gauge(roots, &subject);
    if let Some(idle) = idle {
        clear_referenced(&subject)?;
        if !pause(idle) {
            return Err(OptimizeError::Interrupted);
        }
    }
    let figures = gauge.read(0.0)?;
    let facts = Facts::read(roots, scope, &subject, &figures, idle)?;
    let mut report = begun_as("plan", &subject);
    report.suggestions = suggest(&facts);
    report.notes = facts.notes();
    report.before = figures;
    Ok(report)
}

fn begun(action: &Action, subject: &Subject) -> Report {
    let mut report = begun_as(action.name(), subject);
    let words = action.words(&report.subject.words());
    report.does = words.does;
    report.costs = words.costs;
    report.undo = words.undo;
    if let Action::Reclaim { amount: Amount::Bytes(bytes), .. } = action {
        report.asked_bytes = Some(*bytes);
    }
    report
}

fn begun_as(action: &str, subject: &Subject) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        at: format_rfc3339_seconds(SystemTime::now()).to_string(),
        action: action.to_owned(),
        subject: subject.facts.clone(),
        ..Report::default()
    }
}

/// A cgroup is more than the process that was named.
fn note_members(report: &mut Report, subject: &Subject, action: &Action) {
    let (Action::Reclaim { .. }, Some(group), [_]) = (action, &subject.group, &*subject.members)
    else {
        return;
    };
    let others = group.pids().len().saturating_sub(1);
    if report.subject.pid.is_some() {
        report.notes.push(format!(
            "it is the cgroup {} that is reclaimed, with {others} other process{}",
            group.shown(),
            if others == 1 { "" } else { "es" }
        ));
    }
}

fn gauge<'a>(roots: &'a Roots, subject: &'a Subject) -> Gauge<'a> {
    let members = subject.members.iter().map(|member| &member.dir).collect();
    Gauge::new(roots, members, subject.group.as_ref())
}

/// Clears the bits by which the kernel knows what was touched: `/proc/PID/clear_refs`, see proc_pid_clear_refs(5).
fn clear_referenced(subject: &Subject) -> Result<(), OptimizeError> {
    for member in &subject.members {
        match member.dir.write("clear_refs", "1") {
            Ok(()) => {}
            Err(error) if error.is_gone() && subject.is_crowd() => {}
            Err(error) => return Err(ActError::from(error).into()),
        }
    }
    Ok(())
}

/// What is not in the last figures.
fn ended(subject: &Subject, settled: &Figures) -> Vec<String> {
    let ended = settled.processes.as_ref().map_or(0, |processes| processes.ended);
    let ended = (ended > 0).then(|| {
        if subject.is_crowd() {
            format!(
                "{ended} of the processes ended meanwhile: their memory is gone for that reason"
            )
        } else {
            "the process ended meanwhile: its memory is gone for that reason".to_owned()
        }
    });
    let gone = settled.cgroup.as_ref().filter(|group| group.cgroup.usage_bytes.is_none());
    let gone = gone.map(|group| format!("the cgroup {} was removed meanwhile", group.cgroup.path));
    ended.into_iter().chain(gone).collect()
}

/// A runtime may keep what its collector has freed.
fn heap_kept(before: &Figures, settled: &Figures) -> Option<String> {
    let freed = before.heap.as_ref()?.used_bytes.checked_sub(settled.heap.as_ref()?.used_bytes)?;
    let resident = |figures: &Figures| figures.processes.as_ref()?.sum.rss_bytes;
    let fallen = resident(before)?.saturating_sub(resident(settled)?);
    (freed >= LEAST_BYTES && fallen < freed / 4).then(|| {
        format!(
            "the runtime keeps what was freed: {} less of its heap is in use, and {} less is resident; the host has no more memory than \
             before, and what the program allocates next takes none",
            human_bytes(freed),
            human_bytes(fallen)
        )
    })
}

/// What was written to swap may stay in memory until the kernel needs the room.
fn swap_cached(kept: i64, before: &Figures, settled: &Figures) -> Option<String> {
    let cached = settled.swap_cached_bytes().saturating_sub(before.swap_cached_bytes());
    (cached >= LEAST_BYTES && cached as f64 >= kept as f64 / 4.0).then(|| {
        format!(
            "{} of it are in memory still: written to swap and kept in the swap cache, so that neither the cgroup's usage nor the host's free memory \
             shows them yet; the kernel takes them first, without writing, when memory is short, and `memmgr optimize reclaim` takes them now",
            human_bytes(cached)
        )
    })
}

impl OptimizeError {
    /// Whether the host lacks something, in which case the text ends with what works instead.
    pub fn is_lacking(&self) -> bool {
        match self {
            OptimizeError::Act(ActError::Cannot(_)) => true,
            OptimizeError::Act(ActError::Process(error)) => error.is_permission(),
            _ => false,
        }
    }

    /// Whether the target is gone.
    pub fn is_gone(&self) -> bool {
        match self {
            OptimizeError::Act(error) => error.is_gone(),
            _ => false,
        }
    }
}

impl From<ProcessError> for OptimizeError {
    fn from(error: ProcessError) -> Self {
        OptimizeError::Act(ActError::Process(error))
    }
}

/// The chosen mappings, largest first, for people.
pub fn largest(chosen: &[Chosen]) -> Vec<&Chosen> {
    let mut sorted: Vec<&Chosen> = chosen.iter().collect();
    sorted.sort_by_key(|chosen| (std::cmp::Reverse(chosen.rss_bytes), chosen.pid, chosen.start));
    sorted
}
