//! How far an estimate from samples may be off.

use super::{Figures, Relation};
use crate::report::{Report, Stack};

/// One side's outstanding bytes, gathered over the stacks that are one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    /// Variance of the bytes, bytes squared; 0 where they are exact.
    variance: f64,
    samples: u64,
}

impl Estimate {
    pub(super) fn add(&mut self, stack: &Stack) {
        self.variance += (stack.live_bytes_error as f64).powi(2);
        self.samples = self.samples.saturating_add(stack.live_samples);
    }

    /// Where no sample was taken one is assumed, like those that the other side has.
    fn variance(self, other: Self) -> f64 {
        match (self.samples, other.samples) {
            (0, 0) => 0.0,
            (0, samples) => other.variance / samples as f64,
            _ => self.variance,
        }
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
/// 0 when both sides are exact.
pub(super) fn standard_error(
    reports: [&Report; 2],
    [before, after]: [Estimate; 2],
    [share_before, share_after]: [f64; 2],
) -> f64 {
    // A side that counts every call has no block that it might have missed.
    let [sampled, sampled_after] = reports.map(|report| report.capture.estimates());
    let first = if sampled { before.variance(after) * share_before } else { 0.0 };
    let second = if sampled_after { after.variance(before) * share_after } else { 0.0 };
    (first + second).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: u64 = 512 << 10;

    #[track_caller]
    fn check(before: Estimate, after: Estimate, mode: &str, expected: f64) {
        let mut report = Report::default();
        report.capture.mode = mode.to_owned();
        let error = standard_error([&report; 2], [before, after], [1.0; 2]);
        assert!((error - expected).abs() <= expected * 0.01 + 1e-3, "{error} is not {expected}");
    }

    /// Blocks far smaller than the sampling interval R: each sample has a variance of R².
    fn small(samples: u64) -> Estimate {
        Estimate { variance: samples as f64 * (R * R) as f64, samples }
    }

    #[test]
    fn errors_follow_the_samples() {
        let r = R as f64;
        check(small(100), small(100), "sample", 200_f64.sqrt() * r);
        check(small(0), small(4), "sample", 5_f64.sqrt() * r);
        check(small(4), small(0), "sample", 5_f64.sqrt() * r);
        check(small(0), small(0), "sample", 0.0);
        check(small(100), Estimate { variance: 0.0, samples: 1 }, "sample", 10.0 * r);
        check(Estimate::default(), Estimate { variance: 0.0, samples: 7 }, "exact", 0.0);
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
