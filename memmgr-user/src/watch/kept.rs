//! A history whose disk may fill: that is said once, and once more when it is over.

use std::time::{Instant, SystemTime};

use super::{
    alert::Alert,
    history::{History, HistoryError},
};
use crate::monitor::Look;

/// What is kept, if anything is.
pub struct Kept {
    history: Option<History>,
    failing: Option<(Instant, u32)>,
}

impl Kept {
    /// Keeps in this history, or nowhere.
    pub fn new(history: Option<History>) -> Self {
        Kept { history, failing: None }
    }

    /// Whether anything is kept.
    pub fn is_there(&self) -> bool {
        self.history.is_some()
    }

    /// Keeps a look; what a person has to know of that, if anything.
    pub fn look(&mut self, look: &Look) -> Option<String> {
        let done = self.history.as_mut()?.look(look);
        self.news(done)
    }

    /// Keeps an alert; the same.
    pub fn alert(&mut self, alert: &Alert) -> Option<String> {
        let done = self.history.as_mut()?.alert(alert, SystemTime::now());
        self.news(done)
    }

    /// What is missing at the end, if anything is.
    pub fn end(&self) -> Option<String> {
        let (since, lost) = self.failing?;
        let seconds = since.elapsed().as_secs();
        Some(format!(
            "the history could not be written in the last {seconds} s: {lost} looks and alerts are not in it"
        ))
    }

    fn news(&mut self, done: Result<(), HistoryError>) -> Option<String> {
        match (done, &mut self.failing) {
            (Ok(()), failing) => {
                let (since, lost) = failing.take()?;
                let seconds = since.elapsed().as_secs();
                Some(format!(
                    "the history is written again after {seconds} s: {lost} looks and alerts are not in it"
                ))
            }
            (Err(_), Some((_, lost))) => {
                *lost += 1;
                None
            }
            (Err(error), failing) => {
                *failing = Some((Instant::now(), 1));
                let error = anyhow::Error::from(error);
                Some(format!(
                    "{error:#}; the watch goes on, and what is seen meanwhile is not kept"
                ))
            }
        }
    }
}
