//! From readings to alerts: what has to last, what has to be calm again, and how often a person is told.

use std::time::Duration;

/// How a rule stands with one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Since when it is so, without a pause.
    since: Option<Duration>,
    /// It has lasted, and was not calm since.
    raised: bool,
    /// The last alert.
    told: Option<Duration>,
    /// Whether the raise that is not calm yet was told.
    open: bool,
    /// Raises since then that nobody was told of.
    untold: u32,
}

/// What a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is so, and has been so often since it was last told.
    Raised {
        /// Raises in between that came too soon to be told.
        untold: u32,
    },
    /// It is calm again.
    Cleared,
}

impl State {
    /// Takes a reading: whether it is so, and whether it is calm, which is not the opposite. It has to be so for `lasting`
    /// to be raised, and is told at most once in `every`.
    pub fn step(
        &mut self,
        at: Duration,
        (over, calm): (bool, bool),
        lasting: Duration,
        every: Duration,
    ) -> Option<Change> {
        if !over {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(at);
        }
        if self.raised {
            if !calm {
                return None;
            }
            self.raised = false;
            return std::mem::take(&mut self.open).then_some(Change::Cleared);
        }
        self.since.filter(|since| at.saturating_sub(*since) >= lasting)?;
        self.raised = true;
        if self.told.is_some_and(|told| at.saturating_sub(told) < every) {
            self.untold += 1;
            return None;
        }
        self.told = Some(at);
        self.open = true;
        Some(Change::Raised { untold: std::mem::take(&mut self.untold) })
    }

    /// Nobody was told after all.
    pub fn hush(&mut self) {
        (self.told, self.open) = (None, false);
    }

    /// The subject is gone.
    pub fn gone(self) -> Option<Change> {
        self.open.then_some(Change::Cleared)
    }

    /// Whether the next reading would be the first: nothing is known that would be missed.
    pub fn is_fresh(&self, at: Duration, every: Duration) -> bool {
        self.since.is_none()
            && !self.raised
            && self.told.is_none_or(|told| at.saturating_sub(told) >= every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading a second: `#` over, `-` neither, `.` calm. What is told: `R` raised, `C` cleared.
    fn check(readings: &str, lasting_s: u64, every_s: u64, expected: &str) {
        let mut state = State::default();
        let mut told = String::new();
        for (second, reading) in readings.chars().enumerate() {
            let change = state.step(
                Duration::from_secs(second as u64),
                (reading == '#', reading == '.'),
                Duration::from_secs(lasting_s),
                Duration::from_secs(every_s),
            );
            told.push(match change {
                None => ' ',
                Some(Change::Raised { untold: 0 }) => 'R',
                Some(Change::Raised { untold }) => char::from_digit(untold, 10).unwrap(),
                Some(Change::Cleared) => 'C',
            });
        }
        assert_eq!(told, expected, "{readings}");
    }

    #[test]
    fn it_has_to_last_and_to_be_calm_again() {
        check("..##..", 0, 0, "  R C ");
        check("..####..", 2, 0, "    R C ");
        check("..##.###.", 2, 0, "       RC");
        // Between the two thresholds nothing ends and nothing begins.
        check("##--##--.", 0, 0, "R       C");
        check("--------", 0, 0, "        ");
        // A pause begins anew.
        check("##-##-###", 2, 0, "        R");
    }

    #[test]
    fn it_is_told_at_most_so_often() {
        check("#.#.#.#.#.", 0, 6, "RC    2C  ");
        // What was not told is not cleared either.
        check("#.##.", 0, 60, "RC   ");
    }

    #[test]
    fn what_is_gone_is_cleared_if_it_was_told() {
        let mut state = State::default();
        assert_eq!(state.gone(), None);
        assert!(state.is_fresh(Duration::ZERO, Duration::from_secs(1)));
        state.step(Duration::ZERO, (true, false), Duration::ZERO, Duration::ZERO);
        assert_eq!(state.gone(), Some(Change::Cleared));
        assert!(!state.is_fresh(Duration::ZERO, Duration::from_secs(1)));
        state.hush();
        assert_eq!(state.gone(), None);
    }
}
