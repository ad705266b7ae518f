//! A snapshot of the host, of a cgroup or of a process: what `memmgr stat` shows.
//!
//! Each holds lines that add up to the figure that people ask about: the host's memory, a cgroup's usage, a process's
//! resident set. What no counter of the kernel explains is a line of its own, never spread over the others.

pub mod cgroup;
pub mod fragmentation;
pub mod host;
pub mod process;

use serde::{Deserialize, Serialize};

use self::{cgroup::CgroupStat, host::HostStat, process::ProcessStat};

/// The schema of the JSON form. Fields may be added; one that is renamed or removed raises the number.
pub const SCHEMA: &str = "memmgr.stat/1";

/// What was asked for, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of memmgr.
    pub memmgr_version: String,
    /// Time of day, RFC 3339, UTC.
    pub taken_at: String,
    /// The whole host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostStat>,
    /// A cgroup and those below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<CgroupStat>,
    /// A process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessStat>,
}

/// A part of a sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What it is, for programs: `file_cache`.
    pub key: String,
    /// Bytes of the sum that are this. Negative only for what is unexplained, when the parts are more than the sum:
    /// counters are read one after the other, and some are kept roughly.
    pub bytes: i64,
    /// What it is, for people.
    pub what: String,
}

/// Lines that add up to `sum`: the last is what they leave unexplained.
fn lines(sum: u64, parts: &[(&str, Option<u64>, &str)], unexplained: &str) -> Vec<Line> {
    let known = parts.iter().filter_map(|(key, bytes, what)| {
        let bytes = i64::try_from((*bytes)?).ok()?;
        Some(Line { key: (*key).to_owned(), bytes, what: (*what).to_owned() })
    });
    let mut lines: Vec<Line> = known.collect();
    let explained: i64 = lines.iter().map(|line| line.bytes).sum();
    lines.push(Line {
        key: "unexplained".to_owned(),
        bytes: i64::try_from(sum).unwrap_or(i64::MAX).saturating_sub(explained),
        what: unexplained.to_owned(),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up() {
        let check = |sum: u64, parts: &[(&str, Option<u64>, &str)], expected: &[(&str, i64)]| {
            let lines = lines(sum, parts, "the rest");
            let shown: Vec<(&str, i64)> =
                lines.iter().map(|line| (line.key.as_str(), line.bytes)).collect();
            assert_eq!(shown, expected);
            assert_eq!(lines.iter().map(|line| line.bytes).sum::<i64>(), sum as i64);
        };
        check(10, &[("a", Some(4), "")], &[("a", 4), ("unexplained", 6)]);
        // What the kernel does not tell is no line of 0 bytes.
        check(10, &[("a", None, ""), ("b", Some(0), "")], &[("b", 0), ("unexplained", 10)]);
        check(3, &[("a", Some(4), "")], &[("a", 4), ("unexplained", -1)]);
    }
}
