//! What a rule reads in a look: one reading for each subject that it is over.

use std::{collections::HashSet, time::Duration};

use super::{
    growth::Growth,
    rule::{Condition, Event, Figure, Rule, Side, Subject, Threshold},
};
use crate::{
    monitor::{Look, Process},
    report::Host,
    source::processes::Row,
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
            let has_it = match rule.condition {
                Condition::Pressure { .. } => group.pressure.is_some(),
                Condition::Event(event) => event.of(&group.events).is_some(),
                _ => !of_a_limit || group.limit_bytes.is_some(),
            };
            has_it && pattern.matches(&group.path)
        }),
        Subject::Process { .. } | Subject::Pid(_) => {
            processes(&rule.subject, look).next().is_some()
        }
    }
}

/// The processes that a rule is about.
pub fn processes<'a>(subject: &'a Subject, look: &'a Look) -> impl Iterator<Item = &'a Row> {
    let members: Option<HashSet<Pid>> = match subject {
        Subject::Process { group: Some(pattern), .. } => {
            let groups = look.groups.iter().filter(|group| pattern.matches(&group.path));
            Some(groups.flat_map(|group| group.pids.iter().copied()).collect())
        }
        _ => None,
    };
    look.processes.rows.iter().filter(move |row| match subject {
        Subject::Process { name, .. } => {
            name.matches(&row.comm)
                && members.as_ref().is_none_or(|members| members.contains(&row.pid))
        }
        Subject::Pid(pid) => row.pid == *pid,
        Subject::Host | Subject::Cgroup(_) => false,
    })
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
                let new = growth.counters.of(&group.path);
                let reading = read.of(&rule.condition).or_else(|| match &rule.condition {
                    Condition::Pressure { all, percent, window } => {
                        let stalls = growth.group_stalls.get(&group.path)?;
                        Some(stall(stalls.percent(*all, *window)?, *all, *percent, *window))
                    }
                    Condition::OomKill => Some(kills(new.oom_kill.unwrap_or(0))),
                    Condition::Event(event) => Some(events(*event, event.of(&new).unwrap_or(0))),
                    _ => None,
                })?;
                Some(reading.about(Key::Cgroup(group.path.clone()), group.path.clone()))
            })
            .collect(),
        Subject::Process { .. } | Subject::Pid(_) => processes(&rule.subject, look)
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
            let stalled = growth.stalls.percent(*all, *window)?;
            Some(stall(stalled, *all, *percent, *window))
        }
        Condition::OomKill => Some(kills(growth.counters.kills())),
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
                let what = compared(
                    over,
                    &format!("{} {}", figure.name(), human_bytes(bytes)),
                    &format!("{} {of}", side.sign()),
                );
                Some(reading(bytes as f64, over, calm, what))
            }
            Condition::Growth { threshold, clear } => {
                let rate = self.rate?;
                let over = rate > *threshold;
                let what = compared(
                    over,
                    &format!("grows by {}/s", human_bytes(rate.max(0.0) as u64)),
                    &format!("> {}/s", human_bytes(*threshold as u64)),
                );
                Some(reading(rate, over, rate <= *clear, what))
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
            Condition::Pressure { .. }
            | Condition::OomKill
            | Condition::Event(_)
            | Condition::Finding { .. } => None,
        }
    }
}

/// A figure and its threshold, as they are to each other now.
fn compared(over: bool, figure: &str, threshold: &str) -> String {
    if over { format!("{figure} {threshold}") } else { format!("{figure}, not {threshold}") }
}

fn stall(stalled: f64, all: bool, percent: f64, window: Duration) -> Reading {
    let who = if all { "all tasks" } else { "tasks" };
    let over = stalled > percent;
    let window = humantime::format_duration(window);
    let what = compared(
        over,
        &format!("{who} waited for memory for {stalled:.1}% of {window}"),
        &format!("> {percent}%"),
    );
    reading(stalled, over, stalled <= percent / 2.0, what)
}

