//! What the figures mean: shapes of growth, lifetimes, findings, suppressions. Pure; `docs/judgement.md` has the
//! formulas.
//!
//! ```text
//! history ─ growth ───┐
//!         └ lifetime ─┴→ report ─ judge → findings
//! ```

mod doubt;
mod evidence;
mod leaks;
mod life_table;
mod lifetime;
mod misses;
mod outline;
mod own;
mod process;
mod resized;
mod severity;
mod shape;
mod siblings;
mod spread;
mod statistics;
mod subject;
mod suppress;
mod survivors;
mod timeline;
mod windows;

#[cfg(test)]
pub(crate) mod generate;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watched;
#[cfg(test)]
mod window_tests;

pub use doubt::doubt;
pub use lifetime::lifetime;
pub(crate) use own::is_of_allocator;
pub use severity::SURE;
pub(crate) use severity::{grade_within, room_bytes};
pub use shape::growth;
pub use subject::{name_of, subject, subject_name};
pub use suppress::{SuppressionError, Suppressions};
pub(crate) use timeline::climb_of;

use std::cmp::Ordering;

use crate::report::{Finding, Report, Suppression};

/// Judges a report whose stacks have their growth and lifetimes: fills `findings`, most severe and then highest score
/// first, each stack's `finding` and `suppressed`, and `suppressions`. Judging again gives the same.
pub fn judge(report: &mut Report, suppressions: &Suppressions) {
    suppress(report, suppressions);
    let mut found = leaks::findings(report);
    found.extend(misses::finding(report).map(|finding| (finding, Vec::new())));
    found.extend(process::findings(report).into_iter().map(|finding| (finding, Vec::new())));
    found.sort_by(|(a, _), (b, _)| gravest_first(a, b));
    for stack in &mut report.stacks {
        stack.finding = None;
    }
    report.findings.clear();
    for (at, (finding, stacks)) in found.into_iter().enumerate() {
        for stack in stacks {
            report.stacks[stack].finding = Some(at as u32);
        }
        report.findings.push(finding);
    }
}

/// The order of findings: the most severe first, and then the highest score.
pub(crate) fn gravest_first(a: &Finding, b: &Finding) -> Ordering {
    (rank(&b.severity), b.score)
        .partial_cmp(&(rank(&a.severity), a.score))
        .unwrap_or(Ordering::Equal)
}

fn rank(severity: &str) -> u8 {
    match severity {
        "critical" => 2,
        "warning" => 1,
        _ => 0,
    }
}

/// Marks the stacks that a pattern matches, and adds them up by pattern.
fn suppress(report: &mut Report, suppressions: &Suppressions) {
    let mut used: Vec<Suppression> = suppressions
        .patterns()
        .map(|pattern| Suppression { pattern: pattern.to_owned(), ..Suppression::default() })
        .collect();
    for stack in &mut report.stacks {
        stack.suppressed = suppressions.matches(stack).map(str::to_owned);
        let Some(pattern) = &stack.suppressed else { continue };
        if let Some(sum) = used.iter_mut().find(|sum| sum.pattern == *pattern) {
            sum.stacks += 1;
            sum.live_count += stack.live_count;
            sum.live_bytes += stack.live_bytes;
        }
    }
    report.suppressions = used;
}
