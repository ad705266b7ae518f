//! All captures of a group, from the first attach to the last report.

use std::{
    io, mem, thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, watch};

use super::{
    Chooser, Found, MOST_AT_A_TIME, MOST_IN_ALL, Missed, Outcome,
    member::{Member, Phase, Progress, Shared},
};
use crate::{
    capture::{AttachError, CapturePlan},
    judge::Suppressions,
    pipeline::Pulse,
    progress,
    recording::Recording,
    source::roots::Roots,
    units::Pid,
};

/// How often it is looked whether something has ended.
const TICK: Duration = Duration::from_millis(50);
/// How often it is looked for new processes, if the points of the timeline are not nearer to each other. A look takes some
/// milliseconds a thousand processes.
const LOOK: Duration = Duration::from_millis(250);

/// So many that ended before they were attached to show that others will: from then on a new process has to be there at the next look
/// too, because every attach slows its whole family.
const SHORT_LIVED: u64 = 3;

/// Makes the recording of a process, of which the plan and the name are known.
pub type Keep<'a> = dyn Fn(&CapturePlan, &str) -> anyhow::Result<Recording> + Sync + 'a;

/// How a group is captured.
pub struct Terms<'a> {
    /// Where the kernel's files are.
    pub roots: Roots,
    /// The plan for each process; whose it is is put in.
    pub plan: CapturePlan,
    /// Where recordings go.
    pub keep: &'a Keep<'a>,
    /// What is known to leak.
    pub suppressions: &'a Suppressions,
}

/// Captures `first`, and what joins them, until all have ended, the time is over, or `interrupted` says so; that is called
/// when all are attached.
///
/// # Errors
/// When nobody could be attached to: why the first could not. When there can be no threads.
pub fn run<F: Future<Output = ()> + Unpin>(
    terms: &Terms<'_>,
    chooser: &mut Chooser,
    first: Vec<Found>,
    interrupted: impl FnOnce() -> io::Result<F>,
) -> anyhow::Result<Outcome> {
    allow_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let shared = Shared {
        terms,
        phase: watch::channel(Phase::Gathering).0,
        turns: Semaphore::new(processors),
    };
    thread::scope(|scope| {
        let mut group = Group {
            scope,
            shared: &shared,
            running: Vec::new(),
            heard: Heard::default(),
            outcome: Outcome::default(),
            executing: Vec::new(),
            waiting: Vec::new(),
        };
        let supervised = runtime.block_on(group.supervise(chooser, first, interrupted));
        // Also after an error nobody may count on.
        shared.phase.send_replace(Phase::Over);
        supervised.map(|()| group.outcome)
    })
}

/// Every capture holds some sixty descriptors: maps, programs, links, files. As many as this process may have.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("the limit of open files stays: {error}");
    }
}

/// What those who have ended have seen, and lines to be said.
#[derive(Default)]
struct Heard {
    pulse: Pulse,
    lines: Vec<String>,
}

struct Group<'scope, 'env> {
    scope: &'scope thread::Scope<'scope, 'env>,
    shared: &'env Shared<'env>,
    running: Vec<Member<'scope>>,
    heard: Heard,
    outcome: Outcome,
    /// Processes whose capture ended because they executed another program: it is another capture.
    executing: Vec<Pid>,
    /// Those who have to be there at the next look.
    waiting: Vec<Found>,
}

