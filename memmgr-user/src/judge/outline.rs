//! The shape of what was outstanding at the lowest moment of each window, when no leak explains it.

use super::{
    shape::{Trend, enough_windows},
    statistics::{drift, mann_kendall, median, theil_sen},
};

/// A shape, that it is right, and its slope: 0 unless it is linear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outline {
    pub shape: &'static str,
    pub confidence: f64,
    pub bytes_per_s: f64,
}

/// A fall by more than this share of the peak is a sawtooth's.
const FALL: f64 = 0.5;
/// A rise by less than this share of the peak is flat.
const RISE: f64 = 0.1;
/// So is all that is less than so many times the median step.
const RESTLESS: f64 = 4.0;
/// This share of the rise within two windows is a step.
const STEP: f64 = 0.75;
/// A last third that grew less than this share of the first is saturating.
const SATURATED: f64 = 0.4;

/// Draws it. Changes of less than `noise` bytes say nothing.
pub(super) fn outline(ends_s: &[f64], low: &[f64], noise: f64) -> Outline {
    let sure = enough_windows(low.len());
    let of = |shape, confidence: f64| Outline {
        shape,
        confidence: confidence.clamp(0.0, 1.0) * sure,
        bytes_per_s: 0.0,
    };
    let peak = low.iter().copied().fold(0.0, f64::max);
    // Nothing is known to be outstanding when counting begins, so that the first window always rises.
    let from = usize::from(low.len() >= 3);
    let (ends_s, low) = (&ends_s[from..], &low[from..]);
    if peak <= 0.0 || low.len() < 2 {
        return of("flat", 1.0);
    }
    let steps: Vec<f64> = low.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // What it moves by from one window to the next is no shape.
    let restless = median(&mut steps.iter().map(|step| step.abs()).collect::<Vec<f64>>());
    let fall = deepest_fall(low);
    if fall > (FALL * peak).max(2.0 * noise).max(RESTLESS * restless) {
        return of("sawtooth", 0.5 + 0.5 * fall / peak);
    }
    let rise = low[low.len() - 1] - low[0];
    if rise <= (RISE * peak).max(2.0 * noise).max(RESTLESS * restless) {
        return of("flat", 1.0 - rise.max(0.0) / peak);
    }
    if let Some(share) = step(&steps, low, peak) {
        return of("step", share);
    }
    let third = (low.len() / 3).max(1);
    let early = level(low, third) - level(low, 0);
    let late = level(low, low.len()) - level(low, low.len() - third);
    // Without an early rise there is nothing that a late one could be less than.
    if early > 0.0 && late < SATURATED * early {
        return of("saturating", 1.0 - late.max(0.0) / early);
    }
    if mann_kendall(low) > 2.5 && drift(low) > 2.0 {
        let trend = Trend { confidence: 0.7, bytes_per_s: theil_sen(ends_s, low).max(0.0) };
        return Outline { bytes_per_s: trend.bytes_per_s, ..of("linear", trend.confidence) };
    }
    of("flat", 0.4)
}

/// The deepest fall from a height reached before.
fn deepest_fall(low: &[f64]) -> f64 {
    let (mut highest, mut fall) = (0.0_f64, 0.0_f64);
    for bytes in low {
        highest = highest.max(*bytes);
        fall = fall.max(highest - bytes);
    }
    fall
}

/// The share of the rise that one or two windows made, when that is most of it and it was flat afterwards.
fn step(steps: &[f64], low: &[f64], peak: f64) -> Option<f64> {
    let mut largest: Vec<usize> = (0..steps.len()).collect();
    largest.sort_unstable_by(|a, b| steps[*b].total_cmp(&steps[*a]));
    largest.truncate(2);
    let rise: f64 = steps.iter().filter(|step| **step > 0.0).sum();
    let share = largest.iter().map(|at| steps[*at].max(0.0)).sum::<f64>() / rise;
    let after = largest.iter().copied().filter(|at| steps[*at] > 0.1 * rise).max()? + 1;
    let flat = low[after..].iter().all(|bytes| (bytes - low[after]).abs() <= 0.15 * peak);
    let steps_enough = low.len() >= 6 && low.len() - after >= 2;
    (share >= STEP && flat && steps_enough).then_some(share)
}

/// The level around a boundary between windows: the median of the three nearest.
fn level(low: &[f64], at: usize) -> f64 {
    let middle = at.clamp(1, low.len().saturating_sub(2).max(1));
    let around = &low[middle - 1..(middle + 2).min(low.len())];
    median(&mut around.to_vec())
}
