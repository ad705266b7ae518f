//! What a rule reads in a look: one reading for each subject that it is over.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::rule::{Condition, Figure, Rule, Side, Subject, Threshold};
use crate::{
    monitor::{Look, Process, trend::Trends},
    report::{Host, Pressure},
    source::{cgroup_tree::GroupRow, processes::Row},
    units::{Pid, human_bytes},
};

/// Whom a reading is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The host.
    Host,
    /// A cgroup, by its path.
    Cgroup(String),
    /// A process.
    Process(Process),
}

/// How a rule stands with a subject at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Whom it is about.
    pub key: Key,
    /// Its name: a process's, or a cgroup's path. Hostile.
    pub name: String,
    /// The figure: bytes, bytes a second, seconds, percent or a count.
    pub value: f64,
    /// Whether it is so.
    pub over: bool,
    /// Whether it is calm, which between two thresholds it is not either.
    pub calm: bool,
    /// What was read, for people.
    pub what: String,
}

/// Growth of everything, for rates.
#[derive(Debug)]
pub struct Growth {
    used: Trends<()>,
    groups: Trends<String>,
    processes: Trends<Process>,
    stalls: VecDeque<(Duration, f64, f64)>,
    oom_kills: Option<u64>,
    group_kills: HashMap<String, u64>,
    fresh_kills: u64,
    fresh_group_kills: Vec<(String, u64)>,
}

impl Growth {
    /// How long a pressure window may be.
    const LONGEST_STALL: Duration = Duration::from_secs(12);

    /// Takes rates over this window.
    pub fn new(window: Duration) -> Self {
        Growth {
            used: Trends::new(window),
            groups: Trends::new(window),
            processes: Trends::new(window),
            stalls: VecDeque::new(),
            oom_kills: None,
            group_kills: HashMap::new(),
            fresh_kills: 0,
            fresh_group_kills: Vec::new(),
        }
    }

    /// Takes the figures of a look, later than the last.
    pub fn update(&mut self, look: &Look) {
        self.used.update(look.at, [((), look.host.used_bytes)]);
        let groups = look.groups.iter().map(|group| (group.path.clone(), group.usage_bytes));
        self.groups.update(look.at, groups);
        let rows = look.processes.rows.iter();
        self.processes.update(look.at, rows.map(|row| (row.into(), row.rss_bytes)));
        if let Some(Pressure { some, full }) = &look.host.pressure {
            self.stalls.push_back((look.at, some.total_s, full.total_s));
        }
        while self
            .stalls
            .front()
            .is_some_and(|(at, ..)| look.at.saturating_sub(*at) > Self::LONGEST_STALL)
        {
            self.stalls.pop_front();
        }
        self.kills(look.oom_kills, &look.groups);
    }

    /// Takes the counts of kills, of the host and of groups.
    pub fn kills(&mut self, host: Option<u64>, groups: &[GroupRow]) {
        // What was killed before the watch began is not its news.
        let before = self.oom_kills.or(host);
        self.fresh_kills = host.zip(before).map_or(0, |(now, then)| now.saturating_sub(then));
        self.oom_kills = host;
        self.fresh_group_kills.clear();
        let mut kills = HashMap::new();
        for group in groups {
            let Some(now) = group.oom_kills else { continue };
            let then = self.group_kills.get(&group.path).copied().unwrap_or(now);
            if now > then {
                self.fresh_group_kills.push((group.path.clone(), now - then));
            }
            kills.insert(group.path.clone(), now);
        }
        self.group_kills = kills;
    }

    /// The process that grew most within the window among those of a look that `wanted` says yes to; none where none grew.
    pub fn grew_most<'a>(&self, look: &'a Look, wanted: impl Fn(Pid) -> bool) -> Option<&'a Row> {
        let rows = look.processes.rows.iter().filter(|row| wanted(row.pid));
        rows.map(|row| (row, self.processes.gained(&row.into())))
            .filter(|(_, gained)| *gained > 0)
            .max_by_key(|(_, gained)| *gained)
            .map(|(row, _)| row)
    }

    /// Percent of a window until now in which tasks waited for memory; absent where the kernel does not say.
    fn stalled(&self, at: Duration, all: bool, window: Duration) -> Option<f64> {
        let since = at.checked_sub(window)?;
        let (then, some, full) = self.stalls.iter().rev().find(|(at, ..)| *at <= since)?;
        let (now, some_now, full_now) = self.stalls.back()?;
        let waited = if all { full_now - full } else { some_now - some };
        Some(waited / now.saturating_sub(*then).as_secs_f64() * 100.0)
    }
}

