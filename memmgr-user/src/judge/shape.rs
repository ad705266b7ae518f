//! How the outstanding bytes of one stack moved.
//!
//! Two witnesses: what was outstanding at the lowest moment of each window, and what each window's births
//! left behind. A leak shows in both; churn hides it from the first only.

use crate::{
    history::{StackHistory, Windows},
    report::Growth,
};

use super::{
    life_table::{LifeTable, seen_share},
    outline::{Outline, outline},
    resized::resized,
    survivors::Survivors,
};

/// The shape of a stack's growth.
///
/// Multiplying all bytes by a constant multiplies rate, growth and series, and changes nothing else.
pub fn growth(windows: &Windows, history: &StackHistory) -> Growth {
    let count = common_windows(windows, history);
    let ends_s = &windows.ends_s[..count];
    let low = &history.low_bytes[..count];
    let mut growth = Growth {
        series: low.iter().map(|bytes| bytes.round() as u64).collect(),
        kept: history.kept_bytes[..count].iter().map(|bytes| bytes.round() as u64).collect(),
        ..Growth::default()
    };
    let survivors = Survivors::of(history, count, LifeTable::seen(history, count));
    if let Some(trend) = survivors.trend(ends_s) {
        growth.follow("linear", "kept", trend.confidence, trend.bytes_per_s, grown(low));
    } else if let Some(trend) = resized(ends_s, history) {
        growth.follow("linear", "resized", trend.confidence, trend.bytes_per_s, grown(low));
    } else {
        let Outline { shape, confidence, bytes_per_s } =
            outline(ends_s, low, relative_error(history) * peak(low));
        let (born, freed): (f64, f64) =
            (history.alloc_count.iter().sum(), history.free_count.iter().sum());
        let driver = match shape {
            "linear" if freed > 0.1 * born => "turnover",
            "linear" => "kept",
            _ => "",
        };
        let confidence = if driver == "kept" { confidence.min(UNSURE) } else { confidence };
        let grown = if matches!(shape, "flat" | "sawtooth") { 0.0 } else { grown(low) };
        growth.follow(shape, driver, confidence, bytes_per_s, grown);
    }
    growth
}

/// Growth by blocks that stay, but not all through the capture.
const UNSURE: f64 = 0.5;

impl Growth {
    fn follow(&mut self, shape: &str, driver: &str, confidence: f64, rate: f64, grown: f64) {
        shape.clone_into(&mut self.shape);
        driver.clone_into(&mut self.driver);
        self.confidence = confidence;
        self.bytes_per_s = rate;
        self.grown_bytes = grown.round() as u64;
    }
}

/// A rate with the confidence that it is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    pub confidence: f64,
    pub bytes_per_s: f64,
}

/// How many windows every series has.
pub(super) fn common_windows(windows: &Windows, history: &StackHistory) -> usize {
    let series = [
        &history.alloc_count,
        &history.alloc_bytes,
        &history.free_count,
        &history.free_bytes,
        &history.low_bytes,
        &history.kept_count,
        &history.kept_bytes,
    ];
    series.iter().map(|series| series.len()).fold(windows.len(), usize::min)
}

/// That a trend over so few windows is one: 1 from nine windows on.
pub(super) fn enough_windows(count: usize) -> f64 {
    (count as f64 / 9.0).min(1.0)
}

/// From the end of the first third to the end.
fn grown(low: &[f64]) -> f64 {
    let from = (low.len() / 3).saturating_sub(1);
    match (low.get(from), low.last()) {
        (Some(first), Some(last)) => (last - first).max(0.0),
        _ => 0.0,
    }
}

/// Relative standard error of what is outstanding; of an estimate of nothing that of one sample.
fn relative_error(history: &StackHistory) -> f64 {
    let kept: f64 = history.kept_bytes.iter().sum();
    if kept > 0.0 {
        history.kept_bytes_error / kept
    } else {
        f64::from(u8::from(seen_share(history.alloc_samples, &history.alloc_count) < 0.999))
    }
}

fn peak(low: &[f64]) -> f64 {
    low.iter().copied().fold(0.0, f64::max)
}
