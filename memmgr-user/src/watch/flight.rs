//! The flight recorder: what was seen last is on disk when the kernel kills a process for lack of memory.

use std::{collections::VecDeque, time::Duration};

use humantime::format_rfc3339_millis;
use serde::Serialize;

use super::kernel_log::Kill;
use crate::{monitor::Look, report::Host};

/// How far back it remembers.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Moments that it remembers, however short the interval is.
const MOST_MOMENTS: usize = 600;
/// Processes and groups of a moment: the largest.
const MOST_OF_A_KIND: usize = 20;

/// The schema of the file. Fields may be added; one that is renamed or removed raises the number.
pub const SCHEMA: &str = "memmgr.oom/1";

/// Remembers the last looks, the largest of each.
#[derive(Debug, Default)]
pub struct Flight {
    moments: VecDeque<Moment>,
}

/// What is remembered of a look.
#[derive(Clone, Debug, Serialize)]
struct Moment {
    #[serde(skip)]
    since_begin: Duration,
    at: String,
    host: Host,
    cgroups: Vec<Item>,
    processes: Vec<Item>,
}

#[derive(Clone, Debug, Serialize)]
struct Item {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    killed_pid: u32,
    killed_comm: &'a str,
    killed_anon_bytes: u64,
    limited_cgroup: Option<&'a str>,
    cgroup: Option<&'a str>,
    moments: &'a VecDeque<Moment>,
}

impl Flight {
    /// Remembers a look.
    pub fn take(&mut self, look: &Look) {
        let mut cgroups: Vec<Item> = look
            .groups
            .iter()
            .map(|group| Item {
                name: group.path.clone(),
                pid: None,
                bytes: group.usage_bytes,
                limit_bytes: group.limit_bytes,
            })
            .collect();
        // Names only of those that are kept.
        let mut rows: Vec<_> = look.processes.rows.iter().collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.rss_bytes));
        let processes = rows.iter().take(MOST_OF_A_KIND).map(|row| Item {
            name: row.comm.clone(),
            pid: Some(row.pid.0),
            bytes: row.rss_bytes,
            limit_bytes: None,
        });
        cgroups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
        cgroups.truncate(MOST_OF_A_KIND);
        self.moments.push_back(Moment {
            since_begin: look.at,
            at: format_rfc3339_millis(look.time).to_string(),
            host: look.host.clone(),
            cgroups,
            processes: processes.collect(),
        });
        while self.moments.len() > MOST_MOMENTS
            || self
                .moments
                .front()
                .is_some_and(|first| look.at.saturating_sub(first.since_begin) > REMEMBERED)
        {
            self.moments.pop_front();
        }
    }

    /// The file about a kill.
    ///
    /// # Errors
    /// None is known: all of it can be written as JSON.
    pub fn record(&self, kill: &Kill) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Record {
            schema: SCHEMA,
            killed_pid: kill.pid,
            killed_comm: &kill.comm,
            killed_anon_bytes: kill.anon_bytes,
            limited_cgroup: kill.limited.as_deref(),
            cgroup: kill.cgroup.as_deref(),
            moments: &self.moments,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        source::processes::{Row, Table},
        units::Pid,
    };

    #[test]
    fn the_last_minute_and_the_largest_are_kept() {
        let mut flight = Flight::default();
        for second in 0..100 {
            let row = |pid: u32| Row {
                pid: Pid(pid),
                start_ticks: 1,
                parent: Pid(1),
                comm: format!("p{pid}"),
                state: 'S',
                threads: 1,
                rss_bytes: u64::from(pid) * 100 + second,
                virtual_bytes: 0,
                minor_faults: 0,
                major_faults: 0,
            };
            flight.take(&Look {
                at: Duration::from_secs(second),
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
                host: Host::default(),
                oom_kills: None,
                groups: Vec::new(),
                processes: Table { rows: (1..51).map(row).collect(), unread: 0 },
            });
        }
        let kill = Kill { pid: 50, comm: "p50".to_owned(), ..Kill::default() };
        let record: serde_json::Value =
            serde_json::from_slice(&flight.record(&kill).unwrap()).unwrap();
        let moments = record["moments"].as_array().unwrap();
        assert_eq!((moments.len(), &moments[60]["at"]), (61, &"1970-01-01T00:01:39.000Z".into()));
        let processes = moments[60]["processes"].as_array().unwrap();
        assert_eq!((processes.len(), &processes[0]["bytes"]), (20, &5099.into()));
        assert_eq!(
            (&record["killed_pid"], &record["cgroup"]),
            (&50.into(), &serde_json::Value::Null)
        );
    }
}
