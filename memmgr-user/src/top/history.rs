//! Looks → what a screen shows of a moment: the figures with their growth and their course.

use std::time::{Duration, SystemTime};

use crate::{
    monitor::{Look, Process, trend::Trends},
    report::Host,
    source::{groups::GroupRow, processes::Row},
};

use super::text::cells;

/// Spans of time that a course is shown by.
pub const CELLS: usize = 12;
/// The course that is remembered, unless the interval is so long that nothing could be seen in it.
const MINUTE: Duration = Duration::from_mins(1);
/// Looks that a course has at least.
const LOOKS: u32 = 10;

/// What grows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Host,
    Group(String),
    Process(Process),
}

/// A process at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownProcess {
    /// Its figures.
    pub row: Row,
    /// Growth of its resident memory in bytes a second, when enough is known.
    pub growth: Option<f64>,
    /// Its resident bytes over the window.
    pub course: Vec<Option<u64>>,
}

impl ShownProcess {
    /// Which process it is.
    pub fn id(&self) -> Process {
        Process::from(&self.row)
    }
}

/// A cgroup at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownGroup {
    /// Its figures.
    pub row: GroupRow,
    /// Growth of its usage in bytes a second, when enough is known.
    pub growth: Option<f64>,
    /// Seconds until its own limit is reached, if it grows towards one.
    pub full_in_s: Option<f64>,
}

/// Everything that is shown of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Time of day.
    pub time: SystemTime,
    /// The host.
    pub host: Host,
    /// Growth of what it uses, in bytes a second.
    pub growth: Option<f64>,
    /// Processes killed for lack of memory since boot.
    pub oom_kills: Option<u64>,
    /// Of those, the ones since the first look.
    pub new_oom_kills: u64,
    /// The groups, each after the one it is in.
    pub groups: Vec<ShownGroup>,
    /// The processes by their numbers.
    pub processes: Vec<ShownProcess>,
    /// Processes that could not be read.
    pub unread: u64,
    /// What growth and courses are over.
    pub window: Duration,
}

/// The looks of the last minute.
#[derive(Debug)]
pub struct Histories {
    window: Duration,
    trends: Trends<Subject>,
    first_oom_kills: Option<u64>,
}

impl Histories {
    /// Of looks that come at this distance.
    pub fn new(interval: Duration) -> Self {
        let window = MINUTE.max(interval * LOOKS);
        Histories { window, trends: Trends::new(window), first_oom_kills: None }
    }

    /// Takes in a look.
    pub fn take(&mut self, look: Look) -> Moment {
        let group = |row: &GroupRow| (Subject::Group(row.path.clone()), row.usage_bytes);
        let process = |row: &Row| (Subject::Process(row.into()), row.rss_bytes);
        self.trends.update(
            look.at,
            std::iter::once((Subject::Host, look.host.used_bytes))
                .chain(look.groups.iter().map(group))
                .chain(look.processes.rows.iter().map(process)),
        );
        let trends = &self.trends;
        let first = *self.first_oom_kills.get_or_insert(look.oom_kills.unwrap_or(0));
        Moment {
            time: look.time,
            growth: trends.rate(&Subject::Host),
            host: look.host,
            oom_kills: look.oom_kills,
            new_oom_kills: look.oom_kills.unwrap_or(0).saturating_sub(first),
            groups: look
                .groups
                .into_iter()
                .map(|row| {
                    let subject = Subject::Group(row.path.clone());
                    ShownGroup {
                        growth: trends.rate(&subject),
                        full_in_s: row
                            .limit_bytes
                            .and_then(|limit| trends.seconds_to(&subject, limit)),
                        row,
                    }
                })
                .collect(),
            processes: look
                .processes
                .rows
                .into_iter()
                .map(|row| {
                    let subject = Subject::Process((&row).into());
                    ShownProcess {
                        growth: trends.rate(&subject),
                        course: cells(trends.course(&subject), look.at, self.window, CELLS),
                        row,
                    }
                })
                .collect(),
            unread: look.processes.unread,
            window: self.window,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        source::{groups::Events, processes::Table},
        units::Pid,
    };

    /// A process that began at its number.
    pub(in crate::top) fn row(pid: u32, parent: u32, comm: &str, rss_bytes: u64) -> Row {
        Row {
            pid: Pid(pid),
            start_ticks: u64::from(pid),
            parent: Pid(parent),
            comm: comm.to_owned(),
            state: 'S',
            threads: 1,
            rss_bytes,
            virtual_bytes: rss_bytes * 2,
            minor_faults: 0,
            major_faults: 0,
        }
    }

    /// A group without a limit.
    pub(in crate::top) fn group(
        path: &str,
        usage_bytes: u64,
        limit_bytes: Option<u64>,
    ) -> GroupRow {
        let events = Events { oom_kill: Some(0), ..Events::default() };
        let path = path.to_owned();
        GroupRow { path, usage_bytes, limit_bytes, events, ..GroupRow::default() }
    }

    /// A look so many seconds after the first.
    pub(in crate::top) fn look(second: u64, groups: Vec<GroupRow>, rows: Vec<Row>) -> Look {
        Look {
            at: Duration::from_secs(second),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_600_767 + second),
            host: Host {
                total_bytes: 16 << 30,
                available_bytes: Some(11 << 30),
                free_bytes: 7 << 30,
                used_bytes: (5 << 30) + (second << 20),
                swap_total_bytes: 2 << 30,
                swap_free_bytes: 2 << 30,
                ..Host::default()
            },
            oom_kills: Some(3 + second / 60),
            groups,
            processes: Table { rows, unread: 0 },
        }
    }

    #[test]
    fn growth_and_courses_come_with_time() {
        let mut histories = Histories::new(Duration::from_secs(1));
        let mut moment = None;
        for second in 0..=60 {
            let groups = vec![group("/a", second * 10, Some(1600))];
            let rows =
                vec![row(7, 1, "grows", (1 << 20) + second * 1024), row(8, 1, "idles", 4096)];
            moment = Some(histories.take(look(second, groups, rows)));
            let growth = moment.as_ref().unwrap().processes[0].growth;
            assert_eq!(growth.is_some(), second >= 2, "{second}");
        }
        let moment = moment.unwrap();
        let near = |rate: Option<f64>, expected: f64| (rate.unwrap() - expected).abs() < 1e-3;
        assert!(near(moment.processes[0].growth, 1024.0) && near(moment.processes[1].growth, 0.0));
        assert!(near(moment.growth, 1_048_576.0) && near(moment.groups[0].growth, 10.0));
        assert!(near(moment.groups[0].full_in_s, 100.0));
        assert_eq!((moment.oom_kills, moment.new_oom_kills), (Some(4), 1));
        let course = &moment.processes[0].course;
        assert!(course.len() == CELLS && course.iter().all(Option::is_some) && course.is_sorted());
    }

    #[test]
    fn long_intervals_have_long_windows() {
        for (interval_s, window_s) in [(1, 60), (6, 60), (60, 600)] {
            let histories = Histories::new(Duration::from_secs(interval_s));
            assert_eq!(histories.window, Duration::from_secs(window_s));
        }
    }
}
