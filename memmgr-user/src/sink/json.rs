//! The report as JSON, whole and for machines.

use std::fmt::Write as _;

use crate::escape::is_hostile;
use crate::report::Report;

/// Indented JSON that reads back as the same report, with a newline at the end.
///
/// JSON lets control characters above U+007F, bidirectional controls and invisible characters stand
/// in a string as they are, and a terminal would obey them. They are written as `\u` escapes, which
/// every reader takes for the same text.
pub(super) fn render(report: &Report) -> anyhow::Result<Vec<u8>> {
    Ok(safe(&serde_json::to_string_pretty(report)?))
}

/// The same JSON with hostile characters of its strings escaped, and a newline at the end.
pub(super) fn safe(json: &str) -> Vec<u8> {
    let mut safe = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        // The only control character outside of strings is the newline of the layout.
        if is_hostile(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    safe.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixture;

    #[track_caller]
    fn check(report: &Report) {
        let json = String::from_utf8(render(report).unwrap()).unwrap();
        assert!(!json.contains(|c: char| is_hostile(c) && c != '\n'), "{json}");
        assert!(json.ends_with("}\n"));
        assert_eq!(&serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn a_report_reads_back_equal() {
        check(&fixture::redis());
        check(&fixture::hostile());
        check(&Report::default());
    }

    #[test]
    fn the_report_as_a_file() {
        let json = String::from_utf8(render(&fixture::redis()).unwrap()).unwrap();
        insta::assert_snapshot!("redis.json", json);
    }

    #[test]
    fn characters_beyond_sixteen_bits_are_a_pair() {
        let mut report = Report::default();
        report.target.comm = "a\u{e0041}\u{9b}\"\\\n".to_owned();
        let json = String::from_utf8(render(&report).unwrap()).unwrap();
        assert!(json.contains(r#""comm": "a\udb40\udc41\u009b\"\\\n""#), "{json}");
        check(&report);
    }
}
