//! The file of rules, in TOML.
//!
//! ```toml
//! interval = "1s"
//! directory = "/var/lib/memmgr"
//!
//! [[rule]]
//! name = "web leaks"
//! when = "process:web* grows > 1MiB/s for 30s"
//! severity = "critical"
//! every = "15m"
//! command = "logger -t memmgr \"$MEMMGR_TEXT\""
//! capture = "30s"
//! ```

use std::{path::PathBuf, time::Duration};

use axum::http::{Uri, uri::Authority};
use serde::{Deserialize, Deserializer, de::Error};

use super::rule::{Condition, Rule, Subject};
use crate::source::groups::Extras;

/// What `watch` does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Distance of two looks, at least 100 ms.
    #[serde(default = "second", deserialize_with = "interval")]
    pub interval: Duration,
    /// Where reports of captures go; made if it is not there.
    #[serde(default = "here")]
    pub directory: PathBuf,
    /// Where what is seen is kept, if anywhere.
    #[serde(default)]
    pub keep: Option<PathBuf>,
    /// For how long.
    #[serde(default = "month", deserialize_with = "time")]
    pub retention: Duration,
    /// The rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Watched>,
}

/// A rule and what happens when it is so.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// What people call it; the rule's own words where it has none.
    #[serde(default)]
    pub name: String,
    /// The rule.
    #[serde(deserialize_with = "rule")]
    pub when: Rule,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// A subject is told of at most once in this time.
    #[serde(default = "five_minutes", deserialize_with = "time")]
    pub every: Duration,
    /// A command for the shell, with the facts in its environment.
    #[serde(default)]
    pub command: Option<String>,
    /// An address that the alert is posted to as JSON.
    #[serde(default, deserialize_with = "address")]
    pub webhook: Option<String>,
    /// Captures the process, or the one that grows fastest in the group or on the host, for so long.
    #[serde(default, deserialize_with = "some_time")]
    pub capture: Option<Duration>,
}

/// How bad it is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody has to look.
    #[default]
    Warning,
    /// Somebody has to act.
    Critical,
}

impl Severity {
    /// By the name of [`Self::name`].
    pub fn named(text: &str) -> Option<Self> {
        [Severity::Info, Severity::Warning, Severity::Critical]
            .into_iter()
            .find(|severity| severity.name() == text)
    }

    /// As files and alerts write it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl Config {
    /// Reads a file's content.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut config: Config = toml::from_str(text)?;
        for (at, rule) in config.rules.iter_mut().enumerate() {
            if rule.name.is_empty() {
                rule.name = format!("rule {}", at + 1);
            }
        }
        Ok(config)
    }

    /// Whether anything is written to the directory: reports of captures, records of kills.
    pub fn writes(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| {
            let writes =
                matches!(rule.when.condition, Condition::OomKill | Condition::Finding { .. });
            writes || rule.capture.is_some()
        })
    }

    /// What the rules need to know of cgroups beside their figures.
    pub fn extras(&self) -> Extras {
        let mut extras = Extras::default();
        for rule in self.rules.iter().map(|rule| &rule.when) {
            match (&rule.subject, &rule.condition) {
                (Subject::Cgroup(group), Condition::Pressure { .. }) => {
                    extras.pressure.push(group.clone());
                }
                (Subject::Process { group: Some(group), .. }, _) => extras.pids.push(group.clone()),
                _ => {}
            }
        }
        extras
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: second(),
            directory: here(),
            keep: None,
            retention: month(),
            rules: Vec::new(),
        }
    }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn five_minutes() -> Duration {
    Duration::from_mins(5)
}

fn month() -> Duration {
    Duration::from_hours(30 * 24)
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

fn rule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| D::Error::custom(format!("{text:?} is no time; write 30s, 5m or 500ms")))
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match time(deserializer)? {
        short if short < Duration::from_millis(100) => Err(D::Error::custom("at least 100ms")),
        interval => Ok(interval),
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    webhook(&text).map(Some).map_err(D::Error::custom)
}

/// An address of a webhook: `http://` or `https://` with a host.
///
/// # Errors
/// What is wrong with it.
pub fn webhook(text: &str) -> Result<String, String> {
    let is_one = |uri: &Uri| {
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let has_port = |authority: &Authority| {
            let rest = authority.as_str().rsplit('@').next().unwrap_or_default();
            // A port that is none is left in the text alone.
            authority.port_u16().is_some() || rest == authority.host()
        };
        matches!(uri.scheme_str(), Some("http" | "https")) && authority.is_some_and(has_port)
    };
    match text.parse::<Uri>() {
        Ok(uri) if is_one(&uri) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no address; write https://host/path")),
    }
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match time(deserializer)? {
        short if short < Duration::from_secs(1) => {
            Err(D::Error::custom("a capture of at least 1s"))
        }
        time => Ok(Some(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let text = r#"
interval = "500ms"
directory = "/var/lib/memmgr"

[[rule]]
name = "web leaks"
when = "process:web* grows > 1MiB/s for 30s"
severity = "critical"
every = "15m"
command = "true"
capture = "30s"

[[rule]]
when = "host oom_kill"
"#;
        let config = Config::parse(text).unwrap();
        let [leaks, kills] = config.rules.as_slice() else { panic!("{config:?}") };
        assert_eq!(config.interval, Duration::from_millis(500));
        assert_eq!((leaks.severity, leaks.every.as_secs()), (Severity::Critical, 900));
        assert_eq!(leaks.capture, Some(Duration::from_secs(30)));
        assert_eq!((kills.name.as_str(), kills.severity), ("rule 2", Severity::Warning));
        assert_eq!((kills.every.as_secs(), kills.capture), (300, None));
        assert!(config.writes());
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn addresses_of_webhooks() {
        for (address, expected) in [
            ("https://alerts.example/memory?x=1", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", true),
            ("https://user:word@host/", true),
            ("http://127.0.0.1:99999/", false),
            ("http://host:/", false),
            ("http:///path", false),
            ("host/x", false),
            ("ftp://host/x", false),
            ("http://a b/", false),
        ] {
            assert_eq!(webhook(address).is_ok(), expected, "{address}");
        }
    }

    #[test]
    fn errors_name_the_line_and_the_remedy() {
        for (text, line, expected) in [
            ("\n[[rule]]\nwhen = \"host used\"", "line 3", "`<` or `>` is missing"),
            ("[[rule]]\nname = \"x\"", "line 1", "missing field `when`"),
            ("[[rule]]\nwhen = \"host oom_kill\"\nevery = \"often\"", "line 3", "is no time"),
            ("[[rule]]\nwhen = \"host oom_kill\"\ncapture = \"10ms\"", "line 3", "at least 1s"),
            ("intervall = \"1s\"", "line 1", "unknown field `intervall`"),
            ("interval = \"10ms\"", "line 1", "at least 100ms"),
            (
                "[[rule]]\nwhen = \"host oom_kill\"\nseverity = \"bad\"",
                "line 3",
                "unknown variant `bad`",
            ),
            (
                "[[rule]]\nwhen = \"host oom_kill\"\nwebhook = \"host/x\"",
                "line 3",
                "write https://host/path",
            ),
            ("[[rule", "line 1", ""),
        ] {
            let error = Config::parse(text).expect_err(text).to_string();
            assert!(error.contains(line) && error.contains(expected), "{text}: {error}");
        }
    }
}
