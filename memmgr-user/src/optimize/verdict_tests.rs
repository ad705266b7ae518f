//! Verdicts over figures that are made up.

use super::*;
use crate::{
    optimize::figures::{Group, Processes},
    report::{Cgroup, Process},
};

const MIB: u64 = 1 << 20;

/// A cgroup and a process that hold so many MiB.
fn holding(mib: u64) -> Figures {
    let cgroup = Cgroup { usage_bytes: Some(mib * MIB), ..Cgroup::default() };
    let sum = Process { rss_bytes: Some(mib * MIB), ..Process::default() };
    Figures {
        cgroup: Some(Group { cgroup, swap_bytes: None }),
        processes: Some(Processes { count: 1, sum, ..Processes::default() }),
        ..Figures::default()
    }
}

fn rates(refaulted_mib: u64, faults: f64, stalled: f64) -> Rates {
    Rates {
        seconds: 10.0,
        refaulted_bytes: (refaulted_mib * MIB) as f64,
        faults,
        stalled_some: Some(stalled),
        ..Rates::default()
    }
}

#[track_caller]
fn check(goal: Goal, mib: [u64; 3], before: Rates, settling: Rates, verdict: Verdict, why: &str) {
    let [first, then, last] = mib.map(holding);
    let effect = judge(goal, &first, &then, &last, &before, &settling);
    assert_eq!(effect.verdict, verdict, "{effect:?}");
    assert_eq!(effect.why.join("; "), why);
    assert_eq!(effect.gained_bytes, (mib[0] as i64 - mib[1] as i64) * MIB as i64);
    assert_eq!(effect.kept_bytes, (mib[0] as i64 - mib[2] as i64) * MIB as i64);
}

#[test]
fn what_is_kept_helped() {
    let quiet = || rates(0, 0.0, 0.0);
    check(Goal::Usage, [600, 100, 101], quiet(), quiet(), Verdict::Helped, "");
    check(Goal::Resident, [600, 100, 101], quiet(), quiet(), Verdict::Helped, "");
}

#[test]
fn what_comes_back_harmed() {
    let quiet = || rates(0, 0.0, 0.0);
    let back = "490.0 MiB of the 500.0 MiB came back within 10 s: it is in use";
    check(Goal::Usage, [600, 100, 590], quiet(), quiet(), Verdict::Harmed, back);
    check(Goal::Resident, [600, 100, 590], quiet(), quiet(), Verdict::Harmed, back);
}

#[test]
fn what_is_read_again_harmed_though_others_went_instead() {
    let quiet = || rates(0, 0.0, 0.0);
    let again = "300.0 MiB were wanted again that had just been evicted";
    check(Goal::Usage, [600, 100, 100], quiet(), rates(30, 0.0, 0.0), Verdict::Harmed, again);
    // Faults of the process: 7,680 a second for 10 s, a page each.
    check(Goal::Resident, [600, 100, 100], quiet(), rates(0, 7680.0, 0.0), Verdict::Harmed, again);
    // As it was before the action.
    check(
        Goal::Usage,
        [600, 100, 100],
        rates(30, 0.0, 0.0),
        rates(30, 0.0, 0.0),
        Verdict::Helped,
        "",
    );
}

#[test]
fn what_is_evicted_for_nothing_harmed() {
    let quiet = || rates(0, 0.0, 0.0);
    let again = "20.0 MiB were wanted again that had just been evicted";
    check(Goal::Usage, [600, 600, 600], quiet(), rates(2, 0.0, 0.0), Verdict::Harmed, again);
    let major = Rates { major_faults: 512.0, ..rates(0, 0.0, 0.0) };
    check(Goal::Usage, [600, 600, 600], quiet(), major, Verdict::Harmed, again);
    // Little of much that was gained.
    check(Goal::Usage, [600, 100, 100], quiet(), rates(2, 0.0, 0.0), Verdict::Helped, "");
    // Minor faults are what a program does anyway.
    let still = "the figure did not move by more than it does by itself";
    check(Goal::Resident, [600, 600, 600], quiet(), rates(0, 512.0, 0.0), Verdict::NoEffect, still);
}

#[test]
fn waiting_for_memory_is_harm() {
    let why = "tasks waited for memory for 30 % of the time afterwards, before for 10 %";
    check(
        Goal::Usage,
        [600, 100, 100],
        rates(0, 0.0, 0.1),
        rates(0, 0.0, 0.3),
        Verdict::Harmed,
        why,
    );
    check(
        Goal::Usage,
        [600, 100, 100],
        rates(0, 0.0, 0.3),
        rates(0, 0.0, 0.3),
        Verdict::Helped,
        "",
    );
}

#[test]
fn noise_is_no_effect() {
    let quiet = || rates(0, 0.0, 0.0);
    let still = "the figure did not move by more than it does by itself";
    check(Goal::Usage, [600, 598, 598], quiet(), quiet(), Verdict::NoEffect, still);
    let other_way = "the figure went the other way: something else moved it more";
    check(Goal::Usage, [600, 700, 700], quiet(), quiet(), Verdict::NoEffect, other_way);
    let gone = "500.0 MiB were gained and are gone again";
    let [first, then, last] = [600, 100, 600].map(|mib| Figures {
        heap: Some(crate::optimize::figures::Heap { used_bytes: mib * MIB, committed_bytes: 0 }),
        ..Figures::default()
    });
    let effect = judge(Goal::Heap, &first, &then, &last, &quiet(), &quiet());
    assert_eq!((effect.verdict, effect.why.join("; ").as_str()), (Verdict::NoEffect, gone));
}

#[test]
fn what_is_not_known_is_not_judged() {
    let none = Figures::default();
    let (before, settling) = (Rates::default(), Rates::default());
    let effect = judge(Goal::Usage, &holding(5), &none, &none, &before, &settling);
    assert_eq!(effect.verdict, Verdict::Unknown);
}
