//! Trends of the figures that are sampled once an interval: resident memory, threads, descriptors.

use crate::report::{Report, TimelinePoint};

use super::{
    shape::enough_windows,
    spread::{Spread, spread},
    statistics::{drift, lasting, theil_sen},
};

/// A figure that grows all through the capture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Climb {
    /// The least value of the first points.
    pub from: f64,
    /// The last value.
    pub to: f64,
    /// Robust slope, a second.
    pub per_s: f64,
    /// That it is one.
    pub confidence: f64,
}

/// A figure must drift by so many standard errors: a random walk does in one of 4000 cases.
const DRIFT: f64 = 3.5;

/// Last less first value; nothing when there are not two.
pub(super) fn rise(report: &Report, figure: impl Fn(&TimelinePoint) -> Option<u64>) -> Option<f64> {
    let values: Vec<u64> = report.timeline.iter().filter_map(figure).collect();
    let [first, .., last] = values[..] else { return None };
    Some(last as f64 - first as f64)
}

/// The climb of a figure, when it has one: it never falls back below what it was, in no part of the capture.
pub(super) fn climb(
    report: &Report,
    figure: impl Fn(&TimelinePoint) -> Option<u64>,
) -> Option<Climb> {
    let points: Vec<(f64, f64)> = report
        .timeline
        .iter()
        .filter_map(|point| Some((point.t_s, figure(point)? as f64)))
        .collect();
    // The first interval is when a program that was just started starts.
    let (times, values): (Vec<f64>, Vec<f64>) = points.into_iter().skip(1).unzip();
    climb_of(&times, &values)
}

/// The climb of these values at these seconds.
pub(crate) fn climb_of(times: &[f64], values: &[f64]) -> Option<Climb> {
    if values.len() < 6 {
        return None;
    }
    let lasting = lasting(values);
    let steps: Vec<f64> = lasting.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let grew: Vec<f64> = steps.iter().map(|step| f64::from(u8::from(*step > 0.0))).collect();
    let (from, to) = (lasting[0], lasting[lasting.len() - 1]);
    let largest = steps.iter().copied().fold(0.0, f64::max);
    let third = (steps.len() / 3).max(1);
    let last: f64 = steps[steps.len() - third..].iter().sum();
    let steady = matches!(spread(&grew, &vec![1.0; grew.len()]), Spread::Steady(_))
        && drift(values) >= DRIFT
        && last >= 0.2 * (to - from)
        && largest <= 0.5 * (to - from);
    steady.then(|| Climb {
        from,
        to,
        per_s: theil_sen(times, values).max(0.0),
        confidence: enough_windows(values.len()) * (1.0 - 1.0 / (1.0 + grew.iter().sum::<f64>())),
    })
}
