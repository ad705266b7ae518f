//! Whether something grew all through a capture, or only at some time of it: "the weakest cycle counts".

use super::statistics::{mann_kendall, mean_and_variance, median};

/// How growth is spread over windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spread {
    /// From the beginning to the end. The last third grew by this share of what the first third did.
    Steady(f64),
    /// It slowed down or stopped: a cache that is full, a program that has started.
    Stopped,
    /// Only what is new is there: older growth is gone again.
    Recent,
    /// In one or two windows.
    Burst,
    /// Too little to say.
    Little,
}

/// A window counts at most so many times the median growing window, so that one burst does not hide the rest.
const CAP: f64 = 3.0;
/// With so many blocks a window no window is empty by chance.
const DENSE: f64 = 5.0;
/// Growth of the last third below this share of the first third's is saturation.
const SLOWED: f64 = 0.5;
/// The same the other way round.
const QUICKENED: f64 = 2.5;
/// And by chance in no more than one of 90 cases, in standard errors.
const TREND: f64 = 2.3;

/// Judges `grew` (in things seen: blocks, samples, threads) by window. `chances` are the births in each
/// window, of which those that grew are a part: a window without any says nothing about the beginning.
pub(super) fn spread(grew: &[f64], chances: &[f64]) -> Spread {
    let begin = chances.iter().position(|born| *born > 0.0).unwrap_or(0);
    let (grew, chances) = (&grew[begin..], &chances[begin..]);
    let windows = grew.len();
    let hits: Vec<usize> = (0..windows).filter(|at| grew[*at] >= 0.5).collect();
    let least = if windows < 8 { 3 } else { 4 };
    if hits.len() < least {
        return if matches!(hits.len(), 1 | 2) { Spread::Burst } else { Spread::Little };
    }
    let (leading, trailing) = (hits[0], windows - 1 - hits[hits.len() - 1]);
    let inner = hits.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(0);
    // A pause is an end when it is far longer than every pause before it.
    let unit = median(&mut hits.iter().map(|at| grew[*at]).collect::<Vec<f64>>());
    let shortest = if unit >= DENSE { 2 } else { 3 };
    let patience = (windows / 10).max(shortest).max(2 * inner + 2);
    if trailing >= patience || trailing * 2 > windows {
        return Spread::Stopped;
    }
    if leading >= patience || leading * 2 > windows {
        return Spread::Recent;
    }
    if inner * 2 > windows {
        return Spread::Little;
    }
    let capped: Vec<f64> = grew.iter().map(|grew| (grew / unit).min(CAP)).collect();
    let third = (windows / 3).max(1);
    let (early, _) = mean_and_variance(&capped[..third]);
    let (late, _) = mean_and_variance(&capped[windows - third..]);
    let trend = mann_kendall(&capped);
    let (trend_down, trend_up) = (trend.min(laplace(&capped)), trend);
    // Whether the births slowed down just as much: then it is the load that did.
    let sum = |values: &[f64]| values.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let share_early = sum(&grew[..third]) / sum(&chances[..third]);
    let share_late = sum(&grew[windows - third..]) / sum(&chances[windows - third..]);
    let churns = sum(grew) < 0.5 * sum(chances);
    let ratio = if early > 0.0 { late / early } else { f64::INFINITY };
    let load = if churns { share_late / share_early } else { ratio };
    if ratio.max(load) < SLOWED && trend_down < -TREND {
        Spread::Stopped
    } else if churns && ratio.min(load) > QUICKENED && trend_up > TREND {
        Spread::Recent
    } else {
        Spread::Steady(if load.is_finite() { load } else { 1.0 })
    }
}

/// The trend test of Laplace for events in time: about standard normal when they come at a constant rate,
/// negative when they come early.
pub(super) fn laplace(events: &[f64]) -> f64 {
    let total: f64 = events.iter().sum();
    let middle = events.len() as f64 / 2.0;
    let mean = events.iter().enumerate().map(|(at, n)| n * (at as f64 + 0.5)).sum::<f64>() / total;
    (mean / middle - 1.0) * (3.0 * total).sqrt()
}
