//! A report of a running capture → the stacks as a list.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::{
    escape::Safe,
    judge::subject,
    report::{Frame, Report, Stack},
    sink::{Class, frame_name},
};

/// Stacks that are listed; those beyond hold next to nothing.
const MOST: usize = 500;

/// What the stacks are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Bytes outstanding.
    #[default]
    Live,
    /// Growth of what stays outstanding.
    Growth,
    /// Bytes allocated a second.
    Allocated,
}

impl By {
    /// The next, round and round.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            By::Live => By::Growth,
            By::Growth => By::Allocated,
            By::Allocated => By::Live,
        }
    }

    fn of(self, line: &StackLine) -> f64 {
        match self {
            By::Live => line.live_bytes as f64,
            By::Growth => line.growth,
            By::Allocated => line.allocated_per_s,
        }
    }
}

/// A stack on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct StackLine {
    /// What it is known by from one report to the next: its frames.
    pub key: u64,
    /// Bytes outstanding.
    pub live_bytes: u64,
    /// Share of all outstanding bytes of its class, 0 to 1.
    pub share: f64,
    /// Growth of what stays outstanding, in bytes a second.
    pub growth: f64,
    /// Bytes allocated a second, over the capture.
    pub allocated_per_s: f64,
    /// Blocks outstanding.
    pub blocks: u64,
    /// The severity of the finding about it.
    pub severity: Option<String>,
    /// Its functions, the one to look at first and then who called it.
    pub functions: Safe,
    /// Its frames, leaf first, each with its place.
    pub frames: Vec<Safe>,
}

/// The stacks of a class.
pub fn lines(report: &Report, class: Class, by: By) -> Vec<StackLine> {
    let stacks = || report.stacks.iter().filter(|stack| stack.class == class.name());
    let total: f64 = stacks().map(|stack| stack.live_bytes as f64).sum();
    let mut lines: Vec<StackLine> = stacks()
        .filter(|stack| stack.live_bytes > 0 || stack.alloc_bytes > 0)
        .map(|stack| StackLine {
            key: key(stack),
            live_bytes: stack.live_bytes,
            share: if total > 0.0 { stack.live_bytes as f64 / total } else { 0.0 },
            growth: stack.growth.as_ref().map_or(0.0, |growth| growth.bytes_per_s),
            allocated_per_s: stack.alloc_bytes as f64 / report.duration_s.max(0.001),
            blocks: stack.live_count,
            severity: stack
                .finding
                .and_then(|finding| report.findings.get(finding as usize))
                .map(|finding| finding.severity.clone()),
            functions: functions(stack),
            frames: frames(stack),
        })
        .collect();
    lines.sort_by(|a, b| by.of(b).total_cmp(&by.of(a)).then(a.key.cmp(&b.key)));
    lines.truncate(MOST);
    lines
}

/// Symbols may come later than the stack: only what does not change counts.
fn key(stack: &Stack) -> u64 {
    let mut hasher = DefaultHasher::new();
    stack.class.hash(&mut hasher);
    for frame in stack.frames.iter().filter(|frame| !frame.inlined) {
        (&frame.module, frame.address).hash(&mut hasher);
    }
    hasher.finish()
}

/// From the function to look at on: what it calls to get its memory says nothing about who holds it.
fn functions(stack: &Stack) -> Safe {
    let looked_at = subject(stack);
    let is_it = |frame: &Arc<Frame>| {
        looked_at.is_some_and(|looked_at| std::ptr::eq(Arc::as_ptr(frame), looked_at))
    };
    let inside = stack.frames.iter().position(is_it).unwrap_or(0);
    let useful = &stack.frames[inside..];
    let names: Vec<_> = useful.iter().map(|frame| frame_name(frame)).collect();
    match (names.is_empty(), &stack.cut) {
        (true, _) => "[stack lost]".into(),
        (false, Some(_)) => format!("{} ← […]", names.join(" ← ")).into(),
        (false, None) => names.join(" ← ").into(),
    }
}

fn frames(stack: &Stack) -> Vec<Safe> {
    let frame = |frame: &Frame| {
        let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut text = frame_name(frame).into_owned();
        if frame.inlined {
            text.push_str(" (inlined)");
        }
        if let Some(module) = &frame.module {
            text.extend(["  ", &base(module)]);
        }
        if let Some(file) = &frame.file {
            text.extend(["  ", &base(file)]);
            text.extend(frame.line.map(|line| format!(":{line}")));
        }
        Safe::from(text)
    };
    let mut frames: Vec<Safe> = stack.frames.iter().map(|at| frame(at)).collect();
    frames.extend(stack.cut.as_ref().map(|cut| Safe::from(format!("[{cut}]"))));
    frames
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{report::Growth, sink::fixture};

    #[test]
    fn stacks_are_listed_by_what_a_person_asks_for() {
        let mut report = fixture::redis();
        for (number, stack) in (1..).zip(&mut report.stacks) {
            stack.growth = Some(Growth { bytes_per_s: f64::from(number), ..Growth::default() });
        }
        for by in [By::Live, By::Growth, By::Allocated] {
            let lines = lines(&report, Class::Heap, by);
            assert!(lines.len() > 1, "{by:?}");
            assert!(lines.windows(2).all(|pair| by.of(&pair[0]) >= by.of(&pair[1])), "{by:?}");
            let shares: f64 = lines.iter().map(|line| line.share).sum();
            assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        }
        assert_eq!(By::Live.next().next().next(), By::Live);
    }

    #[test]
    fn a_stack_is_the_same_in_the_next_report() {
        let report = fixture::redis();
        let keys = |report: &Report| -> Vec<u64> {
            lines(report, Class::Heap, By::Live).iter().map(|line| line.key).collect()
        };
        let before = keys(&report);
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), before.len());
        let mut later = report.clone();
        later.stacks.reverse();
        for stack in &mut later.stacks {
            stack.id += 7;
        }
        assert_eq!(keys(&later), before);
    }

    #[test]
    fn the_function_to_look_at_comes_first_and_names_are_made_fit_to_be_shown() {
        let lines = lines(&fixture::redis(), Class::Heap, By::Live);
        assert!(lines[0].functions.as_str().starts_with("createObject ← setKey"), "{:?}", lines[0]);
        assert!(lines[0].frames[0].as_str().starts_with("malloc  libc.so.6"), "{:?}", lines[0]);
        for line in super::lines(&fixture::hostile(), Class::Heap, By::Live) {
            let all = line.frames.iter().chain([&line.functions]);
            assert!(all.clone().all(|text| !text.as_str().contains(crate::escape::is_hostile)));
        }
    }
}
