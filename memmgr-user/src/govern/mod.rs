//! The governor: keeps what probing costs the target within a budget. Pure: figures in, decisions out.
//!
//! A probe hit costs the same whatever becomes of it, so that a budget is kept by two means. The *interval* decides how many
//! hits become events. The *account* decides for how long the allocator's probes are in place at all: it earns the budget's
//! share of the target's processor time and pays for every hit. While it is not overdrawn the probes stay. Once it is, they
//! come back for *windows*: each begins when enough was earned, and has a length that was fixed before it began. When
//! windows show that the load has fallen, the probes stay again.
//!
//! Neither the beginning nor the end of a window depends on what happens in it, so that windows see a fair sample of the
//! target's time: one that ended with the first burst would see quiet time for the most part, and its figures would stand
//! for all the time. Only what would cost many times too much is cut short.

mod costs;
mod library;
mod silence;
mod swelling;
mod terms;
mod windows;

use std::time::Duration;

use crate::units::human_bytes;

pub use costs::{Costs, Priced, Seen, Spent};
use library::Library;
use silence::Silence;
use swelling::Swelling;
pub use terms::{Budget, Orders, Step, Terms};
use windows::Windows;

/// Keeps the budget.
#[derive(Debug)]
pub struct Governor {
    terms: Terms,
    orders: Orders,
    /// The largest interval so far.
    coarsest: u64,
    /// Nanoseconds that may be spent before the probes have to go.
    balance: f64,
    /// At the last look; its processor time is that which the budget is a share of.
    last: Seen,
    /// The target's processor time at the last look.
    used: Duration,
    /// At the last change of the interval, and whenever the probes came.
    tuned: Seen,
    /// When the probes came, and when they came or went last.
    opened: Seen,
    turned: Duration,
    /// Whether they are there: placing them takes a while.
    placed: bool,
    /// Processors that the target uses, over the last seconds.
    usage: f64,
    /// While the probes come and go; `None` while they stay.
    windows: Option<Windows>,
    spent: f64,
    /// In windows: nanoseconds that probing took, and the speed that was left of 1, weighted by them.
    in_windows: (f64, f64),
    swelling: Swelling,
    library: Library,
    silence: Silence,
    steps: Vec<Step>,
}

impl Governor {
    /// Of the budget this share is aimed at: prices are estimates, and a probe also costs what no clock shows (caches).
    const AIM: f64 = 0.5;
    /// What can be saved up, in nanoseconds of the target's time.
    const MOST_SAVED: f64 = 40_000_000.0;
    /// Share of the budget for windows while the target does not grow, where growth is looked for first.
    const UNATTENDED: f64 = 0.5;
    /// In windows, events may cost this share of the hits.
    const EVENTS_TO_HITS: f64 = 0.4;
    /// Looks while the probes are new or windows are open, and otherwise.
    const SOON: Duration = Duration::from_millis(5);
    const LATER: Duration = Duration::from_millis(50);
    /// Looks at a target that is idle: each costs memmgr a dozen system calls.
    const SLEEPY: Duration = Duration::from_millis(200);
    /// Looks for the report alone, without a budget.
    const SELDOM: Duration = Duration::from_millis(500);
    /// Time to measure before the interval is tuned.
    const MEASURE: Duration = Duration::from_millis(250);
    /// A target that uses less than this many processors is treated as if it used them: what has that much time left is
    /// not slowed down by a share of it.
    const LEAST_USED: f64 = 0.5;
    /// A target that uses less than this share of a processor is idle; so many seconds make an average.
    const IDLE: f64 = 0.01;
    const IDLE_FOR: f64 = 0.3;
    /// Steps that are kept for the report.
    const MOST_STEPS: usize = 200;
    /// Intervals beyond this give no sample in any window.
    const COARSEST: u64 = 1 << 30;
    /// Beyond this many blocks not every call is remembered.
    const MOST_REMEMBERED: usize = memmgr_common::limits::MAX_SAMPLED_BLOCKS as usize / 2;

    /// Begins with the probes in place, and a little saved up to look around with.
    pub fn new(terms: Terms) -> Self {
        let orders = Orders {
            interval: terms.finest,
            fault_interval: terms.finest_faults,
            open: !terms.functions.is_empty(),
            dropped: vec![false; terms.functions.len()],
            leave_library: false,
            next_look: Self::SOON,
        };
        Governor {
            coarsest: orders.interval,
            terms,
            orders,
            balance: Self::MOST_SAVED / 2.0,
            last: Seen::default(),
            used: Duration::ZERO,
            tuned: Seen::default(),
            opened: Seen::default(),
            turned: Duration::ZERO,
            placed: true,
            usage: 1.0,
            windows: None,
            spent: 0.0,
            in_windows: (0.0, 0.0),
            swelling: Swelling::default(),
            library: Library::default(),
            silence: Silence::default(),
            steps: Vec::new(),
        }
    }

