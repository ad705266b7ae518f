//! How far an estimate from samples may be off.

use super::{Figures, Relation};
use crate::report::{Report, Stack};

/// The standard error of one side's outstanding bytes, squared, gathered over the stacks that are one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    bytes: u64,
    count: u64,
    samples: u64,
}

impl Estimate {
    pub(super) fn add(&mut self, stack: &Stack) {
        self.bytes = self.bytes.saturating_add(stack.live_bytes);
        self.count = self.count.saturating_add(stack.live_count);
        self.samples = self.samples.saturating_add(stack.live_samples);
    }

    fn mean_size(self) -> Option<f64> {
        (self.count > 0).then(|| self.bytes as f64 / self.count as f64)
    }

    /// A sampled block of S bytes stands for w = S / p bytes, p = 1 − e^(−S/R). By Horvitz and Thompson
    /// (1952) the variance of a sum of n of them is estimated as n w² (1 − p): bytes / √n as standard
    /// error for small blocks, and next to nothing for those larger than R, which are always sampled.
    /// Where no sample was taken one is assumed, of the size that the other side has.
    fn variance(self, interval: f64, other: Self) -> f64 {
        let Some(size) = self.mean_size().or(other.mean_size()) else { return 0.0 };
        if interval <= 0.0 || size <= 0.0 {
            return 0.0;
        }
        let missed = (-size / interval).exp();
        let sampled = -(-size / interval).exp_m1();
        let samples = self.samples.max(1) as f64;
        let each = if self.samples == 0 { size / sampled } else { self.bytes as f64 / samples };
        samples * each * each * missed
    }
}

/// The shares of both sides' estimates that are not the same samples.
///
/// Two captures share none. Two moments of one capture share the blocks that are outstanding at both: at
/// most what was allocated in between is new, and what is new but did not add to the sum makes up for what
/// was freed.
pub(super) fn independent(
    relation: Relation,
    before: &Figures<u64>,
    after: &Figures<u64>,
) -> [f64; 2] {
    if relation != Relation::OneCapture {
        return [1.0, 1.0];
    }
    let fresh = after.alloc_bytes.saturating_sub(before.alloc_bytes).min(after.live_bytes);
    let freed = before.live_bytes.saturating_add(fresh).saturating_sub(after.live_bytes);
    let share = |part: u64, whole: u64| {
        if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) }
    };
    [share(freed, before.live_bytes), share(fresh, after.live_bytes)]
}

/// The standard error, in bytes, of the difference of two estimates, of which these shares are independent;
/// 0 when neither side was sampled.
pub(super) fn standard_error(
    reports: [&Report; 2],
    [before, after]: [Estimate; 2],
    [share_before, share_after]: [f64; 2],
) -> f64 {
    let interval = reports.map(|report| match report.capture.mode.as_str() {
        "sample" => report.capture.sample_interval_bytes as f64,
        _ => 0.0,
    });
    let first = before.variance(interval[0], after) * share_before;
    let second = after.variance(interval[1], before) * share_after;
    (first + second).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: u64 = 512 << 10;

    #[track_caller]
    fn check(before: Estimate, after: Estimate, interval: u64, expected: f64) {
        let mut report = Report::default();
        report.capture.mode = if interval == 0 { "exact" } else { "sample" }.to_owned();
        report.capture.sample_interval_bytes = interval;
        let error = standard_error([&report; 2], [before, after], [1.0; 2]);
        assert!((error - expected).abs() <= expected * 0.01 + 1e-3, "{error} is not {expected}");
    }

    fn small(samples: u64) -> Estimate {
        // Blocks of 64 bytes.
        Estimate { bytes: samples * R, count: samples * R / 64, samples }
    }

    #[test]
    fn errors_follow_the_samples() {
        let r = R as f64;
        check(small(100), small(100), R, 200_f64.sqrt() * r);
        check(small(0), small(4), R, 5_f64.sqrt() * r);
        check(small(4), small(0), R, 5_f64.sqrt() * r);
        check(small(0), small(0), R, 0.0);
        check(small(100), small(100), 0, 0.0);
    }

    #[test]
    fn large_blocks_are_always_sampled() {
        let large = Estimate { bytes: 64 << 20, count: 1, samples: 1 };
        check(Estimate::default(), large, R, 0.0);
    }

    #[test]
    fn two_moments_of_one_capture_share_what_stayed() {
        let side =
            |live_bytes, alloc_bytes| Figures { live_bytes, alloc_bytes, ..Figures::default() };
        for (relation, before, after, expected) in [
            (Relation::OneProcess, side(100, 100), side(110, 110), [1.0, 1.0]),
            // 25 were added to 100.
            (Relation::OneCapture, side(100, 100), side(125, 125), [0.0, 0.2]),
            // 50 came, 25 of the 100 went.
            (Relation::OneCapture, side(100, 100), side(125, 150), [0.25, 0.4]),
            (Relation::OneCapture, side(0, 0), side(10, 10), [1.0, 1.0]),
            (Relation::OneCapture, side(10, 10), side(0, 10), [1.0, 1.0]),
        ] {
            assert_eq!(independent(relation, &before, &after), expected, "{before:?} {after:?}");
        }
    }
}
