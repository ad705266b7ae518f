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
    /// What a person knows of the raise that is not calm yet.
    known: Known,
    /// Raises since the last alert that nobody was told of.
    untold: u32,
}

/// What a person knows of a raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    Told,
    /// It is one of so many that are told of as a number.
    Counted,
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
    /// to be raised, and is told at most once in `every`: what is raised sooner is told then, if it is so still.
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
            if calm {
                self.raised = false;
                return (std::mem::take(&mut self.known) == Known::Told).then_some(Change::Cleared);
            }
            if self.known != Known::Nothing || self.is_too_soon(at, every) {
                return None;
            }
            self.untold -= 1;
        } else {
            self.since.filter(|since| at.saturating_sub(*since) >= lasting)?;
            self.raised = true;
            if self.is_too_soon(at, every) {
                self.untold += 1;
                return None;
            }
        }
        self.told = Some(at);
        self.known = Known::Told;
        Some(Change::Raised { untold: std::mem::take(&mut self.untold) })
    }

    fn is_too_soon(&self, at: Duration, every: Duration) -> bool {
        self.told.is_some_and(|told| at.saturating_sub(told) < every)
    }

    /// Nobody was told after all: it was counted.
    pub fn hush(&mut self) {
        (self.told, self.known) = (None, Known::Counted);
    }

    /// The subject is gone: whether a person is to know, and raises that nobody was told of.
    pub fn gone(self) -> (Option<Change>, u32) {
        ((self.known == Known::Told).then_some(Change::Cleared), self.untold)
    }

    /// Raises that nobody was told of, are over, and could be told now. They count as told after this.
    pub fn take_untold(&mut self, at: Duration, every: Duration) -> u32 {
        if self.raised || self.is_too_soon(at, every) {
            return 0;
        }
        std::mem::take(&mut self.untold)
    }

    /// Whether the next reading would be the first: nothing is known that would be missed.
    pub fn is_fresh(&self, at: Duration, every: Duration) -> bool {
        self.since.is_none() && !self.raised && self.untold == 0 && !self.is_too_soon(at, every)
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
        // What is so still when it may be told is told.
        check("#.######.", 0, 6, "RC    R C");
        check("#.#.#---.", 0, 6, "RC    1 C");
    }

    #[test]
    fn what_is_gone_is_cleared_if_it_was_told() {
        let mut state = State::default();
        assert_eq!(state.gone(), (None, 0));
        assert!(state.is_fresh(Duration::ZERO, Duration::from_secs(1)));
        state.step(Duration::ZERO, (true, false), Duration::ZERO, Duration::ZERO);
        assert_eq!(state.gone(), (Some(Change::Cleared), 0));
        assert!(!state.is_fresh(Duration::ZERO, Duration::from_secs(1)));
        state.hush();
        assert_eq!(state.gone(), (None, 0));
    }

    #[test]
    fn what_was_not_told_is_counted_until_it_can_be() {
        let mut state = State::default();
        let second = Duration::from_secs;
        for (at, over) in [(0, true), (1, false), (2, true), (3, false), (4, true)] {
            state.step(second(at), (over, !over), Duration::ZERO, second(60));
        }
        assert_eq!(
            state.take_untold(second(61), second(60)),
            0,
            "it is so still, and is told itself"
        );
        state.step(second(5), (false, true), Duration::ZERO, second(60));
        assert_eq!(state.take_untold(second(59), second(60)), 0);
        assert!(!state.is_fresh(second(61), second(60)));
        assert_eq!(state.take_untold(second(61), second(60)), 2);
        assert_eq!(state.take_untold(second(61), second(60)), 0);
    }
}
