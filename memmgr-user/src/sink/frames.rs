//! What the formats agree on about frames: their names, and the mark of a stack that is not whole.

use std::{borrow::Cow, sync::Arc};

use super::words;
use crate::escape::Safe;
use crate::report::{Frame, Stack};

/// Names are cut at this many bytes: a hostile or generated symbol must not fill the disk.
pub(super) const NAME_BYTES_MAX: usize = 4096;

/// Stands as the root of a stack whose outermost callers are not known.
pub(super) const TRUNCATED: &str = "[truncated]";
/// Stands as the root of an allocation whose stack was not taken.
pub(super) const STACK_LOST: &str = "[stack lost]";
/// Stands for code that nothing is known about.
const UNKNOWN: &str = "[unknown]";

/// What stands as the root of a stack that is not whole.
pub(super) fn cut(stack: &Stack) -> Option<Cow<'static, str>> {
    match stack.cut.as_deref() {
        Some("truncated") => Some(TRUNCATED.into()),
        Some("missing") => Some(STACK_LOST.into()),
        // A reason that this version does not know is still a reason.
        Some(other) => Some(format!("[{other}]").into()),
        None if stack.frames.is_empty() => Some(STACK_LOST.into()),
        None => None,
    }
}

/// The function, or where the code is: `[libfoo.so+0x1f2e]`. Code without a file has an address that
/// would give away the target's layout and means nothing afterwards, so that it is not written.
pub(crate) fn name(frame: &Frame) -> Cow<'_, str> {
    match (&frame.function, &frame.module) {
        (Some(function), _) => function.into(),
        (None, Some(module)) => {
            format!("[{}+{:#x}]", words::base_name(module), frame.address).into()
        }
        (None, None) => UNKNOWN.into(),
    }
}

/// The frames of each return address, leaf first: functions that were inlined there, innermost
/// first, and at the end the one that holds the code.
pub(super) fn calls(stack: &Stack) -> impl DoubleEndedIterator<Item = &[Arc<Frame>]> {
    stack.frames.split_inclusive(|frame| !frame.inlined)
}

/// A name on one line, every character of it visible, none of it longer than [`NAME_BYTES_MAX`].
pub(super) fn one_line(name: &str) -> String {
    let cut = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    let mut line = Safe::text(cut).as_str().trim().to_owned();
    line.truncate(line.floor_char_boundary(NAME_BYTES_MAX));
    if line.is_empty() { UNKNOWN.to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixture;

    #[test]
    fn inlined_functions_share_the_call_of_the_one_that_holds_them() {
        let frame = |name: &str, inlined| Arc::new(Frame { inlined, ..fixture::frame(name) });
        let frames =
            vec![frame("a", true), frame("b", true), frame("c", false), frame("d", false), {
                frame("e", true)
            }];
        let stack = Stack { frames, ..Stack::default() };
        let names: Vec<Vec<Cow<'_, str>>> =
            calls(&stack).map(|call| call.iter().map(|frame| name(frame)).collect()).collect();
        assert_eq!(names, [vec!["a", "b", "c"], vec!["d"], vec!["e"]]);
        assert_eq!(calls(&Stack::default()).count(), 0);
    }

    #[test]
    fn names_fit_on_a_line() {
        for (hostile, shown) in [
            ("operator new(unsigned long)", "operator new(unsigned long)"),
            (" a\nb\u{9b}\u{202e} ", "a\\u{a}b\\u{9b}\\u{202e}"),
            ("  ", UNKNOWN),
        ] {
            assert_eq!(one_line(hostile), shown);
        }
        assert_eq!(one_line(&"é".repeat(5000)), "é".repeat(2048));
        assert_eq!(one_line(&"\x1b".repeat(5000)).len(), NAME_BYTES_MAX);
    }
}
