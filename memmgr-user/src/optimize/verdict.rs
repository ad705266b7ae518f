//! Whether an action helped: what it gave, what was kept when it had settled, and what came back.

use serde::{Deserialize, Serialize};

use super::{
    action::Action,
    figures::{Figures, Rates},
};
use crate::units::human_bytes;

/// What an action is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A cgroup uses less.
    Usage,
    /// Processes have less resident.
    Resident,
    /// Less of the processes' memory is among what is used often.
    Readiness,
    /// The same of their cgroup, where it is not known of themselves.
    ReadinessOfGroup,
    /// More of the processes' memory is in huge pages.
    HugePages,
    /// More pages are merged.
    Merged,
    /// More is free in large blocks.
    LargeBlocks,
    /// Less is in the host's caches.
    Caches,
    /// A runtime uses less of its heap.
    Heap,
}

impl Goal {
    /// Of an action, before which the figures were these.
    pub fn of(action: &Action, before: &Figures) -> Self {
        let inactive = before.processes.as_ref().and_then(|all| all.inactive_bytes);
        match action {
            Action::Reclaim { .. } => Goal::Usage,
            Action::PageOut(_) | Action::Trim => Goal::Resident,
            Action::Cold(_) if inactive.is_none() => Goal::ReadinessOfGroup,
            Action::Cold(_) => Goal::Readiness,
            Action::Collapse(_) => Goal::HugePages,
            Action::Merge => Goal::Merged,
            Action::Compact { .. } => Goal::LargeBlocks,
            Action::DropCaches(_) => Goal::Caches,
            Action::Gc => Goal::Heap,
        }
    }

    /// For people: what has become less or more.
    pub fn what(self) -> &'static str {
        match self {
            Goal::Usage => "usage of the cgroup",
            Goal::Resident => "resident memory",
            Goal::Readiness => "inactive memory, which the kernel takes first",
            Goal::ReadinessOfGroup => "inactive memory of the cgroup, which the kernel takes first",
            Goal::HugePages => "memory in huge pages",
            Goal::Merged => "memory saved by merging",
            Goal::LargeBlocks => "memory that is free in blocks of a huge page",
            Goal::Caches => "caches of the host",
            Goal::Heap => "heap in use, as the runtime says",
        }
    }

    /// Whether more is better.
    fn rises(self) -> bool {
        matches!(
            self,
            Goal::Readiness
                | Goal::ReadinessOfGroup
                | Goal::HugePages
                | Goal::Merged
                | Goal::LargeBlocks
        )
    }

    /// Whether memory that comes back was taken from somebody who needed it.
    fn evicts(self) -> bool {
        matches!(self, Goal::Usage | Goal::Resident | Goal::Caches)
    }

    /// The figure, in bytes.
    pub fn bytes(self, figures: &Figures) -> Option<u64> {
        match self {
            Goal::Usage => figures.cgroup.as_ref()?.cgroup.usage_bytes,
            Goal::Resident => figures.processes.as_ref()?.sum.rss_bytes,
            Goal::Readiness => figures.processes.as_ref()?.inactive_bytes,
            Goal::ReadinessOfGroup => {
                let inactive = |name| figures.cgroup.as_ref()?.counter(name);
                match (inactive("inactive_anon"), inactive("inactive_file")) {
                    (None, None) => None,
                    (anon, file) => Some(anon.unwrap_or(0) + file.unwrap_or(0)),
                }
            }
            Goal::HugePages => figures.processes.as_ref()?.huge_bytes,
            Goal::Merged => {
                let pages = figures.merging.as_ref()?.sharing_pages;
                Some(pages * rustix::param::page_size() as u64)
            }
            Goal::LargeBlocks => Some(figures.high_order_free_bytes()),
            Goal::Caches => Some(figures.cache_bytes()),
            Goal::Heap => Some(figures.heap.as_ref()?.used_bytes),
        }
    }
}

/// In one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is a gain, and it lasts.
    Helped,
    /// There is no gain that lasts.
    #[default]
    NoEffect,
    /// What was taken was needed.
    Harmed,
    /// It cannot be told.
    Unknown,
}

impl Verdict {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Helped => "helped",
            Verdict::NoEffect => "no effect",
            Verdict::Harmed => "harmed",
            Verdict::Unknown => "unknown",
        }
    }
}

/// What an action changed, and whether that is good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// In one word.
    pub verdict: Verdict,
    /// Which figure the bytes are of.
    pub what: String,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The figure before; absent when it is not known.
    pub before_bytes: Option<u64>,
    /// Gained right after the action; negative for a loss.
    pub gained_bytes: i64,
    /// Gained when it had settled.
    pub kept_bytes: i64,
    /// `kept_bytes` as a share of the figure before, 0 to 1; absent where that was 0.
    pub kept_share: Option<f64>,
    /// Why, in sentences.
    pub why: Vec<String>,
}

impl Effect {
    /// In a line: `helped: 500.0 MiB less usage of the cgroup (98.0%), of 510.0 MiB`.
    pub fn words(&self) -> String {
        let Some(before) = self.before_bytes else { return self.verdict.words().to_owned() };
        let direction = match (self.kept_bytes < 0, self.more_is_better) {
            (false, true) | (true, false) => "more",
            (false, false) | (true, true) => "less",
        };
        let share = self
            .kept_share
            .map_or_else(String::new, |share| format!(" ({:.1} %)", share.abs() * 100.0));
        format!(
            "{}: {} {direction} {}{share}, which was {}",
            self.verdict.words(),
            human_bytes(self.kept_bytes.unsigned_abs()),
            self.what,
            human_bytes(before)
        )
    }
}

