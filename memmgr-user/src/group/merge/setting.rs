//! What was captured and how, of several processes.

use std::collections::BTreeMap;

use super::{common, name};
use crate::report::{
    Accounting, Action, Allocator, Capture, Loss, NotCovered, Observed, Overhead, ProbedFunction,
    Report, StackChoice, StackFile, Target,
};

pub(super) fn target(reports: &[&Report]) -> Target {
    let all = || reports.iter().map(|report| &report.target);
    let mut names: Vec<&str> = Vec::new();
    for target in all() {
        if !names.contains(&target.comm.as_str()) {
            names.push(&target.comm);
        }
    }
    Target {
        pid: 0,
        comm: names.join(", "),
        exe: common(all().map(|target| &target.exe)).cloned().unwrap_or_default(),
        cmdline: common(all().map(|target| &target.cmdline)).cloned().unwrap_or_default(),
        start_time_s: 0.0,
        cgroup: common(all().map(|target| &target.cgroup)).cloned().unwrap_or_default(),
        container_id: common(all().map(|target| &target.container_id)).cloned().flatten(),
        threads: all().map(|target| target.threads).sum(),
        ended: common(all().map(|target| &target.ended)).cloned().unwrap_or_default(),
        allocators: allocators(all().flat_map(|target| &target.allocators)),
        not_covered: not_covered(reports),
    }
}

/// Each library once, and how often its functions were called by all.
fn allocators<'a>(all: impl Iterator<Item = &'a Allocator>) -> Vec<Allocator> {
    let mut merged: Vec<Allocator> = Vec::new();
    for allocator in all {
        let is_same = |known: &&mut Allocator| {
            (&known.kind, &known.path, &known.build_id)
                == (&allocator.kind, &allocator.path, &allocator.build_id)
        };
        let Some(known) = merged.iter_mut().find(is_same) else {
            merged.push(allocator.clone());
            continue;
        };
        for function in &allocator.functions {
            let is_same = |known: &&mut ProbedFunction| {
                (&known.symbol, known.offset) == (&function.symbol, function.offset)
            };
            match known.functions.iter_mut().find(is_same) {
                Some(known) => known.hits += function.hits,
                None => known.functions.push(function.clone()),
            }
        }
    }
    merged
}

/// What holds for all is said once, what holds for some with their names.
fn not_covered(reports: &[&Report]) -> Vec<NotCovered> {
    /// Processes that are named.
    const NAMED: usize = 4;
    let mut merged: BTreeMap<(&str, &str), Vec<&Report>> = BTreeMap::new();
    for report in reports {
        for gap in &report.target.not_covered {
            merged.entry((&gap.what, &gap.why)).or_default().push(report);
        }
    }
    let gap = |((what, why), who): ((&str, &str), Vec<&Report>)| {
        if who.len() == reports.len() {
            return NotCovered { what: what.to_owned(), why: why.to_owned() };
        }
        let mut names: Vec<String> = who.iter().take(NAMED).map(|report| name(report)).collect();
        if who.len() > NAMED {
            names.push(format!("{} more", who.len() - NAMED));
        }
        NotCovered { what: format!("{}: {what}", names.join(", ")), why: why.to_owned() }
    };
    merged.into_iter().map(gap).collect()
}

pub(super) fn capture(reports: &[&Report]) -> Capture {
    let all = || reports.iter().map(|report| &report.capture);
    let word = |word: fn(&Capture) -> &String| {
        common(all().map(word)).cloned().unwrap_or_else(|| "mixed".to_owned())
    };
    Capture {
        mode: word(|capture| &capture.mode),
        sample_interval_bytes: all().map(|c| c.sample_interval_bytes).max().unwrap_or(0),
        stack: stack(reports),
        attach: word(|capture| &capture.attach),
        complete: all().all(|capture| capture.complete),
        observed: observed(reports),
        probes_per_s: all().map(|capture| capture.probes_per_s).sum(),
        overhead: overhead(reports),
        filter: all().map(|capture| capture.filter).next().unwrap_or_default(),
        loss: loss(all().map(|capture| &capture.loss)),
        accounting: accounting(all().map(|capture| &capture.accounting)),
    }
}

