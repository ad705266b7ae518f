//! What is done about alerts beside the loop, and what becomes of it when the watch ends.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use tokio::{sync::watch, task::JoinSet};

use super::{
    act::Actions,
    alert::{Alert, Status},
    checks::Found,
    config::Severity,
    standing::Raised,
};
use crate::monitor::Process;

/// What an errand has to tell.
pub enum News {
    /// It was done.
    Done,
    /// It was not, and why.
    Failed(String),
    /// A capture has ended.
    Captured(Box<Raised>),
    /// A process was looked at for findings.
    Checked {
        /// The rule that asked for it.
        rule: usize,
        /// The process.
        process: Process,
        /// What was found, or why it could not be looked at.
        found: Result<Found, String>,
        /// Whether an alert has the report too.
        is_shared: bool,
    },
}

/// Commands, webhooks and captures under way.
pub struct Errands {
    actions: Actions,
    tasks: JoinSet<News>,
    checks: bool,
    end: watch::Sender<bool>,
}

impl Errands {
    /// None yet.
    pub fn new(actions: Actions) -> Self {
        Errands { actions, tasks: JoinSet::new(), checks: false, end: watch::channel(false).0 }
    }

    /// How many are under way, or wait for their turn.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Runs a command about an alert.
    pub fn command(&mut self, command: String, alert: Alert) {
        let actions = self.actions.clone();
        self.tasks.spawn(async move { news(&alert, actions.command(&command, &alert).await) });
    }

    /// Posts an alert.
    pub fn webhook(&mut self, address: String, alert: Alert) {
        let actions = self.actions.clone();
        self.tasks.spawn(async move { news(&alert, actions.webhook(&address, &alert).await) });
    }

    /// Captures a process for so long, because of an alert.
    pub fn capture(&mut self, pid: u32, comm: String, time: Duration, mut raised: Raised) {
        let (actions, end) = (self.actions.clone(), self.end.subscribe());
        self.tasks.spawn(async move {
            let (captured, _) = actions.capture(pid, &comm, &raised.alert.at, time, end).await;
            let alert = &mut raised.alert;
            alert.at = format_rfc3339_seconds(SystemTime::now()).to_string();
            alert.state = if captured.json.is_some() { Status::Captured } else { Status::Failed };
            alert.untold = 0;
            alert.capture = Some(captured);
            News::Captured(Box::new(raised))
        });
    }

    /// Whether a process is looked at for findings just now: one at a time is enough of a burden.
    pub fn checks(&self) -> bool {
        self.checks
    }

    /// Captures a process for so long to see whether it has a finding of at least this severity.
    pub fn check(
        &mut self,
        rule: usize,
        process: Process,
        comm: String,
        time: Duration,
        least: Severity,
    ) {
        let (actions, end) = (self.actions.clone(), self.end.subscribe());
        self.checks = true;
        self.tasks.spawn(async move {
            let at = format_rfc3339_seconds(SystemTime::now()).to_string();
            let (captured, is_shared) = actions.capture(process.pid.0, &comm, &at, time, end).await;
            let found = if captured.json.is_none() {
                Err(captured.said)
            } else {
                Ok(Found { over: captured.severity >= Some(least), captured })
            };
            News::Checked { rule, process, found, is_shared }
        });
    }

    /// Waits for the next that has something to tell; for ever while there is none.
    pub async fn next(&mut self) -> News {
        match self.tasks.join_next().await {
            Some(Ok(news)) => {
                self.checks &= !matches!(news, News::Checked { .. });
                news
            }
            Some(Err(error)) => {
                self.checks = false;
                News::Failed(error.to_string())
            }
            None => std::future::pending().await,
        }
    }

    /// Captures end now, and still write their reports. Those that begin later end at once.
    pub fn end_captures(&self) {
        self.end.send_replace(true);
    }
}

fn news(alert: &Alert, done: Result<(), String>) -> News {
    match done {
        Ok(()) => News::Done,
        Err(error) => News::Failed(format!("{}: {error}", alert.rule)),
    }
}
