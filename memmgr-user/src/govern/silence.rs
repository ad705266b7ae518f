//! Whether the probes stand where the program allocates: one that runs and calls none of their functions has another allocator.

use std::time::Duration;

use super::costs::Seen;

/// What was heard since the probes are in place.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// The last look, and the time and processor time since which no function was called.
    listening: Duration,
    ran: Duration,
    last: Option<(Duration, Duration)>,
    /// Something was heard, or it was told that nothing is.
    is_over: bool,
}

impl Silence {
    /// Nothing for so long ...
    const LONG: Duration = Duration::from_secs(5);
    /// ... in which the program ran for this long is worth a word.
    const BUSY: Duration = Duration::from_millis(500);

    /// Takes a look with the target's processor time. Once nothing was heard for long of a target that runs: what to say.
    pub(super) fn look(&mut self, seen: &Seen, cpu: Duration, is_open: bool) -> Option<String> {
        let (at, ran) = self.last.replace((seen.at, cpu)).unwrap_or_default();
        if self.is_over || !is_open {
            return None;
        }
        self.listening += seen.at.saturating_sub(at);
        self.ran += cpu.saturating_sub(ran);
        self.is_over = seen.hits.iter().any(|hits| *hits > 0);
        if self.is_over || self.listening < Self::LONG || self.ran < Self::BUSY {
            return None;
        }
        self.is_over = true;
        Some(format!(
            "none of the probed functions was called in {:.0} s, in which the target ran for {:.1} s: it allocates by other ones, which --allocator or --probe name, \
             or not at all",
            self.listening.as_secs_f64(),
            self.ran.as_secs_f64()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which second something is said, of a target that uses so much of each second, with calls from a second on, and probes
    /// that are in place until one.
    #[track_caller]
    fn check(busy_ms: u64, called_from: u64, open_until: u64, expected: Option<u64>) {
        let mut silence = Silence::default();
        let said = (1..20).find(|second| {
            let at = Duration::from_secs(*second);
            let hits = vec![0, u64::from(*second >= called_from)];
            let seen = Seen { at, hits, ..Seen::default() };
            let cpu = Duration::from_millis(second * busy_ms);
            silence.look(&seen, cpu, *second <= open_until).is_some()
        });
        assert_eq!(said, expected);
    }

    #[test]
    fn silence_of_a_busy_target_is_told_once() {
        check(900, 99, 99, Some(5));
        check(900, 4, 99, None);
        // Idle: nothing is to be heard.
        check(1, 99, 99, None);
        check(50, 99, 99, Some(10));
        // Without probes neither.
        check(900, 99, 3, None);
        let mut silence = Silence::default();
        let look = |second| Seen { at: Duration::from_secs(second), ..Seen::default() };
        assert!(silence.look(&look(6), Duration::from_secs(6), true).is_some());
        assert!(silence.look(&look(12), Duration::from_secs(12), true).is_none());
    }
}
