//! How long the blocks of a stack live: the estimator of Kaplan and Meier.

use crate::{
    history::{StackHistory, Windows},
    report::{Lifetime, Old, Survival},
};

use super::{life_table::LifeTable, windows::noticed};

/// The lifetimes of a stack's blocks.
///
/// Ages are known by the window, so that times are as fine as a window; a block freed in the window of its birth is
/// taken to have lived for less than one.
pub fn lifetime(windows: &Windows, history: &StackHistory) -> Lifetime {
    let count = super::shape::common_windows(windows, history);
    let width_s = if count > 0 { windows.ends_s[count - 1] / count as f64 } else { 0.0 };
    let survival = LifeTable::estimated(history, count).survival();
    let end_s = |age: usize| (age + 1) as f64 * width_s;
    let points = survival.iter().enumerate().map(|(age, share)| (end_s(age), *share));
    let seen = LifeTable::seen(history, count);
    let old_age = seen.settled().unwrap_or(count / 2);
    let old = seen.beyond(old_age);
    Lifetime {
        freed_count: history.free_count.iter().sum::<f64>().round() as u64,
        censored_count: history.kept_count.iter().sum::<f64>().round() as u64,
        median_s: median(points.clone()),
        immortal: survival.last().copied().unwrap_or(1.0),
        // Ages of 1, 2, 4, ... windows, and the oldest.
        survival: points
            .enumerate()
            .filter(|(age, _)| (age + 1).is_power_of_two() || age + 1 == count)
            .map(|(_, (age_s, share))| Survival { age_s, share })
            .collect(),
        old: Old {
            age_s: old_age as f64 * width_s,
            reached: old.reached,
            freed: old.freed,
            watched_s: old.watched * width_s,
        },
        noticed: noticed(windows, history),
    }
}

/// Where the curve crosses one half, between its points on a straight line.
fn median(points: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (mut before_s, mut above) = (0.0, 1.0);
    for (age_s, share) in points {
        if share <= 0.5 {
            return Some(before_s + (age_s - before_s) * (above - 0.5) / (above - share));
        }
        (before_s, above) = (age_s, share);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{super::generate::Program, *};

    /// Median, share of immortals, and the curve at every age it has.
    fn check(program: Program, expected: &str) {
        let (windows, history) = program.history();
        let got = lifetime(&windows, &history);
        let curve: Vec<String> =
            got.survival.iter().map(|s| format!("{:.0}s {:.2}", s.age_s, s.share)).collect();
        let median = got.median_s.map_or("none".to_owned(), |median| format!("{median:.1}s"));
        let line = format!("{median}, {:.2} immortal: {}", got.immortal, curve.join(", "));
        assert_eq!(line, expected);
    }

    #[test]
    fn curves() {
        // Ten blocks a second live for 2.5 s each.
        let steady = |lives_s: f64| move |p: &mut Program| p.every(0.1, lives_s, 100.0);
        check(
            Program::new(16, 16.0).with(steady(2.5)),
            "3.0s, 0.00 immortal: 1s 1.00, 2s 1.00, 4s 0.00, 8s 0.00, 16s 0.00",
        );
        // The same, and as many that are never freed.
        check(
            Program::new(16, 16.0).with(steady(2.5)).with(steady(f64::INFINITY)),
            "4.0s, 0.49 immortal: 1s 1.00, 2s 1.00, 4s 0.49, 8s 0.49, 16s 0.49",
        );
        check(Program::new(4, 4.0), "none, 1.00 immortal: 1s 1.00, 2s 1.00, 4s 1.00");
        check(Program::new(0, 0.0), "none, 1.00 immortal: ");
    }
}
