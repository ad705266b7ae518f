//! Judging what a guest sent: the reports against the truth that the captured program told.

use super::{optimized, watched};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{fs, path::Path};

/// What the init script captures: mode and kind of stack.
const CAPTURES: [(&str, &str); 4] =
    [("exact", "dwarf"), ("exact", "fp"), ("sample", "dwarf"), ("sample", "fp")];

/// The program's functions that every heap stack leads through, leaf first.
const HEAP_FRAMES: [&str; 2] = ["holds_blocks", "holds"];
const MAPPING_FRAMES: [&str; 2] = ["holds_mappings", "holds"];

/// What doctor may miss in a guest: it has no debug packages.
const MISSED: &str = "debug files";

/// How far a sampled figure may be from the truth. At an interval of 16 KiB the standard deviation is
/// 4.4 % of the 8 MB that the program holds, so that one run in 10^8 fails by chance.
const SAMPLE_ERROR: f64 = 0.25;

/// A summary when everything in a folder of evidence is right, else what is wrong.
pub(super) fn judge(evidence: &Path, rung: &str) -> Result<String> {
    let read = |name: &str| {
        let path = evidence.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let json = |name: &str| {
        serde_json::from_str::<Value>(&read(name)?).with_context(|| format!("{name} is no JSON"))
    };
    let doctor = json("doctor.json")?;
    let mut faults = doctor_faults(&doctor, rung);
    for (mode, stack) in CAPTURES {
        let name = format!("{mode}-{stack}");
        if read(&format!("{name}.exit"))?.trim() != "0" {
            let words = read(&format!("{name}.stderr"))?;
            faults.push(format!("{name}: failed: {}", words.lines().next().unwrap_or_default()));
            continue;
        }
        let expected = Expected { mode, stack, rung };
        let report = json(&format!("{name}.json"))?;
        let truth = json(&format!("{name}.truth"))?;
        faults.extend(expected.faults(&report, &truth).into_iter().map(|f| format!("{name}: {f}")));
    }
    faults.extend(watched::faults(evidence)?);
    faults.extend(optimized::faults(evidence)?);
    if !faults.is_empty() {
        bail!("\n  {}", faults.join("\n  "));
    }
    Ok(format!(
        "{} programs, rung {rung}, {} captures equal to the truth",
        programs(&doctor).unwrap_or_default(),
        CAPTURES.len()
    ))
}

/// How many programs doctor loaded.
fn programs(doctor: &Value) -> Option<u64> {
    let found = checks(doctor).find(|(what, ..)| *what == "BPF programs")?.2;
    found.strip_suffix(" load")?.parse().ok()
}

/// Name, verdict and finding of each of doctor's checks.
fn checks(doctor: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    doctor.as_array().into_iter().flatten().filter_map(|check| {
        Some((check["what"].as_str()?, check["verdict"].as_str()?, check["found"].as_str()?))
    })
}

fn doctor_faults(doctor: &Value, rung: &str) -> Vec<String> {
    let mut faults: Vec<String> = checks(doctor)
        .filter(|(what, verdict, _)| *verdict != "ok" && *what != MISSED)
        .map(|(what, verdict, found)| format!("doctor: {what}: {verdict}: {found}"))
        .collect();
    if programs(doctor).is_none_or(|count| count == 0) {
        faults.push("doctor: does not say how many programs load".into());
    }
    let attached = |(what, _, found): (&str, &str, &str)| {
        what == "probes" && found.contains(&format!(" by {rung} "))
    };
    if !checks(doctor).any(attached) {
        faults.push(format!("doctor: did not attach by {rung}"));
    }
    if !checks(doctor).any(|(what, _, found)| what == "mapping calls" && found.contains("fentry")) {
        faults.push("doctor: mappings are not watched by fentry".into());
    }
    faults
}

/// How a capture must have been made.
struct Expected<'a> {
    mode: &'a str,
    stack: &'a str,
    rung: &'a str,
}

