//! Findings about stacks: which leak, merged by the function to look at.

use std::collections::BTreeMap;

use crate::report::{Finding, Report, Stack};

use super::{
    evidence::{self, Case},
    life_table::Reached,
    own::is_judged,
    rank,
    severity::{SURE, grade_at},
    subject::{name_of, subject},
    survivors::Survivors,
};

/// The most findings about stacks; what is beyond is counted in a last one.
const MOST: usize = 30;
/// The most of them that are only worth knowing.
const MOST_INFORMATIVE: usize = 5;
/// A growth that is no leak is worth knowing from so many bytes, ...
const NOTABLE_BYTES: u64 = 1 << 20;
/// ... when it is at least this share of what is outstanding.
const NOTABLE_SHARE: f64 = 0.05;
/// The most confidence in what is only worth knowing.
const UNSURE: f64 = 0.5;
/// Losses that explain a third of what is outstanding leave no proof.
const EXPLAINED: f64 = 0.33;

/// Findings with the indices of the stacks that each is about, in no order.
pub(super) fn findings(report: &Report) -> Vec<(Finding, Vec<usize>)> {
    let mut groups: BTreeMap<(&str, &str, String), Vec<usize>> = BTreeMap::new();
    let mut nameless = Vec::new();
    for (at, stack) in report.stacks.iter().enumerate() {
        let grew = stack
            .growth
            .as_ref()
            .is_some_and(|growth| growth.shape != "flat" || stack.live_bytes > 0);
        if !grew || stack.suppressed.is_some() || !is_judged(stack, report) {
            continue;
        }
        match subject(stack) {
            Some(frame) => {
                let module = frame.module.as_deref().unwrap_or_default();
                groups.entry((&stack.class, module, name_of(frame))).or_default().push(at);
            }
            None => nameless.push(vec![at]),
        }
    }
    let mut found: Vec<_> =
        groups.into_values().chain(nameless).filter_map(|group| finding(report, &group)).collect();
    drop_repeated(report, &mut found);
    found.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
    let mut informative = 0;
    found.retain(|(finding, _)| {
        informative += usize::from(finding.severity == "info");
        finding.severity != "info" || informative <= MOST_INFORMATIVE
    });
    let beyond = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    for one in &mut found {
        explain(report, one);
    }
    if beyond > 0 {
        let evidence =
            vec![format!("{beyond} more functions grow in the same way, with lower scores.")];
        let more = Finding {
            kind: "leak".to_owned(),
            severity: "info".to_owned(),
            evidence,
            recommendation: "Mend those above first, or leave out what is known with --suppress."
                .to_owned(),
            ..Finding::default()
        };
        found.push((more, Vec::new()));
    }
    found
}

/// Leaks of the heap at this share of the rate at which pages come explain the pages, whoever touches them first.
const SAME_GROWTH: f64 = 0.7;

/// Takes out findings about pages that a function touches where what it allocates or maps says the same, and more, or
/// where leaks of the heap are that growth.
fn drop_repeated(report: &Report, found: &mut Vec<(Finding, Vec<usize>)>) {
    let first = |stacks: &[usize]| stacks.first().map(|at| &report.stacks[*at]);
    let is_resident = |stacks: &[usize]| first(stacks).is_some_and(|s| s.class == "resident");
    let place = |stacks: &[usize]| {
        let frame = subject(first(stacks)?)?;
        Some((name_of(frame), frame.module.clone()))
    };
    let mut said: BTreeMap<_, u8> = BTreeMap::new();
    for (finding, stacks) in found.iter().filter(|(_, stacks)| !is_resident(stacks)) {
        if let Some(place) = place(stacks) {
            let severity = said.entry(place).or_default();
            *severity = (*severity).max(rank(&finding.severity));
        }
    }
    let rate = |class: &str, rank_of: u8| -> f64 {
        let of_class = |stacks: &[usize]| first(stacks).is_some_and(|stack| stack.class == class);
        let leaks = found.iter().filter(|(finding, stacks)| {
            of_class(stacks) && finding.kind == "leak" && rank(&finding.severity) >= rank_of
        });
        leaks.map(|(finding, _)| finding.growth_bytes_per_s).sum()
    };
    let ranks = [0, 1, 2];
    let explained = ranks.map(|rank| rate("heap", rank) >= SAME_GROWTH * rate("resident", 0));
    found.retain(|(finding, stacks)| {
        if is_resident(stacks) && explained[usize::from(rank(&finding.severity))] {
            return false;
        }
        let says_more = |severity: &u8| *severity >= rank(&finding.severity);
        !is_resident(stacks)
            || !place(stacks).is_some_and(|at| said.get(&at).is_some_and(says_more))
    });
}

