//! Stacks of several processes, matched.

use std::{cmp::Reverse, collections::HashMap};

use super::sums;
use crate::{
    diff::identity::{Key, Names},
    report::{Age, Growth, Report, Stack},
};

/// For each report, in the order of its stacks, the id of the merged stack that each is in.
pub(super) type Places = Vec<Vec<u32>>;

/// By function and file as in a comparison, and here by line too: processes side by side mostly run the same build, and
/// two places of one function are two.
type Identity<'a> = (Key<'a>, Vec<Option<u32>>);

/// The merged stacks, most live bytes first, and where each stack went. `windows_s` are those of the merged report.
pub(super) fn stacks(
    names: &Names<'_>,
    reports: &[&Report],
    windows_s: &[f64],
) -> (Vec<Stack>, Places) {
    let mut index: HashMap<Identity<'_>, usize> = HashMap::new();
    let mut groups: Vec<Vec<(&Stack, bool)>> = Vec::new();
    let mut places: Places = Vec::new();
    for report in reports {
        let same_windows = are_same(&report.windows_s, windows_s);
        let place = |stack| {
            let lines = |stack: &Stack| stack.frames.iter().map(|frame| frame.line).collect();
            let at = *index.entry((names.stack(stack), lines(stack))).or_insert(groups.len());
            if at == groups.len() {
                groups.push(Vec::new());
            }
            groups[at].push((stack, same_windows));
            at as u32
        };
        places.push(report.stacks.iter().map(place).collect());
    }
    let mut merged: Vec<(usize, Stack)> =
        groups.into_iter().map(|group| merge(&group)).enumerate().collect();
    merged.sort_by_key(|(at, stack)| (Reverse((stack.live_bytes, stack.alloc_bytes)), *at));
    let mut ids = vec![0; merged.len()];
    for (id, (at, stack)) in merged.iter_mut().enumerate() {
        stack.id = id as u32;
        ids[*at] = id as u32;
    }
    for place in places.iter_mut().flatten() {
        *place = ids[*place as usize];
    }
    (merged.into_iter().map(|(_, stack)| stack).collect(), places)
}

/// Whether windows of two captures are the same windows: as many, which end within half of the shortest of each other.
pub(super) fn are_same(a: &[f64], b: &[f64]) -> bool {
    let begins = std::iter::once(&0.0).chain(b);
    let shortest = b.iter().zip(begins).map(|(end, begin)| end - begin).fold(f64::MAX, f64::min);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= shortest / 2.0)
}

fn merge(group: &[(&Stack, bool)]) -> Stack {
    let (first, _) = group[0];
    if let [(_, same_windows)] = group {
        let mut stack = Stack { finding: None, ..first.clone() };
        if let (false, Some(growth)) = (same_windows, &mut stack.growth) {
            (growth.series, growth.kept) = (Vec::new(), Vec::new());
        }
        return stack;
    }
    let all = || group.iter().map(|(stack, _)| *stack);
    let sum = |figure: fn(&Stack) -> u64| all().map(figure).fold(0, u64::saturating_add);
    Stack {
        id: 0,
        class: first.class.clone(),
        live_count: sum(|stack| stack.live_count),
        live_bytes: sum(|stack| stack.live_bytes),
        live_samples: sum(|stack| stack.live_samples),
        alloc_count: sum(|stack| stack.alloc_count),
        alloc_bytes: sum(|stack| stack.alloc_bytes),
        live_bytes_error: sums::error(all().map(|stack| stack.live_bytes_error)),
        alloc_bytes_error: sums::error(all().map(|stack| stack.alloc_bytes_error)),
        age_s: age(all()),
        frames: first.frames.clone(),
        cut: first.cut.clone(),
        finding: None,
        sizes: sums::sizes(all().flat_map(|stack| &stack.sizes)),
        growth: growth(group),
        // Curves of survival are those of one process.
        lifetime: None,
        suppressed: all().find_map(|stack| stack.suppressed.clone()),
    }
}

/// See [`Age::median`].
fn age<'a>(stacks: impl Iterator<Item = &'a Stack>) -> Option<Age> {
    let ages = stacks.filter_map(|stack| Some((stack.age_s.clone()?, stack.live_count)));
    let mut ages: Vec<(Age, u64)> = ages.collect();
    ages.sort_by(|(a, _), (b, _)| a.median.total_cmp(&b.median));
    let blocks: u64 = ages.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    let (middle, _) = ages.iter().find(|(_, count)| {
        below += count;
        below >= blocks.div_ceil(2)
    })?;
    Some(Age {
        min: ages.iter().map(|(age, _)| age.min).fold(f64::MAX, f64::min),
        median: middle.median,
        max: ages.iter().map(|(age, _)| age.max).fold(0.0, f64::max),
    })
}

/// The rates add up; the shape is that of the process in which it grows fastest. What stays outstanding at least in a window
/// is at least the sum of what stays in each process.
fn growth(group: &[(&Stack, bool)]) -> Option<Growth> {
    let all = || group.iter().filter_map(|(stack, _)| stack.growth.as_ref());
    let fastest = all().max_by(|a, b| a.bytes_per_s.total_cmp(&b.bytes_per_s))?;
    let added = |series: fn(&Growth) -> &Vec<u64>| {
        let length = series(fastest).len();
        let is_known = |(stack, same_windows): &(&Stack, bool)| {
            *same_windows
                && stack.growth.as_ref().is_some_and(|growth| series(growth).len() == length)
        };
        if !group.iter().all(is_known) {
            return Vec::new();
        }
        let sum = |at: usize| all().map(|growth| series(growth)[at]).sum();
        (0..length).map(sum).collect()
    };
    Some(Growth {
        bytes_per_s: all().map(|growth| growth.bytes_per_s).sum(),
        grown_bytes: all().map(|growth| growth.grown_bytes).sum(),
        series: added(|growth| &growth.series),
        kept: added(|growth| &growth.kept),
        ..fastest.clone()
    })
}
