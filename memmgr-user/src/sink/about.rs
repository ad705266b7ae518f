//! What was captured, in a line: for titles, descriptions and comments.

use super::{Class, RenderOptions, loss, words};
use crate::escape::Safe;
use crate::report::{Capture, Report};
use crate::units::human_bytes;

/// `redis-server (1234)`, of a merged report `nginx: 5 processes`
pub(super) fn target(report: &Report) -> String {
    let comm = Safe::text(&report.target.comm);
    match report.processes.len() {
        0 => format!("{comm} ({})", report.target.pid),
        count => format!("{comm}: {}", words::processes(count)),
    }
}

/// `30.0s, sample 512.0 KiB, complete`
pub(super) fn capture(report: &Report) -> String {
    let capture = &report.capture;
    let mode = match (capture.mode.as_str(), capture.sample_interval_bytes) {
        ("", _) => "unknown mode".to_owned(),
        (mode, 0) => Safe::text(mode).to_string(),
        (mode, interval) => format!("{} {}", Safe::text(mode), human_bytes(interval)),
    };
    format!("{}, {mode}, {}", words::span(report.duration_s), loss::in_short(capture))
}

/// The arguments of the target, or its executable.
pub(super) fn command(report: &Report) -> String {
    let target = &report.target;
    let command = if target.cmdline.is_empty() { &target.exe } else { &target.cmdline.join(" ") };
    Safe::text(command).to_string()
}

/// That the allocator was watched for a part of the time only, and what that means.
pub(super) fn in_windows(capture: &Capture) -> Option<String> {
    capture.observed.map(|observed| {
        format!(
            "allocator probes were in place for {} of the time, in {}: figures are scaled; a block that was freed \
             between windows counts as outstanding until its address is seen again{}",
            observed.percent(),
            words::counted(observed.windows, "window"),
            slowed(capture).unwrap_or_default()
        )
    })
}

/// What `±` means for the heap.
pub(super) fn margin(capture: &Capture) -> &'static str {
    match capture.observed {
        None => "the truth lies within ± in 95 of 100 cases",
        Some(_) => "± is the error of sampling alone",
    }
}

/// That what a busy target allocates is seen while it is slowed down.
fn slowed(capture: &Capture) -> Option<String> {
    capture.overhead.speed_in_windows_percent.filter(|percent| *percent < 80.0).map(|percent| {
        format!(
            "; while probed it ran at about {percent:.0} % of its speed: what it allocates, and holds of that, may be {:.0} times as \
             much",
            100.0 / percent
        )
    })
}

/// What a reader must know about the figures, a sentence each; the loss only if there is one.
pub(super) fn remarks(report: &Report, options: &RenderOptions) -> Vec<String> {
    let capture = &report.capture;
    let mut remarks = vec![format!("captured by memmgr {}", Safe::text(&report.memmgr_version))];
    if capture.is_sampled() {
        remarks.push(format!(
            "estimated from samples, one per {} on average",
            human_bytes(capture.sample_interval_bytes)
        ));
    }
    remarks.extend(in_windows(capture));
    if options.class != Class::Heap {
        remarks.push(format!("memory class {}, no heap", options.class));
    }
    if capture.filter.hides() {
        remarks.push(format!(
            "outstanding are only blocks of at least {} and {}",
            words::span(capture.filter.min_age_s),
            human_bytes(capture.filter.min_size_bytes)
        ));
    }
    if !capture.complete {
        remarks.push(loss::in_short(capture));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Filter, Observed};
    use crate::sink::fixture;

    #[test]
    fn remarks_say_what_limits_the_figures() {
        let mut report = fixture::redis();
        report.capture.filter = Filter { min_age_s: 10.0, min_size_bytes: 64 };
        let options = RenderOptions { class: Class::Mapping, ..RenderOptions::default() };
        assert_eq!(
            remarks(&report, &options),
            [
                "captured by memmgr 0.1.0",
                "estimated from samples, one per 512.0 KiB on average",
                "memory class mapping, no heap",
                "outstanding are only blocks of at least 10.0s and 64 B",
                "incomplete: 2 stacks lost or cut",
            ]
        );
        report.capture.observed = Some(Observed { share: 0.03, windows: 60 });
        assert_eq!(
            remarks(&report, &options)[2],
            "allocator probes were in place for 3.0 % of the time, in 60 windows: figures are scaled; a block that \
             was freed between windows counts as outstanding until its address is seen again"
        );
        report.capture.overhead.speed_in_windows_percent = Some(25.0);
        let slowed = &remarks(&report, &options)[2];
        assert!(
            slowed.ends_with(
                "25 % of its speed: what it allocates, and holds of that, may be 4 times as much"
            ),
            "{slowed}"
        );
        let mut exact = Report { memmgr_version: "\x1b".to_owned(), ..Report::default() };
        exact.capture.complete = true;
        assert_eq!(remarks(&exact, &RenderOptions::default()), ["captured by memmgr \\u{1b}"]);
    }

    #[test]
    fn without_arguments_the_executable_is_the_command() {
        let mut report = fixture::redis();
        assert_eq!(command(&report), "/usr/bin/redis-server *:6379");
        report.target.cmdline.clear();
        assert_eq!(command(&report), "/usr/bin/redis-server");
    }
}