/// Whether anything is there that a rule is about, with the limit that it needs.
pub fn has_subject(rule: &Rule, look: &Look) -> bool {
    let of_a_limit = matches!(
        rule.condition,
        Condition::Full { .. } | Condition::Level { threshold: Threshold::Percent(_), .. }
    );
    match &rule.subject {
        Subject::Host => match rule.condition {
            Condition::Level { figure: Figure::Swap, .. } => look.host.swap_total_bytes > 0,
            Condition::Pressure { .. } => look.host.pressure.is_some(),
            _ => true,
        },
        Subject::Cgroup(pattern) => look.groups.iter().any(|group| {
            pattern.matches(&group.path) && (!of_a_limit || group.limit_bytes.is_some())
        }),
        Subject::Process(pattern) => {
            look.processes.rows.iter().any(|row| pattern.matches(&row.comm))
        }
        Subject::Pid(pid) => look.processes.rows.iter().any(|row| row.pid == *pid),
    }
}

/// Reads what a rule is about.
pub fn readings(rule: &Rule, look: &Look, growth: &Growth) -> Vec<Reading> {
    match &rule.subject {
        Subject::Host => host(&rule.condition, look, growth).into_iter().collect(),
        Subject::Cgroup(pattern) => look
            .groups
            .iter()
            .filter(|group| pattern.matches(&group.path))
            .filter_map(|group| {
                let read = Read {
                    bytes: |figure| (figure == Figure::Usage).then_some(group.usage_bytes),
                    whole: group.limit_bytes,
                    rate: growth.groups.rate(&group.path),
                    left: group
                        .limit_bytes
                        .and_then(|limit| growth.groups.seconds_to(&group.path, limit)),
                };
                let reading = read.of(&rule.condition).or_else(|| {
                    let fresh =
                        growth.fresh_group_kills.iter().find(|(path, _)| *path == group.path);
                    (rule.condition == Condition::OomKill)
                        .then(|| kills(fresh.map_or(0, |(_, n)| *n)))
                })?;
                Some(reading.about(Key::Cgroup(group.path.clone()), group.path.clone()))
            })
            .collect(),
        Subject::Process(_) | Subject::Pid(_) => look
            .processes
            .rows
            .iter()
            .filter(|row| match &rule.subject {
                Subject::Process(pattern) => pattern.matches(&row.comm),
                Subject::Pid(pid) => row.pid == *pid,
                Subject::Host | Subject::Cgroup(_) => false,
            })
            .filter_map(|row| {
                let read = Read {
                    bytes: |figure| (figure == Figure::Rss).then_some(row.rss_bytes),
                    whole: Some(look.host.total_bytes),
                    rate: growth.processes.rate(&row.into()),
                    left: None,
                };
                let reading = read.of(&rule.condition)?;
                Some(reading.about(Key::Process(row.into()), row.comm.clone()))
            })
            .collect(),
    }
}

fn host(condition: &Condition, look: &Look, growth: &Growth) -> Option<Reading> {
    let host = &look.host;
    let whole = match condition {
        Condition::Level { figure: Figure::Swap, .. } => host.swap_total_bytes,
        _ => host.total_bytes,
    };
    let read = Read {
        bytes: |figure| level(host, figure),
        whole: Some(whole),
        rate: growth.used.rate(&()),
        left: growth.used.seconds_to(&(), host.total_bytes),
    };
    let reading = read.of(condition).or_else(|| match condition {
        Condition::Pressure { all, percent, window } => {
            let stalled = growth.stalled(look.at, *all, *window)?;
            Some(stall(stalled, *all, *percent, *window))
        }
        Condition::OomKill => Some(kills(growth.fresh_kills)),
        _ => None,
    })?;
    Some(reading.about(Key::Host, "host".to_owned()))
}

fn level(host: &Host, figure: Figure) -> Option<u64> {
    match figure {
        Figure::Available => host.available_bytes,
        Figure::Used => Some(host.used_bytes),
        Figure::Swap => Some(host.swap_total_bytes.saturating_sub(host.swap_free_bytes)),
        Figure::Usage | Figure::Rss => None,
    }
}

/// The same for every kind of subject.
struct Read<F> {
    bytes: F,
    whole: Option<u64>,
    rate: Option<f64>,
    left: Option<f64>,
}

