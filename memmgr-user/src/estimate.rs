//! How far estimates are off: standard errors of bytes, of one stack or of many together.
//!
//! Two things make an estimate. Of the blocks only some are sampled, each by itself: their variances add up. And the
//! probes may have been in place only for windows of time: what falls between two windows is missed of every stack
//! at once, so that bytes add up first, and only then become a variance. `docs/judgement.md` has the formulas.

use crate::{aggregate::Amount, track::Class};

/// By stretch of a capture, some intervals each: what the square of the bytes born in it adds to the variance,
/// because its windows may have met more or less than their share. Empty when the probes were always in place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coverage(Vec<f64>);

impl Coverage {
    /// Of intervals of so many seconds, in so many of which the probes were in place (`None`: in all of them),
    /// every `group` of them being a stretch.
    ///
    /// Windows that stand for F times the time that they were open are clusters sampled with probability 1/F, so that
    /// y bytes in one of them stand for Y = F y with a variance of F (F − 1) y² = (1 − 1/F) Y² (Horvitz and Thompson
    /// 1952). Of a stretch with m windows only the sum is known: it is taken to be spread evenly over them, each of
    /// Y / m.
    pub fn of(intervals: impl Iterator<Item = (f64, Option<f64>)>, group: usize) -> Self {
        let intervals: Vec<(f64, Option<f64>)> = intervals.collect();
        if intervals.iter().all(|(_, observed)| observed.is_none()) {
            return Coverage::default();
        }
        // An interval without a window is stood for by the next one that has one.
        let mut waiting_s = 0.0;
        let stretches = intervals.chunks(group.max(1)).map(|stretch| {
            let (mut all_s, mut observed_s, mut windows) = (0.0, 0.0, 0.0);
            for (seconds, observed) in stretch {
                let observed = observed.unwrap_or(*seconds);
                waiting_s += seconds;
                if observed > 0.0 {
                    all_s += std::mem::take(&mut waiting_s);
                    observed_s += observed;
                    windows += 1.0;
                }
            }
            if windows > 0.0 { (1.0 - observed_s / all_s).max(0.0) / windows } else { 0.0 }
        });
        Coverage(stretches.collect())
    }
}

/// What the errors of a stack's bytes, or of a sum over stacks, are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uncertainty {
    /// Variances by sampling of what is outstanding and of what was allocated, bytes squared.
    sampling: [f64; 2],
    /// Bytes outstanding and bytes allocated by the stretch of their birth; empty when the probes were always in place.
    stretches: Vec<[f64; 2]>,
}

impl Uncertainty {
    /// Of nothing yet. Only the allocator's probes may be away for a while.
    pub fn none(class: Class, coverage: &Coverage) -> Self {
        let stretches = if class == Class::Heap { coverage.0.len() } else { 0 };
        Uncertainty { sampling: [0.0; 2], stretches: vec![[0.0; 2]; stretches] }
    }

    /// Adds what was born in a stretch and is outstanding.
    pub fn add_live(&mut self, stretch: u32, live: Amount) {
        self.add_part(0, stretch, live);
    }

    /// Adds what was allocated in a stretch.
    pub fn add_allocated(&mut self, stretch: u32, allocated: Amount) {
        self.add_part(1, stretch, allocated);
    }

    fn add_part(&mut self, of: usize, stretch: u32, amount: Amount) {
        self.sampling[of] += amount.variance;
        if let Some(bytes) = self.stretches.get_mut(stretch as usize) {
            bytes[of] += amount.bytes;
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Uncertainty) {
        let pairs = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a + c, b + d];
        self.sampling = pairs(self.sampling, other.sampling);
        for (sum, bytes) in self.stretches.iter_mut().zip(&other.stretches) {
            *sum = pairs(*sum, *bytes);
        }
    }

