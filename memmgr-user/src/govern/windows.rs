//! Windows of time in which the allocator's probes are in place.

use std::time::Duration;

use super::{
    Governor,
    costs::{Costs, Seen, Spent},
};

/// The plan of them, and what they showed.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// Nanoseconds that probing takes of each nanosecond of a window; over the last windows.
    rate: f64,
    /// Nanoseconds of each that the budget gives.
    earned: f64,
    /// Windows so far, and how many of the last in a row were so cheap that the probes could have stayed.
    count: u32,
    cheap: u32,
    length: Duration,
    ends: Duration,
    /// Not before.
    earliest: Duration,
    /// Nanoseconds to be saved up before the next.
    needed: f64,
}

impl Windows {
    /// What a window costs at least, in nanoseconds of the target's time.
    const SPEND: f64 = 10_000_000.0;
    /// A window that spends less than this many times what placing and removing its probes costs is not worth it.
    const WORTH: f64 = 8.0;
    const SHORTEST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(500);
    /// Time between two windows on average, where nothing else makes it longer.
    const PAUSE: f64 = 0.15;
    /// Cheap windows in a row that say that the load has fallen.
    const ENOUGH: u32 = 6;
    /// Nanoseconds of each that nobody would miss, however idle the target.
    const NOTHING: f64 = 0.0005;
    /// Of what was known before, a window leaves so much.
    const MEMORY: f64 = 0.5;

    /// Windows so far, the time until the first overdraft included.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// When the open window ends.
    pub(super) fn ends(&self) -> Duration {
        self.ends
    }

    /// The probes are in place.
    pub(super) fn begin(&mut self, at: Duration) {
        self.ends = at + self.length;
    }

    /// The window ended; plans the next. `window` is what was seen in it, and `share` that of the budget.
    pub(super) fn end(
        &mut self,
        at: Duration,
        window: &Seen,
        spent: Spent,
        share: f64,
        costs: &Costs,
    ) {
        let wall = (window.at.as_nanos() as f64).max(1.0);
        let (rate, earned) = (spent.total() / wall, window.cpu.as_nanos() as f64 * share / wall);
        let keep = if self.count == 0 { 0.0 } else { Self::MEMORY };
        self.rate = keep * self.rate + (1.0 - keep) * rate;
        self.earned = keep * self.earned + (1.0 - keep) * earned;
        self.count += 1;
        let cheap = (earned * Governor::AIM * 0.8).max(Self::NOTHING);
        self.cheap = if rate < cheap { self.cheap + 1 } else { 0 };
        let earned_in_pause = self.earned * Governor::AIM * Self::PAUSE * 1e9;
        let spend = Self::SPEND.max(Self::WORTH * costs.switch).max(earned_in_pause);
        let length = Duration::from_nanos((spend / self.rate.max(1e-6)).min(1e9) as u64);
        self.length = length.clamp(Self::SHORTEST, Self::LONGEST);
        // At random, so that windows keep no step with whatever the target does in a rhythm.
        let expected = self.rate * self.length.as_nanos() as f64 + costs.switch;
        self.needed = (expected * (0.5 + fastrand::f64())).min(Governor::MOST_SAVED * 0.9);
        let pause = -Self::PAUSE * (1.0 - fastrand::f64()).ln();
        self.earliest = at + Duration::from_secs_f64(pause.clamp(0.03, 1.0));
    }

    /// Whether the next window may begin with this much saved up. A target that has been idle for a while earns nothing,
    /// and costs nothing.
    pub(super) fn may_begin(&self, at: Duration, balance: f64, idle: bool) -> bool {
        at >= self.earliest && (idle || balance >= self.needed)
    }

    /// How long to wait for the next, when this share of the budget is for windows.
    pub(super) fn wait(&self, share: f64) -> Duration {
        let earned = (self.earned * share).max(1e-12);
        Duration::from_nanos((self.needed / earned).min(1e18) as u64)
    }

    /// The deepest debt, in nanoseconds, that the open window may run into: several times what was expected of it.
    pub(super) fn deepest_debt(&self) -> f64 {
        (4.0 * self.rate * self.length.as_nanos() as f64).max(4.0 * Self::SPEND)
    }

    /// Whether probes that stay would keep the budget.
    pub(super) fn load_has_fallen(&self) -> bool {
        self.cheap >= Self::ENOUGH
    }
}
