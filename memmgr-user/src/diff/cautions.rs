//! What stands in the way of a fair comparison.

use std::collections::BTreeMap;

use super::{Relation, identity::Names, side};
use crate::report::{Filter, Report};
use crate::units::human_bytes;

/// Durations that differ by less than this share are the same.
const DURATION_TOLERANCE: f64 = 0.05;
/// Files named in one caution at most.
const FILES_MAX: usize = 5;

/// Sentences, the worst first.
pub(super) fn cautions(names: &Names<'_>, before: &Report, after: &Report) -> Vec<String> {
    let relation = names.relation;
    [
        programs(relation, before, after),
        modes(before, after),
        intervals(before, after),
        windows(before, after),
        losses(before, after),
        filters(before, after),
        order(relation, before, after),
        builds(names, before, after),
        durations(relation, before, after),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn programs(relation: Relation, before: &Report, after: &Report) -> Option<String> {
    let (first, second) = (&before.target, &after.target);
    (relation == Relation::Different).then(|| {
        if first.comm == second.comm {
            format!("The programs differ: {} is {} and {}.", first.comm, first.exe, second.exe)
        } else {
            format!("The programs differ: {} and {}.", first.comm, second.comm)
        }
    })
}

fn modes(before: &Report, after: &Report) -> Option<String> {
    let (first, second) = (&before.capture.mode, &after.capture.mode);
    (first != second).then(|| {
        format!(
            "The modes differ: {} and {}. An estimate beside a count differs by its error alone.",
            or_unknown(first),
            or_unknown(second)
        )
    })
}

fn or_unknown(mode: &str) -> &str {
    if mode.is_empty() { "unknown" } else { mode }
}

fn intervals(before: &Report, after: &Report) -> Option<String> {
    let (first, second) =
        (before.capture.sample_interval_bytes, after.capture.sample_interval_bytes);
    (before.capture.mode == after.capture.mode && first != second).then(|| {
        format!(
            "The sampling intervals differ: {} and {}. The side with the larger one is rougher.",
            human_bytes(first),
            human_bytes(second)
        )
    })
}

fn windows(before: &Report, after: &Report) -> Option<String> {
    let percent = |report: &Report| {
        report.capture.observed.map_or_else(|| "100 %".to_owned(), |observed| observed.percent())
    };
    (before.capture.observed.is_some() || after.capture.observed.is_some()).then(|| {
        format!(
            "Allocator probes were in place for {} and {} of the time: a block that was freed between windows \
             counts as outstanding until its address is seen again.",
            percent(before),
            percent(after)
        )
    })
}

fn losses(before: &Report, after: &Report) -> Option<String> {
    let sides = match (before.capture.complete, after.capture.complete) {
        (true, true) => return None,
        (false, true) => "The first capture lost",
        (true, false) => "The second capture lost",
        (false, false) => "Both captures lost",
    };
    Some(format!("{sides} events or stacks: a part of the change may be the loss."))
}

fn filters(before: &Report, after: &Report) -> Option<String> {
    let words = |filter: &Filter| {
        format!("at least {}s old and {}", filter.min_age_s, human_bytes(filter.min_size_bytes))
    };
    let (first, second) = (&before.capture.filter, &after.capture.filter);
    (first != second).then(|| {
        format!(
            "The stacks of the first show blocks {}, those of the second blocks {}.",
            words(first),
            words(second)
        )
    })
}

fn order(relation: Relation, before: &Report, after: &Report) -> Option<String> {
    let (first, second) = (side::ended(before)?, side::ended(after)?);
    (relation != Relation::Different && second < first)
        .then(|| "The second report is older than the first: the change runs backwards.".to_owned())
}

/// Files whose build ids differ: functions keep their names, code without a name does not match.
fn builds(names: &Names<'_>, before: &Report, after: &Report) -> Option<String> {
    let mut differing: Vec<&str> = Vec::new();
    let known = ids(names, before);
    for (file, id) in ids(names, after) {
        if known.get(file).is_some_and(|other| *other != id) {
            differing.push(file.rsplit('/').next().unwrap_or(file));
        }
    }
    let more = differing.len().saturating_sub(FILES_MAX);
    differing.truncate(FILES_MAX);
    (!differing.is_empty()).then(|| {
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "Different builds of {}{more}: functions are matched by name, code without a name is not.",
            differing.join(", ")
        )
    })
}

/// The build id of every file that has one.
fn ids<'a>(names: &Names<'_>, report: &'a Report) -> BTreeMap<&'a str, &'a str> {
    let allocators = report.target.allocators.iter();
    let allocators = allocators.map(|allocator| (&allocator.path, &allocator.build_id));
    let modules = report.modules.iter().map(|module| (&module.path, &module.build_id));
    allocators
        .chain(modules)
        .filter(|(_, id)| !id.is_empty())
        .map(|(path, id)| (names.file(path), id.as_str()))
        .collect()
}

/// True when two durations differ by so much that sums over them do not compare.
pub(super) fn differ(first: f64, second: f64) -> bool {
    (first - second).abs() > DURATION_TOLERANCE * first.max(second)
}

/// Outstanding is what was allocated since the attach: two captures of different length had different time for it.
fn durations(relation: Relation, before: &Report, after: &Report) -> Option<String> {
    let (first, second) = (before.duration_s, after.duration_s);
    (relation != Relation::OneCapture && differ(first, second)).then(|| {
        format!(
            "The captures lasted {first:.1}s and {second:.1}s: the longer one had more time to gather outstanding \
             blocks. Compare allocations by the second."
        )
    })
}