fn stack(reports: &[&Report]) -> StackChoice {
    let all = || reports.iter().map(|report| &report.capture.stack);
    let mut files: Vec<StackFile> = Vec::new();
    for file in all().flat_map(|stack| &stack.files) {
        if !files.contains(file) {
            files.push(file.clone());
        }
    }
    let kind = common(all().map(|stack| stack.kind.as_str()));
    let why = common(all().map(|stack| stack.why.as_str()));
    StackChoice {
        kind: kind.unwrap_or("mixed").to_owned(),
        bytes: all().map(|stack| stack.bytes).max().unwrap_or(0),
        why: why.unwrap_or("chosen for each process by itself").to_owned(),
        files,
    }
}

/// The share of the time of all captures together; absent where the probes were always in place in each.
fn observed(reports: &[&Report]) -> Option<Observed> {
    let seen = |report: &&Report| report.capture.observed;
    if reports.iter().all(|report| seen(report).is_none()) {
        return None;
    }
    let time: f64 = reports.iter().map(|report| report.duration_s).sum();
    let observed: f64 = reports
        .iter()
        .map(|report| report.duration_s * seen(report).map_or(1.0, |observed| observed.share))
        .sum();
    Some(Observed {
        share: if time > 0.0 { observed / time } else { 0.0 },
        windows: reports.iter().filter_map(seen).map(|observed| observed.windows).sum(),
    })
}

/// Each process has a budget of its own: the figures are those of the one that pays most.
fn overhead(reports: &[&Report]) -> Overhead {
    let all = || reports.iter().map(|report| &report.capture.overhead);
    let mut actions: Vec<Action> = reports
        .iter()
        .flat_map(|report| {
            let actions = report.capture.overhead.actions.iter();
            actions.map(|action| Action {
                what: format!("{}: {}", name(report), action.what),
                ..action.clone()
            })
        })
        .collect();
    actions.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    Overhead {
        budget_percent: common(all().map(|overhead| overhead.budget_percent)).flatten(),
        achieved_percent: all().filter_map(|o| o.achieved_percent).reduce(f64::max),
        speed_in_windows_percent: all().filter_map(|o| o.speed_in_windows_percent).reduce(f64::min),
        actions,
    }
}

fn loss<'a>(all: impl Iterator<Item = &'a Loss> + Clone) -> Loss {
    let sum = |figure: fn(&Loss) -> u64| all.clone().map(figure).fold(0, u64::saturating_add);
    Loss {
        ring_full: sum(|loss| loss.ring_full),
        asleep: sum(|loss| loss.asleep),
        map_full: sum(|loss| loss.map_full),
        stack_missing: sum(|loss| loss.stack_missing),
        stack_truncated: sum(|loss| loss.stack_truncated),
        unmatched_return: sum(|loss| loss.unmatched_return),
        missed: sum(|loss| loss.missed),
        unknown_free: sum(|loss| loss.unknown_free),
        implied_free: sum(|loss| loss.implied_free),
        hidden_free: sum(|loss| loss.hidden_free),
    }
}

fn accounting<'a>(all: impl Iterator<Item = &'a Accounting> + Clone) -> Accounting {
    let sum = |figure: fn(&Accounting) -> u64| all.clone().map(figure).fold(0, u64::saturating_add);
    Accounting {
        seen: sum(|books| books.seen),
        filtered: sum(|books| books.filtered),
        sampled_out: sum(|books| books.sampled_out),
        submitted: sum(|books| books.submitted),
        stack_records: sum(|books| books.stack_records),
        lost: sum(|books| books.lost),
        received: sum(|books| books.received),
        decoded: sum(|books| books.decoded),
        residual: all.clone().map(|books| books.residual).fold(0, i64::saturating_add),
    }
}
