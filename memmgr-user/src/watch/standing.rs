//! How a rule stands with all that it is about, and what a person is told of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, SystemTime},
};

use humantime::format_rfc3339_seconds;

use super::{
    alert::{Alert, SCHEMA, Status, Subject},
    checks::Checks,
    config::Watched,
    reading::{Key, Reading},
    state::{Change, State},
};
use crate::monitor::Look;

/// Subjects of one rule that are told of in its `every`: with more, nobody reads them.
pub const MOST_TOLD: usize = 20;

/// A rule and how it stands.
#[derive(Debug)]
pub struct Standing {
    /// The rule.
    pub watched: Watched,
    states: HashMap<Key, Stand>,
    /// How a rule over kills stands with victims, by name: one that is killed again and again must not hide another.
    victims: HashMap<String, State>,
    /// What captures of a rule over findings found.
    pub checks: Checks,
    /// When subjects were told of, within the last `every`.
    told: VecDeque<Duration>,
    /// Raises since that were one too many.
    untold: u32,
}

#[derive(Clone, Debug, Default)]
struct Stand {
    state: State,
    name: String,
}

/// An alert and the rule that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    /// The number of the rule.
    pub rule: usize,
    /// The alert.
    pub alert: Alert,
}

impl Standing {
    /// Nothing is known of the rule's subjects yet.
    pub fn new(watched: Watched) -> Self {
        Standing {
            watched,
            states: HashMap::new(),
            victims: HashMap::new(),
            checks: Checks::default(),
            told: VecDeque::new(),
            untold: 0,
        }
    }

    /// Takes the readings of all its subjects.
    pub fn judge(&mut self, number: usize, look: &Look, readings: Vec<Reading>) -> Vec<Raised> {
        let mut alerts = Vec::new();
        // What has no reading any more is gone, or cannot be read: neither goes on.
        let there: HashSet<&Key> = readings.iter().map(|reading| &reading.key).collect();
        let gone: Vec<_> = self.states.extract_if(|key, _| !there.contains(key)).collect();
        for (key, stand) in gone {
            let (change, untold) = stand.state.gone();
            self.untold += untold;
            if change.is_some() && !self.watched.when.condition.is_moment() {
                let subject = Subject::new(&key, &stand.name);
                let what = "is gone".to_owned();
                alerts.push(self.alert(number, look.time, Status::Cleared, subject, what, None));
            }
        }
        for reading in readings {
            alerts.extend(self.step(number, look.at, look.time, reading));
        }
        alerts
    }

    /// Takes the reading of one subject.
    pub fn step(
        &mut self,
        number: usize,
        at: Duration,
        time: SystemTime,
        reading: Reading,
    ) -> Option<Raised> {
        let (lasting, every) = (self.watched.when.lasting, self.watched.every);
        let stand = self.states.entry(reading.key.clone()).or_default();
        let change = stand.state.step(at, (reading.over, reading.calm), lasting, every);
        stand.name.clone_from(&reading.name);
        if stand.state.is_fresh(at, every) {
            self.states.remove(&reading.key);
        }
        let subject = Subject::new(&reading.key, &reading.name);
        let value = reading.value.is_finite().then_some(reading.value);
        match change? {
            Change::Cleared if self.watched.when.condition.is_moment() => None,
            Change::Cleared => {
                Some(self.alert(number, time, Status::Cleared, subject, reading.what, value))
            }
            Change::Raised { untold } => {
                let Some(untold) = self.may_tell(at, untold) else {
                    self.states.entry(reading.key).or_default().state.hush();
                    return None;
                };
                let mut raised =
                    self.alert(number, time, Status::Raised, subject, reading.what, value);
                raised.alert.untold = untold;
                if let Key::Process(process) = reading.key {
                    let found = self.checks.found(process);
                    raised.alert.capture = found.map(|found| found.captured.clone());
                }
                Some(raised)
            }
        }
    }

    /// A victim of the kernel: if it is told, how many others were not.
    pub fn victim(&mut self, comm: &str, at: Duration) -> Option<u32> {
        let every = self.watched.every;
        let state = self.victims.entry(comm.to_owned()).or_default();
        let change = state.step(at, (true, false), Duration::ZERO, every);
        // It is a moment and nothing that goes on: calm at once.
        state.step(at, (false, true), Duration::ZERO, every);
        match change? {
            Change::Raised { untold } => self.may_tell(at, untold),
            Change::Cleared => None,
        }
    }

    /// Whether a person may be told of one more subject, and of how many raises none was told before. If not it counts.
    fn may_tell(&mut self, at: Duration, untold: u32) -> Option<u32> {
        let every = self.watched.every;
        while self.told.front().is_some_and(|told| at.saturating_sub(*told) >= every) {
            self.told.pop_front();
        }
        if self.told.len() >= MOST_TOLD {
            self.untold += 1 + untold;
            return None;
        }
        self.told.push_back(at);
        Some(untold + std::mem::take(&mut self.untold))
    }

    /// How often it came true without being told, where no alert will say so any more. They count as told after this.
    pub fn take_untold(&mut self, at: Duration) -> u32 {
        let every = self.watched.every;
        let states = self.states.values_mut().map(|stand| &mut stand.state);
        let mut untold: u32 =
            states.chain(self.victims.values_mut()).map(|state| state.take_untold(at, every)).sum();
        self.victims.retain(|_, state| !state.is_fresh(at, every));
        if self.told.back().is_none_or(|told| at.saturating_sub(*told) >= every) {
            untold += std::mem::take(&mut self.untold);
        }
        untold
    }

    /// An alert of this rule, which has this number.
    pub fn alert(
        &self,
        rule: usize,
        time: SystemTime,
        state: Status,
        subject: Subject,
        what: String,
        value: Option<f64>,
    ) -> Raised {
        let alert = Alert {
            schema: SCHEMA.to_owned(),
            at: format_rfc3339_seconds(time).to_string(),
            state,
            rule: self.watched.name.clone(),
            severity: self.watched.severity,
            subject,
            what,
            value,
            untold: 0,
            capture: None,
        };
        Raised { rule, alert }
    }

    /// Whether nothing is remembered.
    #[cfg(test)]
    pub fn is_forgotten(&self) -> bool {
        self.states.is_empty() && self.victims.is_empty()
    }
}
