//! How often the ring buffer is drained.

use std::time::Duration;

/// How long to sleep between drains: short when the ring buffer filled up since the last, long when it hardly did.
pub(super) struct Pace {
    ring: usize,
    delay: Duration,
}

impl Pace {
    const SHORTEST: Duration = Duration::from_micros(500);
    const LONGEST: Duration = Duration::from_millis(10);
    /// While no allocator is probed, only mappings and page faults come: each wake-up less is one that the target's
    /// processor is not taken for.
    const QUIET: Duration = Duration::from_millis(40);

    pub(super) fn new(ring: usize) -> Self {
        Pace { ring, delay: Self::SHORTEST }
    }

    /// Until the next drain. `probed`: the allocator's calls come too.
    pub(super) fn delay(&self, probed: bool) -> Duration {
        if !probed && self.delay == Self::LONGEST { Self::QUIET } else { self.delay }
    }

    /// A batch is at most half a ring, so that signals and intervals are served under a flood.
    pub(super) fn batch(&self) -> usize {
        self.ring / 2
    }

    pub(super) fn drained(&mut self, bytes: usize) {
        self.delay = if bytes >= self.batch() {
            Duration::ZERO
        } else if bytes > self.ring / 16 {
            (self.delay / 2).max(Self::SHORTEST)
        } else if bytes < self.ring / 64 {
            (self.delay.max(Self::SHORTEST) * 2).min(Self::LONGEST)
        } else {
            self.delay.max(Self::SHORTEST)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delays after drains of so many percent of the ring.
    fn check(probed: bool, percents: &[usize], expected_us: &[u128]) {
        let mut pace = Pace::new(1 << 20);
        let delays: Vec<u128> = percents
            .iter()
            .map(|percent| {
                pace.drained((percent << 20) / 100);
                pace.delay(probed).as_micros()
            })
            .collect();
        assert_eq!(delays, expected_us);
    }

    #[test]
    fn the_pace_follows_the_fill() {
        check(true, &[0, 0, 0, 0, 0, 0], &[1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        check(true, &[0, 0, 0, 10, 10, 10, 10], &[1_000, 2_000, 4_000, 2_000, 1_000, 500, 500]);
        check(true, &[50, 50, 10, 0], &[0, 0, 500, 1000]);
        check(true, &[0, 3], &[1_000, 1_000]);
        check(
            false,
            &[0, 0, 0, 0, 0, 10, 0, 0],
            &[1_000, 2_000, 4_000, 8_000, 40_000, 5_000, 40_000, 40_000],
        );
    }
}
