//! What is watched: a sentence of a few words, the same on the command line and in a file.
//!
//! ```text
//! host available < 5% for 10s
//! host pressure.full > 10% in 2s
//! host oom_kill
//! cgroup:/web/* usage > 90% for 30s clear 80%
//! cgroup:/web full within 10m
//! cgroup:/web event.high
//! process:nginx* rss > 2GiB
//! process:*@/web/* grows > 1MiB/s for 30s
//! pid:4711 grows > 1MiB/s
//! process:nginx* finding warning each 30m
//! ```

use std::{fmt, time::Duration};

use super::config::Severity;
use crate::{
    pattern::Pattern,
    source::groups::Events,
    units::{Pid, human_bytes},
};

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Over whom.
    pub subject: Subject,
    /// What has to be so.
    pub condition: Condition,
    /// How long it has to be so without a pause.
    pub lasting: Duration,
}

/// Over whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// The host.
    Host,
    /// Every cgroup whose path matches.
    Cgroup(Pattern),
    /// Every process whose name matches, in a group whose path matches if there is one.
    Process {
        /// The name.
        name: Pattern,
        /// The path of its memory cgroup.
        group: Option<Pattern>,
    },
    /// One process.
    Pid(Pid),
}

/// What has to be so.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A figure is above or below a threshold, until it is back behind another.
    Level {
        /// The figure.
        figure: Figure,
        /// On which side of the threshold.
        side: Side,
        /// Where it begins.
        threshold: Threshold,
        /// Where it ends.
        clear: Threshold,
    },
    /// It grows by more than so many bytes a second, until by less than `clear`.
    Growth {
        /// Where it begins.
        threshold: f64,
        /// Where it ends.
        clear: f64,
    },
    /// Going on like this it reaches its limit in less than this; over at twice that.
    Full {
        /// Until the limit.
        within: Duration,
    },
    /// Tasks waited for memory for more than this share of a window of time.
    Pressure {
        /// All of them at once, or at least one.
        all: bool,
        /// Percent of the window.
        percent: f64,
        /// 500 ms to 10 s, as the kernel's triggers have it.
        window: Duration,
    },
    /// The kernel killed a process for lack of memory.
    OomKill,
    /// The kernel counted an event of a cgroup.
    Event(Event),
    /// A capture, which is made again and again, has a finding of at least this severity.
    Finding {
        /// The least severity.
        severity: Severity,
        /// Distance of two captures of a process.
        each: Duration,
    },
}

impl Condition {
    /// Whether it happens at a moment: that it does not happen again is no news.
    pub fn is_moment(&self) -> bool {
        matches!(self, Condition::OomKill | Condition::Event(_))
    }
}

/// What happens to a cgroup at its limits, as `memory.events` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// See [`Events::low`].
    Low,
    /// See [`Events::high`].
    High,
    /// See [`Events::max`].
    Max,
    /// See [`Events::oom`].
    Oom,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 4] = [Event::Low, Event::High, Event::Max, Event::Oom];

    /// As rules name it.
    pub fn name(self) -> &'static str {
        match self {
            Event::Low => "event.low",
            Event::High => "event.high",
            Event::Max => "event.max",
            Event::Oom => "event.oom",
        }
    }

    /// What it means, of a group.
    pub fn meaning(self) -> &'static str {
        match self {
            Event::Low => "its protected memory was reclaimed",
            Event::High => "it was slowed down above memory.high",
            Event::Max => "it was at its limit",
            Event::Oom => "it was at its limit and nothing could be reclaimed",
        }
    }

    /// How often it happened.
    pub fn of(self, events: &Events) -> Option<u64> {
        match self {
            Event::Low => events.low,
            Event::High => events.high,
            Event::Max => events.max,
            Event::Oom => events.oom,
        }
    }
}

/// A figure that has a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// `MemAvailable`.
    Available,
    /// Total less available.
    Used,
    /// Swap in use.
    Swap,
    /// A cgroup's usage, page cache included.
    Usage,
    /// A process's resident memory.
    Rss,
}

/// A side of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `>`
    Above,
    /// `<`
    Below,
}

/// Bytes, or a share of what there can be at most: of the host's memory or swap, of a cgroup's limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// Bytes.
    Bytes(u64),
    /// Percent.
    Percent(f64),
}

impl Threshold {
    /// In bytes, where a percent is one of `whole`; absent without one.
    pub fn bytes(self, whole: Option<u64>) -> Option<u64> {
        match self {
            Threshold::Bytes(bytes) => Some(bytes),
            Threshold::Percent(percent) => Some((whole? as f64 * percent / 100.0) as u64),
        }
    }

    /// The same, nearer to calm: a twentieth back.
    pub(super) fn eased(self, side: Side) -> Self {
        let factor = match side {
            Side::Above => 0.95,
            Side::Below => 1.05,
        };
        match self {
            Threshold::Bytes(bytes) => Threshold::Bytes((bytes as f64 * factor) as u64),
            Threshold::Percent(percent) => Threshold::Percent(percent * factor),
        }
    }

    pub(super) fn is_beyond(self, other: Self, side: Side) -> bool {
        let (own, other) = match (self, other) {
            (Threshold::Bytes(own), Threshold::Bytes(other)) => (own as f64, other as f64),
            (Threshold::Percent(own), Threshold::Percent(other)) => (own, other),
            _ => return false,
        };
        match side {
            Side::Above => own > other,
            Side::Below => own < other,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Host => f.write_str("host"),
            Subject::Cgroup(pattern) => write!(f, "cgroup:{pattern}"),
            Subject::Process { name, group: None } => write!(f, "process:{name}"),
            Subject::Process { name, group: Some(group) } => write!(f, "process:{name}@{group}"),
            Subject::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threshold::Bytes(bytes) => f.write_str(&human_bytes(*bytes)),
            Threshold::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Figure {
    /// As rules name it.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Available => "available",
            Figure::Used => "used",
            Figure::Swap => "swap",
            Figure::Usage => "usage",
            Figure::Rss => "rss",
        }
    }
}

impl Side {
    /// As rules write it.
    pub fn sign(self) -> char {
        match self {
            Side::Above => '>',
            Side::Below => '<',
        }
    }
}
