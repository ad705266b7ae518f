//! Numbers as people read them.

use crate::units::human_bytes;
pub(super) use crate::units::human_count as count;

/// A count and its noun: `1 block`, `2 blocks`.
pub(super) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `1 process`, `2 processes`.
pub(super) fn processes(n: usize) -> String {
    format!("{} process{}", count(n as u64), if n == 1 { "" } else { "es" })
}

/// A span of time in at most six characters: `250ms`, `12.3s`, `4m05s`, `2h03m`, `3d04h`.
pub(crate) fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    // Rounded before the unit is chosen, or 59.96 s would read 60.0s.
    if seconds < 0.9995 {
        return format!("{:.0}ms", seconds * 1e3);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    if hours == 0 {
        format!("{minutes}m{:02}s", whole % 60)
    } else if days == 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else {
        format!("{days}d{:02}h", hours % 24)
    }
}

/// Why a capture ended, behind how long it was; nothing where its time was over.
pub(super) fn ended(why: &str) -> String {
    match why {
        "" | "duration" => String::new(),
        "interrupted" => ", interrupted by the user".to_owned(),
        "exited" => ", until the target exited".to_owned(),
        "moment" => ", a moment of a longer recording".to_owned(),
        "unfinished" => ", a recording that was not ended".to_owned(),
        "exec" => ", until the target executed another program".to_owned(),
        other => format!(", ended: {other}"),
    }
}

/// The share of a whole: `81.3%`; `-` when there is no whole.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}%", part as f64 * 100.0 / whole as f64) }
}

/// How far an estimate may be off: two standard errors, which hold the truth in 95 of 100 cases, as a share of it:
/// `±8%`. Nothing where it is exact.
pub(super) fn margin(bytes: u64, error: u64) -> String {
    if error == 0 || bytes == 0 {
        return String::new();
    }
    match (200.0 * error as f64 / bytes as f64).ceil() {
        percent if percent > 100.0 => "±>100%".to_owned(),
        percent => format!("±{percent:.0}%"),
    }
}

/// Bytes with their margin, if they have one: `71.1 MiB ±8%`.
pub(super) fn estimate(bytes: u64, error: u64) -> String {
    let margin = margin(bytes, error);
    format!("{} {margin}", human_bytes(bytes)).trim_end().to_owned()
}

/// Such figures for a column, so that both the bytes and the margins stand below each other.
pub(super) fn estimates(figures: &[(u64, u64)]) -> Vec<String> {
    let margins: Vec<String> =
        figures.iter().map(|(bytes, error)| margin(*bytes, *error)).collect();
    let width = margins.iter().map(|margin| margin.chars().count()).max().unwrap_or(0);
    let cells = figures.iter().zip(&margins);
    cells
        .map(|((bytes, _), margin)| match width {
            0 => human_bytes(*bytes),
            _ => format!("{} {margin:<width$}", human_bytes(*bytes)),
        })
        .collect()
}

/// A share that is all only where nothing is missing, and nothing only where nothing is there: `99.98 %`, `all`.
pub(super) fn rate(share: f64) -> String {
    match share {
        1.0.. => "all".to_owned(),
        0.9999.. => "99.99 %".to_owned(),
        _ => format!("{:.2} %", share * 100.0),
    }
}

/// A mean per second, rounded; `None` when no time passed.
pub(super) fn per_second(amount: u64, seconds: f64) -> Option<u64> {
    (seconds.is_finite() && seconds > 0.0).then(|| (amount as f64 / seconds).round() as u64)
}

/// The last component of a path; the whole text when it has none.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(0, "block"), "0 blocks");
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn spans_keep_two_units_at_most() {
        for (seconds, text) in [
            (0.0, "0ms"),
            (0.25, "250ms"),
            (0.9996, "1.0s"),
            (12.34, "12.3s"),
            (59.94, "59.9s"),
            (59.96, "1m00s"),
            (245.0, "4m05s"),
            (3599.7, "1h00m"),
            (7400.0, "2h03m"),
            (86400.0 * 3.0 + 4.0 * 3600.0, "3d04h"),
            (f64::NAN, "?"),
            (-1.0, "?"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn shares_and_rates_of_nothing_are_no_numbers() {
        assert_eq!(share(1, 3), "33.3%");
        assert_eq!(share(0, 3), "0.0%");
        assert_eq!(share(0, 0), "-");
        assert_eq!(per_second(90, 30.0), Some(3));
        assert_eq!(per_second(90, 0.0), None);
    }

    #[test]
    fn margins_are_two_standard_errors() {
        for (bytes, error, text) in [
            (1 << 20, 0, "1.0 MiB"),
            (0, 7, "0 B"),
            (1000, 1, "1000 B ±1%"),
            (1000, 39, "1000 B ±8%"),
            (1000, 500, "1000 B ±100%"),
            (1000, 1000, "1000 B ±>100%"),
        ] {
            assert_eq!(estimate(bytes, error), text);
        }
        assert_eq!(
            estimates(&[(10, 1), (9, 0), (2048, 1024)]),
            ["10 B ±20% ", "9 B      ", "2.0 KiB ±100%"].map(str::to_owned)
        );
        assert_eq!(estimates(&[(10, 0)]), ["10 B"]);
    }

    #[test]
    fn base_names() {
        for (path, name) in
            [("/usr/lib/libc.so.6", "libc.so.6"), ("[heap]", "[heap]"), ("/", "/"), ("", "")]
        {
            assert_eq!(base_name(path), name);
        }
    }
}
