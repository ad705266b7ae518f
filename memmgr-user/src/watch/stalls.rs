//! Shares of time in which tasks waited for memory, over windows until now.

use std::{collections::VecDeque, time::Duration};

use crate::report::Pressure;

/// The last sums of stalled time of the host or of a group.
#[derive(Debug, Default)]
pub struct Stalls(VecDeque<(Duration, f64, f64)>);

impl Stalls {
    /// How long a window may be, and a look more.
    const LONGEST: Duration = Duration::from_secs(12);

    /// Takes the sums of a moment, later than the last.
    pub fn update(&mut self, at: Duration, pressure: &Pressure) {
        self.0.push_back((at, pressure.some.total_s, pressure.full.total_s));
        while self.0.front().is_some_and(|(then, ..)| at.saturating_sub(*then) > Self::LONGEST) {
            self.0.pop_front();
        }
    }

    /// Percent of a window until the last moment in which some or all tasks waited for memory; absent while too little is
    /// known.
    pub fn percent(&self, all: bool, window: Duration) -> Option<f64> {
        let (now, some_now, full_now) = self.0.back()?;
        let since = now.checked_sub(window)?;
        let (then, some, full) = self.0.iter().rev().find(|(at, ..)| *at <= since)?;
        let waited = if all { full_now - full } else { some_now - some };
        Some(waited / now.saturating_sub(*then).as_secs_f64() * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PressureLine;

    #[test]
    fn shares_of_windows() {
        let mut stalls = Stalls::default();
        let line = |total_s| PressureLine { total_s, ..PressureLine::default() };
        assert_eq!(stalls.percent(false, Duration::from_secs(1)), None);
        // Half of each second some tasks wait, and all of them in the last.
        for second in 0..30_u32 {
            let full = if second == 29 { 1.0 } else { 0.0 };
            let pressure = Pressure { some: line(f64::from(second) / 2.0), full: line(full) };
            stalls.update(Duration::from_secs(second.into()), &pressure);
        }
        let percent = |all, seconds| stalls.percent(all, Duration::from_secs(seconds));
        assert_eq!((percent(false, 1), percent(false, 10)), (Some(50.0), Some(50.0)));
        assert_eq!((percent(true, 1), percent(true, 10)), (Some(100.0), Some(10.0)));
        assert_eq!(percent(true, 20), None);
    }
}
