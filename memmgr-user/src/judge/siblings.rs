//! Stacks that do right what a leaking one does wrong.

use crate::report::{Frame, Report, Stack};

use super::subject::subject;

/// Blocks that a sibling must have allocated to be an example.
const ENOUGH: u64 = 10;
/// And the share of them that must be freed.
const FREED: f64 = 0.99;

/// The busiest stack that allocates in the same function and frees what it allocates, in a sentence.
pub(super) fn sibling(report: &Report, leaking: &[&Stack]) -> Option<String> {
    let first = *leaking.first()?;
    let place = subject(first)?;
    let is_sibling = |stack: &&Stack| {
        stack.class == first.class
            && stack.alloc_count >= ENOUGH
            && freed(stack) >= FREED
            // Cheap, and true of few: what follows looks at many names.
            && stack.frames.iter().any(|frame| frame.function == place.function)
            && subject(stack).is_some_and(|frame| {
                frame.function == place.function
                    && frame.module == place.module
                    && location(frame) != location(place)
            })
            && leaking.iter().all(|leak| leak.id != stack.id)
    };
    let sibling = report.stacks.iter().filter(is_sibling).max_by_key(|stack| stack.alloc_count)?;
    let name = place.function.as_deref().unwrap_or_default();
    Some(format!(
        "{name} frees {:.0} % of what it allocates at {} but {} of what it allocates at {}.",
        freed(sibling) * 100.0,
        location(subject(sibling)?),
        if freed(first) < 0.005 {
            "nothing".to_owned()
        } else {
            format!("{:.0} %", freed(first) * 100.0)
        },
        location(place)
    ))
}

/// The share of a stack's blocks that were freed.
fn freed(stack: &Stack) -> f64 {
    1.0 - stack.live_count as f64 / stack.alloc_count.max(1) as f64
}

/// Source file and line, else the offset in the module.
fn location(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => {
            format!("{}:{line}", file.rsplit('/').next().unwrap_or_default())
        }
        _ => format!("{:#x}", frame.address),
    }
}
