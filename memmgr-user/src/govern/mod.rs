//! The governor: keeps what probing costs the target within a budget. Pure: figures in, decisions out.
//!
//! A probe hit costs the same whatever becomes of it, so that a budget is kept by two means. The *interval* decides how many
//! hits become events. The *account* decides for how long the allocator's probes are in place at all: it earns
//! the budget's share of the target's processor time, pays for every hit, and when it is overdrawn the probes are taken away
//! until it has recovered. For a target that allocates little it never is; for a busy one that makes windows, as long and
//! as frequent as the budget allows, without any plan of them; and when the load falls the windows become longer
//! until they meet.

mod costs;
mod swelling;

use std::time::Duration;

use crate::units::human_bytes;

pub use costs::{Costs, Priced, Seen, Spent};
use swelling::Swelling;

/// What a capture may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Whatever it takes.
    Off,
    /// Percent of the target's processor time, 0 to 100.
    Percent(f64),
}

/// What the governor is to keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The budget.
    pub budget: Budget,
    /// The finest sampling interval in bytes; 0 is every call.
    pub finest: u64,
    /// The interval to begin with.
    pub first: u64,
    /// Look closely at the allocator only while the target grows.
    pub growth_first: bool,
    /// Prices.
    pub costs: Costs,
    /// The functions that are probed.
    pub functions: Vec<Priced>,
}

/// What is to be in force from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders {
    /// Mean bytes between heap samples; 0 is every call.
    pub interval: u64,
    /// Mean bytes between samples of page faults; 0 is every fault.
    pub fault_interval: u64,
    /// Whether the allocator's probes are to be in place.
    pub open: bool,
    /// Functions without a probe from the next window on.
    pub dropped: Vec<bool>,
    /// When to look again.
    pub next_look: Duration,
}

/// A step of the governor, for the report and the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since counting began.
    pub at: Duration,
    /// What was done, and why.
    pub what: String,
    /// Percent of the target's time that probing took until then.
    pub achieved_percent: f64,
}

/// Keeps the budget.
#[derive(Debug)]
pub struct Governor {
    terms: Terms,
    orders: Orders,
    /// Nanoseconds that may be spent before the probes have to go.
    balance: f64,
    /// At the last look.
    last: Seen,
    /// At the last change of the interval, and whenever the probes came.
    tuned: Seen,
    /// When the probes came or went last.
    turned: Duration,
    windows: u64,
    spent: f64,
    cpu: f64,
    swelling: Swelling,
    steps: Vec<Step>,
}

impl Governor {
    /// Of the budget this share is aimed at: prices are estimates, and a probe also costs what no clock shows (caches).
    const AIM: f64 = 0.6;
    /// What can be saved up, in nanoseconds of the target's time: the longest burst of a window.
    const MOST_SAVED: f64 = 40_000_000.0;
    /// A window that spends less than this many times what placing and removing its probes costs is not worth it.
    const WORTH: f64 = 8.0;
    /// Time between two windows at least, so that the target is not disturbed all the time.
    const PAUSE: Duration = Duration::from_millis(200);
    /// Share of the budget for windows while the target does not grow, where growth is looked for first.
    const UNATTENDED: f64 = 0.25;
    /// In windows, events may cost this share of the hits.
    const EVENTS_TO_HITS: f64 = 0.4;
    /// Looks while the probes are new or windows are open, and otherwise.
    const SOON: Duration = Duration::from_millis(5);
    const LATER: Duration = Duration::from_millis(100);
    /// Time to measure before the interval is tuned.
    const MEASURE: Duration = Duration::from_millis(250);
    /// Steps that are kept for the report.
    const MOST_STEPS: usize = 200;
    /// Intervals beyond this give no sample in any window.
    const COARSEST: u64 = 1 << 30;
    /// Beyond this many blocks not every call is remembered.
    const MOST_REMEMBERED: usize = memmgr_common::limits::MAX_SAMPLED_BLOCKS as usize / 2;

    /// Begins with the probes in place, and a little saved up to look around with.
    pub fn new(terms: Terms) -> Self {
        let orders = Orders {
            interval: terms.first,
            fault_interval: 0,
            open: true,
            dropped: vec![false; terms.functions.len()],
            next_look: Self::SOON,
        };
        Governor {
            terms,
            orders,
            balance: Self::MOST_SAVED / 2.0,
            last: Seen::default(),
            tuned: Seen::default(),
            turned: Duration::ZERO,
            windows: 1,
            spent: 0.0,
            cpu: 0.0,
            swelling: Swelling::default(),
            steps: Vec::new(),
        }
    }

    /// What is in force.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Percent of the target's processor time that probing took.
    pub fn achieved_percent(&self) -> f64 {
        if self.cpu > 0.0 { (self.spent / self.cpu * 100.0).min(100.0) } else { 0.0 }
    }

