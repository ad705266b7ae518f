//! Why "no leak found" may not be well founded.

use crate::{report::Report, track::Class};

/// Growth over fewer windows cannot be told from start-up.
const LEAST_WINDOWS: usize = 6;
/// Fewer samples than this miss leaks that matter.
const LEAST_SAMPLES: u64 = 30;

/// What speaks against a verdict without findings, and what to do about it, in a sentence; `None` when
/// enough was seen, or when the report was not judged at all.
pub fn doubt(report: &Report) -> Option<String> {
    let windows = report.windows_s.len();
    if windows == 0 {
        return None;
    }
    if windows < LEAST_WINDOWS {
        return Some(format!(
            "Counted for {:.1} s in {windows} interval{}: too short to tell growth from start-up; capture for at least 30s.",
            report.duration_s,
            if windows == 1 { "" } else { "s" },
        ));
    }
    // What was not watched is estimated, and took no samples. Page faults are always watched.
    let share = report.capture.observed.map_or(1.0, |observed| observed.share);
    let (seen, share, finer) = match report.main_class() {
        Class::Resident => (&report.resident, 1.0, "a smaller --sample-interval sees more"),
        _ => (&report.totals, share, "--mode exact sees every call"),
    };
    let watched = (seen.alloc_bytes as f64 * share) as u64;
    let samples = watched.checked_div(report.capture.sample_interval_bytes)?;
    (samples < LEAST_SAMPLES).then(|| {
        format!(
            "Only about {samples} samples were taken: a slow leak shows in none of them; {finer}."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(windows: u32, interval: u64, alloc_bytes: u64, expected: Option<&str>) {
        let mut report = Report {
            windows_s: (1..=windows).map(f64::from).collect(),
            duration_s: f64::from(windows),
            ..Report::default()
        };
        report.capture.sample_interval_bytes = interval;
        report.totals.alloc_bytes = alloc_bytes;
        match (doubt(&report), expected) {
            (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
            (said, expected) => assert_eq!(said.as_deref(), expected),
        }
    }

    #[test]
    fn little_was_seen() {
        check(0, 0, 0, None);
        check(3, 0, 1 << 30, Some("for 3.0 s in 3 intervals: too short"));
        check(30, 0, 100, None);
        check(30, 1 << 19, 4 << 19, Some("Only about 4 samples"));
        check(30, 1 << 19, 100 << 19, None);
        let mut growth = Report { windows_s: vec![1.0; 30], ..Report::default() };
        "growth".clone_into(&mut growth.capture.mode);
        growth.capture.sample_interval_bytes = 1 << 19;
        growth.resident.alloc_bytes = 100 << 19;
        assert_eq!(doubt(&growth), None);
        growth.resident.alloc_bytes = 4 << 19;
        assert!(doubt(&growth).is_some_and(|said| said.contains("a smaller --sample-interval")));
    }
}
