//! How bad a growth is: severity, score, time to the limit.

use crate::report::{Cgroup, Finding, Host, Report};

/// The confidence that a warning needs.
pub const SURE: f64 = 0.6;
/// The confidence that a critical finding needs.
const CERTAIN: f64 = 0.75;
/// A limit that is reached sooner is critical: less than it takes to find somebody who can act.
const SOON_S: f64 = 3600.0;
/// Growth that is critical whatever the room, in bytes a second.
const FAST: f64 = (8 << 20) as f64;
/// A limit that is further away than a year says nothing.
const A_YEAR_S: f64 = 365.0 * 86_400.0;
/// A limit that is reached within ten minutes is as urgent as it gets, ...
const URGENT_S: f64 = 600.0;
/// ... and one that is a quarter of a year away as little.
const PATIENT_S: f64 = 90.0 * 86_400.0;

/// How far the process may still grow: to the limit of its cgroup, else to what the host has available.
pub(crate) fn room_bytes(cgroup: Option<&Cgroup>, host: &Host) -> Option<u64> {
    let cgroup =
        cgroup.and_then(|cgroup| Some(cgroup.limit_bytes?.saturating_sub(working_set(cgroup)?)));
    // A cgroup's limit may be higher than what the host can give.
    cgroup.into_iter().chain(host.available_bytes).min()
}

/// What the cgroup holds and cannot drop without cost: file pages that were not used lately are reclaimed first.
pub(super) fn working_set(cgroup: &Cgroup) -> Option<u64> {
    let inactive = cgroup.stat.get("inactive_file").or(cgroup.stat.get("total_inactive_file"));
    Some(cgroup.usage_bytes?.saturating_sub(inactive.copied().unwrap_or(0)))
}

/// Fills severity, score and time to the limit from rate and confidence of a growth. `due` says that it
/// deserves a warning once it is sure.
pub(super) fn grade(finding: &mut Finding, report: &Report, due: bool) {
    grade_at(finding, report, due, finding.growth_bytes_per_s);
}

/// The same for growth of which only so many bytes a second become resident.
pub(super) fn grade_at(finding: &mut Finding, report: &Report, due: bool, rate: f64) {
    grade_within(finding, room_bytes(report.cgroup.as_ref(), &report.host), due, rate);
}

/// The same where there is so much room.
pub(crate) fn grade_within(finding: &mut Finding, room: Option<u64>, due: bool, rate: f64) {
    finding.time_to_limit_s = (rate > 0.0)
        .then(|| room.map(|room| room as f64 / rate))
        .flatten()
        .filter(|seconds| *seconds < A_YEAR_S);
    let soon = finding.time_to_limit_s.is_some_and(|seconds| seconds < SOON_S) || rate >= FAST;
    let severity = match (due && finding.confidence >= SURE, soon) {
        (true, true) if finding.confidence >= CERTAIN => "critical",
        (true, _) => "warning",
        (false, _) => "info",
    };
    severity.clone_into(&mut finding.severity);
    finding.score = score(severity, finding.confidence, urgency(finding.time_to_limit_s));
}

/// From 0 to 100: confidence, and how soon it matters; informative findings stay in the lowest third.
pub(super) fn score(severity: &str, confidence: f64, urgency: f64) -> f64 {
    let full = if severity == "info" { 33.0 } else { 100.0 };
    full * confidence * (0.5 + 0.5 * urgency)
}

/// 1 when the limit is ten minutes away, 0 when it is a quarter of a year away or none is known; even on a
/// logarithmic scale between.
fn urgency(time_to_limit_s: Option<f64>) -> f64 {
    let Some(seconds) = time_to_limit_s else { return 0.0 };
    ((PATIENT_S / seconds.max(1.0)).ln() / (PATIENT_S / URGENT_S).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Severity, score and time to the limit.
    fn check(confidence: f64, rate: f64, limit: Option<u64>, expected: &str) {
        let cgroup = Cgroup {
            usage_bytes: Some(1 << 30),
            limit_bytes: limit,
            stat: [("inactive_file".to_owned(), 1 << 29)].into(),
            ..Cgroup::default()
        };
        let host = Host { available_bytes: Some(8 << 30), ..Host::default() };
        let report = Report { cgroup: Some(cgroup), host, ..Report::default() };
        let mut finding = Finding { confidence, growth_bytes_per_s: rate, ..Finding::default() };
        grade(&mut finding, &report, true);
        let Finding { severity, score, time_to_limit_s, .. } = finding;
        let left = time_to_limit_s.map_or("never".to_owned(), |s| format!("{s:.0} s"));
        assert_eq!(format!("{severity} {score:.0} {left}"), expected);
    }

    #[test]
    fn grades() {
        let mib = f64::from(1 << 20);
        check(1.0, 16.0, None, "warning 50 never");
        check(1.0, 100_000.0, None, "warning 74 85899 s");
        check(1.0, 4.0 * mib, None, "critical 94 2048 s");
        check(0.7, 4.0 * mib, None, "warning 65 2048 s");
        check(0.5, 4.0 * mib, None, "info 15 2048 s");
        check(1.0, mib, Some(1 << 30), "critical 100 512 s");
        check(1.0, 0.0, Some(1 << 30), "warning 50 never");
    }
}
