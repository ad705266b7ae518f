//! Looks in, alerts out.

use std::time::Duration;

use super::{
    alert::{Status, Subject},
    checks::Found,
    config::Watched,
    growth::Growth,
    kernel_log::Kill,
    reading::{Key, Reading, has_subject, processes, readings},
    rule::{self, Condition},
    standing::{Raised, Standing},
};
use crate::{
    monitor::{Look, Process},
    source::processes::Row,
    units::Pid,
};

/// Rates are taken over this long; a rule that has to last longer looks at rates that long apart anyway.
const WINDOW: Duration = Duration::from_secs(10);

/// All rules and how they stand.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Standing>,
    /// Kills come with their names, by [`Engine::killed`]: counters would tell of each once more.
    are_kills_named: bool,
    growth: Growth,
    last: Option<Look>,
}

impl Engine {
    /// Rules that nothing is known of yet.
    pub fn new(rules: Vec<Watched>, are_kills_named: bool) -> Self {
        Engine {
            rules: rules.into_iter().map(Standing::new).collect(),
            are_kills_named,
            growth: Growth::new(WINDOW),
            last: None,
        }
    }

    /// Kills do not come with their names any more: counters tell of them.
    pub fn unnamed(&mut self) {
        self.are_kills_named = false;
    }

    /// A rule.
    pub fn rule(&self, number: usize) -> &Watched {
        &self.rules[number].watched
    }

    /// Whether anything is done about alerts beside telling them.
    pub fn acts(&self) -> bool {
        self.rules.iter().any(|standing| {
            let Watched { command, webhook, capture, .. } = &standing.watched;
            command.is_some() || webhook.is_some() || capture.is_some()
        })
    }

    /// Rules, and how often each came true without being told, where no alert will say so: what came too soon and is
    /// over. Each is given once.
    pub fn untold(&mut self, at: Duration) -> Vec<(String, u32)> {
        let rules = self.rules.iter_mut();
        rules
            .map(|standing| (standing.watched.name.clone(), standing.take_untold(at)))
            .filter(|(_, untold)| *untold > 0)
            .collect()
    }

    /// Whether anything is known of the host.
    pub fn has_looked(&self) -> bool {
        self.last.is_some()
    }

    /// The rules that nothing in a look is the subject of: a name may be misspelt.
    pub fn without_subject(&self, look: &Look) -> Vec<String> {
        let rules = self.rules.iter().map(|standing| &standing.watched);
        rules
            .filter(|watched| !has_subject(&watched.when, look))
            .map(|watched| watched.name.clone())
            .collect()
    }

    /// Takes a look, and says what is new.
    pub fn look(&mut self, look: Look) -> Vec<Raised> {
        self.growth.update(&look);
        let alerts = self.judge(&look, |_| true);
        self.last = Some(look);
        alerts
    }

    /// Takes counters alone, which are looked at more often than everything else.
    pub fn count(&mut self, at: Duration, look: impl FnOnce(&mut Look)) -> Vec<Raised> {
        let Some(mut last) = self.last.take() else { return Vec::new() };
        last.time += at.saturating_sub(last.at);
        last.at = at;
        look(&mut last);
        self.growth.count(last.oom_kills, &last.groups);
        let alerts = self.judge(&last, |condition| {
            matches!(condition, Condition::OomKill | Condition::Event(_))
        });
        self.last = Some(last);
        alerts
    }

    /// The kernel says that the pressure of a rule was reached just now, on the host or in a group.
    pub fn pressure(&mut self, rule: usize, group: Option<&str>, at: Duration) -> Vec<Raised> {
        let Some(look) = &self.last else { return Vec::new() };
        let Condition::Pressure { percent, window, .. } = self.rules[rule].watched.when.condition
        else {
            return Vec::new();
        };
        let reading = Reading {
            key: group.map_or(Key::Host, |group| Key::Cgroup(group.to_owned())),
            name: group.unwrap_or("host").to_owned(),
            value: percent,
            over: true,
            calm: false,
            what: format!(
                "tasks waited for memory for more than {percent}% of {}",
                humantime::format_duration(window)
            ),
        };
        let time = look.time + at.saturating_sub(look.at);
        self.rules[rule].step(rule, at, time, reading).into_iter().collect()
    }

