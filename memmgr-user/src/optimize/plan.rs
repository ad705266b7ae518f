//! What would help, by figures that were read: what each action can be expected to give, and at what risk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use crate::{
    stat::host::HostStat,
    units::{human_bytes, human_count},
};

/// An action that may help.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Its verb.
    pub action: String,
    /// What to type for a dry run of it.
    pub command: String,
    /// What it would give, by the figures; absent where they do not tell.
    pub gain_bytes: Option<u64>,
    /// True when `gain_bytes` is a bound, and what it gives may be much less.
    pub at_most: bool,
    /// How much it may hurt.
    pub risk: Risk,
    /// By which figures.
    pub why: String,
    /// Why it cannot be done here, with what would make it possible; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot: Option<String>,
}

/// How much an action may hurt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// The kernel does the same by itself.
    #[default]
    Low,
    /// Somebody may have to wait.
    Medium,
    /// It may do more harm than good.
    High,
}

impl Risk {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
    }

    /// What a byte of gain is worth at this risk, against others.
    fn weight(self) -> f64 {
        match self {
            Risk::Low => 1.0,
            Risk::Medium => 0.5,
            Risk::High => 0.1,
        }
    }
}

/// Figures that suggestions rest on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `-p 7 --started 1234.56`, `--cgroup /web`, `--host`.
    pub flags: String,
    /// The processes, where it is about processes.
    pub memory: Option<Memory>,
    /// For how long the referenced bits had been cleared; without it nobody knows since when they tell.
    pub idle: Option<Duration>,
    /// Room for more in swap, by the host and by the cgroup.
    pub swap_room_bytes: u64,
    /// The runtime of the one process.
    pub runtime: Option<Runtime>,
    /// Why it cannot be asked to collect garbage, where it has an interface for that.
    pub no_collection: Option<String>,
    /// Whether a debugger could have the allocator of the one process give memory back: what would be called, or why not.
    pub trim: Option<Result<Trimmable, String>>,
    /// The cgroup.
    pub group: Option<GroupFacts>,
    /// The host, where it is about the host.
    pub host: Option<HostFacts>,
}

/// What an allocator may give back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmable {
    /// What would be called.
    pub step: String,
    /// What is free in its arenas, or where that is not known what its own mappings have in memory, free or not.
    pub most_bytes: u64,
    /// Whether all of that is free.
    pub is_free: bool,
}

/// What processes have in memory, by their mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Heaps and other anonymous memory, stacks excepted.
    pub anon_bytes: u64,
    /// Of mappings of it of which next to nothing was referenced.
    pub anon_idle_bytes: u64,
    /// Of files, mapped by nobody else.
    pub file_bytes: u64,
    /// Of mappings of it of which next to nothing was referenced.
    pub file_idle_bytes: u64,
    /// Of the anonymous memory, in huge pages.
    pub huge_bytes: u64,
}

/// A cgroup.
#[derive(Clone, Debug)]
pub struct GroupFacts {
    /// Its path.
    pub path: String,
    /// How it can be reclaimed, or why not.
    pub way: Result<(), String>,
    /// Whether an amount can be given.
    pub takes_amount: bool,
    /// Pages of files that are on the kernel's inactive list (`inactive_file`).
    pub inactive_file_bytes: u64,
    /// Anonymous pages that are on its inactive list (`inactive_anon`).
    pub inactive_anon_bytes: u64,
    /// Its processes, beside the one that the plan is about.
    pub others: usize,
    /// Share of the last 10 s in which tasks waited for memory, in percent.
    pub stalled: Option<f64>,
}

/// The host.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Its figures.
    pub stat: HostStat,
    /// Bytes in caches that are given back on demand.
    pub cache_bytes: u64,
    /// Whether free memory can be compacted, or why not.
    pub compact: Result<(), String>,
    /// Whether merging is on, or why it cannot be.
    pub merge: Result<bool, String>,
    /// The processes that have most in memory: number, name, bytes.
    pub largest: Vec<(u32, String, u64)>,
}

