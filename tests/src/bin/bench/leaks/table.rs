//! The quality table in Markdown: what was expected, what memmgr said, and the sums.

use std::fmt::Write;

use memmgr::{escape::Safe, units::human_bytes};
use memmgr_tests::leaks::{Case, Expected, Mistake, Verdict};

/// A case and what came of it.
pub struct Row {
    /// The case.
    pub case: Case,
    /// What memmgr said and whether its figures are complete; or why it said nothing.
    pub result: Result<(Verdict, bool), String>,
}

impl Row {
    fn mistake(&self) -> Option<Mistake> {
        self.verdict()?.mistake(&self.case.expected)
    }

    fn verdict(&self) -> Option<&Verdict> {
        self.result.as_ref().ok().map(|(verdict, _)| verdict)
    }

    fn is_leak(&self) -> bool {
        self.case.expected != Expected::Quiet
    }

    /// Right, or what is wrong.
    pub fn judgement(&self) -> String {
        match (&self.result, self.mistake()) {
            (Err(why), _) => format!("**not captured**: {}", cell(why)),
            (_, Some(mistake)) => format!("**{mistake}**"),
            (Ok((_, false)), None) => "right, with losses".to_owned(),
            (Ok((_, true)), None) => "right".to_owned(),
        }
    }
}

/// Both tables, leaks first, with their sums.
pub fn render(rows: &[Row]) -> String {
    let (leaks, quiet): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_leak());
    let mut text = sums(&leaks, &quiet);
    for (title, rows) in [("Programs that leak", leaks), ("Programs that do not leak", quiet)] {
        if !rows.is_empty() {
            let _ = writeln!(text, "\n### {title}\n");
            table(&mut text, &rows);
        }
    }
    text
}

fn sums(leaks: &[&Row], quiet: &[&Row]) -> String {
    let captured = |rows: &[&Row]| rows.iter().filter(|row| row.result.is_ok()).count();
    let with = |rows: &[&Row], mistake: Option<Mistake>| {
        rows.iter().filter(|row| row.result.is_ok() && row.mistake() == mistake).count()
    };
    let right = with(leaks, None);
    let others: usize = leaks.iter().filter_map(|row| row.verdict()).map(|v| v.others).sum();
    let incomplete =
        leaks.iter().chain(quiet).filter(|row| matches!(row.result, Ok((_, false)))).count();
    let mut text = String::new();
    let mut line = |what: &str, count: usize, of: Option<usize>| {
        let of = of.map_or(String::new(), |of| format!(" of {of}"));
        let _ = writeln!(text, "- {what}: **{count}**{of}");
    };
    line("Leaks found", right + with(leaks, Some(Mistake::OtherFunction)), Some(leaks.len()));
    line("Right function on top", right, Some(leaks.len()));
    line("False alarms", with(quiet, Some(Mistake::FalseAlarm)), Some(quiet.len()));
    line("Alarms about other functions in programs that leak", others, None);
    line("Captures with losses", incomplete, Some(captured(leaks) + captured(quiet)));
    line(
        "Programs that could not be captured",
        leaks.len() + quiet.len() - captured(leaks) - captured(quiet),
        None,
    );
    text
}

fn table(text: &mut String, rows: &[&Row]) {
    text.push_str(
        "| program | what it does | capture | expected | verdict | severity | score | growth | top function | |\n\
         |---|---|---|---|---|---|---:|---:|---|---|\n",
    );
    for row in rows {
        let case = &row.case;
        let expected = match &case.expected {
            Expected::Leak { function } => format!("leak in `{function}`"),
            Expected::Quiet => "quiet".to_owned(),
        };
        let [verdict, severity, score, growth, function] = said(row.verdict());
        let _ = writeln!(
            text,
            "| {} | {} | {} s {} | {expected} | {verdict} | {severity} | {score} | {growth} | {function} | {} |",
            case.name,
            cell(&case.what),
            case.seconds,
            case.mode.flag(),
            row.judgement(),
        );
    }
}

/// Verdict, severity, score, growth and function.
fn said(verdict: Option<&Verdict>) -> [String; 5] {
    let empty = String::new;
    let Some(verdict) = verdict else { return [(); 5].map(|()| empty()) };
    let Some(alarm) = &verdict.top else {
        return ["quiet".to_owned(), empty(), empty(), empty(), empty()];
    };
    [
        cell(&alarm.kind),
        cell(&alarm.severity),
        format!("{:.0}", alarm.score),
        format!("{}/s", human_bytes(alarm.growth_bytes_per_s.round() as u64)),
        alarm.function.as_deref().map_or_else(empty, code),
    ]
}

/// Text of a target as code in a cell: nothing in it ends the code or the cell.
fn code(text: &str) -> String {
    format!("`{}`", cell(text).replace('`', "'"))
}

fn cell(text: &str) -> String {
    Safe::text(text).to_string().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use memmgr_tests::leaks::{Alarm, Language, Load, Mode};

    use super::*;

    fn case(name: &str, function: Option<&str>) -> Case {
        let expected = function
            .map_or(Expected::Quiet, |function| Expected::Leak { function: function.to_owned() });
        Case {
            name: name.to_owned(),
            expected,
            mode: Mode::Exact,
            seconds: 40,
            load: Load::Light,
            flags: Vec::new(),
            capture: Vec::new(),
            what: format!("it does {name}"),
            language: Language::C,
        }
    }

    fn alarm(function: &str, others: usize) -> Verdict {
        let top = Alarm {
            kind: "leak".to_owned(),
            severity: "warning".to_owned(),
            score: 61.4,
            growth_bytes_per_s: 2047.6,
            function: Some(function.to_owned()),
        };
        Verdict { top: Some(top), others }
    }

    #[test]
    fn the_whole_table() {
        let leak = Some("sell");
        let row = |name, function, result| Row { case: case(name, function), result };
        let rows = [
            row("right", leak, Ok((alarm("sell(int)", 2), true))),
            row("lossy", leak, Ok((alarm("sell", 0), false))),
            row("other", leak, Ok((alarm("buy|\u{1b}`x`", 0), true))),
            row("silent", leak, Ok((Verdict::default(), true))),
            row("gone", leak, Err("memmgr: no such process".to_owned())),
            row("calm", None, Ok((Verdict::default(), true))),
            row("loud", None, Ok((alarm("sell", 0), true))),
        ];
        assert_eq!(render(&rows), include_str!("table.md"));
    }

    #[test]
    fn a_filter_may_leave_one_kind() {
        let rows = [Row { case: case("calm", None), result: Ok((Verdict::default(), true)) }];
        let text = render(&rows);
        assert!(text.contains("- Leaks found: **0** of 0\n"), "{text}");
        assert!(!text.contains("Programs that leak"), "{text}");
    }
}