    /// Times that the probes were placed.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Takes the target's private memory.
    pub fn memory(&mut self, at: Duration, bytes: u64) {
        let before = self.swelling.is_confirmed();
        self.swelling.point(at, bytes);
        if self.terms.growth_first && self.swelling.is_confirmed() != before && self.windows > 1 {
            self.note(
                at,
                if before {
                    "the target stopped growing: its allocator is looked at less often".into()
                } else {
                    "the target grows: its allocator is looked at as often as the budget allows"
                        .into()
                },
            );
        }
    }

    /// The probes are in place.
    pub fn opened(&mut self, seen: &Seen) {
        self.tuned = seen.clone();
        self.turned = seen.at;
        self.windows += 1;
    }

    /// Looks at the figures and decides. `held` is the number of blocks that are remembered.
    pub fn look(&mut self, seen: Seen, held: usize) -> &Orders {
        let delta = seen.since(&self.last);
        let spent = self.terms.costs.of(&self.terms.functions, &delta);
        let cpu = delta.cpu.as_nanos() as f64;
        self.spent += spent.total();
        self.cpu += cpu;
        let Budget::Percent(percent) = self.terms.budget else {
            self.last = seen;
            self.orders.next_look = Self::LATER;
            return &self.orders;
        };
        let share = percent / 100.0;
        self.tune_faults(&delta, spent, cpu, share);
        let attention =
            if self.orders.open || !self.terms.growth_first || self.swelling.is_confirmed() {
                1.0
            } else {
                Self::UNATTENDED
            };
        self.balance += cpu * share * Self::AIM * attention - spent.hits - spent.events;
        self.balance = self.balance.min(Self::MOST_SAVED);
        if self.orders.open {
            self.tune_interval(&seen, share, held);
            if self.balance < 0.0 {
                self.close(&seen, share);
            }
        } else if self.may_open(seen.at) {
            self.orders.open = true;
            self.turned = seen.at;
            self.balance -= self.terms.costs.switch;
        }
        let settled = seen.at.saturating_sub(self.turned) > Duration::from_secs(2)
            && self.balance > Self::MOST_SAVED / 4.0;
        self.orders.next_look = if self.orders.open && !settled { Self::SOON } else { Self::LATER };
        self.last = seen;
        &self.orders
    }

    /// Enough was saved up for a window that is worth its probes.
    fn may_open(&self, at: Duration) -> bool {
        let worth = (self.terms.costs.switch * (1.0 + Self::WORTH)).min(Self::MOST_SAVED * 0.9);
        at.saturating_sub(self.turned) >= Self::PAUSE
            && self.balance >= worth.max(Self::MOST_SAVED * 0.3)
    }

    fn close(&mut self, seen: &Seen, share: f64) {
        let window = seen.since(&self.tuned);
        self.orders.open = false;
        self.turned = seen.at;
        self.drop_useless(&window);
        if self.windows == 1 {
            let spent = self.terms.costs.of(&self.terms.functions, &window).total();
            let percent = spent / (window.cpu.as_nanos() as f64).max(1.0) * 100.0;
            self.note(
                seen.at,
                format!(
                    "the allocator's probes take {:.0} % of the target's time and {:.1} % are allowed: they are taken away, and come back for \
                     short windows",
                    percent.min(100.0),
                    share * 100.0
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
        let coarse = spent.events > allowed * 1.5 && window.events() > 50;
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
        let shown = |interval| match interval {
            0 => "every call is captured".to_owned(),
            bytes => format!("a sample is taken every {}", human_bytes(bytes)),
        };
        let why = if interval > before { "events cost too much" } else { "there is room" };
        self.note(seen.at, format!("{why}: {}", shown(interval)));
    }

    /// A function whose probe costs much and gives next to no sample loses it.
    fn drop_useless(&mut self, window: &Seen) {
        let (hits, chosen) = (window.hits.iter().sum::<u64>(), window.events());
        if chosen < 200 {
            return;
        }
        for (index, function) in self.terms.functions.clone().iter().enumerate() {
            let share = |of: &[u64], all: u64| {
                of.get(index).copied().unwrap_or(0) as f64 / (all as f64).max(1.0)
            };
            if function.can_be_dropped
                && !self.orders.dropped[index]
                && share(&window.hits, hits) > 0.1
                && share(&window.chosen, chosen) < 0.002
            {
                self.orders.dropped[index] = true;
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
        } else if *interval > 0 && sent < allowed * 0.1 && spent.faults < allowed {
            *interval = if *interval <= 4096 { 0 } else { *interval / 2 };
        }
    }

    fn note(&mut self, at: Duration, what: String) {
        if self.steps.len() < Self::MOST_STEPS {
            let achieved_percent = self.achieved_percent();
            self.steps.push(Step { at, what, achieved_percent });
        }
    }
}

/// The interval times the next power of two, so that few different intervals are ever in use.
fn coarser(interval: u64, ratio: f64) -> u64 {
    let factor = (ratio.clamp(1.0, 1e6) as u64 + 1).next_power_of_two();
    interval.saturating_mul(factor).min(Governor::COARSEST)
}

#[cfg(test)]
mod tests;
