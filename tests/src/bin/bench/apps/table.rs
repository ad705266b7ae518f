//! The tables of the applications, and what was reached of the numbers.

use std::fmt::{self, Write};

use super::{Found, Kind, Tracer};
use crate::{
    mode::Mode,
    statistics::{Rounds, marked},
};

/// The least percent of its throughput that a program keeps, by mode.
const GOALS: [(Mode, f64); 2] = [(Mode::Auto, 95.0), (Mode::Growth, 99.0)];

/// An application and what was measured on it.
pub struct Section {
    kind: Kind,
    /// Operations a second without a tracer.
    pub untraced: Rounds,
    /// With one.
    pub rows: Vec<Row>,
}

/// What a tracer did to an application, by round.
pub struct Row {
    /// Which.
    pub tracer: Tracer,
    /// Operations a second.
    pub rate: Rounds,
    /// Percent of the operations a second that were left.
    pub kept: Rounds,
    /// Percent of the operations a second of the process's own processor time that were left.
    pub efficiency_kept: Rounds,
    /// Percent of a processor that the tracer took beside it.
    pub beside: Rounds,
    /// Percent of the events that were lost.
    pub lost: Rounds,
    /// When the leak was named, if it was looked for.
    pub found: Option<Found>,
    /// Why it was not measured to the end.
    pub failed: Option<String>,
}

impl Section {
    /// An empty one.
    pub fn new(kind: Kind, tracers: &[Tracer]) -> Self {
        let row = |tracer: &Tracer| Row {
            tracer: *tracer,
            rate: Rounds::default(),
            kept: Rounds::default(),
            efficiency_kept: Rounds::default(),
            beside: Rounds::default(),
            lost: Rounds::default(),
            found: None,
            failed: None,
        };
        Section { kind, untraced: Rounds::default(), rows: tracers.iter().map(row).collect() }
    }

    fn row(&self, mode: Mode) -> Option<&Row> {
        self.rows.iter().find(|row| row.tracer == Tracer::Memmgr(mode))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n{}.\n", self.kind.name(), self.kind.what())?;
        f.write_str(
            "| | operations/s | % of its throughput kept | % of its work per processor time kept | \
             tracer beside it, % of a processor | events lost | leak named after | other alarms |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|\n",
        )?;
        writeln!(f, "| untraced | {:.0} | | | | | | |", self.untraced.median())?;
        for row in &self.rows {
            if let Some(why) = &row.failed {
                writeln!(f, "| {} | failed {} | | | | | | |", row.tracer.name(), cell(why))?;
                continue;
            }
            let [beside, lost] = [&row.beside, &row.lost].map(|rounds| percent(rounds.median()));
            let (after, others) = row.found.map_or_else(Default::default, |found| {
                (seconds(found.after), found.others.to_string())
            });
            writeln!(
                f,
                "| {} | {:.0} | {:.1} | {:.1} | {beside} | {lost} | {after} | {others} |",
                row.tracer.name(),
                row.rate.median(),
                row.kept,
                row.efficiency_kept,
            )?;
        }
        Ok(())
    }
}

/// The sections, and the numbers below them.
pub fn render(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let _ = writeln!(text, "{section}");
    }
    let _ = write!(
        text,
        "### The numbers\n\nMedians of the percents of throughput; bold where it is not what it has to be.\n\n|"
    );
    for section in sections {
        let _ = write!(text, " | {}", section.kind.name());
    }
    let _ = write!(text, " |\n|---|{}", "---:|".repeat(sections.len()));
    for (mode, least) in GOALS {
        let _ = write!(text, "\n| {}: at least {least:.0} % |", mode.name());
        for section in sections {
            let kept = section.row(mode).map(|row| row.kept.median());
            let text_of = kept.map_or_else(String::new, |kept| format!("{kept:.1} %"));
            let held = kept.is_none_or(|kept| kept >= least);
            let _ = write!(text, " {} |", marked(&text_of, held));
        }
    }
    text.push_str("\n| auto: the leak named within 60 s |");
    for section in sections {
        let found = section.row(Mode::Auto).and_then(|row| row.found);
        let held = found.is_none_or(|found| found.after.is_some());
        let text_of = found.map_or_else(String::new, |found| seconds(found.after));
        let _ = write!(text, " {} |", marked(&text_of, held));
    }
    text.push('\n');
    text
}

fn seconds(after: Option<usize>) -> String {
    after.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds} s"))
}

/// Nothing where nothing was measured.
fn percent(value: f64) -> String {
    if value.is_nan() { String::new() } else { format!("{value:.1}") }
}

fn cell(text: &str) -> String {
    text.replace(['\n', '|'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_bold() {
        let section = |kept: f64, after| {
            let tracers = [Mode::Growth, Mode::Auto].map(Tracer::Memmgr);
            let mut section = Section::new(Kind::Rust, &tracers);
            section.untraced.0.push(1000.0);
            for row in &mut section.rows {
                row.kept.0.push(kept);
            }
            section.rows[1].found = Some(Found { after, others: 0 });
            section
        };
        let check = |kept, after, expected: &str| {
            let text = render(&[section(kept, after)]);
            assert!(text.ends_with(expected), "{text}");
        };
        check(
            99.0,
            Some(25),
            "| auto: at least 95 % | 99.0 % |\n| growth: at least 99 % | 99.0 % |\n\
             | auto: the leak named within 60 s | 25 s |\n",
        );
        check(
            94.9,
            None,
            "| auto: at least 95 % | **94.9 %** |\n| growth: at least 99 % | **94.9 %** |\n\
             | auto: the leak named within 60 s | **never** |\n",
        );
    }
}