fn kills(count: u64) -> Reading {
    let what = format!("the kernel killed {count} for lack of memory");
    reading(count as f64, count > 0, count == 0, what)
}

fn events(event: Event, count: u64) -> Reading {
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let what = format!("{} {times}", event.meaning());
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
    use crate::{
        report::{Pressure, PressureLine},
        source::{
            groups::{Events, GroupRow},
            processes::Table,
        },
    };

    /// A look at a second: memory in use, the usage of the group `/web` and of a process `server`, a tenth of a second
    /// stalled in each, and a kill in second 4, when the group, in which 7 is, is also slowed down twice.
    fn look(second: u64) -> Look {
        let mib = |n: u64| n << 20;
        let some = PressureLine { total_s: second as f64 / 10.0, ..PressureLine::default() };
        let pressure = Some(Pressure { some, full: PressureLine::default() });
        let late = u64::from(second >= 4);
        Look {
            at: Duration::from_secs(second),
            time: SystemTime::UNIX_EPOCH,
            host: Host {
                total_bytes: mib(1000),
                available_bytes: Some(mib(500) - mib(10) * second),
                used_bytes: mib(500) + mib(10) * second,
                swap_total_bytes: 0,
                pressure: pressure.clone(),
                ..Host::default()
            },
            oom_kills: Some(late),
            groups: vec![GroupRow {
                path: "/web".to_owned(),
                usage_bytes: mib(80) + mib(2) * second,
                limit_bytes: Some(mib(100)),
                events: Events {
                    high: Some(3 + 2 * late),
                    oom_kill: Some(late),
                    ..Events::default()
                },
                pressure,
                pids: vec![Pid(7)],
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
            &[("host", "used 500.0 MiB, not > 51% of 1000.0 MiB", false, false)],
        );
        check(
            "host used > 51% clear 50%",
            0,
            &[("host", "used 500.0 MiB, not > 51% of 1000.0 MiB", false, true)],
        );
        check("host used > 51%", 2, &[("host", "used 520.0 MiB > 51% of 1000.0 MiB", true, false)]);
        check(
            "host available < 400MiB",
            2,
            &[("host", "available 480.0 MiB, not < 400.0 MiB", false, true)],
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
        let server = [("server", "rss 52.0 MiB > 51.0 MiB", true, false)];
        check("process:s* rss > 51MiB", 2, &server);
        check("process:*@/web rss > 51MiB", 2, &server);
        check("process:o*@/web rss > 51MiB", 2, &[]);
        check("process:s*@/w rss > 51MiB", 2, &[]);
        check("pid:8 rss > 51MiB", 2, &[("other", "rss 5.0 MiB, not > 51.0 MiB", false, true)]);
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
            &[("other", "grows by 0 B/s, not > 512.0 KiB/s", false, true)],
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
        let calm = "all tasks waited for memory for 0.0% of 2s, not > 5%";
        check("host pressure.full > 5% in 2s", 3, &[("host", calm, false, true)]);
        let (none, one) =
            ("the kernel killed 0 for lack of memory", "the kernel killed 1 for lack of memory");
        check("host oom_kill", 3, &[("host", none, false, true)]);
        check("host oom_kill", 4, &[("host", one, true, false)]);
        check("host oom_kill", 5, &[("host", none, false, true)]);
        check("cgroup:* oom_kill", 4, &[("/web", one, true, false)]);
        check("cgroup:/web pressure.some > 5% in 2s", 3, &[("/web", stalled, true, false)]);
        let slow = "it was slowed down above memory.high 2 times";
        check("cgroup:/web event.high", 4, &[("/web", slow, true, false)]);
        let slow = "it was slowed down above memory.high 0 times";
        check("cgroup:/web event.high", 5, &[("/web", slow, false, true)]);
        check("process:server finding info", 5, &[]);
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
        check("cgroup:/web event.high", None, true);
        check("cgroup:/web event.max", None, false);
        check("cgroup:/web pressure.some > 10% in 1s", None, true);
        check("process:*@/web rss > 90%", None, true);
        check("process:*@/db rss > 90%", None, false);
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
