//! Judging what `memmgr optimize` did in a guest: to a cgroup of v2, and to a process where there is swap.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{fs, path::Path};

const MIB: f64 = 1_048_576.0;
/// What the init script asks back of 512 MiB of cold cache.
const ASKED_MIB: f64 = 480.0;

/// What is wrong in a folder of evidence.
pub(super) fn faults(evidence: &Path) -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = evidence.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut faults = Vec::new();
    for action in ["reclaim", "pageout", "compact"] {
        if read(&format!("{action}.exit"))?.trim() != "0" {
            faults.push(format!("{action}: failed: {}", read(&format!("{action}.stderr"))?.trim()));
            continue;
        }
        let report: Value = serde_json::from_str(&read(&format!("{action}.json"))?)
            .with_context(|| format!("{action}.json is no JSON"))?;
        let effect = &report["changed"]["effect"];
        if effect["verdict"] != "helped" {
            faults.push(format!("{action}: {effect}"));
        }
        match action {
            "reclaim" => {
                faults.extend(reclaimed(
                    &report,
                    &read("reclaim.current")?,
                    &read("reclaim.stat")?,
                ));
            }
            "pageout" => faults.extend(paged_out(&report, &read("pageout.sum")?)),
            _ => faults.extend(compacted(&report)),
        }
    }
    // A kernel that takes no swappiness says so with what works, and nothing is done.
    let (code, said) = (read("swappiness.exit")?, read("swappiness.stderr")?);
    let is_refused = code.trim() == "5" && said.contains("leave --swappiness out");
    if code.trim() != "0" && !is_refused {
        faults.push(format!("swappiness: {} {}", code.trim(), said.trim()));
    }
    Ok(faults)
}

/// At least 95 % of what was asked for came back, and the figures are the kernel's.
fn reclaimed(report: &Value, current: &str, stat: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let kept = report["changed"]["effect"]["kept_bytes"].as_f64().unwrap_or(0.0) / MIB;
    if kept < ASKED_MIB * 0.95 {
        faults.push(format!("reclaim: {kept:.0} MiB of {ASKED_MIB} came back"));
    }
    let cgroup = &report["changed"]["settled"]["cgroup"];
    if cgroup["usage_bytes"].as_u64() != current.trim().parse().ok() {
        faults.push(format!("reclaim: usage is {}, not {}", cgroup["usage_bytes"], current.trim()));
    }
    for (name, value) in stat.lines().filter_map(|line| line.split_once(' ')) {
        let is_same = match (cgroup["stat"][name].as_u64(), value.parse::<u64>().ok()) {
            (Some(told), Some(read)) => told.abs_diff(read) <= on_the_way(name),
            (told, read) => told == read,
        };
        if !is_same {
            faults.push(format!("reclaim: {name} is {}, not {value}", cgroup["stat"][name]));
        }
    }
    faults
}

/// How far a figure may be off without anybody's fault: pages are put on the list of active ones, or of inactive ones, in
/// batches of 15 for each processor (mm/swap.c), which can happen between two looks.
fn on_the_way(name: &str) -> u64 {
    const PAGES: u64 = 2 * 15;
    match name {
        "pgactivate" | "pgdeactivate" => PAGES,
        name if name.starts_with("active_") || name.starts_with("inactive_") => PAGES * 4096,
        _ => 0,
    }
}

/// Of 525 MiB that are free in small pieces, at least 75 MiB became free in blocks of 2 MiB and more, and the report shows it.
fn compacted(report: &Value) -> Option<String> {
    let large = |figures: &Value| -> f64 {
        let zones = figures["host"]["zones"].as_array().into_iter().flatten();
        let blocks = zones.filter_map(|zone| zone["free_blocks"].as_array());
        let sizes = blocks.flat_map(|blocks| blocks.iter().enumerate().skip(9));
        sizes
            .map(|(order, count)| count.as_f64().unwrap_or(0.0) * f64::from(1 << order))
            .sum::<f64>()
            / 256.0
    };
    let gained = large(&report["changed"]["after"]) - large(&report["before"]);
    let told = report["changed"]["effect"]["gained_bytes"].as_f64().unwrap_or(0.0) / MIB;
    let is_right = gained >= 75.0 && (told - gained).abs() < 1.0;
    (!is_right).then(|| format!("compact: {gained:.0} MiB in large blocks, {told:.0} MiB told"))
}

/// At most a tenth is left in memory, and what comes back is what it was.
fn paged_out(report: &Value, sum: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let rss = |figures: &Value| figures["processes"]["rss_bytes"].as_f64().unwrap_or(0.0);
    let (before, after) = (rss(&report["before"]), rss(&report["changed"]["settled"]));
    if before < 256.0 * MIB || after > before * 0.1 {
        faults.push(format!("pageout: {:.0} MiB of {:.0} are left", after / MIB, before / MIB));
    }
    if !sum.contains("\"wrong\": 0}") {
        faults.push(format!("pageout: what came back is not what it was: {}", sum.trim()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(kept_mib: f64, rss_mib: f64) -> Value {
        json!({
            "before": { "processes": { "rss_bytes": 260.0 * MIB } },
            "changed": {
                "effect": { "verdict": "helped", "kept_bytes": kept_mib * MIB },
                "settled": {
                    "cgroup": { "usage_bytes": 4096, "stat": { "anon": 7 } },
                    "processes": { "rss_bytes": rss_mib * MIB },
                },
            },
        })
    }

    #[test]
    fn what_is_not_given_back_is_a_fault() {
        assert_eq!(reclaimed(&report(480.0, 1.0), "4096\n", "anon 7\n"), [""; 0]);
        let mut moved = report(480.0, 1.0);
        moved["changed"]["settled"]["cgroup"]["stat"] =
            json!({ "active_file": 0, "pgactivate": 9 });
        let check = |stat: &str, faults| assert_eq!(reclaimed(&moved, "4096", stat).len(), faults);
        check("active_file 122880\npgactivate 39", 0);
        check("active_file 126976\npgactivate 40", 2);
        let faults = reclaimed(&report(400.0, 1.0), "8192\n", "anon 8\n");
        assert_eq!(
            faults,
            [
                "reclaim: 400 MiB of 480 came back",
                "reclaim: usage is 4096, not 8192",
                "reclaim: anon is 7, not 8",
            ]
        );
    }

    #[test]
    fn large_blocks_are_counted() {
        let figures = |huge| json!({ "host": { "zones": [{ "free_blocks": [9, 0, 0, 0, 0, 0, 0, 0, 0, huge, 2] }] } });
        let report = |after: u32, told: f64| {
            json!({
                "before": figures(1),
                "changed": { "after": figures(after), "effect": { "gained_bytes": told * MIB } },
            })
        };
        assert_eq!(compacted(&report(51, 100.0)), None);
        assert!(compacted(&report(51, 90.0)).is_some() && compacted(&report(11, 20.0)).is_some());
    }

    #[test]
    fn what_stays_or_changes_is_a_fault() {
        assert_eq!(paged_out(&report(0.0, 4.0), "{\"sum\": 5, \"wrong\": 0}\n"), [""; 0]);
        let faults = paged_out(&report(0.0, 200.0), "{\"sum\": 5, \"wrong\": 3}\n");
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
