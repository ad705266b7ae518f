//! The course over time of several processes, on the clock of the whole capture.

use super::Part;
use crate::report::{Report, TimelinePoint};

/// The course of all.
pub(super) struct Course {
    pub(super) timeline: Vec<TimelinePoint>,
    /// Ends of the windows in which growth was judged.
    pub(super) windows_s: Vec<f64>,
}

/// At the moments of the process that was captured longest, and then of those beyond it. A process counts with its last
/// point from its first to its end, and with nothing before and behind.
pub(super) fn course(parts: &[Part]) -> Course {
    let end = |part: &Part| part.since_s + part.report.duration_s;
    // Of several the first.
    let by_time = |a: &&Part, b: &&Part| a.report.duration_s.total_cmp(&b.report.duration_s);
    let longest = parts.iter().rev().max_by(by_time);
    let Some(longest) = longest else {
        return Course { timeline: Vec::new(), windows_s: Vec::new() };
    };
    let mut moments = moments_of(longest);
    let mut others: Vec<&Part> = parts.iter().collect();
    others.sort_by(|a, b| end(b).total_cmp(&end(a)));
    for other in others {
        let (first, last) = (moments.first().copied(), moments.last().copied());
        let beyond = moments_of(other).into_iter().filter(|moment| {
            first.is_none_or(|first| *moment < first - NEAR_S)
                || last.is_none_or(|last| *moment > last + NEAR_S)
        });
        moments.extend(beyond);
        moments.sort_by(f64::total_cmp);
    }
    Course {
        timeline: moments.into_iter().map(|moment| at(parts, moment)).collect(),
        windows_s: longest.report.windows_s.clone(),
    }
}

/// Points of different processes that are nearer than this are one moment.
const NEAR_S: f64 = 0.05;

fn moments_of(part: &Part) -> Vec<f64> {
    part.report.timeline.iter().map(|point| part.since_s + point.t_s).collect()
}

fn at(parts: &[Part], moment: f64) -> TimelinePoint {
    let running = parts.iter().filter_map(|part| {
        let since = moment - part.since_s;
        let ended = since > part.report.duration_s + NEAR_S;
        let points = &part.report.timeline;
        let passed = points.partition_point(|point| point.t_s <= since + NEAR_S);
        // Before its first point nothing is known of it.
        let point = points.get(passed.checked_sub(1)?)?;
        (!(ended && has_gone(&part.report))).then_some(point)
    });
    let points: Vec<&TimelinePoint> = running.collect();
    let sum = |figure: fn(&TimelinePoint) -> u64| points.iter().map(|point| figure(point)).sum();
    let known = |figure: fn(&TimelinePoint) -> Option<u64>| {
        points.iter().map(|point| figure(point)).sum::<Option<u64>>()
    };
    let cgroups = parts.iter().map(|part| &part.report.target.cgroup);
    let one_cgroup = super::common(cgroups).is_some();
    TimelinePoint {
        t_s: moment,
        live_bytes: sum(|point| point.live_bytes),
        rss_bytes: sum(|point| point.rss_bytes),
        cgroup_bytes: points.last().and_then(|point| point.cgroup_bytes).filter(|_| one_cgroup),
        swap_bytes: known(|point| point.swap_bytes),
        threads: known(|point| point.threads),
        descriptors: known(|point| point.descriptors),
        observed_s: points.iter().filter_map(|point| point.observed_s).reduce(f64::min),
    }
}

/// Whether its memory is gone at the end of its capture.
fn has_gone(report: &Report) -> bool {
    matches!(report.target.ended.as_str(), "exited" | "exec")
}
