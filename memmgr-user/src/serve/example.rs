//! A look at a host that is made up, for the tests of what is told of it.

use std::time::{Duration, Instant, UNIX_EPOCH};

use super::{
    looker::Seen,
    reports::{Entry, Shelf, TopStack, Unread},
};
use crate::{
    monitor::Look,
    report::{Host, Pressure, PressureLine},
    source::{
        groups::{Events, GroupRow},
        processes::{Row, Table},
    },
    units::Pid,
};

pub(super) fn row(pid: u32, comm: &str, rss_bytes: u64) -> Row {
    Row {
        pid: Pid(pid),
        start_ticks: 250,
        parent: Pid(1),
        comm: comm.to_owned(),
        state: 'S',
        threads: 3,
        rss_bytes,
        virtual_bytes: 9000,
        minor_faults: 12,
        major_faults: 2,
    }
}

pub(super) fn group(path: &str, usage_bytes: u64, limit_bytes: Option<u64>) -> GroupRow {
    let count = limit_bytes.map(|_| 1);
    let events = Events { max: count, oom_kill: count, ..Events::default() };
    let path = path.to_owned();
    GroupRow { path, usage_bytes, limit_bytes, events, ..GroupRow::default() }
}

/// Three processes, three groups, names of all kinds.
pub(super) fn look() -> Look {
    let line = |share: f64| PressureLine {
        avg10: share,
        avg60: share / 2.0,
        avg300: 0.0,
        total_s: share * 100.0,
    };
    Look {
        at: Duration::from_secs(9),
        time: UNIX_EPOCH + Duration::from_hours(24),
        host: Host {
            total_bytes: 8000,
            available_bytes: Some(5000),
            free_bytes: 1000,
            used_bytes: 3000,
            swap_total_bytes: 200,
            swap_free_bytes: 150,
            max_mappings: Some(65_530),
            pressure: Some(Pressure { some: line(4.5), full: line(2.5) }),
        },
        oom_kills: Some(2),
        groups: vec![
            group("/", 4000, None),
            group("/system.slice", 3000, Some(3500)),
            group("/system.slice/\"quoted\"\nnewline", 2000, None),
        ],
        processes: Table {
            rows: vec![
                row(7, "server", 500),
                row(9, "evil\"} 1\nmemmgr_x 7", 400),
                row(11, "\u{202e}</script>", 600),
            ],
            unread: 1,
        },
    }
}

/// The same with growth: of the processes -1, 5 and unknown.
pub(super) fn seen() -> Seen {
    Seen {
        taken: Instant::now(),
        look: look(),
        process_growth: vec![Some(-1.0), Some(5.0), None],
        group_growth: vec![Some(0.0), Some(2.5), None],
    }
}

/// Reports of process 7, the last first, of one that had its number before, and of one that is gone.
pub(super) fn shelf() -> Shelf {
    let stack = TopStack {
        id: "0123456789abcdef".to_owned(),
        function: "fill".to_owned(),
        live_bytes: 300,
        growth_bytes_per_s: Some(1.5),
    };
    let last = Entry {
        name: "memmgr-2026-01-01T000000Z-7".to_owned(),
        has_page: true,
        captured_at: "2026-01-01T00:00:00Z".to_owned(),
        pid: 7,
        comm: "server".to_owned(),
        start_time_s: 2.5,
        verdict: "fill leaks".to_owned(),
        severity: Some("warning".to_owned()),
        findings: [0, 2, 0],
        stacks: vec![stack],
    };
    let before = Entry { findings: [9, 9, 9], ..last.clone() };
    let reborn = Entry { start_time_s: 1.0, ..last.clone() };
    let gone = Entry { pid: 4000, ..last.clone() };
    let unread = Unread { name: "broken".to_owned(), why: "it is empty".to_owned() };
    Shelf { reports: vec![reborn, gone, last, before], unread: vec![unread] }
}
