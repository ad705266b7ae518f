//! Tests of `stat`.

use unicode_width::UnicodeWidthStr;

use super::*;
use crate::{
    escape::is_hostile,
    report::{Cgroup, Host, PressureLine, Process},
    stat::{
        SCHEMA,
        cgroup::{CgroupStat, Group, Member},
        fragmentation::Zone,
        host::{HostStat, HugePages, Overcommit},
        process::{MappingGroup, ProcessStat, Use, lines},
    },
};

fn line(key: &str, bytes: i64) -> Line {
    Line { key: key.to_owned(), bytes, what: format!("what {key} is") }
}

fn host_stat() -> HostStat {
    HostStat {
        memory: Host {
            total_bytes: 16 << 30,
            available_bytes: Some(1 << 30),
            free_bytes: 1 << 29,
            used_bytes: 15 << 30,
            pressure: Some(Pressure {
                some: PressureLine { avg10: 12.5, avg60: 3.0, avg300: 0.5, total_s: 7.0 },
                full: PressureLine::default(),
            }),
            ..Host::default()
        },
        lines: vec![
            line("free", 1 << 29),
            line("anonymous", 12 << 30),
            line("nothing", 0),
            line("unexplained", 7 << 29),
        ],
        huge_pages: Some(HugePages {
            size_bytes: 2 << 20,
            total: 64,
            free: 60,
            reserved: 1,
            surplus: 0,
        }),
        overcommit: Overcommit {
            policy: Some("never".to_owned()),
            committed_bytes: 20 << 30,
            limit_bytes: Some(24 << 30),
        },
        zones: vec![Zone::parse("Node 0, zone Normal 90000 900 0 0 0 0 0 0 0 0 0", 4096).unwrap()],
        events: [("oom_kill".to_owned(), 3), ("pswpin".to_owned(), 0)].into(),
        ..HostStat::default()
    }
}

fn cgroup_stat() -> CgroupStat {
    let mut cgroup = Cgroup {
        version: "v2".to_owned(),
        path: "/web\u{1b}[31m".to_owned(),
        usage_bytes: Some(3 << 30),
        limit_bytes: Some(4 << 30),
        ..Cgroup::default()
    };
    cgroup.stat = [
        ("anon".to_owned(), 2 << 30),
        ("file".to_owned(), 1 << 29),
        ("inactive_anon".to_owned(), 1 << 30),
        ("pgmajfault".to_owned(), 1234),
    ]
    .into();
    cgroup.events = [("max".to_owned(), 12), ("low".to_owned(), 0)].into();
    CgroupStat {
        lines: CgroupStat::explain(&cgroup, None),
        groups: (0..5)
            .map(|n| Group {
                name: format!("group{n}"),
                usage_bytes: Some((5 - n) << 20),
                limit_bytes: None,
            })
            .collect(),
        processes: vec![Member { pid: 7, comm: "server".to_owned(), rss_bytes: Some(1 << 30) }],
        processes_unread: 2,
        cgroup,
        ..CgroupStat::default()
    }
}

fn process_stat() -> ProcessStat {
    let group = |kind: Use, name: &str, rss: u64| MappingGroup {
        kind,
        name: name.to_owned(),
        mappings: 3,
        size_bytes: rss * 2,
        rss_bytes: rss,
        pss_bytes: rss,
        private_bytes: rss,
        anon_bytes: 0,
        swap_bytes: 0,
        locked_bytes: 0,
        huge_bytes: 0,
    };
    let groups = vec![
        group(Use::Heap, "", 90 << 20),
        group(Use::Library, "/usr/lib/x86_64-linux-gnu/lib\u{202e}crypto.so.3", 3 << 20),
        group(Use::ThreadStack, "", 1 << 20),
    ];
    let figures = Process {
        rss_bytes: Some(96 << 20),
        anon_bytes: Some(90 << 20),
        file_bytes: Some(6 << 20),
        rss_peak_bytes: Some(128 << 20),
        pss_bytes: Some(95 << 20),
        swap_bytes: Some(0),
        threads: Some(4),
        mappings: Some(1),
        ..Process::default()
    };
    ProcessStat {
        pid: 7,
        comm: "server".to_owned(),
        cmdline: vec!["server".to_owned(), "--port\n".to_owned()],
        lines: lines(&groups, figures.rss_bytes),
        groups,
        figures,
        notes: vec!["no PSS".to_owned()],
        ..ProcessStat::default()
    }
}

fn shown(stat_of: impl FnOnce(&mut Stat)) -> String {
    let mut whole = Stat {
        schema: SCHEMA.to_owned(),
        memmgr_version: String::new(),
        taken_at: String::new(),
        host: None,
        cgroup: None,
        process: None,
    };
    stat_of(&mut whole);
    let text = stat(&whole, 3, false, Some(80));
    for line in text.lines() {
        assert!(line.width() <= 80 && !line.chars().any(is_hostile), "{line:?}");
    }
    text
}

#[test]
fn a_host_in_80_columns() {
    insta::assert_snapshot!("stat_host", shown(|stat| stat.host = Some(host_stat())));
}

#[test]
fn a_cgroup_in_80_columns() {
    insta::assert_snapshot!("stat_cgroup", shown(|stat| stat.cgroup = Some(cgroup_stat())));
}

#[test]
fn a_process_in_80_columns() {
    insta::assert_snapshot!("stat_process", shown(|stat| stat.process = Some(process_stat())));
}

#[test]
fn json_keeps_everything() {
    let stat = Stat {
        schema: SCHEMA.to_owned(),
        memmgr_version: "1".to_owned(),
        taken_at: "now".to_owned(),
        host: Some(host_stat()),
        cgroup: Some(cgroup_stat()),
        process: Some(process_stat()),
    };
    let json = serde_json::to_string(&stat).unwrap();
    assert_eq!(serde_json::from_str::<Stat>(&json).unwrap(), stat);
    for figure in
        ["\"total_bytes\":17179869184", "\"usage_bytes\":3221225472", "\"kind\":\"thread_stack\""]
    {
        assert!(json.contains(figure), "{json}");
    }
}
