//! What a report says about a case, and whether that is right.

use std::fmt;

use memmgr::report::{Finding, Report};

use super::Expected;

/// What a reader takes from the findings of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The first finding that alarms about a stack; without one, the first that alarms about the process.
    pub top: Option<Alarm>,
    /// Alarms about other functions than the one on top.
    pub others: usize,
}

/// A finding that makes somebody look: a warning, or worse.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alarm {
    /// As in the report: `leak`, `rss-growth`, ...
    pub kind: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// 0 to 100.
    pub score: f64,
    /// Bytes a second.
    pub growth_bytes_per_s: f64,
    /// The function to look at, when it is about a stack.
    pub function: Option<String>,
}

/// How a verdict is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A leak without an alarm about a stack.
    NotFound,
    /// A leak with another function on top.
    OtherFunction,
    /// A quiet program with an alarm.
    FalseAlarm,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mistake::NotFound => "not found",
            Mistake::OtherFunction => "other function",
            Mistake::FalseAlarm => "false alarm",
        })
    }
}

impl Verdict {
    /// Reads the findings in the order of the report.
    pub fn of(report: &Report) -> Self {
        let alarms: Vec<Alarm> = report
            .findings
            .iter()
            .filter(|finding| matches!(finding.severity.as_str(), "warning" | "critical"))
            .map(|finding| Alarm::of(finding, report))
            .collect();
        let top = alarms.iter().find(|alarm| alarm.function.is_some()).or(alarms.first()).cloned();
        let function = top.as_ref().and_then(|top| top.function.as_ref());
        let others = alarms
            .iter()
            .filter(|alarm| alarm.function.is_some() && alarm.function.as_ref() != function)
            .count();
        Verdict { top, others }
    }

    /// What is wrong with it, if anything.
    pub fn mistake(&self, expected: &Expected) -> Option<Mistake> {
        let function = self.top.as_ref().and_then(|top| top.function.as_deref());
        match expected {
            Expected::Quiet => self.top.is_some().then_some(Mistake::FalseAlarm),
            Expected::Leak { function: wanted } => match function {
                None => Some(Mistake::NotFound),
                Some(function) if names(function, wanted) => None,
                Some(_) => Some(Mistake::OtherFunction),
            },
        }
    }
}

impl Alarm {
    fn of(finding: &Finding, report: &Report) -> Self {
        Alarm {
            kind: finding.kind.clone(),
            severity: finding.severity.clone(),
            score: finding.score,
            growth_bytes_per_s: finding.growth_bytes_per_s,
            function: finding.stack_id.map(|id| function(finding, id, report)),
        }
    }
}

/// The function that the finding points at; where it points at none, the first of the stack with a name.
fn function(finding: &Finding, stack_id: u32, report: &Report) -> String {
    let of_the_stack = || {
        let stack = report.stacks.iter().find(|stack| stack.id == stack_id)?;
        stack.frames.iter().find_map(|frame| frame.function.clone())
    };
    finding.subject.clone().or_else(of_the_stack).unwrap_or_else(|| "no name".to_owned())
}

/// Whether a text names a function: the name stands in it, and no longer one. What stands behind a
/// parenthesis are arguments.
fn names(text: &str, function: &str) -> bool {
    let text = text.replace("(anonymous namespace)::", "");
    let text = text.split('(').next().unwrap_or_default();
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(function).any(|(at, _)| {
        let rest = &text[at + function.len()..];
        !text[..at].ends_with(part_of_name)
            && !rest.starts_with(part_of_name)
            && !rest.starts_with("::")
    })
}

#[cfg(test)]
mod tests {
    use memmgr::report::{Frame, Stack};
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_functions() {
        let check = |text: &str, function: &str, expected: bool| {
            assert_eq!(names(text, function), expected, "{text} names {function}");
        };
        check("sell", "sell", true);
        check("resell", "sell", false);
        check("sell_all", "sell", false);
        check("Shop::sell(Goods const&)", "Shop::sell", true);
        check("mall::Shop::sell<int>(int)", "Shop::sell", true);
        check("void Shop::sell<int>(int)", "Shop::sell", true);
        check("(anonymous namespace)::Shop::sell()", "Shop::sell", true);
        check("Shop::sell(int)::{lambda()#1}::operator()", "Shop::sell", true);
        check("Shop::sell", "Shop", false);
        check("Shop::buy(Shop::sell)", "Shop::sell", false);
        check("sell (shop.c:12)", "sell", true);
        check("", "sell", false);
    }

