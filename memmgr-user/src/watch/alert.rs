//! What a person is told, as a line and as JSON.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{config::Severity, reading::Key};
use crate::escape::Safe;

/// The schema of the JSON form. Fields may be added; one that is renamed or removed raises the number.
pub const SCHEMA: &str = "memmgr.alert/1";

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// [`SCHEMA`].
    pub schema: String,
    /// Time of day, RFC 3339, UTC.
    pub at: String,
    /// What became of it.
    pub state: Status,
    /// The rule's name.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: Subject,
    /// What was read.
    pub what: String,
    /// The figure that was read: bytes, bytes a second, seconds, percent or a count; none when the subject is gone.
    pub value: Option<f64>,
    /// Alerts of this rule that were not told before, because they came too often.
    pub untold: u32,
    /// The capture that followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Captured>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is so.
    Raised,
    /// It is calm again, or the subject is gone.
    Cleared,
    /// It is so, and the capture that was asked for has ended.
    Captured,
    /// It is so, and the capture that was asked for could not be made.
    Failed,
}

impl Status {
    /// As alerts write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Raised => "raised",
            Status::Cleared => "cleared",
            Status::Captured => "captured",
            Status::Failed => "failed",
        }
    }
}

/// Whom an alert is about. The names are hostile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// `host`, `cgroup` or `process`.
    pub kind: String,
    /// A process's name, or a cgroup's path.
    pub name: String,
    /// A process's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

impl Subject {
    /// Of a reading.
    pub fn new(key: &Key, name: &str) -> Self {
        let (kind, pid) = match key {
            Key::Host => ("host", None),
            Key::Cgroup(_) => ("cgroup", None),
            Key::Process(process) => ("process", Some(process.pid.0)),
        };
        Subject { kind: kind.to_owned(), name: name.to_owned(), pid }
    }
}

/// How a capture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The report for a browser; none where there is none.
    pub html: Option<String>,
    /// The report for programs.
    pub json: Option<String>,
    /// The worst finding, or why there is no report.
    pub said: String,
    /// Its severity; none without a finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

impl Alert {
    /// One line for people.
    pub fn line(&self) -> Safe {
        let subject = match (&self.subject, self.subject.pid) {
            (subject, Some(pid)) => format!("{} ({pid})", subject.name),
            (subject, None) if subject.kind == "host" => "host".to_owned(),
            (subject, None) => format!("{} {}", subject.kind, subject.name),
        };
        let state = match self.state {
            Status::Raised => String::new(),
            Status::Cleared => "over: ".to_owned(),
            Status::Captured => "captured: ".to_owned(),
            Status::Failed => "not captured: ".to_owned(),
        };
        let mut line = format!(
            "{} {} {}: {state}{subject}: {}",
            self.at,
            self.severity.name(),
            self.rule,
            self.what
        );
        if self.untold > 0 {
            let _ = write!(line, " ({} more before were not told)", self.untold);
        }
        if let Some(capture) = &self.capture {
            let _ = write!(line, "; {} ({}): {}", capture.comm, capture.pid, capture.said);
            if let Some(html) = &capture.html {
                let _ = write!(line, "; report in {html}");
            }
        }
        Safe::from(line)
    }

    /// The facts for a command.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |text: &str| Safe::text(text).to_string();
        let mut facts = vec![
            ("MEMMGR_STATE", self.state.name().to_owned()),
            ("MEMMGR_RULE", text(&self.rule)),
            ("MEMMGR_SEVERITY", self.severity.name().to_owned()),
            ("MEMMGR_SUBJECT", self.subject.kind.clone()),
            ("MEMMGR_NAME", text(&self.subject.name)),
            ("MEMMGR_WHAT", text(&self.what)),
            ("MEMMGR_TEXT", self.line().to_string()),
        ];
        let pid = self.capture.as_ref().map(|capture| capture.pid).or(self.subject.pid);
        facts.extend(pid.map(|pid| ("MEMMGR_PID", pid.to_string())));
        facts.extend(self.value.map(|value| ("MEMMGR_VALUE", value.to_string())));
        if let Some(capture) = &self.capture {
            facts.extend(capture.html.clone().map(|path| ("MEMMGR_REPORT_HTML", path)));
            facts.extend(capture.json.clone().map(|path| ("MEMMGR_REPORT_JSON", path)));
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{monitor::Process, units::Pid};

    fn alert() -> Alert {
        let key = Key::Process(Process { pid: Pid(7), start_ticks: 1 });
        Alert {
            schema: SCHEMA.to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
            state: Status::Raised,
            rule: "leaks".to_owned(),
            severity: Severity::Critical,
            subject: Subject::new(&key, "web\u{1b}[2J"),
            what: "grows".to_owned(),
            value: Some(1.5),
            untold: 0,
            capture: None,
        }
    }

    #[test]
    fn lines_are_for_people_and_hide_nothing() {
        let mut alert = alert();
        let check = |alert: &Alert, expected: &str| assert_eq!(alert.line().as_str(), expected);
        let head = "2026-01-01T00:00:00Z critical leaks: ";
        check(&alert, &format!("{head}web\\u{{1b}}[2J (7): grows"));
        alert.untold = 3;
        alert.state = Status::Cleared;
        alert.subject = Subject::new(&Key::Cgroup("/a".to_owned()), "/a");
        check(&alert, &format!("{head}over: cgroup /a: grows (3 more before were not told)"));
        alert.untold = 0;
        alert.state = Status::Captured;
        alert.subject = Subject::new(&Key::Host, "host");
        alert.capture = Some(Captured {
            pid: 8,
            comm: "db".to_owned(),
            html: Some("/r.html".to_owned()),
            json: None,
            said: "fill leaks".to_owned(),
            severity: Some(Severity::Warning),
        });
        check(
            &alert,
            &format!("{head}captured: host: grows; db (8): fill leaks; report in /r.html"),
        );
    }

    #[test]
    fn facts_for_programs() {
        let json = serde_json::to_value(alert()).unwrap();
        assert_eq!(json["subject"]["pid"], 7);
        assert_eq!((&json["state"], &json["severity"]), (&"raised".into(), &"critical".into()));
        let facts = alert().environment();
        let fact = |name: &str| {
            facts.iter().find(|(found, _)| *found == name).map(|(_, fact)| fact.as_str())
        };
        assert_eq!(fact("MEMMGR_PID"), Some("7"));
        assert_eq!(fact("MEMMGR_NAME"), Some("web\\u{1b}[2J"));
        assert_eq!(fact("MEMMGR_REPORT_HTML"), None);
    }
}
