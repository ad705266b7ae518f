//! Findings of several processes: those about the same function or resource are one.

use std::collections::BTreeMap;

use super::{name, stacks::Places};
use crate::{
    judge::{grade_within, gravest_first, subject},
    report::{Finding, Report},
};

/// Processes that are named in a sentence.
const NAMED: usize = 8;

/// A finding, the process that has it by its place among all, and where it stands in that report.
#[derive(Clone, Copy)]
struct One<'a> {
    finding: &'a Finding,
    process: usize,
    at: usize,
}

/// Puts the findings into the merged report, and its stacks in relation to them.
pub(super) fn findings(merged: &mut Report, reports: &[&Report], places: &Places) {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<One<'_>>> = BTreeMap::new();
    for (process, report) in reports.iter().enumerate() {
        for (at, finding) in report.findings.iter().enumerate() {
            // Functions of one name in two files are two. Directories differ from container to container.
            let stack = report.stacks.iter().find(|stack| Some(stack.id) == finding.stack_id);
            let module = stack.and_then(subject).and_then(|frame| frame.module.as_deref());
            let file = module.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let about = finding.subject.as_deref().unwrap_or_default();
            let one = One { finding, process, at };
            groups.entry((&finding.kind, about, file)).or_default().push(one);
        }
    }
    let mut found: Vec<(Finding, Vec<One<'_>>)> = groups
        .into_values()
        .map(|mut group| {
            group.sort_by(|a, b| gravest_first(a.finding, b.finding));
            (together(merged, reports, places, &group), group)
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| gravest_first(a, b));
    for (index, (_, group)) in found.iter().enumerate() {
        for one in group {
            let stacks = reports[one.process].stacks.iter().zip(&places[one.process]);
            for (_, place) in stacks.filter(|(stack, _)| stack.finding == Some(one.at as u32)) {
                let stack = &mut merged.stacks[*place as usize];
                // The gravest one, where processes find different things about one stack.
                stack.finding.get_or_insert(index as u32);
            }
        }
    }
    merged.findings = found.into_iter().map(|(finding, _)| finding).collect();
}

/// One finding of a group, of which the first is the gravest.
fn together(merged: &Report, reports: &[&Report], places: &Places, group: &[One<'_>]) -> Finding {
    let gravest = group[0];
    let report = reports[gravest.process];
    let place = |id: u32| {
        let at = report.stacks.iter().position(|stack| stack.id == id)?;
        Some(places[gravest.process][at])
    };
    let mut finding =
        Finding { stack_id: gravest.finding.stack_id.and_then(place), ..gravest.finding.clone() };
    finding.evidence.insert(0, who(reports, group));
    if let [_] = group {
        return finding;
    }
    finding.growth_bytes_per_s = group.iter().map(|one| one.finding.growth_bytes_per_s).sum();
    finding.time_to_limit_s = if merged.cgroup.is_some() || report.cgroup.is_none() {
        // They grow into the same room, together as many times as fast: the times are room / rate, each.
        let parts = group.iter().filter_map(|one| one.finding.time_to_limit_s);
        let rates: f64 = parts.map(|seconds| 1.0 / seconds).sum();
        (rates > 0.0).then(|| 1.0 / rates)
    } else {
        group.iter().filter_map(|one| one.finding.time_to_limit_s).reduce(f64::min)
    };
    graver(finding)
}

/// What many do slowly can be as bad as what one does fast.
fn graver(finding: Finding) -> Finding {
    let rate = finding.growth_bytes_per_s;
    let is_due = finding.severity != "info";
    if !is_due || rate <= 0.0 {
        return finding;
    }
    let mut graded = finding.clone();
    let room = finding.time_to_limit_s.map(|seconds| (seconds * rate) as u64);
    grade_within(&mut graded, room, true, rate);
    graded.time_to_limit_s = finding.time_to_limit_s;
    if gravest_first(&graded, &finding).is_lt() { graded } else { finding }
}

/// `In 3 of 8 processes, most in nginx (12): nginx (12), nginx (13), nginx (14).`
fn who(reports: &[&Report], group: &[One<'_>]) -> String {
    let mut processes: Vec<usize> = Vec::new();
    for one in group {
        if !processes.contains(&one.process) {
            processes.push(one.process);
        }
    }
    let first = name(reports[processes[0]]);
    if let [_] = processes.as_slice() {
        return format!("In {first} alone, of {} processes.", reports.len());
    }
    let names: Vec<String> =
        processes.iter().take(NAMED).map(|process| name(reports[*process])).collect();
    let more = match processes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "In {} of {} processes: {}{more}. What follows is about {first}, the gravest of them.",
        processes.len(),
        reports.len(),
        names.join(", ")
    )
}
