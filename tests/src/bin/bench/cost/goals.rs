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

/// What was reached of a goal.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    ratio: f64,
    lost_percent: f64,
}

/// The most that may be lost of what is measured: an event that is lost costs less than it should.
const MOST_LOST_PERCENT: f64 = 1.0;

/// The medians of the ratios, one a goal.
pub fn reached(rows: &[Row], measured: &[Measured]) -> Vec<Reached> {
    let of = |row| &measured[position(rows, row)];
    let reached = |goal: &Goal| Reached {
        ratio: of(goal.row).target_probes.over(&of(goal.floor).target_probes).median(),
        lost_percent: of(goal.row).lost_percent.median(),
    };
    GOALS.iter().map(reached).collect()
}

/// A column for each configuration.
pub fn table(reached: &[(String, Vec<Reached>)]) -> String {
    let mut text = String::from(
        "### The numbers\n\nMedians of the ratios; bold where it is more than it may be, or where so many events \
         were lost that it says nothing.\n\n| | at most |",
    );
    for (name, _) in reached {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|---:|");
    text.push_str(&"---:|".repeat(reached.len()));
    for (number, goal) in GOALS.iter().enumerate() {
        let which = if goal.floor == Row::FLOOR { "without" } else { "with" };
        let _ = write!(text, "\n| {}: × the floor {which} return | {:.2} |", goal.what, goal.most);
        for (_, reached) in reached {
            let Reached { ratio, lost_percent } = reached[number];
            let _ = if lost_percent > MOST_LOST_PERCENT {
                write!(text, " **{ratio:.2}, {lost_percent:.0} % lost** |")
            } else if ratio > goal.most {
                write!(text, " **{ratio:.2}** |")
            } else {
                write!(text, " {ratio:.2} |")
            };
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
        let reached = |name: &str, ratios: [f64; 4], lost_percent| {
            (name.to_owned(), ratios.map(|ratio| Reached { ratio, lost_percent }).to_vec())
        };
        let text = table(&[
            reached("glibc-1", [1.1, 1.2, 1.5, 2.0], 0.0),
            reached("jemalloc-1", [1.0, 1.1, 1.51, 2.51], 0.9),
            reached("jemalloc-2", [1.0, 1.1, 1.5, 2.0], 76.4),
        ]);
        let expected = "\
| | at most | glibc-1 | jemalloc-1 | jemalloc-2 |
|---|---:|---:|---:|---:|
| sample, frame pointers: × the floor without return | 1.10 | 1.10 | 1.00 | **1.00, 76 % lost** |
| sample, unwind tables: × the floor without return | 1.10 | **1.20** | 1.10 | **1.10, 76 % lost** |
| exact, frame pointers: × the floor with return | 1.50 | 1.50 | **1.51** | **1.50, 76 % lost** |
| exact, unwind tables: × the floor with return | 2.50 | 2.00 | **2.51** | **2.00, 76 % lost** |
";
        assert!(text.ends_with(expected), "{text}");
    }
}