/// Below this nobody would notice.
const LEAST: u64 = 1 << 20;
/// Huge pages pay for large heaps only.
const LEAST_FOR_HUGE: u64 = 64 << 20;
/// From so much on free memory in small blocks is worth moving together.
const FRAGMENTED: f64 = 0.5;

/// What would help, the best first: by gain, and the less the higher the risk; what cannot be done here at the end.
pub fn suggest(facts: &Facts) -> Vec<Suggestion> {
    let mut all: Vec<Suggestion> = Vec::new();
    all.extend(facts.memory.iter().flat_map(|memory| of_memory(facts, *memory)));
    all.extend(facts.runtime.and_then(|runtime| of_runtime(facts, runtime)));
    let has_none =
        |trim: &Result<Trimmable, String>| trim.as_ref().is_ok_and(|trim| trim.most_bytes < LEAST);
    let trim = facts.trim.iter().filter(|trim| !has_none(trim));
    all.extend(trim.map(|trim| of_allocator(facts, trim)));
    all.extend(facts.group.as_ref().and_then(|group| of_group(facts, group)));
    all.extend(facts.host.iter().flat_map(of_host));
    let worth = |one: &Suggestion| {
        let gain = one.gain_bytes.unwrap_or(0) as f64;
        let certain = if one.at_most { 0.3 } else { 1.0 };
        gain * certain * one.risk.weight()
    };
    all.sort_by(|a, b| {
        let can = a.cannot.is_some().cmp(&b.cannot.is_some());
        can.then_with(|| worth(b).total_cmp(&worth(a)))
    });
    all
}

fn of_memory(facts: &Facts, memory: Memory) -> Vec<Suggestion> {
    let Facts { flags, .. } = facts;
    let since = match facts.idle {
        Some(idle) => format!("for {}", humantime::format_duration(idle)),
        None => "since the kernel looked last, which may be long ago".to_owned(),
    };
    let idle = match facts.idle {
        Some(idle) => {
            format!(" --idle {}", humantime::format_duration(idle).to_string().replace(' ', ""))
        }
        None => " --idle 30s".to_owned(),
    };
    let mut all = Vec::new();
    if memory.anon_idle_bytes >= LEAST {
        all.push(Suggestion {
            action: "pageout".to_owned(),
            command: format!("memmgr optimize pageout {flags}{idle}"),
            gain_bytes: Some(memory.anon_idle_bytes.min(facts.swap_room_bytes)),
            at_most: facts.idle.is_none(),
            risk: Risk::Medium,
            why: format!("{} of anonymous memory were not touched {since}; swap has room for {}", human_bytes(memory.anon_idle_bytes), human_bytes(facts.swap_room_bytes)),
            cannot: (facts.swap_room_bytes < LEAST).then(|| "there is no room in swap: fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile".to_owned()),
        });
        all.push(Suggestion {
            action: "cold".to_owned(),
            command: format!("memmgr optimize cold {flags}{idle}"),
            gain_bytes: None,
            risk: Risk::Low,
            why: format!("{} of anonymous memory were not touched {since}: they would be the first to go under pressure, and nothing goes now", human_bytes(memory.anon_idle_bytes)),
            ..Suggestion::default()
        });
    }
    if memory.file_idle_bytes >= LEAST {
        all.push(Suggestion {
            action: "pageout".to_owned(),
            command: format!("memmgr optimize pageout {flags} --only file{idle}"),
            gain_bytes: Some(memory.file_idle_bytes),
            at_most: facts.idle.is_none(),
            risk: Risk::Low,
            why: format!(
                "{} of mapped files that nobody else has mapped were not touched {since}",
                human_bytes(memory.file_idle_bytes)
            ),
            cannot: None,
        });
    }
    let small = memory.anon_bytes.saturating_sub(memory.huge_bytes);
    if small >= LEAST_FOR_HUGE {
        all.push(Suggestion {
            action: "collapse".to_owned(),
            command: format!("memmgr optimize collapse {flags}"),
            gain_bytes: None,
            risk: Risk::Medium,
            why: format!("{} of anonymous memory are in small pages: huge ones save misses of the TLB, not memory", human_bytes(small)),
            ..Suggestion::default()
        });
    }
    all
}

