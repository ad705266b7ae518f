//! The result, `memmgr.optimize/1`: what was to be done, what was done, and what it changed.

use serde::{Deserialize, Serialize};

use super::{
    figures::{Figures, Rates},
    plan::Suggestion,
    verdict::Effect,
};

/// The schema of the JSON form. Fields may be added; one that is renamed or removed raises the number.
pub const SCHEMA: &str = "memmgr.optimize/1";

/// One action, or the plan of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of memmgr.
    pub memmgr_version: String,
    /// When it began, RFC 3339, UTC.
    pub at: String,
    /// `reclaim`, `pageout` and so on, or `plan`.
    pub action: String,
    /// Over what.
    pub subject: Subject,
    /// What it does; empty for a plan.
    pub does: String,
    /// What it can cost.
    pub costs: String,
    /// Whether and how it is undone.
    pub undo: String,
    /// False for a dry run and for a plan: nothing was changed.
    pub applied: bool,
    /// How much was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_bytes: Option<u64>,
    /// The mappings that it is about, where it is about mappings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<Chosen>,
    /// What was done, and what the kernel or the target answered.
    pub steps: Vec<String>,
    /// What the reader should know beside it.
    pub notes: Vec<String>,
    /// The figures as they are; for a plan and a dry run nothing else.
    pub before: Figures,
    /// What it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// What would help, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<Suggestion>,
    /// Where the line about it was logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<String>,
}

/// What an action is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// `process`, `cgroup` or `host`.
    pub kind: String,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name. Hostile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// When it began, in seconds since boot: with `pid` its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time_s: Option<f64>,
    /// The cgroup. Hostile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

impl Subject {
    /// For people.
    pub fn words(&self) -> String {
        match (self.pid, &self.comm, &self.cgroup) {
            (Some(pid), Some(comm), _) => format!("{comm} ({pid})"),
            (_, _, Some(cgroup)) => format!("cgroup {cgroup}"),
            _ => "this host".to_owned(),
        }
    }
}

/// A mapping that an action is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The process.
    pub pid: u32,
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// The file, or the name that the process gave, or `heap`; empty where there is none. Hostile.
    pub name: String,
    /// What of it is in memory.
    pub rss_bytes: u64,
}

/// Figures around an action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// How long the action took.
    pub took_s: f64,
    /// Right after it.
    pub after: Figures,
    /// When it had settled.
    pub settled: Figures,
    /// What happened a second before it.
    pub rates_before: Rates,
    /// What happened a second while it settled.
    pub rates_settling: Rates,
    /// What that means.
    pub effect: Effect,
}
