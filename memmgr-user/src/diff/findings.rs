//! Judgements that only one of two reports has.

use serde::{Deserialize, Serialize};

use super::{
    identity::{Key, Names},
    stacks::Compared,
};
use crate::report::{Finding, Report};

/// A judgement that came or went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FindingChange {
    /// True when only the second report has it, false when only the first.
    pub appeared: bool,
    /// The stack that it is about, by its index in [`super::Diff::stacks`].
    pub stack: Option<u32>,
    /// The judgement; its `stack_id` is that of its own report.
    pub finding: Finding,
}

/// What makes two judgements the same one. A warning that became critical is another.
type Same<'a> = (&'a str, &'a str, Option<Key<'a>>, Option<&'a str>);

/// Those that appeared first, then those that disappeared, each in the order of its report.
pub(super) fn compare(
    names: &Names<'_>,
    stacks: &Compared<'_>,
    before: &Report,
    after: &Report,
) -> Vec<FindingChange> {
    let only = |appeared: bool, one: &Report, other: &Report| -> Vec<FindingChange> {
        let others: Vec<Same<'_>> =
            other.findings.iter().map(|finding| same(names, other, finding)).collect();
        let mine = one.findings.iter().map(|finding| (finding, same(names, one, finding)));
        mine.filter(|(_, key)| !others.contains(key))
            .map(|(finding, (.., stack, _))| FindingChange {
                appeared,
                stack: stack
                    .and_then(|key| stacks.keys.iter().position(|other| *other == key))
                    .map(|index| index as u32),
                finding: finding.clone(),
            })
            .collect()
    };
    let mut changes = only(true, after, before);
    changes.extend(only(false, before, after));
    changes
}

fn same<'a>(names: &Names<'_>, report: &'a Report, finding: &'a Finding) -> Same<'a> {
    let stack = finding
        .stack_id
        .and_then(|id| report.stacks.iter().find(|stack| stack.id == id))
        .map(|stack| names.stack(stack));
    // What a stack is about follows from its frames; a resource has no other name.
    let subject = if stack.is_some() { None } else { finding.subject.as_deref() };
    (&finding.kind, &finding.severity, stack, subject)
}