fn of_runtime(facts: &Facts, runtime: Runtime) -> Option<Suggestion> {
    let (name, interface) = match runtime {
        Runtime::Jvm => ("a JVM", "its attach socket"),
        Runtime::Node => ("Node.js", "its inspector"),
        Runtime::Go | Runtime::Python(_) | Runtime::DotNet => return None,
    };
    Some(Suggestion {
        action: "gc".to_owned(),
        command: format!("memmgr optimize gc {}", facts.flags),
        risk: Risk::Medium,
        why: format!(
            "it is {name}, which collects garbage when it is asked by {interface}; how much there is shows only then"
        ),
        cannot: facts.no_collection.clone(),
        ..Suggestion::default()
    })
}

fn of_allocator(facts: &Facts, trim: &Result<Trimmable, String>) -> Suggestion {
    Suggestion {
        action: "trim".to_owned(),
        command: format!("memmgr optimize trim {}", facts.flags),
        gain_bytes: trim.as_ref().ok().map(|trim| trim.most_bytes),
        at_most: true,
        risk: Risk::High,
        why: match trim {
            Ok(Trimmable { step, most_bytes, is_free: true }) => format!(
                "{step}, whose arenas hold {} free: of it whole pages go back; `memmgr pools -p PID` shows them",
                human_bytes(*most_bytes)
            ),
            Ok(Trimmable { step, most_bytes, is_free: false }) => format!(
                "{step}, whose mappings have {} in memory; what the allocator holds free does not show from outside: `memmgr report` tells what is outstanding, and calls the rest retained",
                human_bytes(*most_bytes)
            ),
            Err(_) => "the allocator's own function gives back what it holds free".to_owned(),
        },
        cannot: trim.as_ref().err().cloned(),
    }
}

fn of_group(facts: &Facts, group: &GroupFacts) -> Option<Suggestion> {
    let anon = group.inactive_anon_bytes.min(facts.swap_room_bytes);
    let gain = group.inactive_file_bytes + anon;
    if gain < LEAST {
        return None;
    }
    let amount =
        if group.takes_amount { format!("--amount {}", round(gain)) } else { "--all".to_owned() };
    let others = match group.others {
        0 => String::new(),
        1 => ", with 1 other process, which is hit too,".to_owned(),
        others => format!(", with {others} other processes, which are hit too,"),
    };
    let beyond = if group.takes_amount {
        ""
    } else {
        "; of v1 it takes what is used as well, if it gets it"
    };
    Some(Suggestion {
        action: "reclaim".to_owned(),
        command: format!("memmgr optimize reclaim {} {amount}", facts.flags),
        gain_bytes: Some(gain),
        at_most: true,
        // The lists tell what is touched little, not what is not.
        risk: match (group.takes_amount, group.others) {
            (true, 0) => Risk::Low,
            (true, _) | (false, 0) => Risk::Medium,
            (false, _) => Risk::High,
        },
        why: format!(
            "the cgroup {}{others} has {} of files and {} of anonymous memory on the kernel's inactive lists, which it takes first; swap has \
             room for {}{beyond}",
            group.path,
            human_bytes(group.inactive_file_bytes),
            human_bytes(group.inactive_anon_bytes),
            human_bytes(facts.swap_room_bytes)
        ),
        cannot: group.way.as_ref().err().cloned(),
    })
}

