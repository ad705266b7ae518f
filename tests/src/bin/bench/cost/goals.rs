//! The numbers that are to be held, and what was reached of them.

use std::fmt::Write;

use super::{
    Measured,
    row::{Row, Stack, position},
};
use crate::mode::Mode;

/// A row and the most that it may be of a floor.
struct Goal {
    what: &'static str,
    row: Row,
    floor: Row,
    most: f64,
}

const GOALS: [Goal; 4] = [
    Goal {
        what: "sample, frame pointers",
        row: Row::Memmgr(Mode::Sample, Stack::FramePointers),
        floor: Row::FLOOR,
        most: 1.10,
    },
    Goal {
        what: "sample, unwind tables",
        row: Row::Memmgr(Mode::Sample, Stack::UnwindTables),
        floor: Row::FLOOR,
        most: 1.10,
    },
    Goal {
        what: "exact, frame pointers",
        row: Row::Memmgr(Mode::Exact, Stack::FramePointers),
        floor: Row::FLOOR_WITH_RETURN,
        most: 1.5,
    },
    Goal {
        what: "exact, unwind tables",
        row: Row::Memmgr(Mode::Exact, Stack::UnwindTables),
        floor: Row::FLOOR_WITH_RETURN,
        most: 2.5,
    },
];

/// The medians of the ratios, one a goal.
pub fn reached(rows: &[Row], measured: &[Measured]) -> Vec<f64> {
    let of = |row| &measured[position(rows, row)].target_probes;
    GOALS.iter().map(|goal| of(goal.row).over(of(goal.floor)).median()).collect()
}

/// A column for each configuration.
pub fn table(reached: &[(String, Vec<f64>)]) -> String {
    let mut text = String::from(
        "### The numbers\n\nMedians of the ratios; bold where it is more than it may be.\n\n| | at most |",
    );
    for (name, _) in reached {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|---:|");
    text.push_str(&"---:|".repeat(reached.len()));
    for (number, goal) in GOALS.iter().enumerate() {
        let which = if goal.floor == Row::FLOOR { "without" } else { "with" };
        let _ = write!(text, "\n| {}: × the floor {which} return | {:.2} |", goal.what, goal.most);
        for (_, ratios) in reached {
            let ratio = ratios[number];
            let mark = if ratio > goal.most { "**" } else { "" };
            let _ = write!(text, " {mark}{ratio:.2}{mark} |");
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_bold() {
        let text = table(&[
            ("glibc-1".to_owned(), vec![1.1, 1.2, 1.5, 2.0]),
            ("jemalloc-1".to_owned(), vec![1.0, 1.1, 1.51, 2.51]),
        ]);
        let expected = "\
| | at most | glibc-1 | jemalloc-1 |
|---|---:|---:|---:|
| sample, frame pointers: × the floor without return | 1.10 | 1.10 | 1.00 |
| sample, unwind tables: × the floor without return | 1.10 | **1.20** | 1.10 |
| exact, frame pointers: × the floor with return | 1.50 | 1.50 | **1.51** |
| exact, unwind tables: × the floor with return | 2.50 | 2.00 | **2.51** |
";
        assert!(text.ends_with(expected), "{text}");
    }
}
