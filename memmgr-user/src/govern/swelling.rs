//! Whether the target's own memory keeps growing: what makes a look at its allocator worth more.

use std::{collections::VecDeque, time::Duration};

/// Private memory over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Swelling {
    /// A point a second: when, and bytes.
    points: VecDeque<(Duration, u64)>,
    confirmed: bool,
}

impl Swelling {
    /// Points that are kept.
    const KEPT: usize = 60;
    /// Growth that counts over the kept points: less is noise of the allocator, or harmless for long.
    const LEAST_BYTES: u64 = 2 << 20;
    /// Points before anything is said.
    const FEWEST: usize = 6;

    /// Takes a point; more than one a second are passed over.
    pub(super) fn point(&mut self, at: Duration, bytes: u64) {
        let next = self.points.back().map(|(last, _)| *last + Duration::from_millis(900));
        if next.is_some_and(|next| at < next) {
            return;
        }
        self.points.push_back((at, bytes));
        if self.points.len() > Self::KEPT {
            self.points.pop_front();
        }
        self.confirmed = self.grows();
    }

    /// Whether it grew by enough, and was still growing in the last third.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Over all that is kept, which shows what is slow, or over the last points, which show what has just begun.
    fn grows(&self) -> bool {
        let length = self.points.len();
        length >= Self::FEWEST && (self.rises_from(0) || self.rises_from(length.saturating_sub(12)))
    }

    /// The lowest points of the first, middle and last third rise: bursts and sawteeth come down again, and what
    /// has settled rises no more.
    fn rises_from(&self, begin: usize) -> bool {
        let third = (self.points.len() - begin) / 3;
        let low = |from: usize, to: usize| {
            self.points.range(from..to).map(|(_, bytes)| *bytes).min().unwrap_or(0)
        };
        let first = low(begin, begin + third);
        let middle = low(begin + third, begin + 2 * third);
        let last = low(begin + 2 * third, self.points.len());
        last >= first + Self::LEAST_BYTES && last > middle && middle > first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: impl IntoIterator<Item = u64>, expected: bool) {
        let mut swelling = Swelling::default();
        let points: Vec<u64> = bytes.into_iter().collect();
        for (second, bytes) in points.iter().enumerate() {
            swelling.point(Duration::from_secs(second as u64), *bytes);
        }
        assert_eq!(swelling.is_confirmed(), expected, "{points:?}");
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn growth_is_confirmed_when_it_lasts() {
        check((0..8).map(|s| (100 + s) * MIB), true);
        check((0..5).map(|s| (100 + s) * MIB), false);
        check((0..30).map(|_| 100 * MIB), false);
        // Noise of the requests in flight.
        check((0..30).map(|s| 100 * MIB + (s % 5) * MIB), false);
        // A start that has settled.
        check((0..40).map(|s| (100 + s.min(10)) * MIB), false);
        // A sawtooth that comes down again and again.
        check((0..40).map(|s| (100 + s % 4) * MIB), false);
        // Growth that begins after a calm time.
        check((0..30).map(|s| (100 + u64::saturating_sub(s, 20)) * MIB), true);
        // Slow growth takes longer to be seen: 64 KiB a second.
        check((0..20).map(|s| 100 * MIB + s * MIB / 16), false);
        check((0..60).map(|s| 100 * MIB + s * MIB / 16), true);
    }

    #[test]
    fn more_than_a_point_a_second_is_passed_over() {
        let mut swelling = Swelling::default();
        for tenth in 0..50 {
            swelling.point(Duration::from_millis(tenth * 100), tenth * MIB);
        }
        assert_eq!(swelling.points.len(), 5 + 1);
    }
}
