//! Judging what `memmgr watch` and `memmgr stat` told of a cgroup of v2 in a guest.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{fs, path::Path};

/// Each rule, and words of the alert that it has to lead to.
const ALERTS: [(&str, &str); 5] = [
    ("cgroup:/watched event.max", "it was at its limit"),
    ("cgroup:/watched event.high", "it was slowed down above memory.high"),
    ("cgroup:/watched oom_kill", "the kernel killed tail "),
    ("cgroup:/watched pressure.some > 10% in 1s", "tasks waited for memory for "),
    ("process:tail@/watched rss > 4MiB", "rss "),
];

/// What the init script has a file hold in the end.
const HELD_BYTES: u64 = 4 << 20;

/// What is wrong in a folder of evidence.
pub(super) fn faults(evidence: &Path) -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = evidence.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut faults = Vec::new();
    let alerts = alerts(&read("watch.jsonl")?)?;
    for (rule, words) in ALERTS {
        let is_it = |alert: &&Value| alert["rule"] == rule && alert["state"] == "raised";
        let what = |alert: &Value| alert["what"].as_str().unwrap_or_default().to_owned();
        match alerts.iter().find(is_it).map(what) {
            Some(what) if what.starts_with(words) => {}
            Some(what) => faults.push(format!("watch: {rule}: {what}")),
            None => faults.push(format!("watch: {rule}: no alert")),
        }
    }
    if read("watch.exit")?.trim() != "0" {
        faults.push(format!("watch: failed: {}", read("watch.stderr")?));
    }
    let stat: Value = serde_json::from_str(&read("stat.json")?).context("stat.json is no JSON")?;
    let cgroup = &stat["cgroup"];
    // What processors have charged ahead is given back at any time: before and after it was looked at by hand.
    let around = read("memory.current")?;
    let around: Vec<u64> = around.lines().map(str::parse).collect::<Result<_, _>>()?;
    let (least, most) = (around.iter().min(), around.iter().max());
    let usage = cgroup["usage_bytes"].as_u64();
    if usage < least.copied() || usage > most.copied() || usage < Some(HELD_BYTES) {
        faults.push(format!("stat: usage is {}, not {around:?}", cgroup["usage_bytes"]));
    }
    for line in read("memory.events")?.lines() {
        let (name, count) = line.split_once(' ').context("memory.events has no counts")?;
        if cgroup["events"][name].as_u64() != Some(count.parse()?) {
            faults.push(format!("stat: {name} is {}, not {count}", cgroup["events"][name]));
        }
    }
    Ok(faults)
}

fn alerts(lines: &str) -> Result<Vec<Value>> {
    lines.lines().map(|line| serde_json::from_str(line).context("an alert is no JSON")).collect()
}
