//! The text of `/metrics`, line by line.

use std::time::Duration;

use super::*;
use crate::serve::example;

const BOUNDS: Bounds = Bounds { processes: 2, groups: 3 };

fn text(seen: Option<&Seen>, bounds: Bounds, format: Format) -> String {
    let own = Own::default();
    own.looked(Duration::from_millis(250), true);
    own.looked(Duration::from_millis(500), false);
    own.cut();
    own.answered(200);
    own.answered(421);
    metrics(seen, Some(&example::shelf()), &own, bounds, format)
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
}

#[test]
fn every_figure_is_told_in_base_units() {
    let text = text(Some(&example::seen()), BOUNDS, Format::Text);
    for line in [
        "memmgr_up 1",
        "memmgr_host_memory_size_bytes 8000",
        "memmgr_host_memory_available_bytes 5000",
        "memmgr_host_memory_used_bytes 3000",
        "memmgr_host_swap_free_bytes 150",
        "memmgr_host_memory_pressure_ratio{share=\"some\",window=\"10s\"} 0.045",
        "memmgr_host_memory_pressure_ratio{share=\"full\",window=\"60s\"} 0.0125",
        "memmgr_host_memory_stalled_seconds_total{share=\"some\"} 450",
        "memmgr_host_oom_kills_total 2",
        "memmgr_cgroups 3",
        "memmgr_cgroups_omitted 0",
        "memmgr_cgroup_memory_usage_bytes{path=\"/\"} 4000",
        "memmgr_cgroup_memory_limit_bytes{path=\"/system.slice\"} 3500",
        "memmgr_cgroup_limit_hits_total{path=\"/system.slice\"} 1",
        "memmgr_cgroup_oom_kills_total{path=\"/system.slice\"} 1",
        "memmgr_processes 3",
        "memmgr_processes_omitted 1",
        "memmgr_processes_unread 1",
        "memmgr_process_resident_memory_bytes{pid=\"7\",comm=\"server\"} 500",
        "memmgr_process_start_since_boot_seconds{pid=\"7\",comm=\"server\"} 2.5",
        "memmgr_process_major_page_faults_total{pid=\"7\",comm=\"server\"} 2",
        "memmgr_reports_unread 1",
        "memmgr_report_findings{pid=\"7\",comm=\"server\",severity=\"warning\"} 2",
        "memmgr_stack_live_bytes{pid=\"7\",comm=\"server\",stack=\"0123456789abcdef\",function=\"fill\"} 300",
        "memmgr_stack_growth_bytes_per_second{pid=\"7\",comm=\"server\",stack=\"0123456789abcdef\",function=\"fill\"} 1.5",
        "memmgr_exporter_looks_total 2",
        "memmgr_exporter_failed_looks_total 1",
        "memmgr_exporter_last_look_seconds 0.5",
        "memmgr_exporter_cut_connections_total 1",
        "memmgr_exporter_http_answers_total{code=\"421\"} 1",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("limit_bytes{path=\"/\"}"), "no limit is no figure:\n{text}");
}

#[test]
fn names_are_one_label_whatever_is_in_them() {
    let text = text(Some(&example::seen()), Bounds { processes: 9, groups: 9 }, Format::Text);
    has(&text, r#"memmgr_process_threads{pid="9",comm="evil\"} 1\\u{a}memmgr_x 7"} 3"#);
    has(&text, r#"memmgr_process_threads{pid="11",comm="\\u{202e}</script>"} 3"#);
    has(
        &text,
        r#"memmgr_cgroup_memory_usage_bytes{path="/system.slice/\"quoted\"\\u{a}newline"} 2000"#,
    );
    assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("memmgr_")));
}

#[test]
fn the_number_of_series_is_bounded() {
    let mut seen = example::seen();
    seen.look.processes.rows =
        (1..=3000).map(|pid| example::row(pid, "many", pid.into())).collect();
    seen.process_growth = vec![None; 3000];
    seen.look.groups = (0..3000).map(|at| example::group(&format!("/{at}"), at, Some(7))).collect();
    seen.group_growth = vec![None; 3000];
    let text = text(Some(&seen), Bounds { processes: 50, groups: 200 }, Format::OpenMetrics);
    let series = |label: &str| text.lines().filter(|line| line.contains(label)).count();
    assert_eq!((series("pid=\""), series("path=\"")), (6 * 50 + 5, 4 * 200));
    has(&text, "memmgr_processes_omitted 2950");
    has(&text, "memmgr_cgroups_omitted 2800");
    has(&text, "memmgr_process_resident_memory_bytes{pid=\"2951\",comm=\"many\"} 2951");
    assert!(!text.contains("pid=\"2950\""), "a smaller one is told");
}

#[test]
fn without_a_look_no_old_figure_is_told() {
    let text = text(None, BOUNDS, Format::Text);
    has(&text, "memmgr_up 0");
    has(&text, "memmgr_exporter_failed_looks_total 1");
    assert!(!text.contains("memmgr_host") && !text.contains("memmgr_process"), "{text}");
}

/// Only the last report of a process that is still there counts.
#[test]
fn old_reports_are_not_told() {
    let text = text(Some(&example::seen()), BOUNDS, Format::Text);
    assert_eq!(text.matches("memmgr_stack_live_bytes{").count(), 1, "{text}");
    let own = Own::default();
    let text = metrics(Some(&example::seen()), None, &own, BOUNDS, Format::Text);
    assert!(!text.contains("memmgr_report"), "{text}");
}

/// Families are named as the conventions want it, each once, and each is in the documentation.
#[test]
fn families_keep_the_conventions() {
    let documentation = include_str!("../../../../docs/serve.md");
    for format in [Format::Text, Format::OpenMetrics] {
        let text = text(Some(&example::seen()), BOUNDS, format);
        let types: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        for (name, kind) in &types {
            let counter = *kind == "counter";
            assert_eq!(name.ends_with("_total"), counter && format == Format::Text, "{name}");
            let sample = if counter && format == Format::OpenMetrics {
                format!("{name}_total")
            } else {
                (*name).to_owned()
            };
            assert!(documentation.contains(&format!("`{sample}`")), "{sample} is not documented");
            let begins = |line: &str| {
                line.strip_prefix(sample.as_str()).is_some_and(|rest| rest.starts_with(['{', ' ']))
            };
            assert!(text.lines().any(begins), "{sample} has no sample");
            assert_eq!(types.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
        }
        assert!(types.len() > 25, "{}", types.len());
        assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
    }
}