    /// The kernel says that it killed a process just now.
    pub fn killed(&mut self, kill: &Kill, at: Duration) -> Vec<Raised> {
        let Some(look) = &self.last else { return Vec::new() };
        let time = look.time + at.saturating_sub(look.at);
        let (groups, what) = (kill.groups(), kill.what());
        let mut alerts = Vec::new();
        for (number, standing) in self.rules.iter_mut().enumerate() {
            let rule = &standing.watched.when;
            let (key, name) = match &rule.subject {
                _ if rule.condition != Condition::OomKill => continue,
                rule::Subject::Cgroup(pattern) => {
                    let Some(group) = groups.iter().find(|group| pattern.matches(group)) else {
                        continue;
                    };
                    (Key::Cgroup((*group).to_owned()), (*group).to_owned())
                }
                _ => (Key::Host, "host".to_owned()),
            };
            let Some(untold) = standing.victim(&kill.comm, at) else { continue };
            let subject = Subject::new(&key, &name);
            let mut raised =
                standing.alert(number, time, Status::Raised, subject, what.clone(), Some(1.0));
            raised.alert.untold = untold;
            alerts.push(raised);
        }
        alerts
    }

    /// The process to capture for a subject: itself, or the one that grew most among those that are `wanted`.
    pub fn culprit(&self, subject: &Subject, wanted: impl Fn(Pid) -> bool) -> Option<&Row> {
        let look = self.last.as_ref()?;
        match subject.pid {
            Some(pid) => look.processes.rows.iter().find(|row| row.pid.0 == pid),
            None => self.growth.grew_most(look, wanted),
        }
    }

    fn judge(&mut self, look: &Look, wanted: impl Fn(&Condition) -> bool) -> Vec<Raised> {
        let mut alerts = Vec::new();
        for (number, standing) in self.rules.iter_mut().enumerate() {
            let rule = &standing.watched.when;
            let is_told_by_name = self.are_kills_named && rule.condition == Condition::OomKill;
            if is_told_by_name || !wanted(&rule.condition) {
                continue;
            }
            let readings = match rule.condition {
                Condition::Finding { .. } => {
                    standing.checks.readings(processes(&rule.subject, look))
                }
                _ => readings(rule, look, &self.growth),
            };
            alerts.extend(standing.judge(number, look, readings));
        }
        alerts
    }

    /// The next process to look for findings in, among those that are `wanted`, and the rule that asks for it.
    pub fn next_check(
        &mut self,
        at: Duration,
        wanted: impl Fn(Pid) -> bool,
    ) -> Option<(usize, Process, String)> {
        let look = self.last.as_ref()?;
        self.rules.iter_mut().enumerate().find_map(|(number, standing)| {
            let Condition::Finding { each, .. } = standing.watched.when.condition else {
                return None;
            };
            let rows = processes(&standing.watched.when.subject, look);
            let row = standing.checks.next(rows.filter(|row| wanted(row.pid)), at, each)?;
            Some((number, row.into(), row.comm.clone()))
        })
    }

    /// Whether the last check of a process had a finding as bad as the rule says.
    pub fn has_finding(&self, rule: usize, process: Process) -> bool {
        self.rules[rule].checks.found(process).is_some_and(|found| found.over)
    }

    /// Takes what a check has found; nothing if it failed. The process may have ended meanwhile.
    pub fn checked(
        &mut self,
        rule: usize,
        process: Process,
        found: Option<Found>,
        at: Duration,
    ) -> Option<Raised> {
        let look = self.last.as_ref()?;
        let standing = &mut self.rules[rule];
        standing.checks.ended(process, found.clone());
        let found = found?;
        let reading = found.reading(process, &found.captured.comm);
        let time = look.time + at.saturating_sub(look.at);
        let mut raised = standing.step(rule, at, time, reading)?;
        if raised.alert.state == Status::Raised {
            raised.alert.capture = Some(found.captured);
        }
        Some(raised)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        report::Host,
        source::{
            groups::{Events, GroupRow},
            processes::Table,
        },
        watch::{
            alert::Captured,
            config::{Config, Severity},
            standing::MOST_TOLD,
        },
    };