    /// A finding as it stands in the JSON report.
    fn finding(severity: &str, kind: &str, stack: Option<u32>, subject: Option<&str>) -> Finding {
        let about_growth = kind == "leak";
        serde_json::from_value(json!({
            "kind": kind,
            "stack_id": stack,
            "subject": subject,
            "shape": if about_growth { "linear" } else { "" },
            "severity": severity,
            "score": 61.0,
            "confidence": 0.9,
            "growth_bytes_per_s": 800.0,
            "time_to_limit_s": null,
            "evidence": [],
            "recommendation": "",
        }))
        .expect("a finding")
    }

    fn report(findings: Vec<Finding>) -> Report {
        let frame = |function: Option<&str>| Frame {
            function: function.map(str::to_owned),
            ..Frame::default()
        };
        let stack = |id, functions: &[Option<&str>]| Stack {
            id,
            frames: functions.iter().map(|function| frame(*function).into()).collect(),
            ..Stack::default()
        };
        let stacks = vec![
            stack(7, &[None, Some("sell"), Some("main")]),
            stack(9, &[Some("buy"), Some("sell"), Some("main")]),
        ];
        Report { findings, stacks, ..Report::default() }
    }

    #[test]
    fn verdicts() {
        let leak = || Expected::Leak { function: "sell".to_owned() };
        let check = |findings: Vec<Finding>, expected: Expected, mistake: Option<Mistake>| {
            let verdict = Verdict::of(&report(findings.clone()));
            assert_eq!(verdict.mistake(&expected), mistake, "{findings:#?}");
        };
        let critical = |stack, subject| finding("critical", "leak", Some(stack), subject);
        let process = || finding("warning", "rss-growth", None, Some("RSS"));
        check(vec![], Expected::Quiet, None);
        check(vec![], leak(), Some(Mistake::NotFound));
        check(vec![critical(7, Some("sell"))], leak(), None);
        check(vec![critical(7, Some("sell"))], Expected::Quiet, Some(Mistake::FalseAlarm));
        // Without a subject the stack speaks.
        check(vec![critical(7, None)], leak(), None);
        check(vec![critical(9, None)], leak(), Some(Mistake::OtherFunction));
        // Only what stands on top counts, and findings about stacks come before others.
        check(vec![critical(9, None), critical(7, None)], leak(), Some(Mistake::OtherFunction));
        check(vec![process(), critical(7, None)], leak(), None);
        // A process that grows is no leak that was found, but it is an alarm.
        check(vec![process()], leak(), Some(Mistake::NotFound));
        check(vec![process()], Expected::Quiet, Some(Mistake::FalseAlarm));
        // Information alarms nobody.
        let info = || finding("info", "leak", Some(7), Some("sell"));
        check(vec![info()], leak(), Some(Mistake::NotFound));
        check(vec![info()], Expected::Quiet, None);
    }

    #[test]
    fn other_functions_are_counted() {
        let findings = vec![
            finding("critical", "leak", Some(7), Some("sell")),
            finding("warning", "leak", Some(8), Some("sell")),
            finding("warning", "leak", Some(9), Some("buy")),
            finding("warning", "descriptor-growth", None, Some("descriptors")),
            finding("info", "leak", Some(10), Some("pay")),
        ];
        let verdict = Verdict::of(&report(findings));
        assert_eq!(verdict.others, 1);
        let top = Alarm {
            kind: "leak".to_owned(),
            severity: "critical".to_owned(),
            score: 61.0,
            growth_bytes_per_s: 800.0,
            function: Some("sell".to_owned()),
        };
        assert_eq!(verdict.top, Some(top));
    }
}