impl<F: Fn(Figure) -> Option<u64>> Read<F> {
    fn of(&self, condition: &Condition) -> Option<Reading> {
        match condition {
            Condition::Level { figure, side, threshold, clear } => {
                let bytes = (self.bytes)(*figure)?;
                let (limit, clear) = (threshold.bytes(self.whole)?, clear.bytes(self.whole)?);
                let (over, calm) = match side {
                    Side::Above => (bytes > limit, bytes <= clear),
                    Side::Below => (bytes < limit, bytes >= clear),
                };
                let of = match (threshold, self.whole) {
                    (Threshold::Percent(percent), Some(whole)) => {
                        format!("{percent}% of {}", human_bytes(whole))
                    }
                    _ => human_bytes(limit),
                };
                let what = format!("{} {} {} {of}", figure.name(), human_bytes(bytes), side.sign());
                Some(reading(bytes as f64, over, calm, what))
            }
            Condition::Growth { threshold, clear } => {
                let rate = self.rate?;
                let what = format!(
                    "grows by {}/s > {}/s",
                    human_bytes(rate.max(0.0) as u64),
                    human_bytes(*threshold as u64)
                );
                Some(reading(rate, rate > *threshold, rate <= *clear, what))
            }
            Condition::Full { within } => {
                let within_s = within.as_secs_f64();
                // What does not grow is never full.
                let Some(left) = self.left else {
                    return Some(reading(f64::INFINITY, false, true, "does not grow".to_owned()));
                };
                let what = format!(
                    "at its limit in {}",
                    humantime::format_duration(Duration::from_secs(left as u64))
                );
                Some(reading(left, left < within_s, left >= within_s * 2.0, what))
            }
            Condition::Pressure { .. } | Condition::OomKill => None,
        }
    }
}

fn stall(stalled: f64, all: bool, percent: f64, window: Duration) -> Reading {
    let who = if all { "all tasks" } else { "tasks" };
    let what = format!(
        "{who} waited for memory for {stalled:.1}% of {} > {percent}%",
        humantime::format_duration(window)
    );
    reading(stalled, stalled > percent, stalled <= percent / 2.0, what)
}

fn kills(count: u64) -> Reading {
    let what = format!("the kernel killed {count} for lack of memory");
    reading(count as f64, count > 0, count == 0, what)
}

fn reading(value: f64, over: bool, calm: bool, what: String) -> Reading {
    Reading { key: Key::Host, name: String::new(), value, over, calm, what }
}

