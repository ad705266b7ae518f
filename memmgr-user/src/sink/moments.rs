//! The timeline of a report for formats that show one: few enough points, the peak among them.

use super::Class;
use crate::report::{Report, TimelinePoint, Totals};

/// The totals of a class of memory.
pub(super) fn totals(report: &Report, class: Class) -> &Totals {
    match class {
        Class::Heap => &report.totals,
        Class::Resident => &report.resident,
        Class::Mapping => &report.mapped,
        Class::FileMapping => &report.file_mapped,
    }
}

/// At most `most` points in the order of time, the highest and the last of them included. The
/// timeline follows the heap, so that other classes have none.
pub(super) fn moments(report: &Report, class: Class, most: usize) -> Vec<&TimelinePoint> {
    let mut points: Vec<&TimelinePoint> = match class {
        Class::Heap => report.timeline.iter().filter(|point| point.t_s.is_finite()).collect(),
        Class::Resident | Class::Mapping | Class::FileMapping => Vec::new(),
    };
    points.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    let Some(peak) = peak(&points) else { return points };
    let last = points.len() - 1;
    // With the peak and the last one there are no more than asked for.
    let step = points.len().div_ceil(most.saturating_sub(2).max(1));
    let kept = |i: &usize| i.is_multiple_of(step) || *i == peak || *i == last;
    (0..points.len()).filter(kept).map(|i| points[i]).collect()
}

/// The first of the highest points.
pub(super) fn peak(points: &[&TimelinePoint]) -> Option<usize> {
    let highest = points.iter().map(|point| point.live_bytes).max()?;
    points.iter().position(|point| point.live_bytes == highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(live_bytes: &[u64], most: usize, kept: &[u64]) {
        let timeline = live_bytes
            .iter()
            .enumerate()
            .map(|(t, &live_bytes)| TimelinePoint {
                t_s: t as f64,
                live_bytes,
                ..TimelinePoint::default()
            })
            .collect();
        let report = Report { timeline, ..Report::default() };
        let bytes = |class| -> Vec<u64> {
            moments(&report, class, most).iter().map(|point| point.live_bytes).collect()
        };
        assert_eq!(bytes(Class::Heap), kept);
        assert!(bytes(Class::Mapping).is_empty());
    }

    #[test]
    fn the_peak_and_the_end_are_always_there() {
        check(&[], 10, &[]);
        check(&[1, 2, 3], 10, &[1, 2, 3]);
        check(&[0, 1, 2, 3, 9, 5, 6, 7, 8, 4], 4, &[0, 9, 5, 4]);
        let many: Vec<u64> = (0..10_000).collect();
        let report = Report {
            timeline: many
                .iter()
                .map(|t| TimelinePoint { t_s: *t as f64, ..TimelinePoint::default() })
                .collect(),
            ..Report::default()
        };
        assert!(moments(&report, Class::Heap, 100).len() <= 100);
    }
}