impl Expected<'_> {
    fn faults(&self, report: &Value, truth: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let mut same = |what: &str, found: &Value, expected: &Value| {
            if found != expected {
                faults.push(format!("{what} is {found}, should be {expected}"));
            }
        };
        let capture = &report["capture"];
        same("mode", &capture["mode"], &self.mode.into());
        same("stack", &capture["stack"]["kind"], &self.stack.into());
        same("attach", &capture["attach"], &self.rung.into());
        same("complete", &capture["complete"], &true.into());
        same("residual", &capture["accounting"]["residual"], &0.into());
        let mapped = live_bytes(report, "mapping", &MAPPING_FRAMES);
        same("mapped bytes", &mapped.into(), &truth["mapped_bytes"]);
        let heap = live_bytes(report, "heap", &HEAP_FRAMES);
        let total = &report["totals"]["live_bytes"];
        if self.mode == "exact" {
            same("live bytes", total, &truth["live_bytes"]);
            same("live count", &report["totals"]["live_count"], &truth["live_count"]);
            same("bytes of the program's stacks", &heap.into(), &truth["live_bytes"]);
        } else {
            for (what, found) in
                [("live bytes", total), ("bytes of the program's stacks", &heap.into())]
            {
                let ratio = found.as_f64().zip(truth["live_bytes"].as_f64()).map(|(a, b)| a / b);
                if ratio.is_none_or(|ratio| (ratio - 1.0).abs() > SAMPLE_ERROR) {
                    faults.push(format!("{what}: {found} is far from {}", truth["live_bytes"]));
                }
            }
        }
        faults
    }
}

/// Live bytes of the stacks of a class that lead through these functions, one called by the next.
fn live_bytes(report: &Value, class: &str, frames: &[&str]) -> u64 {
    let leads = |stack: &Value| {
        let functions: Vec<_> = stack["frames"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|frame| frame["function"].as_str().unwrap_or_default())
            .collect();
        functions.windows(frames.len()).any(|window| window == frames)
    };
    report["stacks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|stack| stack["class"] == class && leads(stack))
        .filter_map(|stack| stack["live_bytes"].as_u64())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        let stack = |class: &str, live_bytes: u64, functions: [&str; 3]| {
            let frames = functions.map(|function| json!({ "function": function }));
            json!({ "class": class, "live_bytes": live_bytes, "frames": frames })
        };
        json!({
            "capture": {
                "mode": "exact", "stack": { "kind": "fp" }, "attach": "perf", "complete": true,
                "accounting": { "residual": 0 },
            },
            "totals": { "live_bytes": 300, "live_count": 3 },
            "stacks": [
                stack("heap", 300, ["holds_blocks", "holds", "main"]),
                stack("mapping", 4096, ["mmap", "holds_mappings", "holds"]),
                stack("mapping", 9999, ["brk", "holds_blocks", "holds"]),
            ],
        })
    }

    #[test]
    fn each_wrong_figure_is_a_fault() {
        let truth = json!({ "live_count": 3, "live_bytes": 300, "mapped_bytes": 4096 });
        let check = |mode: &str, pointer: &str, value: Value, expected: &[&str]| {
            let mut report = report();
            report["capture"]["mode"] = mode.into();
            *report.pointer_mut(pointer).unwrap() = value;
            let faults = Expected { mode, stack: "fp", rung: "perf" }.faults(&report, &truth);
            assert_eq!(faults, expected, "{pointer}");
        };
        check("exact", "/capture/complete", json!(true), &[]);
        check("exact", "/capture/complete", json!(false), &["complete is false, should be true"]);
        check(
            "exact",
            "/capture/attach",
            json!("multi"),
            &["attach is \"multi\", should be \"perf\""],
        );
        check("exact", "/totals/live_count", json!(4), &["live count is 4, should be 3"]);
        check(
            "exact",
            "/stacks/1/frames/1/function",
            Value::Null,
            &["mapped bytes is 0, should be 4096"],
        );
        check("sample", "/totals/live_count", json!(4), &[]);
        check("sample", "/totals/live_bytes", json!(400), &["live bytes: 400 is far from 300"]);
    }

    #[test]
    fn doctor_must_find_everything() {
        let check = |name: &str, verdict: &str, found: &str, expected: &[&str]| {
            let doctor = json!([
                { "what": "BPF programs", "verdict": "ok", "found": "12 load" },
                { "what": "probes", "verdict": "ok", "found": "attached to 9 functions by perf in 8 ms" },
                { "what": "mapping calls", "verdict": "ok", "found": "watched by fentry and fexit" },
                { "what": name, "verdict": verdict, "found": found },
            ]);
            assert_eq!(doctor_faults(&doctor, "perf"), expected);
        };
        check("debug files", "missing", "none", &[]);
        check(
            "BPF programs",
            "missing",
            "heap_return: refused",
            &["doctor: BPF programs: missing: heap_return: refused"],
        );
        assert_eq!(doctor_faults(&json!([]), "multi").len(), 3);
    }
}
