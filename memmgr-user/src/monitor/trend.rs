//! How fast figures grow: the slope of the straight line that fits the last of them best.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

/// The last figures of many things, each looked at at the same moments.
#[derive(Clone, Debug)]
pub struct Trends<K> {
    window: Duration,
    times: VecDeque<Duration>,
    series: HashMap<K, VecDeque<u64>>,
}

impl<K: Hash + Eq> Trends<K> {
    /// Remembers figures of the last `window`.
    pub fn new(window: Duration) -> Self {
        Trends { window, times: VecDeque::new(), series: HashMap::new() }
    }

    /// Takes the figures of a moment, which is later than the last. What is not among them is gone, and forgotten.
    pub fn update(&mut self, at: Duration, figures: impl IntoIterator<Item = (K, u64)>) {
        self.times.push_back(at);
        while self.times.front().is_some_and(|first| at.saturating_sub(*first) > self.window) {
            self.times.pop_front();
        }
        let kept = self.times.len();
        let mut before = std::mem::take(&mut self.series);
        for (key, figure) in figures {
            let mut series = before.remove(&key).unwrap_or_default();
            series.push_back(figure);
            while series.len() > kept {
                series.pop_front();
            }
            self.series.insert(key, series);
        }
    }

    /// The figures of a thing, the oldest first.
    pub fn points(&self, key: &K) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.series.get(key).map(VecDeque::iter).unwrap_or_default().copied()
    }

    /// The same with their moments.
    pub fn course(&self, key: &K) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let points = self.points(key);
        self.times.range(self.times.len() - points.len()..).copied().zip(points)
    }

    /// Growth a second, negative where it shrinks; absent where fewer than three figures, or less than a second, are known.
    pub fn rate(&self, key: &K) -> Option<f64> {
        let series = self.series.get(key)?;
        if series.len() < 3 {
            return None;
        }
        let times =
            || self.times.range(self.times.len() - series.len()..).map(Duration::as_secs_f64);
        if times().next_back()? - times().next()? < 1.0 {
            return None;
        }
        let n = series.len() as f64;
        let mean_time = times().sum::<f64>() / n;
        // Around the first figure: sums of squares of whole figures would lose their last digits.
        let first = *series.front()? as f64;
        let offsets = || series.iter().map(|figure| *figure as f64 - first);
        let mean = offsets().sum::<f64>() / n;
        let (mut products, mut squares) = (0.0, 0.0);
        for (time, offset) in times().zip(offsets()) {
            products += (time - mean_time) * (offset - mean);
            squares += (time - mean_time) * (time - mean_time);
        }
        (squares > 0.0).then(|| products / squares)
    }

    /// By how much a thing grew since the first figure; by all of it where it was not there at first, and by nothing where
    /// it shrank.
    pub fn gained(&self, key: &K) -> u64 {
        let Some(series) = self.series.get(key) else { return 0 };
        let (Some(first), Some(last)) = (series.front(), series.back()) else { return 0 };
        let before = if series.len() < self.times.len() { 0 } else { *first };
        last.saturating_sub(before)
    }

    /// Seconds until a thing that goes on like this reaches a limit; absent where it does not grow.
    pub fn seconds_to(&self, key: &K, limit: u64) -> Option<f64> {
        let rate = self.rate(key).filter(|rate| *rate > 0.0)?;
        let last = *self.series.get(key)?.back()?;
        Some(limit.saturating_sub(last) as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of one thing at moments a second apart.
    fn trends(window_s: u64, figures: &[u64]) -> Trends<&'static str> {
        let mut trends = Trends::new(Duration::from_secs(window_s));
        for (second, figure) in figures.iter().enumerate() {
            trends.update(Duration::from_secs(second as u64), [("a", *figure)]);
        }
        trends
    }

    #[test]
    fn growth_is_the_slope() {
        let check = |figures: &[u64], expected: Option<f64>| {
            let rate = trends(60, figures).rate(&"a");
            let near = rate.unwrap_or(-1.0) - expected.unwrap_or(-1.0);
            assert!(
                rate.is_some() == expected.is_some() && near.abs() < 1e-6,
                "{figures:?}: {rate:?}"
            );
        };
        check(&[10, 20, 30, 40], Some(10.0));
        check(&[40, 30, 20, 10], Some(-10.0));
        check(&[5, 5, 5], Some(0.0));
        check(&[1 << 40, (1 << 40) + 1, (1 << 40) + 2], Some(1.0));
        check(&[10, 20], None);
        check(&[], None);
    }

    #[test]
    fn only_the_window_counts() {
        let trends = trends(3, &[1000, 0, 0, 0, 0, 0]);
        assert_eq!(trends.points(&"a").collect::<Vec<_>>(), [0, 0, 0, 0]);
        assert_eq!(trends.rate(&"a"), Some(0.0));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut trends = trends(60, &[1, 2, 3, 4]);
        trends.update(Duration::from_secs(4), [("b", 7)]);
        assert_eq!((trends.rate(&"a"), trends.points(&"a").len()), (None, 0));
        assert_eq!(trends.points(&"b").collect::<Vec<_>>(), [7]);
        assert_eq!(trends.course(&"b").collect::<Vec<_>>(), [(Duration::from_secs(4), 7)]);
        // One that comes back begins anew.
        for second in 5..8 {
            trends.update(Duration::from_secs(second), [("a", second * 2)]);
        }
        assert_eq!(trends.rate(&"a"), Some(2.0));
    }

    #[test]
    fn growth_within_the_window() {
        assert_eq!(trends(60, &[10, 20, 30]).gained(&"a"), 20);
        assert_eq!(trends(60, &[30, 20]).gained(&"a"), 0);
        assert_eq!(trends(60, &[30]).gained(&"a"), 0);
        assert_eq!(trends(1, &[10, 20, 30]).gained(&"a"), 10);
        let mut trends = trends(60, &[10, 20]);
        trends.update(Duration::from_secs(2), [("a", 21), ("new", 7)]);
        assert_eq!((trends.gained(&"a"), trends.gained(&"new"), trends.gained(&"no")), (11, 7, 0));
    }

    #[test]
    fn time_to_a_limit() {
        assert_eq!(trends(60, &[10, 20, 30]).seconds_to(&"a", 130), Some(10.0));
        assert_eq!(trends(60, &[10, 20, 30]).seconds_to(&"a", 20), Some(0.0));
        assert_eq!(trends(60, &[30, 20, 10]).seconds_to(&"a", 130), None);
    }
}