    /// What is in force.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The largest sampling interval so far, in bytes.
    pub fn coarsest(&self) -> u64 {
        self.coarsest
    }

    /// The budget to keep.
    pub fn budget(&self) -> Budget {
        self.terms.budget
    }

    /// The price of an event with a stack, in nanoseconds.
    pub fn event_price(&self) -> f64 {
        self.terms.costs.event
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Percent of the target's processor time that probing took; `None` when it is too early to say.
    pub fn achieved_percent(&self) -> Option<f64> {
        const LEAST: Duration = Duration::from_millis(20);
        let cpu = self.last.cpu;
        (cpu >= LEAST).then(|| (self.spent / cpu.as_nanos() as f64 * 100.0).min(100.0))
    }

    /// Percent of its speed at which the target ran in windows, where most of what was seen was seen; `None` without any.
    pub fn speed_in_windows_percent(&self) -> Option<f64> {
        let (spent, left) = self.in_windows;
        (spent > 0.0).then(|| (left / spent * 100.0).clamp(1.0, 100.0))
    }

    /// The kernel part made samples fewer by itself, down to one every so many bytes.
    pub fn burst(&mut self, at: Duration, interval: u64) {
        // Where every call was asked for, none is left out (memmgr-ebpf/src/heap.rs, `is_exact`): what finds no room is lost.
        let is_exact = self.terms.finest == 0 && self.terms.budget == Budget::Off;
        if interval > self.coarsest && !is_exact {
            self.coarsest = interval;
            let interval = human_bytes(interval);
            self.note(at, format!("a burst of events: samples were fewer for moments, down to one every {interval}"));
        }
    }

    /// Takes prices that were measured on this host.
    pub fn price(&mut self, costs: Costs) {
        self.terms.costs = costs;
    }

    /// Takes all functions, the ones that were probed before in front: there are more of them now.
    pub fn functions(&mut self, functions: Vec<Priced>) {
        self.orders.dropped.resize(functions.len(), false);
        self.terms.functions = functions;
    }

    /// Takes the target's private memory.
    pub fn memory(&mut self, at: Duration, bytes: u64) {
        let before = self.swelling.is_confirmed();
        self.swelling.point(at, bytes);
        if self.terms.growth_first
            && self.swelling.is_confirmed() != before
            && self.windows.is_some()
        {
            let what = if before {
                "the target stopped growing: its allocator is looked at less often"
            } else {
                "the target grows: its allocator is looked at as often as the budget allows"
            };
            self.note(at, what.into());
        }
    }

    /// The probes are in place, as of the last look.
    pub fn opened(&mut self) {
        (self.tuned, self.opened) = (self.last.clone(), self.last.clone());
        (self.placed, self.turned) = (true, self.last.at);
        if let Some(windows) = &mut self.windows {
            windows.begin(self.last.at);
        }
    }

    /// The probes could not be placed: they stay away.
    pub fn failed(&mut self, at: Duration, why: &str) {
        (self.orders.open, self.placed) = (false, false);
        self.windows = None;
        self.turned = at;
        self.note(at, format!("the allocator's probes could not be placed again: {why}"));
    }

    /// Looks at the figures and decides. `held` is the number of blocks that are remembered.
    pub fn look(&mut self, mut seen: Seen, held: usize) -> &Orders {
        let wall = seen.at.saturating_sub(self.last.at).as_secs_f64();
        let used = seen.cpu.saturating_sub(self.used).as_secs_f64();
        self.usage += (used / wall.max(1e-9) - self.usage) * (1.0 - (-wall / Self::IDLE_FOR).exp());
        let is_open = self.orders.open && !self.terms.functions.is_empty();
        if let Some(text) = self.silence.look(&seen, seen.cpu, is_open) {
            self.note(seen.at, text);
        }
        self.used = seen.cpu;
        seen.cpu = self.last.cpu + Duration::from_secs_f64(used.max(wall * Self::LEAST_USED));
        let delta = seen.since(&self.last);
        let spent = self.terms.costs.of(&self.terms.functions, &delta);
        let cpu = delta.cpu.as_nanos() as f64;
        self.spent += spent.total();
        self.orders.next_look = Self::SELDOM;
        if let Budget::Percent(percent) = self.terms.budget {
            let share = percent / 100.0;
            self.tune_faults(&delta, spent, cpu, share);
            if let Some(percent) = self.library.is_too_dear(spent.mappings, cpu, share) {
                self.leave_library(seen.at, percent);
            }
            let attention = if self.orders.open { 1.0 } else { self.attention() };
            self.balance += cpu * share * Self::AIM * attention - spent.hits - spent.events;
            // What was spent before it was known what a hit costs here is not to be earned again.
            let learning = self.windows.as_ref().is_none_or(|windows| windows.count() <= 1);
            let least = if learning { 0.0 } else { f64::MIN };
            self.balance = self.balance.clamp(least, Self::MOST_SAVED);
            if self.placed && self.orders.open {
                self.tune_interval(&seen, share, held);
                self.may_close(&seen, share);
            } else if !self.orders.open && !self.terms.functions.is_empty() {
                self.may_open(&seen);
            }
            self.orders.next_look = self.next_look(&seen);
        }
        self.last = seen;
        &self.orders
    }

    fn leave_library(&mut self, at: Duration, percent: f64) {
        self.orders.leave_library = true;
        self.note(
            at,
            format!(
                "watching the C library's mapping calls takes {percent:.0} % of the target's time: the tracepoints of the system \
                 calls take over, which make every system call of the host a little slower"
            ),
        );
    }

    /// The tracepoints could not take over.
    pub fn stays_in_library(&mut self, why: &str) {
        self.orders.leave_library = false;
        self.note(
            self.last.at,
            format!("the tracepoints of the system calls could not take over: {why}"),
        );
    }

    /// Share of the budget that windows may have.
    fn attention(&self) -> f64 {
        let all = !self.terms.growth_first || self.swelling.is_confirmed();
        if all { 1.0 } else { Self::UNATTENDED }
    }

    fn next_look(&self, seen: &Seen) -> Duration {
        let settled = seen.at.saturating_sub(self.turned) > Duration::from_secs(2)
            && self.balance > Self::MOST_SAVED / 4.0;
        match &self.windows {
            Some(windows) if self.orders.open => {
                windows.ends().saturating_sub(seen.at).clamp(Duration::from_millis(1), Self::SOON)
            }
            None if self.orders.open && !settled => Self::SOON,
            None if self.usage < Self::IDLE => Self::SLEEPY,
            _ => Self::LATER,
        }
    }

    fn may_open(&mut self, seen: &Seen) {
        let Some(windows) = &mut self.windows else { return };
        if windows.may_begin(seen.at, self.balance, self.usage < Self::IDLE) {
            self.orders.open = true;
            self.turned = seen.at;
            self.balance -= self.terms.costs.switch;
            if windows.load_has_fallen() {
                self.windows = None;
                self.balance = self.balance.max(Self::MOST_SAVED / 4.0);
                self.note(seen.at, "the load has fallen: the allocator's probes stay".into());
            }
        }
    }

    fn may_close(&mut self, seen: &Seen, share: f64) {
        let over = match &self.windows {
            None => self.balance <= 0.0,
            Some(windows) => seen.at >= windows.ends() || self.balance < -windows.deepest_debt(),
        };
        if !over {
            return;
        }
        let first = self.windows.is_none();
        // Probes that stayed may have been there for hours: what they cost now is what counts.
        let window = seen.since(if first { &self.last } else { &self.opened });
        let spent = self.terms.costs.of(&self.terms.functions, &window);
        (self.orders.open, self.placed) = (false, false);
        self.turned = seen.at;
        self.drop_useless(seen.at, &window);
        let attention = self.attention();
        let windows = self.windows.get_or_insert_default();
        windows.end(seen.at, &window, spent, share, &self.terms.costs);
        let cpu = (window.cpu.as_nanos() as f64).max(1.0);
        self.in_windows.0 += spent.total();
        self.in_windows.1 += spent.total() * (1.0 - spent.total() / cpu).max(0.0);
        if first {
            let percent = (spent.total() / cpu * 100.0).min(100.0);
            let wait = windows.wait(Self::AIM * attention);
            self.note(
                seen.at,
                format!(
                    "the allocator's probes take {percent:.0} % of the target's time and {} % are allowed: they are taken away, and \
                     come back for short windows, about one {}",
                    share * 100.0,
                    every(wait)
                ),
            );
        }
    }

    /// Raises or lowers the interval, so that events take what is left beside the hits.
    fn tune_interval(&mut self, seen: &Seen, share: f64, held: usize) {
        let window = seen.since(&self.tuned);
        let spent = self.terms.costs.of(&self.terms.functions, &window);
        let cpu = (window.cpu.as_nanos() as f64).max(1.0);
        let allowed = (cpu * share * Self::AIM - spent.hits).max(spent.hits * Self::EVENTS_TO_HITS);
        let crowded = held > Self::MOST_REMEMBERED;
        // While enough is saved up a burst may cost what it likes.
        let saved = self.windows.is_none() && self.balance > Self::MOST_SAVED / 4.0;
        let coarse = !saved && spent.events > allowed && window.events() > 50;
        if crowded || coarse {
            let ratio = if crowded { 2.0 } else { spent.events / allowed.max(1.0) };
            let from = if self.orders.interval == 0 { 512 } else { self.orders.interval };
            self.set_interval(seen, coarser(from, ratio));
        } else if window.at >= Self::MEASURE
            && self.orders.interval > self.terms.finest
            && spent.events < allowed * 0.3
            && held < Self::MOST_REMEMBERED / 4
        {
            let finer = self.orders.interval / 4;
            // Below this nearly every block is sampled: then every call can be.
            let finer = if finer < 256 { 0 } else { finer };
            self.set_interval(seen, finer.max(self.terms.finest));
        }
    }

    fn set_interval(&mut self, seen: &Seen, interval: u64) {
        let before = self.orders.interval;
        self.tuned = seen.clone();
        if interval == before {
            return;
        }
        self.orders.interval = interval;
        self.coarsest = self.coarsest.max(interval);
        let shown = |interval| match interval {
            0 => "every call is captured".to_owned(),
            bytes => format!("a sample is taken every {}", human_bytes(bytes)),
        };
        let why = if interval > before { "events cost too much" } else { "there is room" };
        self.note(seen.at, format!("{why}: {}", shown(interval)));
    }

    /// A function whose probe costs much and gives next to no sample loses it.
    fn drop_useless(&mut self, at: Duration, window: &Seen) {
        let (hits, chosen) = (window.hits.iter().sum::<u64>(), window.events());
        if chosen < 200 {
            return;
        }
        let share = |of: &[u64], index: usize, all: u64| {
            of.get(index).copied().unwrap_or(0) as f64 / (all as f64).max(1.0)
        };
        for index in 0..self.terms.functions.len() {
            if self.terms.functions[index].can_be_dropped
                && !self.orders.dropped[index]
                && share(&window.hits, index, hits) > 0.1
                && share(&window.chosen, index, chosen) < 0.002
            {
                self.orders.dropped[index] = true;
                let name = self.terms.functions[index].name.clone();
                self.note(at, format!("{name} gives next to no sample for what its probe costs: it has none any more"));
            }
        }
    }

    /// Page faults have a tenth of the budget for what they send.
    fn tune_faults(&mut self, delta: &Seen, spent: Spent, cpu: f64, share: f64) {
        let sent = delta.fault_events as f64 * self.terms.costs.event;
        let allowed = cpu * share * 0.1;
        let interval = &mut self.orders.fault_interval;
        if sent > allowed && delta.fault_events > 20 {
            *interval = coarser((*interval).max(4096), sent / allowed.max(1.0)).min(1 << 26);
        } else if *interval > self.terms.finest_faults
            && sent < allowed * 0.1
            && spent.faults < allowed
        {
            *interval = (*interval / 2).max(self.terms.finest_faults);
        }
    }

    fn note(&mut self, at: Duration, what: String) {
        if self.steps.len() < Self::MOST_STEPS {
            let achieved_percent = self.achieved_percent().unwrap_or(0.0);
            self.steps.push(Step { at, what, achieved_percent });
        }
    }
}

/// How often something happens, for people.
fn every(wait: Duration) -> String {
    match wait.as_secs() {
        0 | 1 => "a second".to_owned(),
        seconds @ 2..120 => format!("every {seconds} s"),
        seconds @ 120..7200 => format!("every {} minutes", seconds / 60),
        seconds if seconds < 1_000_000 => format!("every {} hours", seconds / 3600),
        _ => "in weeks: this budget is too small for them".to_owned(),
    }
}

/// The interval times the next power of two, so that few different intervals are ever in use.
fn coarser(interval: u64, ratio: f64) -> u64 {
    let factor = (ratio.clamp(1.0, 1e6) as u64 + 1).next_power_of_two();
    interval.saturating_mul(factor).min(Governor::COARSEST)
}

#[cfg(test)]
mod tests;
