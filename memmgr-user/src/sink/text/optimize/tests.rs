//! What a person reads after an action, before one, and of a plan.

use super::*;
use crate::{
    optimize::{
        figures::{Figures, Group, Processes, Rates},
        plan::Risk,
        report::{Chosen, Subject},
        verdict::Effect,
    },
    report::{Cgroup, Process},
};

const MIB: u64 = 1 << 20;

fn figures(at_s: f64, rss: u64, swap: u64, major_faults: u64) -> Figures {
    let sum = Process {
        rss_bytes: Some(rss * MIB),
        swap_bytes: Some(swap * MIB),
        major_faults: Some(major_faults),
        ..Process::default()
    };
    let cgroup = Cgroup {
        version: "v2".to_owned(),
        path: "/web".to_owned(),
        usage_bytes: Some(rss * MIB + 512),
        ..Cgroup::default()
    };
    Figures {
        at_s,
        cgroup: Some(Group { cgroup, swap_bytes: Some(swap * MIB) }),
        processes: Some(Processes { count: 1, sum, ..Processes::default() }),
        ..Figures::default()
    }
}

fn report() -> Report {
    Report {
        action: "pageout".to_owned(),
        subject: Subject {
            kind: "process".to_owned(),
            pid: Some(7),
            comm: Some("evil\x1b[2J".to_owned()),
            ..Subject::default()
        },
        does: "writes heaps to swap".to_owned(),
        costs: "the next access waits".to_owned(),
        undo: "by itself".to_owned(),
        mappings: vec![
            Chosen { pid: 7, start: 0x1000, end: 0x2000, name: "heap".to_owned(), rss_bytes: 4096 },
            Chosen { pid: 7, start: 0x8000, end: 0xf000, name: String::new(), rss_bytes: 9 * MIB },
        ],
        before: figures(0.0, 600, 0, 5),
        ..Report::default()
    }
}

#[test]
fn an_action_that_harmed() {
    let mut report = report();
    report.applied = true;
    report.steps = vec!["process_madvise(7, MADV_PAGEOUT) took 600.0 MiB".to_owned()];
    report.notes = vec!["2 mappings with 9.0 MiB in memory".to_owned()];
    report.logged = Some("/var/log/memmgr.log".to_owned());
    let rates = |major_faults, stalled_some| Rates {
        seconds: 10.0,
        major_faults,
        stalled_some: Some(stalled_some),
        ..Rates::default()
    };
    report.changed = Some(Changed {
        took_s: 1.25,
        after: figures(1.25, 20, 580, 5),
        settled: figures(11.25, 590, 10, 9005),
        rates_before: rates(0.0, 0.01),
        rates_settling: rates(900.0, 0.4),
        effect: Effect {
            verdict: Verdict::Harmed,
            what: "resident memory".to_owned(),
            more_is_better: false,
            before_bytes: Some(600 * MIB),
            gained_bytes: 580 * MIB as i64,
            kept_bytes: 10 * MIB as i64,
            kept_share: Some(1.0 / 60.0),
            why: vec!["570.0 MiB of the 580.0 MiB came back within 10 s: it is in use".to_owned()],
        },
    });
    insta::assert_snapshot!(optimize(&report, 1, false, Some(100)));
}

#[test]
fn a_dry_run() {
    let mut report = report();
    report.steps = vec!["process_madvise(2) with MADV_PAGEOUT".to_owned()];
    report.mappings.clear();
    insta::assert_snapshot!(optimize(&report, 20, false, Some(100)));
}

#[test]
fn a_plan() {
    let mut report = report();
    report.action = "plan".to_owned();
    report.mappings.clear();
    report.suggestions = vec![
        Suggestion {
            action: "pageout".to_owned(),
            command: "memmgr optimize pageout -p 7 --idle 30s".to_owned(),
            gain_bytes: Some(300 * MIB),
            at_most: false,
            risk: Risk::Medium,
            why: "300.0 MiB were not touched for 30s".to_owned(),
            cannot: None,
        },
        Suggestion {
            action: "trim".to_owned(),
            gain_bytes: Some(500 * MIB),
            at_most: true,
            risk: Risk::High,
            why: "the allocator gives back what it holds free".to_owned(),
            cannot: Some("there is no gdb on this host".to_owned()),
            ..Suggestion::default()
        },
    ];
    insta::assert_snapshot!(optimize(&report, 20, false, Some(100)));
}