impl Group<'_, '_> {
    async fn supervise<F: Future<Output = ()> + Unpin>(
        &mut self,
        chooser: &mut Chooser,
        first: Vec<Found>,
        interrupted: impl FnOnce() -> io::Result<F>,
    ) -> anyhow::Result<()> {
        let shared = self.shared;
        let plan = &shared.terms.plan;
        self.take_in(first)?;
        self.until_none(|progress| progress == Progress::Attaching).await;
        if self.running.is_empty() {
            // All failed: the first one stands for them.
            let first = (!self.outcome.missed.is_empty()).then(|| self.outcome.missed.remove(0));
            return Err(first.map(|missed| missed.error).context("nobody was captured")?);
        }
        let mut interrupted = interrupted()?;
        let began = Instant::now();
        let until = plan.duration.map(|duration| began + duration);
        let attached = *self.running[0].progress.borrow();
        self.shared.phase.send_replace(Phase::Counting { began, until });
        self.until_none(|progress| progress != Progress::Counting).await;
        crate::say!("memmgr: {}", self.said(attached));
        for member in &mut self.running {
            member.is_announced = true;
        }
        let (pulse, pulses) = watch::channel(Pulse::default());
        let shown = progress::start(pulses, plan.duration)?;

        let distance = plan.interval.min(LOOK);
        let (mut next_look, mut next_pulse, mut lines) = (began + distance, began, 0);
        let in_time = loop {
            tokio::select! {
                () = &mut interrupted => break false,
                () = tokio::time::sleep(TICK) => {}
            }
            self.reap();
            let now = Instant::now();
            self.listen();
            if now >= next_pulse || self.heard.lines.len() > lines {
                next_pulse = now + plan.interval;
                lines = self.heard.lines.len();
                pulse.send_replace(self.pulse(began));
            }
            if until.is_some_and(|until| now >= until) {
                break true;
            }
            if now >= next_look || self.running.is_empty() {
                next_look = now + distance;
                self.executing.drain(..).for_each(|pid| chooser.forget(pid));
                // A list that cannot be read now may be read the next time.
                let found = chooser.look().unwrap_or_default();
                let roots = &shared.terms.roots;
                let found =
                    who_stays(found, &mut self.waiting, &mut self.outcome.too_short, |pid| {
                        roots.process(pid).exists()
                    });
                self.take_in(found)?;
            }
            if self.running.is_empty() && self.waiting.is_empty() {
                break true;
            }
        };
        // At the end of the time each ends by itself, and says so.
        if !in_time {
            self.shared.phase.send_replace(Phase::Over);
        }
        while !self.running.is_empty() {
            tokio::time::sleep(TICK).await;
            self.reap();
        }
        pulse.send_replace(self.pulse(began));
        drop(pulse);
        shown.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if self.outcome.parts.is_empty() && !self.outcome.missed.is_empty() {
            return Err(self.outcome.missed.remove(0).error);
        }
        Ok(())
    }

    /// Begins to attach to as many as there is room for.
    fn take_in(&mut self, found: Vec<Found>) -> anyhow::Result<()> {
        for found in found {
            let Outcome { parts, missed, .. } = &self.outcome;
            let taken = self.running.len() + parts.len() + missed.len();
            if self.running.len() >= MOST_AT_A_TIME || taken >= MOST_IN_ALL {
                self.outcome.left_out += 1;
                continue;
            }
            self.running.push(Member::start(self.scope, self.shared, found)?);
        }
        Ok(())
    }