    fn engine(rules: &str) -> Engine {
        Engine::new(Config::parse(rules).unwrap().rules, false)
    }

    /// A look in which these processes have so many MiB.
    fn look(second: u64, kills: u64, processes: &[(u32, u64)]) -> Look {
        let row = |(pid, mib): &(u32, u64)| Row {
            pid: Pid(*pid),
            start_ticks: 1,
            parent: Pid(1),
            comm: format!("p{pid}"),
            state: 'S',
            threads: 1,
            rss_bytes: mib << 20,
            virtual_bytes: 0,
            minor_faults: 0,
            major_faults: 0,
        };
        Look {
            at: Duration::from_secs(second),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            host: Host { total_bytes: 1 << 30, used_bytes: 1 << 29, ..Host::default() },
            oom_kills: Some(kills),
            groups: Vec::new(),
            processes: Table { rows: processes.iter().map(row).collect(), unread: 0 },
        }
    }

    fn said(alerts: &[Raised]) -> Vec<String> {
        alerts.iter().map(|raised| raised.alert.line().to_string()).collect()
    }

    #[test]
    fn an_alert_is_raised_and_cleared() {
        let mut engine =
            engine("[[rule]]\nname = \"big\"\nwhen = \"process:p* rss > 10MiB for 1s\"\n");
        assert!(engine.look(look(0, 0, &[(7, 11), (8, 1)])).is_empty());
        assert_eq!(
            said(&engine.look(look(1, 0, &[(7, 12), (8, 1)]))),
            ["1970-01-01T00:00:01Z warning big: p7 (7): rss 12.0 MiB > 10.0 MiB"]
        );
        assert!(engine.look(look(2, 0, &[(7, 10), (8, 1)])).is_empty());
        assert_eq!(
            said(&engine.look(look(3, 0, &[(7, 9), (8, 1)]))),
            ["1970-01-01T00:00:03Z warning big: over: p7 (7): rss 9.0 MiB, not > 10.0 MiB"]
        );
    }

    #[test]
    fn a_process_that_ends_is_over() {
        let mut engine = engine("[[rule]]\nname = \"big\"\nwhen = \"process:p* rss > 10MiB\"\n");
        assert_eq!(engine.look(look(0, 0, &[(7, 11), (8, 9)])).len(), 1);
        assert_eq!(
            said(&engine.look(look(1, 0, &[]))),
            ["1970-01-01T00:00:01Z warning big: over: p7 (7): is gone"]
        );
        assert!(engine.rules[0].is_forgotten());
    }

    #[test]
    fn thousands_are_not_told_one_by_one() {
        let mut engine =
            engine("[[rule]]\nname = \"big\"\nwhen = \"process:* rss > 10MiB\"\nevery = \"5s\"\n");
        let crowd: Vec<(u32, u64)> = (1..1001).map(|pid| (pid, 11)).collect();
        assert_eq!(engine.look(look(0, 0, &crowd)).len(), MOST_TOLD);
        let next: Vec<(u32, u64)> = (2001..2002).map(|pid| (pid, 11)).collect();
        let told = engine.look(look(9, 0, &next));
        let raised: Vec<u32> = told
            .iter()
            .filter(|raised| raised.alert.state == Status::Raised)
            .map(|raised| raised.alert.untold)
            .collect();
        assert_eq!(raised, [980]);
    }

    #[test]
    fn rules_about_nothing_are_known() {
        let engine = engine(
            "[[rule]]\nname = \"there\"\nwhen = \"process:p7 rss > 1GiB\"\n\
             [[rule]]\nname = \"misspelt\"\nwhen = \"process:q* rss > 1GiB\"\n\
             [[rule]]\nname = \"gone\"\nwhen = \"pid:9 grows > 1GiB/s\"\n\
             [[rule]]\nname = \"host\"\nwhen = \"host oom_kill\"\n",
        );
        assert_eq!(engine.without_subject(&look(0, 0, &[(7, 1)])), ["misspelt", "gone"]);
    }

