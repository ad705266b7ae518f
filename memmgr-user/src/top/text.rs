//! Figures, names and courses in a few columns.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use crate::{
    escape::Safe,
    sink::{cut_end, span},
};

/// Stands for what is not known yet.
pub const UNKNOWN: &str = "…";
/// Heights of a bar within one row.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Bytes in at most five columns, in powers of 1024: `512B`, `9.5K`, `45.2M`, `1023M`.
pub fn size(bytes: u64) -> String {
    let mut scaled = bytes as f64;
    for unit in ["B", "K", "M", "G", "T", "P"] {
        // Rounded before the unit is chosen, or 1023.9 would read 1024.
        let decimals = usize::from(unit != "B" && scaled < 99.95);
        if scaled < 1023.5 {
            return format!("{scaled:.decimals$}{unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.0}E")
}

/// Growth a second in at most six columns, with its sign.
pub fn rate(bytes_per_s: Option<f64>) -> String {
    match bytes_per_s {
        None => UNKNOWN.to_owned(),
        Some(rate) if rate.abs() < 0.5 => "0".to_owned(),
        Some(rate) => {
            format!("{}{}", if rate < 0.0 { '-' } else { '+' }, size(rate.abs().round() as u64))
        }
    }
}

/// The time until a limit is reached, if that is within a year.
pub fn until(seconds: Option<f64>) -> String {
    const YEAR: f64 = 365.0 * 86400.0;
    seconds.filter(|seconds| *seconds < YEAR).map_or_else(String::new, span)
}

/// Text in exactly so many columns, on the left.
pub fn left(text: &Safe, width: usize) -> String {
    let cut = cut_end(text, width).to_string();
    let blanks = width.saturating_sub(cut.width());
    format!("{cut}{}", " ".repeat(blanks))
}

/// A figure in exactly so many columns, on the right. A figure that does not fit would be a wrong one.
pub fn right(figure: &str, width: usize) -> String {
    match width.checked_sub(figure.width()) {
        Some(blanks) => format!("{}{figure}", " ".repeat(blanks)),
        None => format!("{}…", " ".repeat(width.saturating_sub(1))),
    }
}

/// The largest figure of each of so many equal spans of time before `now`; none where none is known.
pub fn cells(
    points: impl Iterator<Item = (Duration, u64)>,
    now: Duration,
    window: Duration,
    count: usize,
) -> Vec<Option<u64>> {
    let mut cells = vec![None; count];
    for (at, figure) in points {
        let age = now.saturating_sub(at).as_secs_f64() / window.as_secs_f64();
        let from_end = (age * count as f64) as usize;
        if let Some(cell) = count.checked_sub(from_end + 1).and_then(|index| cells.get_mut(index)) {
            *cell = Some(cell.map_or(figure, |known: u64| known.max(figure)));
        }
    }
    // A look that came late leaves its span empty: the figure before it still stood.
    let mut before = None;
    for cell in &mut cells {
        *cell = cell.or(before);
        before = *cell;
    }
    cells
}

/// The course as bars, so many rows of them, from the least to the largest figure. What differs by less than a 64th of
/// the whole is level: noise shall not look like growth.
pub fn bars(cells: &[Option<u64>], rows: usize) -> Vec<String> {
    let known = || cells.iter().flatten().copied();
    let (least, largest) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let range = (largest - least).max(largest / 64).max(1) as f64;
    let steps = (rows * BARS.len() - 1) as f64;
    let height = |figure: u64| ((figure - least) as f64 / range * steps).round() as usize + 1;
    let bar = |cell: &Option<u64>, row: usize| match cell.map(height) {
        Some(height) if height >= (row + 1) * BARS.len() => '█',
        Some(height) if height > row * BARS.len() => BARS[height - row * BARS.len() - 1],
        _ => ' ',
    };
    (0..rows).rev().map(|row| cells.iter().map(|cell| bar(cell, row)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_into_five_columns() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (9728, "9.5K"),
            (102_300, "99.9K"),
            (102_400, "100K"),
            (1_048_000, "1023K"),
            (1_048_575, "1.0M"),
            (45 << 20, "45.0M"),
            (5 << 30, "5.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(size(bytes), text);
            assert!(size(bytes).len() <= 5);
        }
    }

    #[test]
    fn rates_have_a_sign() {
        for (bytes_per_s, text) in [
            (None, "…"),
            (Some(0.2), "0"),
            (Some(-0.2), "0"),
            (Some(1.0), "+1B"),
            (Some(-2048.0), "-2.0K"),
            (Some(1e9), "+954M"),
        ] {
            assert_eq!(rate(bytes_per_s), text);
        }
    }

    #[test]
    fn columns_are_kept() {
        let check = |text: &str, width, expected: &str| {
            assert_eq!(left(&Safe::text(text), width), expected);
        };
        check("redis", 8, "redis   ");
        check("redis-server", 6, "redis…");
        check("日本語", 5, "日本…");
        check("a\x1b[2J", 9, "a\\u{1b}[…");
        check("x", 0, "");
        assert_eq!(right("1.5M", 6), "  1.5M");
        assert_eq!(right("12345678", 6), "     …");
    }

    #[test]
    fn the_course_of_a_minute() {
        let check = |points: &[(u64, u64)], expected: &[Option<u64>]| {
            let points = points.iter().map(|(s, figure)| (Duration::from_secs(*s), *figure));
            let now = Duration::from_mins(1);
            assert_eq!(cells(points, now, Duration::from_mins(1), 4), expected);
        };
        check(&[], &[None; 4]);
        check(&[(1, 5), (16, 7), (31, 6), (46, 8), (60, 9)], &[Some(5), Some(7), Some(6), Some(9)]);
        check(&[(44, 5), (45, 6), (60, 4)], &[None, None, Some(6), Some(4)]);
        check(&[(16, 5), (60, 4)], &[None, Some(5), Some(5), Some(4)]);
        check(&[(0, 99), (60, 4)], &[None, None, None, Some(4)]);
    }

    #[test]
    fn bars_show_growth_and_no_noise() {
        let check = |figures: &[u64], rows, expected: &[&str]| {
            let cells: Vec<Option<u64>> =
                std::iter::once(None).chain(figures.iter().map(|figure| Some(*figure))).collect();
            assert_eq!(bars(&cells, rows), expected, "{figures:?}");
        };
        check(&[0, 1, 2, 3, 4, 5, 6, 7], 1, &[" ▁▂▃▄▅▆▇█"]);
        check(&[5, 5, 5], 1, &[" ▁▁▁"]);
        check(&[1_000_000, 1_001_000, 1_000_500], 1, &[" ▁▁▁"]);
        check(&[0, 8, 15], 2, &["  ▁█", " ▁██"]);
        check(&[], 1, &[" "]);
    }
}
