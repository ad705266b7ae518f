//! Folded stacks: `root;...;leaf N`, the input of every flame graph tool.
//!
//! The format has no quoting: a semicolon ends a frame, a space before a number ends the stack, a line
//! that begins with `# ` is a comment and a second number makes a difference of two profiles. A name
//! that would be read as any of these is changed just enough not to be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{RenderOptions, frames};
use crate::report::{Report, Stack};

/// The folded lines, sorted; inlined functions end in `_[i]`.
pub(super) fn render(report: &Report, options: &RenderOptions) -> String {
    let mut text = String::new();
    for (stack, value) in fold(report, options, "_[i]") {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{stack} {value}");
    }
    text
}

/// Every distinct folded stack of the chosen class with its value; those without any are left out.
pub(super) fn fold(
    report: &Report,
    options: &RenderOptions,
    inlined_mark: &str,
) -> BTreeMap<String, u64> {
    let mut folded = BTreeMap::new();
    for stack in options.class.stacks(report) {
        let value = options.metric.of(stack);
        if value > 0 {
            let sum: &mut u64 = folded.entry(line(stack, inlined_mark)).or_default();
            *sum = sum.saturating_add(value);
        }
    }
    folded
}

/// One stack, root first.
pub(super) fn line(stack: &Stack, inlined_mark: &str) -> String {
    let cut = frames::cut(stack).map(|cut| plain(&cut));
    let frames = stack.frames.iter().rev().map(|frame| {
        let mark = if frame.inlined { inlined_mark } else { "" };
        plain(&frames::name(frame)) + mark
    });
    cut.into_iter().chain(frames).collect::<Vec<_>>().join(";")
}

/// A name that no reader of folded stacks takes for anything else.
fn plain(name: &str) -> String {
    let mut plain = frames::one_line(name).replace(';', ":");
    if plain.starts_with("# ") {
        plain.replace_range(1..2, "_");
    }
    if let Some(space) = plain.rfind(' ')
        && plain[space + 1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        plain.replace_range(space..=space, "_");
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Frame;
    use crate::sink::{Class, Metric, fixture};

    #[track_caller]
    fn check(stacks: Vec<Stack>, metric: Metric, class: Class, expected: &str) {
        let report = Report { stacks, ..Report::default() };
        let options = RenderOptions { metric, class, ..RenderOptions::default() };
        assert_eq!(render(&report, &options), expected);
    }

    fn stack(class: &str, live_bytes: u64, leaf_first: &[&str]) -> Stack {
        Stack {
            class: class.to_owned(),
            live_bytes,
            live_count: 1,
            alloc_bytes: live_bytes * 2,
            alloc_count: 2,
            frames: leaf_first.iter().map(|function| fixture::frame(function).into()).collect(),
            ..Stack::default()
        }
    }

    #[test]
    fn roots_come_first_and_classes_stay_apart() {
        let stacks =
            || vec![stack("heap", 10, &["malloc", "main"]), stack("mapping", 7, &["mmap", "main"])];
        check(stacks(), Metric::InuseSpace, Class::Heap, "main;malloc 10\n");
        check(stacks(), Metric::AllocObjects, Class::Heap, "main;malloc 2\n");
        check(stacks(), Metric::AllocSpace, Class::Mapping, "main;mmap 14\n");
    }

    #[test]
    fn equal_lines_are_one_and_empty_ones_none() {
        check(
            vec![
                stack("heap", 1, &["b", "a"]),
                stack("heap", 0, &["c"]),
                stack("heap", 2, &["b", "a"]),
            ],
            Metric::InuseSpace,
            Class::Heap,
            "a;b 3\n",
        );
        check(vec![], Metric::InuseSpace, Class::Heap, "");
    }

    #[test]
    fn stacks_that_are_not_whole_say_so_at_the_root() {
        let cut = |cut: Option<&str>, frames: &[&str]| Stack {
            cut: cut.map(str::to_owned),
            ..stack("heap", 1, frames)
        };
        check(
            vec![
                cut(Some("truncated"), &["b", "a"]),
                cut(Some("missing"), &[]),
                cut(Some("missing"), &["caller"]),
                cut(None, &[]),
                cut(Some("no;memory"), &["x"]),
            ],
            Metric::InuseSpace,
            Class::Heap,
            "[no:memory];x 1\n[stack lost] 2\n[stack lost];caller 1\n[truncated];a;b 1\n",
        );
    }

    #[test]
    fn inlined_and_unknown_frames() {
        let mut odd = stack("heap", 1, &["in", "out"]);
        odd.frames[0] = Frame { inlined: true, ..fixture::frame("in") }.into();
        let module = Some("/usr/lib/libx.so".into());
        odd.frames.push(Frame { module, address: 0x1f2e, ..Frame::default() }.into());
        odd.frames.push(Frame { address: 0x7f00_dead_beef, ..Frame::default() }.into());
        check(
            vec![odd],
            Metric::InuseSpace,
            Class::Heap,
            "[unknown];[libx.so+0x1f2e];out;in_[i] 1\n",
        );
    }

    #[test]
    fn names_cannot_break_the_line() {
        for (hostile, shown) in [
            ("a;b", "a:b"),
            ("[u8; 8]::from", "[u8: 8]::from"),
            ("a\nb 9\n", "a\\u{a}b 9\\u{a}"),
            ("evil 12", "evil_12"),
            ("evil 1 2", "evil 1_2"),
            ("evil 1.5", "evil_1.5"),
            ("# comment", "#_comment"),
            ("  spaces  ", "spaces"),
            ("", "[unknown]"),
            ("\x1b[31m", "\\u{1b}[31m"),
            ("operator new(unsigned long)", "operator new(unsigned long)"),
        ] {
            check(
                vec![stack("heap", 5, &[hostile])],
                Metric::InuseSpace,
                Class::Heap,
                &format!("{shown} 5\n"),
            );
        }
    }

    #[test]
    fn names_are_capped_between_characters() {
        let long = "é".repeat(5000);
        check(
            vec![stack("heap", 5, &[&long])],
            Metric::InuseSpace,
            Class::Heap,
            &format!("{} 5\n", "é".repeat(2048)),
        );
        assert_eq!(plain(&"\x1b".repeat(5000)).len(), frames::NAME_BYTES_MAX);
    }

    #[test]
    fn sums_never_wrap() {
        check(
            vec![stack("heap", u64::MAX / 2, &["a"]), stack("heap", u64::MAX / 2, &["a"]), {
                stack("heap", 7, &["a"])
            }],
            Metric::InuseSpace,
            Class::Heap,
            "a 18446744073709551615\n",
        );
    }

    #[test]
    fn the_report_as_a_file() {
        insta::assert_snapshot!(
            "redis.folded",
            render(&fixture::redis(), &RenderOptions::default())
        );
    }
}