    #[test]
    fn kills_are_told_and_never_over() {
        let mut engine =
            engine("[[rule]]\nname = \"oom\"\nwhen = \"host oom_kill\"\nevery = \"1s\"\n");
        assert!(engine.look(look(0, 5, &[])).is_empty());
        let at = |ms| Duration::from_millis(ms);
        assert!(engine.count(at(200), |look| look.oom_kills = Some(5)).is_empty());
        assert_eq!(engine.count(at(400), |look| look.oom_kills = Some(6)).len(), 1);
        assert!(engine.count(at(600), |look| look.oom_kills = Some(6)).is_empty());
        assert!(engine.look(look(1, 6, &[])).is_empty());
        assert_eq!(engine.look(look(2, 8, &[])).len(), 1);
        // Where the kernel names its victims the counters tell nothing twice.
        engine.are_kills_named = true;
        assert!(engine.look(look(4, 9, &[])).is_empty());
    }

    #[test]
    fn the_kernel_names_its_victim() {
        let mut engine = engine(
            "[[rule]]\nname = \"host\"\nwhen = \"host oom_kill\"\n\
             [[rule]]\nname = \"web\"\nwhen = \"cgroup:/web* oom_kill\"\n\
             [[rule]]\nname = \"db\"\nwhen = \"cgroup:/db oom_kill\"\n",
        );
        engine.look(look(0, 0, &[]));
        let kill = Kill {
            pid: 7,
            comm: "server".to_owned(),
            anon_bytes: 3 << 20,
            limited: Some("/".to_owned()),
            cgroup: Some("/web/a".to_owned()),
        };
        let what = "the kernel killed server (7), which held 3.0 MiB: cgroup / was at its limit";
        assert_eq!(
            said(&engine.killed(&kill, Duration::from_secs(1))),
            [
                format!("1970-01-01T00:00:01Z warning host: host: {what}"),
                format!("1970-01-01T00:00:01Z warning web: cgroup /web/a: {what}")
            ]
        );
        // The next within five minutes is counted, also when looks come between.
        engine.look(look(2, 0, &[]));
        assert!(engine.killed(&kill, Duration::from_secs(3)).is_empty());
        // Another victim is told.
        let other = Kill { pid: 8, comm: "other".to_owned(), ..kill.clone() };
        assert_eq!(engine.killed(&other, Duration::from_secs(4)).len(), 2);
        let later = engine.killed(&kill, Duration::from_secs(400));
        assert_eq!(later[0].alert.untold, 1);
        assert!(engine.killed(&kill, Duration::from_secs(401)).is_empty());
        assert!(engine.untold(Duration::from_secs(402)).is_empty());
        // No alert follows that would say so.
        let one = |rule: &str| (rule.to_owned(), 1);
        assert_eq!(engine.untold(Duration::from_secs(800)), [one("host"), one("web")]);
        assert!(engine.untold(Duration::from_secs(801)).is_empty());
        assert!(engine.rules[0].is_forgotten());
    }

    #[test]
    fn the_kernel_says_when_pressure_was_reached() {
        let mut engine =
            engine("[[rule]]\nname = \"slow\"\nwhen = \"host pressure.some > 10% in 2s\"\n");
        engine.look(look(0, 0, &[]));
        assert_eq!(
            said(&engine.pressure(0, None, Duration::from_secs(2))),
            [
                "1970-01-01T00:00:02Z warning slow: host: tasks waited for memory for more than 10% of 2s"
            ]
        );
        assert!(engine.pressure(0, None, Duration::from_secs(3)).is_empty());
    }