/// Less than this is noise: what processors have charged ahead, and what a busy host does meanwhile.
pub(super) const LEAST_BYTES: u64 = 1 << 20;
/// So much of the figure before is noise too.
const LEAST_SHARE: f64 = 0.005;
/// If more than this share of what was evicted is wanted again while it settles, it was needed.
const WANTED_AGAIN: f64 = 0.25;
/// If tasks wait for memory for so much more of the time than before, it was needed.
const STALLED_MORE: f64 = 0.05;

/// Judges an action by the figures around it.
pub fn judge(
    goal: Goal,
    before: &Figures,
    after: &Figures,
    settled: &Figures,
    rates_before: &Rates,
    rates_settling: &Rates,
) -> Effect {
    let what = goal.what().to_owned();
    let known = [before, after, settled].map(|figures| goal.bytes(figures));
    let [Some(first), Some(then), Some(last)] = known else {
        let why = vec![format!("the {} is not known", goal.what())];
        return Effect {
            verdict: Verdict::Unknown,
            what,
            why,
            more_is_better: goal.rises(),
            ..Effect::default()
        };
    };
    let gain = |now: u64| {
        let fallen = first as i64 - now as i64;
        if goal.rises() { -fallen } else { fallen }
    };
    let (gained, kept) = (gain(then), gain(last));
    let noise = LEAST_BYTES.max((first as f64 * LEAST_SHARE) as u64) as i64;
    let mut why = Vec::new();
    let mut harmed = false;
    if goal.evicts() {
        if gained > noise && kept < gained / 2 {
            harmed = true;
            let back = human_bytes((gained - kept).unsigned_abs());
            why.push(format!(
                "{back} of the {} came back within {:.0} s: it is in use",
                human_bytes(gained.unsigned_abs()),
                rates_settling.seconds
            ));
        }
        // What is in use can come back before the first look at what was gained.
        let whole = Rates::between(before, settled).unwrap_or_else(|| rates_settling.clone());
        let share = WANTED_AGAIN * if gained > noise { gained as f64 } else { first as f64 };
        let wanted = wanted_again(goal, rates_before, &whole);
        // Where nothing came of it, what was read back was evicted for nothing.
        let for_nothing = if gained > noise { 0.0 } else { read_back(goal, rates_before, &whole) };
        let wanted = if wanted > share { wanted.max(for_nothing) } else { for_nothing };
        if wanted > noise as f64 {
            harmed = true;
            why.push(format!(
                "{} were wanted again that had just been evicted",
                human_bytes(wanted as u64)
            ));
        }
    }
    if let Some((now, earlier)) = rates_settling.stalled_some.zip(rates_before.stalled_some)
        && now > earlier + STALLED_MORE
        && gained > noise
    {
        harmed = true;
        why.push(format!(
            "tasks waited for memory for {:.0} % of the time afterwards, before for {:.0} %",
            now * 100.0,
            earlier * 100.0
        ));
    }
    let verdict = match (harmed, kept > noise) {
        (true, _) => Verdict::Harmed,
        (false, true) => Verdict::Helped,
        (false, false) => Verdict::NoEffect,
    };
    match verdict {
        Verdict::NoEffect if gained > noise => {
            why.push(format!(
                "{} were gained and are gone again",
                human_bytes(gained.unsigned_abs())
            ));
        }
        Verdict::NoEffect if kept < -noise => {
            why.push("the figure went the other way: something else moved it more".to_owned());
        }
        Verdict::NoEffect => {
            why.push("the figure did not move by more than it does by itself".to_owned());
        }
        _ => {}
    }
    let kept_share = (first > 0).then(|| kept as f64 / first as f64);
    Effect {
        verdict,
        what,
        more_is_better: goal.rises(),
        before_bytes: Some(first),
        gained_bytes: gained,
        kept_bytes: kept,
        kept_share,
        why,
    }
}

/// Bytes that were evicted and wanted again while it settled, beyond what the time before would make one expect.
fn wanted_again(goal: Goal, before: &Rates, settling: &Rates) -> f64 {
    match goal {
        // What is dropped leaves no trace by which the kernel would know it again (__remove_mapping in mm/vmscan.c notes
        // reclaimed pages only): what is read again is read from the disk.
        Goal::Caches => more(before, settling, |rates| rates.read_bytes),
        Goal::Resident => more(before, settling, |rates| rates.faults) * page(),
        _ => more(before, settling, |rates| rates.refaulted_bytes),
    }
}

/// Bytes of them that somebody waited for until they were read.
fn read_back(goal: Goal, before: &Rates, settling: &Rates) -> f64 {
    let refaulted = || more(before, settling, |rates| rates.refaulted_bytes);
    let major = more(before, settling, |rates| rates.major_faults) * page();
    match goal {
        Goal::Usage => major.max(refaulted()),
        // Refaults are of all that is in its cgroup.
        Goal::Resident => major,
        _ => 0.0,
    }
}

/// How much more of something happened in all.
fn more(before: &Rates, settling: &Rates, of: fn(&Rates) -> f64) -> f64 {
    ((of(settling) - of(before)) * settling.seconds).max(0.0)
}

fn page() -> f64 {
    rustix::param::page_size() as f64
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
