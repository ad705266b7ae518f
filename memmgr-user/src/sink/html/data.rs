//! What the page's script reads: the report's figures as they are, and its stacks in columns.

use serde::Serialize;

use super::columns::{Functions, Stacks};
use super::strings::Strings;
use crate::escape::hostile_ranges;
use crate::judge;
use crate::report::{
    self, Capture, Cgroup, Collector, Finding, Fragmentation, Host, Member, Module, Reconciliation,
    Report, Served, SizeClass, Suppression, Target, TimelinePoint, Totals,
};
use crate::sink::{RenderOptions, about, loss};

/// Everything in the page that came from the capture.
#[derive(Serialize)]
pub(super) struct Data<'a> {
    /// The characters that are shown as escapes: what stands between the brackets of a regular expression.
    hostile: String,
    /// What was captured, in a few words.
    target: String,
    /// The metric that the page shows first.
    metric: &'static str,
    /// The class that the page shows first.
    class: &'static str,
    /// The class that the report is about first: that of functions, files and sizes.
    main: &'static str,
    /// `complete`, or what was lost, in a few words.
    completeness: String,
    /// Why no finding may mean little.
    doubt: Option<String>,
    /// That the allocator was watched for a part of the time only.
    in_windows: Option<String>,
    losses: Vec<Loss>,
    /// Of a merged report.
    processes: Vec<Process<'a>>,
    report: Figures<'a>,
    stacks: Stacks,
    functions: Functions,
    /// Every text of the columns; they name the first one 1.
    strings: Vec<&'a str>,
}

/// One cause of loss, in the words of every other format.
#[derive(Serialize)]
struct Loss {
    count: u64,
    what: &'static str,
    effect: &'static str,
}

/// One process of a merged report, without its own report.
#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    comm: &'a str,
    since_s: f64,
    duration_s: f64,
    ended: &'a str,
    live_bytes: u64,
    live_bytes_error: u64,
    alloc_bytes: u64,
    rss_bytes: Option<u64>,
    pss_bytes: Option<u64>,
    complete: bool,
    verdict: &'a str,
}

impl<'a> From<&'a Member> for Process<'a> {
    fn from(member: &'a Member) -> Self {
        Process {
            pid: member.pid,
            comm: &member.comm,
            since_s: member.since_s,
            duration_s: member.duration_s,
            ended: &member.ended,
            live_bytes: member.live_bytes,
            live_bytes_error: member.live_bytes_error,
            alloc_bytes: member.alloc_bytes,
            rss_bytes: member.rss_bytes,
            pss_bytes: member.pss_bytes,
            complete: member.complete,
            verdict: &member.verdict,
        }
    }
}

/// The parts of the report that are no long tables, by their names in the report.
#[derive(Serialize)]
struct Figures<'a> {
    memmgr_version: &'a str,
    captured_at: &'a str,
    duration_s: f64,
    target: &'a Target,
    capture: &'a Capture,
    totals: &'a Totals,
    mapped: &'a Totals,
    file_mapped: &'a Totals,
    resident: &'a Totals,
    modules: &'a [Module],
    sizes: &'a [SizeClass],
    findings: &'a [Finding],
    suppressions: &'a [Suppression],
    windows_s: &'a [f64],
    timeline: &'a [TimelinePoint],
    process: &'a report::Process,
    cgroup: Option<&'a Cgroup>,
    host: &'a Host,
    reconciliation: &'a Reconciliation,
    served: Option<&'a Served>,
    fragmentation: Option<&'a Fragmentation>,
    collector: &'a Collector,
}

impl<'a> Data<'a> {
    /// Of a report.
    pub(super) fn of(report: &'a Report, options: &RenderOptions) -> Self {
        let mut strings = Strings::default();
        let stacks = Stacks::of(report, &mut strings);
        let functions = Functions::of(&report.functions, &mut strings);
        Data {
            hostile: hostile_ranges(),
            target: about::target(report),
            metric: options.metric.name(),
            class: options.class.name(),
            main: report.main_class().name(),
            completeness: loss::in_short(&report.capture),
            doubt: judge::doubt(report),
            in_windows: about::in_windows(&report.capture),
            losses: loss::causes(&report.capture.loss)
                .into_iter()
                .map(|cause| Loss { count: cause.count, what: cause.what, effect: cause.effect })
                .collect(),
            processes: report.processes.iter().map(Process::from).collect(),
            report: Figures {
                memmgr_version: &report.memmgr_version,
                captured_at: &report.captured_at,
                duration_s: report.duration_s,
                target: &report.target,
                capture: &report.capture,
                totals: &report.totals,
                mapped: &report.mapped,
                file_mapped: &report.file_mapped,
                resident: &report.resident,
                modules: &report.modules,
                sizes: &report.sizes,
                findings: &report.findings,
                suppressions: &report.suppressions,
                windows_s: &report.windows_s,
                timeline: &report.timeline,
                process: &report.process,
                cgroup: report.cgroup.as_ref(),
                host: &report.host,
                reconciliation: &report.reconciliation,
                served: report.served.as_ref(),
                fragmentation: report.fragmentation.as_ref(),
                collector: &report.collector,
            },
            stacks,
            functions,
            strings: strings.into_texts(),
        }
    }
}