/// The finding about the stacks of one function, if there is one.
fn finding(report: &Report, group: &[usize]) -> Option<(Finding, Vec<usize>)> {
    let growth = |at: &usize| report.stacks[*at].growth.as_ref();
    let is_leak = |at: &usize| {
        growth(at)
            .is_some_and(|g| g.shape == "linear" && g.driver != "turnover" && g.confidence >= SURE)
    };
    let leaking: Vec<usize> = group.iter().copied().filter(is_leak).collect();
    if !leaking.is_empty() {
        let leaks = || leaking.iter().filter_map(growth);
        let surest = leaks().map(|growth| growth.confidence).fold(0.0, f64::max);
        let rate = leaks().map(|growth| growth.bytes_per_s).sum();
        // A table is as large as what it holds: when that stops to grow, so does the table, but it jumps so seldom
        // that this cannot be seen from the table.
        let fills_up = leaks().all(|growth| growth.driver == "resized")
            && group.iter().filter_map(growth).any(|growth| growth.shape == "saturating");
        let confidence = if fills_up { surest.min(UNSURE) } else { surest };
        return Some(leak(report, leaking, confidence, rate));
    }
    let kept: Vec<usize> = group
        .iter()
        .copied()
        .filter(|at| growth(at).is_some_and(|g| g.kept.iter().any(|b| *b > 0)))
        .collect();
    if kept.len() > 1
        && let Some(trend) = merged(report, &kept).trend(&report.windows_s)
        && trend.confidence >= SURE
    {
        return Some(leak(report, kept, trend.confidence, trend.bytes_per_s));
    }
    let notable = group.iter().copied().filter(|at| is_notable(report, &report.stacks[*at]));
    let largest = notable.max_by_key(|at| growth(at).map_or(0, |g| g.grown_bytes))?;
    let growth = growth(&largest)?;
    Some(leak(report, vec![largest], growth.confidence.min(UNSURE), growth.bytes_per_s))
}

/// What several stacks left behind together. Their births by window are not in a report: those that kept
/// everything were born when their survivors were, those of the others are taken to be spread evenly.
fn merged(report: &Report, group: &[usize]) -> Survivors {
    let windows = report.windows_s.len();
    let width_s = report.windows_s.last().copied().unwrap_or(0.0) / windows.max(1) as f64;
    let zero = vec![0.0; windows];
    let mut sum = Survivors {
        seen: zero.clone(),
        bytes: zero.clone(),
        born: zero,
        settled: None,
        old: Reached::default(),
        expected: f64::INFINITY,
        exact: !report.capture.estimates(),
    };
    let mut age_s = 0.0_f64;
    for stack in group.iter().map(|at| &report.stacks[*at]) {
        let (Some(growth), Some(lifetime)) = (&stack.growth, &stack.lifetime) else { continue };
        let kept: f64 = growth.kept.iter().map(|bytes| *bytes as f64).sum();
        let share = stack.live_samples as f64 / kept.max(1.0);
        let gone = lifetime.freed_count as f64 / windows.max(1) as f64;
        for (at, bytes) in growth.kept.iter().take(windows).enumerate() {
            sum.bytes[at] += *bytes as f64;
            sum.seen[at] += *bytes as f64 * share;
            sum.born[at] += *bytes as f64 * share + gone;
        }
        age_s = age_s.max(lifetime.old.age_s);
        sum.old.reached += lifetime.old.reached;
        sum.old.freed += lifetime.old.freed;
        sum.old.watched += lifetime.old.watched_s / width_s;
    }
    if sum.old.is_settled(windows) && width_s > 0.0 {
        sum.settled = Some((age_s / width_s).round() as usize);
    }
    sum
}

/// Growth that is no proven leak, and large.
fn is_notable(report: &Report, stack: &Stack) -> bool {
    let Some(growth) = &stack.growth else { return false };
    let whole = match stack.class.as_str() {
        "heap" => &report.totals,
        "resident" => &report.resident,
        _ => &report.mapped,
    };
    matches!(growth.shape.as_str(), "linear" | "saturating")
        && growth.confidence >= 0.35
        && growth.grown_bytes >= NOTABLE_BYTES
        && growth.grown_bytes as f64 >= NOTABLE_SHARE * whole.live_bytes as f64
}

/// A finding about these stacks, the largest first.
fn leak(
    report: &Report,
    mut stacks: Vec<usize>,
    confidence: f64,
    rate: f64,
) -> (Finding, Vec<usize>) {
    stacks.sort_by_key(|at| {
        std::cmp::Reverse((report.stacks[*at].live_bytes, std::cmp::Reverse(*at)))
    });
    let first = &report.stacks[stacks[0]];
    let case = Case::of(report, &stacks);
    let growth = first.growth.clone().unwrap_or_default();
    let mut finding = Finding {
        kind: "leak".to_owned(),
        stack_id: Some(first.id),
        subject: subject(first).map(name_of),
        shape: if confidence >= SURE { "linear".to_owned() } else { growth.shape.clone() },
        confidence,
        growth_bytes_per_s: rate,
        ..Finding::default()
    };
    let lost = case.lost_blocks();
    let explained = lost > EXPLAINED * case.live_count as f64
        || case.is_replacement()
        || case.noticed.is_some_and(|noticed| !noticed.rules_out_deaths());
    if explained {
        finding.confidence = finding.confidence.min(UNSURE);
    } else if !report.capture.complete {
        finding.confidence *= 0.9;
    }
    grade_at(&mut finding, report, !explained, case.resident_rate(rate));
    (finding, stacks)
}

/// Says why, and what to do: only for what is shown, because it looks at all stacks for an example.
fn explain(report: &Report, (finding, stacks): &mut (Finding, Vec<usize>)) {
    let case = Case::of(report, stacks);
    finding.evidence = evidence::sentences(&case, finding);
    finding.recommendation = evidence::recommendation(&case, finding);
}