    /// Standard errors of bytes outstanding and of bytes allocated, in bytes; 0 where they are exact.
    pub fn errors(&self, coverage: &Coverage) -> [f64; 2] {
        let mut variances = self.sampling;
        for (bytes, factor) in self.stretches.iter().zip(&coverage.0) {
            for (variance, bytes) in variances.iter_mut().zip(bytes) {
                *variance += factor * bytes * bytes;
            }
        }
        // Differences of sums leave a little below 0 behind.
        variances.map(|variance| variance.max(0.0).sqrt())
    }
}

/// The standard error of a sum of estimates whose errors are known one by one, in bytes. Where windows of time were
/// watched, one that met too much did so for all of them: then the errors add up as they are, which is never too
/// little (Minkowski).
pub fn error_of_sum(errors: impl Iterator<Item = u64>, in_windows: bool) -> f64 {
    let errors = errors.map(|error| error as f64);
    if in_windows { errors.sum() } else { errors.map(|error| error * error).sum::<f64>().sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(bytes: f64, error: f64) -> Amount {
        Amount { bytes, variance: error * error, ..Amount::default() }
    }

    /// Errors of stacks that hold `(stretch, bytes, sampling error)` outstanding, each by itself and together.
    #[track_caller]
    fn check(coverage: &Coverage, stacks: &[&[(u32, f64, f64)]], each: &[f64], together: f64) {
        let mut sum = Uncertainty::none(Class::Heap, coverage);
        let mut errors = Vec::new();
        for stack in stacks {
            let mut one = Uncertainty::none(Class::Heap, coverage);
            for (stretch, bytes, error) in *stack {
                one.add_live(*stretch, amount(*bytes, *error));
            }
            errors.push(one.errors(coverage)[0].round());
            sum.add(&one);
        }
        assert_eq!(errors, each);
        assert_eq!(sum.errors(coverage)[0].round(), together);
    }

    #[test]
    fn samples_are_drawn_one_by_one() {
        let always = Coverage::of([(1.0, None), (1.0, None)].into_iter(), 1);
        assert_eq!(always, Coverage::default());
        check(
            &always,
            &[&[(0, 900.0, 3.0), (1, 50.0, 4.0)], &[(0, 7.0, 12.0)]],
            &[5.0, 12.0],
            13.0,
        );
    }

    #[test]
    fn a_window_misses_the_same_of_every_stack() {
        // A window of a quarter of every second: √(1 − 1/4) of what each stands for.
        let quarter = Coverage::of([(1.0, Some(0.25)); 3].into_iter(), 1);
        let root = 0.75_f64.sqrt();
        let expected = |bytes: f64| (root * bytes).round();
        check(
            &quarter,
            &[&[(0, 1000.0, 0.0)], &[(0, 500.0, 0.0)]],
            &[expected(1000.0), expected(500.0)],
            expected(1500.0),
        );
        // Windows of their own are independent.
        check(
            &quarter,
            &[&[(0, 300.0, 0.0)], &[(2, 400.0, 0.0)]],
            &[expected(300.0), expected(400.0)],
            expected(500.0),
        );
    }

    #[test]
    fn stretches_have_several_windows_or_wait_for_one() {
        for (intervals, group, expected) in [
            (vec![(1.0, Some(0.5)), (1.0, None)], 1, vec![0.5, 0.0]),
            (vec![(1.0, Some(0.0)), (1.0, Some(0.5))], 1, vec![0.0, 0.75]),
            (vec![(1.0, Some(0.1)); 4], 4, vec![0.9 / 4.0]),
            (vec![(1.0, Some(0.0)); 2], 1, vec![0.0, 0.0]),
        ] {
            let Coverage(found) = Coverage::of(intervals.iter().copied(), group);
            assert_eq!(found.len(), expected.len());
            let near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn sums_of_what_is_known_one_by_one() {
        assert_eq!(error_of_sum([3, 4].into_iter(), false), 5.0);
        assert_eq!(error_of_sum([3, 4].into_iter(), true), 7.0);
    }
}