    /// Waits until nobody is that far any more.
    async fn until_none(&mut self, is_so: impl Fn(Progress) -> bool) {
        loop {
            self.reap();
            if !self.running.iter().any(|member| is_so(*member.progress.borrow())) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes the results of those that have ended.
    fn reap(&mut self) {
        let mut at = 0;
        while at < self.running.len() {
            if !self.running[at].thread.is_finished() {
                at += 1;
                continue;
            }
            let mut member = self.running.swap_remove(at);
            self.heard.lines.extend(member.news());
            let name = member.name();
            let pulse = member.pulse.borrow().clone();
            let joined = member.thread.join();
            match joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(part) => {
                    if matches!(part.report.target.ended.as_str(), "exited" | "exec") {
                        let ended = &part.report.target.ended;
                        if ended == "exec" {
                            self.executing.push(member.found.pid);
                        }
                        self.heard.lines.push(format!("{name} has ended ({ended})"));
                    }
                    let sum = &mut self.heard.pulse;
                    sum.events += pulse.events;
                    sum.lost += pulse.lost;
                    sum.live_bytes += part.report.totals.live_bytes;
                    self.outcome.parts.push(part);
                }
                Err(error) if member.is_late && has_ended(&error) => self.outcome.too_short += 1,
                Err(error) => {
                    self.heard.lines.push(format!("{name} is not captured: {error:#}"));
                    let Found { pid, comm } = member.found;
                    self.outcome.missed.push(Missed { pid, comm, error });
                }
            }
        }
    }

    /// Takes what those who run have to say.
    fn listen(&mut self) {
        for member in &mut self.running {
            self.heard.lines.extend(member.news());
        }
    }

    /// All processes together.
    fn pulse(&self, began: Instant) -> Pulse {
        let mut sum = Pulse {
            elapsed: began.elapsed(),
            steps: self.heard.lines.clone(),
            ..self.heard.pulse.clone()
        };
        for member in &self.running {
            let pulse = member.pulse.borrow();
            sum.events += pulse.events;
            sum.live_bytes += pulse.live_bytes;
            sum.rss_bytes += pulse.rss_bytes;
            sum.lost += pulse.lost;
            // Each has a budget of its own: the one that pays most is told.
            let paid = [sum.overhead_percent, pulse.overhead_percent];
            sum.overhead_percent = paid.into_iter().flatten().reduce(f64::max);
        }
        sum
    }

    /// That all count from now on.
    fn said(&self, attached: Progress) -> String {
        /// Processes that are named.
        const NAMED: usize = 8;
        let count = self.running.len();
        let mut names: Vec<String> = self.running.iter().take(NAMED).map(Member::name).collect();
        if count > NAMED {
            names.push(format!("{} more", count - NAMED));
        }
        let probes = match attached {
            Progress::Attached { functions, by } if functions > 0 => {
                format!("{functions} functions probed by {by} in each")
            }
            _ => "page faults and mappings traced".to_owned(),
        };
        let until = match self.shared.terms.plan.duration {
            Some(duration) => {
                format!("{} (Ctrl-C ends it early)", humantime::format_duration(duration))
            }
            None => "until Ctrl-C".to_owned(),
        };
        let left_out = match self.outcome.left_out {
            0 => String::new(),
            more => format!("; {more} more are left out: at most {MOST_AT_A_TIME} at a time"),
        };
        format!(
            "capturing {count} process{}: {}: {probes}; {until}{left_out}",
            if count == 1 { "" } else { "es" },
            names.join(", ")
        )
    }
}

/// Whether a process could not be captured because it has ended.
fn has_ended(error: &anyhow::Error) -> bool {
    error.downcast_ref::<AttachError>().is_some_and(AttachError::is_gone)
}

/// Of those who are new, whom to attach to now; `waiting` are those of the look before, if they had to wait.
fn who_stays(
    found: Vec<Found>,
    waiting: &mut Vec<Found>,
    too_short: &mut u64,
    is_there: impl Fn(Pid) -> bool,
) -> Vec<Found> {
    if *too_short < SHORT_LIVED && waiting.is_empty() {
        return found;
    }
    let (there, gone): (Vec<Found>, Vec<Found>) =
        mem::replace(waiting, found).into_iter().partition(|found| is_there(found.pid));
    *too_short += gone.len() as u64;
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks one after the other: who is new, who is there still, and whom to attach to, by number; then how many were too short.
    fn check(too_short: u64, looks: &[(&[u32], &[u32], &[u32])], expected: u64) {
        let (mut waiting, mut too_short) = (Vec::new(), too_short);
        for (new, there, attached) in looks {
            let found = |pid: &u32| Found { pid: Pid(*pid), comm: String::new() };
            let found = new.iter().map(found).collect();
            let is_there = |pid: Pid| there.contains(&pid.0);
            let stays = who_stays(found, &mut waiting, &mut too_short, is_there);
            let stays: Vec<u32> = stays.iter().map(|found| found.pid.0).collect();
            assert_eq!(stays, *attached, "{looks:?}");
        }
        assert_eq!(too_short, expected, "{looks:?}");
    }

    #[test]
    fn where_processes_are_short_lived_a_new_one_has_to_stay() {
        check(0, &[(&[1, 2], &[1], &[1, 2])], 0);
        check(2, &[(&[1], &[1], &[1])], 2);
        check(3, &[(&[1, 2], &[1, 2], &[]), (&[3], &[2, 3], &[2]), (&[], &[3], &[3])], 4);
    }
}
