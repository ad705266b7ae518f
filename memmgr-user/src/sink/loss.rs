//! What a capture lost, in words. Every format for people says it.

use super::words;
use crate::report::{Capture, Loss};

/// One cause of loss that struck.
pub(super) struct Cause {
    /// How often.
    pub(super) count: u64,
    /// What happened so often.
    pub(super) what: &'static str,
    /// What it means for the figures.
    pub(super) effect: &'static str,
}

/// The causes that struck, worst first. Frees of blocks older than the attach are no loss and not here.
pub(super) fn causes(loss: &Loss) -> Vec<Cause> {
    let all = [
        (
            loss.ring_full,
            "Events that found no room in the ring buffer",
            "figures are too low, or too high where a free was lost; a larger --ring-bytes or --mode sample mends it",
        ),
        (
            loss.asleep,
            "Probe hits while memmgr was stopped or starved for seconds",
            "figures are too low, or too high where a free was lost",
        ),
        (
            loss.map_full,
            "Events that found no room in a table",
            "figures are too low, or too high where a free was lost",
        ),
        (
            loss.missed,
            "Probe hits that the kernel did not deliver",
            "figures are too low, or too high where a free was lost",
        ),
        (
            loss.unmatched_return,
            "Calls seen only at entry or only at return",
            "they are not counted",
        ),
        (
            loss.implied_free,
            "Frees that were not seen, known because their address was handed out again",
            "other blocks may be shown as live that are not",
        ),
        (loss.stack_missing, "Allocations without a stack", "their bytes are under [stack lost]"),
        (
            loss.stack_truncated,
            "Stacks cut short",
            "their bytes are kept, their callers are not known",
        ),
    ];
    all.into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, effect)| Cause { count, what, effect })
        .collect()
}

/// The state of the books, for a title: `complete`, `incomplete: 1,204 events lost`.
pub(super) fn in_short(capture: &Capture) -> String {
    if capture.complete {
        "complete".to_owned()
    } else {
        format!("incomplete: {}", amount(&capture.loss))
    }
}

/// How much was lost, in a few words.
pub(super) fn amount(loss: &Loss) -> String {
    let events = [
        loss.ring_full,
        loss.asleep,
        loss.map_full,
        loss.missed,
        loss.unmatched_return,
        loss.implied_free,
    ];
    let events = events.into_iter().fold(0, u64::saturating_add);
    let stacks = loss.stack_missing.saturating_add(loss.stack_truncated);
    let parts: Vec<String> = [(events, "event", "lost"), (stacks, "stack", "lost or cut")]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, noun, what)| format!("{} {what}", words::counted(count, noun)))
        .collect();
    if parts.is_empty() { "cause unknown".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(complete: bool, loss: Loss, short: &str, struck: &[u64]) {
        assert_eq!(causes(&loss).iter().map(|cause| cause.count).collect::<Vec<_>>(), struck);
        assert_eq!(in_short(&Capture { complete, loss, ..Capture::default() }), short);
    }

    #[test]
    fn titles_say_what_was_lost() {
        check(true, Loss::default(), "complete", &[]);
        check(true, Loss { unknown_free: 9, ..Loss::default() }, "complete", &[]);
        check(false, Loss::default(), "incomplete: cause unknown", &[]);
        check(
            false,
            Loss { ring_full: 1200, asleep: 3, missed: 4, ..Loss::default() },
            "incomplete: 1,207 events lost",
            &[1200, 3, 4],
        );
        check(
            false,
            Loss { map_full: 1, stack_missing: 2, stack_truncated: 3, ..Loss::default() },
            "incomplete: 1 event lost, 5 stacks lost or cut",
            &[1, 2, 3],
        );
        check(
            false,
            Loss { unmatched_return: u64::MAX, implied_free: 1, ..Loss::default() },
            "incomplete: 18,446,744,073,709,551,615 events lost",
            &[u64::MAX, 1],
        );
    }
}