impl Reading {
    fn about(self, key: Key, name: String) -> Self {
        Reading { key, name, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{report::PressureLine, source::processes::Table};

    /// A look at a second: memory in use, the usage of the group `/web` and of a process `server`, a tenth of a second
    /// stalled in each, and a kill in second 4.
    fn look(second: u64) -> Look {
        let mib = |n: u64| n << 20;
        let pressure = PressureLine { total_s: second as f64 / 10.0, ..PressureLine::default() };
        Look {
            at: Duration::from_secs(second),
            time: SystemTime::UNIX_EPOCH,
            host: Host {
                total_bytes: mib(1000),
                available_bytes: Some(mib(500) - mib(10) * second),
                used_bytes: mib(500) + mib(10) * second,
                swap_total_bytes: 0,
                pressure: Some(Pressure { some: pressure, full: PressureLine::default() }),
                ..Host::default()
            },
            oom_kills: Some(u64::from(second >= 4)),
            groups: vec![GroupRow {
                path: "/web".to_owned(),
                usage_bytes: mib(80) + mib(2) * second,
                limit_bytes: Some(mib(100)),
                oom_kills: Some(u64::from(second >= 4)),
            }],
            processes: Table {
                rows: vec![row(7, "server", mib(50) + mib(1) * second), row(8, "other", mib(5))],
                unread: 0,
            },
        }
    }

    fn row(pid: u32, comm: &str, rss_bytes: u64) -> Row {
        Row {
            pid: Pid(pid),
            start_ticks: 1,
            parent: Pid(1),
            comm: comm.to_owned(),
            state: 'S',
            threads: 1,
            rss_bytes,
            virtual_bytes: 0,
            minor_faults: 0,
            major_faults: 0,
        }
    }

    /// What the rule reads after seconds 0 to `last`: name, what, over, calm.
    fn check(rule: &str, last: u64, expected: &[(&str, &str, bool, bool)]) {
        let rule: Rule = rule.parse().unwrap();
        let mut growth = Growth::new(Duration::from_mins(1));
        for second in 0..=last {
            growth.update(&look(second));
        }
        let readings = readings(&rule, &look(last), &growth);
        let shown: Vec<_> = readings
            .iter()
            .map(|reading| {
                (reading.name.as_str(), reading.what.as_str(), reading.over, reading.calm)
            })
            .collect();
        assert_eq!(shown, expected, "{rule:?}");
    }

    #[test]
    fn levels() {
        check(
            "host used > 51%",
            0,
            &[("host", "used 500.0 MiB > 51% of 1000.0 MiB", false, false)],
        );
        check(
            "host used > 51% clear 50%",
            0,
            &[("host", "used 500.0 MiB > 51% of 1000.0 MiB", false, true)],
        );
        check("host used > 51%", 2, &[("host", "used 520.0 MiB > 51% of 1000.0 MiB", true, false)]);
        check(
            "host available < 400MiB",
            2,
            &[("host", "available 480.0 MiB < 400.0 MiB", false, true)],
        );
        check(
            "host available < 490MiB",
            2,
            &[("host", "available 480.0 MiB < 490.0 MiB", true, false)],
        );
        check(
            "cgroup:/w* usage > 83%",
            2,
            &[("/web", "usage 84.0 MiB > 83% of 100.0 MiB", true, false)],
        );
        check("cgroup:/x* usage > 83%", 2, &[]);
        check("process:s* rss > 51MiB", 2, &[("server", "rss 52.0 MiB > 51.0 MiB", true, false)]);
        check("pid:8 rss > 51MiB", 2, &[("other", "rss 5.0 MiB > 51.0 MiB", false, true)]);
    }

    #[test]
    fn growth_and_time_to_the_limit() {
        check("process:server grows > 512KiB/s", 0, &[]);
        check(
            "process:server grows > 512KiB/s",
            3,
            &[("server", "grows by 1.0 MiB/s > 512.0 KiB/s", true, false)],
        );
        check(
            "process:other grows > 512KiB/s",
            3,
            &[("other", "grows by 0 B/s > 512.0 KiB/s", false, true)],
        );
        check("cgroup:/web full within 8s", 3, &[("/web", "at its limit in 7s", true, false)]);
        check("cgroup:/web full within 5s", 3, &[("/web", "at its limit in 7s", false, false)]);
        check("cgroup:/web full within 2s", 3, &[("/web", "at its limit in 7s", false, true)]);
        check(
            "host grows > 9MiB/s",
            3,
            &[("host", "grows by 10.0 MiB/s > 9.0 MiB/s", true, false)],
        );
    }

    #[test]
    fn pressure_and_kills() {
        let stalled = "tasks waited for memory for 10.0% of 2s > 5%";
        check("host pressure.some > 5% in 2s", 3, &[("host", stalled, true, false)]);
        check("host pressure.some > 5% in 2s", 1, &[]);
        let calm = "all tasks waited for memory for 0.0% of 2s > 5%";
        check("host pressure.full > 5% in 2s", 3, &[("host", calm, false, true)]);
        let (none, one) =
            ("the kernel killed 0 for lack of memory", "the kernel killed 1 for lack of memory");
        check("host oom_kill", 3, &[("host", none, false, true)]);
        check("host oom_kill", 4, &[("host", one, true, false)]);
        check("host oom_kill", 5, &[("host", none, false, true)]);
        check("cgroup:* oom_kill", 4, &[("/web", one, true, false)]);
    }

    #[test]
    fn subjects_are_there_or_not() {
        let check = |rule: &str, limit_bytes: Option<u64>, expected: bool| {
            let mut look = look(0);
            look.groups[0].limit_bytes = limit_bytes;
            assert_eq!(has_subject(&rule.parse().unwrap(), &look), expected, "{rule}");
        };
        check("cgroup:/w* usage > 1GiB", None, true);
        check("cgroup:/w* usage > 90%", None, false);
        check("cgroup:/w* full within 1m", None, false);
        check("cgroup:/w* full within 1m", Some(1), true);
        check("cgroup:/x usage > 1GiB", Some(1), false);
        check("host swap > 10%", None, false);
        check("host pressure.some > 10% in 1s", None, true);
        check("host used > 10%", None, true);
        check("process:server rss > 90%", None, true);
        check("process:serve rss > 90%", None, false);
    }

    #[test]
    fn who_grew_most() {
        let mut growth = Growth::new(Duration::from_mins(1));
        for second in 0..4 {
            growth.update(&look(second));
        }
        let look = look(3);
        let most = |wanted: fn(Pid) -> bool| growth.grew_most(&look, wanted).map(|row| row.pid.0);
        assert_eq!(most(|_| true), Some(7));
        assert_eq!(most(|pid| pid.0 != 7), None);
    }
}