fn of_host(host: &HostFacts) -> Vec<Suggestion> {
    let mut all = Vec::new();
    let stat = &host.stat;
    let fragmented = stat
        .zones
        .iter()
        .filter(|zone| zone.free_bytes >= 64 << 20 && zone.unusable_for_huge_pages > FRAGMENTED);
    let unusable: u64 =
        fragmented.map(|zone| (zone.free_bytes as f64 * zone.unusable_for_huge_pages) as u64).sum();
    if unusable > 0 {
        all.push(Suggestion {
            action: "compact".to_owned(),
            command: "memmgr optimize compact".to_owned(),
            gain_bytes: None,
            risk: Risk::Low,
            why: format!("{} are free in blocks that are too small for a huge page: large blocks become free, not more memory", human_bytes(unusable)),
            cannot: host.compact.as_ref().err().cloned(),
            ..Suggestion::default()
        });
    }
    if host.cache_bytes >= LEAST {
        all.push(Suggestion {
            action: "drop-caches".to_owned(),
            command: "memmgr optimize drop-caches".to_owned(),
            gain_bytes: Some(host.cache_bytes.saturating_sub(stat.dirty_bytes + stat.mapped_bytes)),
            at_most: true,
            risk: Risk::High,
            why: format!("{} are in caches; the kernel gives them back by itself when memory is needed, so that this helps measurements only", human_bytes(host.cache_bytes)),
            cannot: None,
        });
    }
    match &host.merge {
        Ok(true) => {}
        Ok(false) => all.push(Suggestion {
            action: "merge".to_owned(),
            command: "memmgr optimize merge".to_owned(),
            risk: Risk::Medium,
            why: "merging of equal pages is off; it helps virtual machines and programs that offer their memory for it (MADV_MERGEABLE, MemoryKSM=yes)".to_owned(),
            ..Suggestion::default()
        }),
        Err(why) => all.push(Suggestion {
            action: "merge".to_owned(),
            command: "memmgr optimize merge".to_owned(),
            risk: Risk::Medium,
            why: "equal pages become one".to_owned(),
            cannot: Some(why.clone()),
            ..Suggestion::default()
        }),
    }
    all
}

/// A size that can be typed, rounded down.
fn round(bytes: u64) -> String {
    match bytes >> 20 {
        0 => bytes.to_string(),
        mebibytes => format!("{mebibytes}MiB"),
    }
}

impl Facts {
    /// What the reader should know beside the suggestions.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.memory.is_some() && self.idle.is_none() {
            notes.push(
                "what is cold is known as far as the kernel looked by itself; --idle 30s clears the referenced bits and looks again after that".to_owned(),
            );
        }
        if let Some(stalled) =
            self.group.as_ref().and_then(|group| group.stalled).filter(|stalled| *stalled >= 1.0)
        {
            notes.push(format!("tasks of the cgroup waited for memory for {stalled:.1} % of the last 10 s: taking more from it makes that worse"));
        }
        if let Some(Runtime::Go | Runtime::Python(_) | Runtime::DotNet) = self.runtime {
            notes.push(format!("its runtime cannot be asked for a collection from here: `memmgr optimize gc {}` says what helps instead", self.flags));
        }
        if let Some(host) = &self.host {
            let total = host.stat.memory.total_bytes;
            let available = host.stat.memory.available_bytes.unwrap_or(host.stat.memory.free_bytes);
            notes.push(format!(
                "{} of {} are available to programs already",
                human_bytes(available),
                human_bytes(total)
            ));
            if !host.largest.is_empty() {
                let largest = host
                    .largest
                    .iter()
                    .map(|(pid, comm, bytes)| format!("{comm} ({pid}) {}", human_bytes(*bytes)));
                notes.push(format!(
                    "the largest processes, each with a plan of its own by -p: {}",
                    largest.collect::<Vec<_>>().join(", ")
                ));
            }
            if let Some(stalls) = host.stat.events.get("compact_fail").filter(|count| **count > 0) {
                notes.push(format!("compaction failed {} times since boot", human_count(*stalls)));
            }
        }
        notes
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
