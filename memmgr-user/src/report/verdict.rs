//! What memmgr makes of the figures: growth, lifetimes, findings.

use serde::{Deserialize, Serialize};

/// How the outstanding bytes of a stack moved over the capture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// `linear`, `step`, `saturating`, `sawtooth` or `flat`.
    pub shape: String,
    /// That the shape is right, 0 to 1.
    pub confidence: f64,
    /// Robust slope of what stays outstanding, in bytes a second; 0 when it does not grow.
    pub bytes_per_s: f64,
    /// What it grew by between the end of the first third of the capture and its end, in bytes: never below 0.
    pub grown_bytes: u64,
    /// Least bytes outstanding within each window of [`super::Report::windows_s`]; empty where nobody needs it.
    pub series: Vec<u64>,
    /// What makes it grow: `kept` (blocks that stay), `resized` (blocks that are made larger), `turnover` (more
    /// blocks come than go, but they do go); empty when it does not grow steadily.
    #[serde(default)]
    pub driver: String,
    /// Bytes allocated within each window and outstanding at the end; empty where nobody needs it.
    #[serde(default)]
    pub kept: Vec<u64>,
}

/// How long the blocks of a stack live (Kaplan and Meier 1958): what is still outstanding counts as
/// "at least this old", not as dead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Frees that were seen.
    pub freed_count: u64,
    /// Blocks outstanding at the end, whose lifetimes are cut off by the end of the capture.
    pub censored_count: u64,
    /// Half of all blocks live at most this long; absent when more than half outlive the capture.
    pub median_s: Option<f64>,
    /// Share of all blocks that outlive every age that was observed.
    pub immortal: f64,
    /// The estimate, ages growing by factors of two.
    pub survival: Vec<Survival>,
    /// The blocks that outlived the stack's short-lived ones.
    #[serde(default)]
    pub old: Old,
    /// What windows of time showed of deaths; absent when the allocator probes were in place all the time.
    #[serde(default)]
    pub noticed: Option<Noticed>,
}

/// Deaths seen through windows of time. Counts are blocks that were really seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Noticed {
    /// Blocks that outlived the window of their birth and the next.
    pub outlived: f64,
    /// Of them, those that were seen to be freed.
    pub freed: f64,
    /// The squares of how many of those were born in one window and freed in one, added up: as many as `freed` when
    /// each died by itself.
    pub together: f64,
    /// As many as would have been seen on average, had half of them died.
    pub expected: f64,
}

/// Blocks that reached an age at which most of their stack's blocks are long gone. Counts are blocks that
/// were really seen, also in sample mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Old {
    /// The age from which a block counts as old for this stack, in seconds.
    pub age_s: f64,
    /// Blocks that reached it.
    pub reached: f64,
    /// Of them, those that were freed later.
    pub freed: f64,
    /// For how long all of them together were watched beyond it, in block-seconds.
    pub watched_s: f64,
}

/// One point of a survival curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Survival {
    /// Age in seconds.
    pub age_s: f64,
    /// Share of the blocks that live longer, 0 to 1.
    pub share: f64,
}

/// A judgement over a stack or the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// `leak` (a stack), or about the process: `rss-growth`, `thread-growth`, `descriptor-growth`,
    /// `mapping-count`, `retention`, `arenas`, `swap`, `limit`.
    #[serde(default)]
    pub kind: String,
    /// The stack, when it is about one.
    pub stack_id: Option<u32>,
    /// What it is about in a few words: the function to look at, or the resource.
    pub subject: Option<String>,
    /// Shape of the growth; empty when it is not about growth.
    pub shape: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// 0 to 100.
    pub score: f64,
    /// 0 to 1.
    pub confidence: f64,
    /// Growth.
    pub growth_bytes_per_s: f64,
    /// Time until the limit is reached at this rate.
    pub time_to_limit_s: Option<f64>,
    /// Sentences with numbers.
    pub evidence: Vec<String>,
    /// What to do.
    pub recommendation: String,
}

/// One line of a suppression file, and what it took out of the judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The pattern behind `leak:`.
    pub pattern: String,
    /// Stacks that it matched.
    pub stacks: u64,
    /// Their blocks outstanding.
    pub live_count: u64,
    /// Their bytes outstanding.
    pub live_bytes: u64,
}