    #[test]
    fn the_culprit_grew_most() {
        let mut engine = engine("[[rule]]\nwhen = \"host used > 1%\"\n");
        for second in 0..4 {
            engine.look(look(second, 0, &[(7, 10 + second), (8, 10 + 3 * second), (9, 500)]));
        }
        let host = Subject::new(&Key::Host, "host");
        let pid = |row: Option<&Row>| row.map(|row| row.pid.0);
        assert_eq!(pid(engine.culprit(&host, |_| true)), Some(8));
        assert_eq!(pid(engine.culprit(&host, |pid| pid.0 != 8)), Some(7));
        assert_eq!(pid(engine.culprit(&host, |pid| pid.0 == 9)), None);
        // One that was not there before has grown by all that it has.
        let mut rows: Vec<(u32, u64)> = vec![(7, 14), (8, 22), (9, 500), (10, 20)];
        engine.look(look(4, 0, &rows));
        assert_eq!(pid(engine.culprit(&host, |_| true)), Some(10));
        // One that ended has not, whatever it had.
        rows.pop();
        engine.look(look(5, 0, &rows));
        assert_eq!(pid(engine.culprit(&host, |_| true)), Some(8));
        let own = Subject { kind: "process".to_owned(), name: String::new(), pid: Some(9) };
        assert_eq!(pid(engine.culprit(&own, |_| true)), Some(9));
    }

    #[test]
    fn findings_are_looked_for_and_told_with_their_capture() {
        let mut engine = engine(
            "[[rule]]\nname = \"leaks\"\nwhen = \"process:p* finding warning each 5m\"\nevery = \"1s\"\n",
        );
        let second = Duration::from_secs;
        assert!(engine.look(look(0, 0, &[(7, 1), (8, 1)])).is_empty());
        assert_eq!(engine.next_check(second(0), |pid| pid.0 > 8), None);
        let (rule, process, comm) = engine.next_check(second(0), |_| true).unwrap();
        assert_eq!((rule, process.pid.0, comm.as_str()), (0, 7, "p7"));
        let found = |over| {
            let severity = if over { Severity::Critical } else { Severity::Info };
            let captured = Captured {
                pid: 7,
                comm: "p7".to_owned(),
                html: Some("a.html".to_owned()),
                json: None,
                said: "fill leaks".to_owned(),
                severity: Some(severity),
            };
            Some(Found { over, captured })
        };
        let raised = engine.checked(0, process, found(true), second(60));
        assert_eq!(
            said(raised.as_slice()),
            [
                "1970-01-01T00:01:00Z warning leaks: p7 (7): finding critical; p7 (7): fill leaks; report in a.html"
            ]
        );
        // It stands, and is not told again, until the next check.
        assert!(engine.look(look(70, 0, &[(7, 1), (8, 1)])).is_empty());
        assert_eq!(engine.next_check(second(70), |pid| pid.0 == 7), None);
        let (_, again, _) = engine.next_check(second(400), |pid| pid.0 == 7).unwrap();
        assert_eq!(again, process);
        assert_eq!(engine.checked(0, process, None, second(410)), None);
        engine.next_check(second(800), |pid| pid.0 == 7).unwrap();
        let cleared = engine.checked(0, process, found(false), second(860)).unwrap();
        assert_eq!((cleared.alert.state, cleared.alert.capture), (Status::Cleared, None));
    }

    #[test]
    fn events_of_groups_are_told_and_never_over() {
        let mut engine = engine("[[rule]]\nname = \"slow\"\nwhen = \"cgroup:/a event.high\"\n");
        let look = |second, high: Option<u64>| {
            let events = Events { high, ..Events::default() };
            let group = GroupRow { path: "/a".to_owned(), events, ..GroupRow::default() };
            Look { groups: high.map(|_| group).into_iter().collect(), ..look(second, 0, &[]) }
        };
        assert!(engine.look(look(0, Some(4))).is_empty());
        let counted = engine.count(Duration::from_millis(300), |last| {
            last.groups[0].events.high = Some(7);
        });
        assert_eq!(
            said(&counted),
            [
                "1970-01-01T00:00:00Z warning slow: cgroup /a: it was slowed down above memory.high 3 times"
            ]
        );
        assert!(engine.look(look(1, Some(7))).is_empty());
        assert!(engine.look(look(2, None)).is_empty());
    }
}
