//! Deaths that fall between windows: whether blocks stay, or only their frees went unseen.
//!
//! Where the allocator probes are in place for windows of time only, a free outside of them is not seen. Of a block
//! that died its address tells, when it is freed or handed out again in a later window: hot addresses come back in the
//! very next one, cold ones are met about as often as is watched. So blocks that outlived the window of their birth
//! and the next either stay, or died and were noticed with a chance of the share of time observed since.

use crate::{
    history::{StackHistory, Windows},
    report::Noticed,
    track::Class,
};

use super::statistics::poisson_at_most;

/// The hypothesis to be rejected: so many of the blocks that look as if they stayed are dead.
const DEAD: f64 = 0.5;
/// What is left of chance when it is rejected.
const CHANCE: f64 = 0.05;
/// Windows in which hot addresses have come back: that of the birth and the next.
const SETTLED: usize = 2;

/// What the windows of a capture tell about a stack's deaths; `None` when the probes were always in place.
pub(super) fn noticed(windows: &Windows, history: &StackHistory) -> Option<Noticed> {
    let count = windows.observed_s.len().min(windows.len()).min(history.kept_samples.len());
    if count == 0 || history.class != Class::Heap {
        return None;
    }
    let (mut seconds, mut observed_s) = (0.0, 0.0);
    let (mut kept, mut exposed, mut all) = (0.0, 0.0, 0.0);
    // From the last windows to the first, so that what came after each is a running sum.
    for birth in (0..count.saturating_sub(SETTLED)).rev() {
        let later = birth + SETTLED;
        seconds += windows.ends_s[later] - windows.begin_s(later);
        observed_s += windows.observed_s[later];
        all = if seconds > 0.0 { (observed_s / seconds).min(1.0) } else { 0.0 };
        kept += history.kept_samples[birth].max(0.0);
        exposed += history.kept_samples[birth].max(0.0) * all;
    }
    let late = |by_age: &[f64]| by_age.iter().skip(SETTLED).sum::<f64>();
    let freed = late(&history.samples_freed_at_age);
    let together = late(&history.freed_together_at_age);
    // When those were born that were freed is not known: they count as if they had been watched all along.
    let expected = DEAD * (exposed + freed * all);
    Some(Noticed { outlived: kept + freed, freed, together, expected })
}

impl Noticed {
    /// Adds those of another stack.
    pub(super) fn add(&mut self, other: &Noticed) {
        self.outlived += other.outlived;
        self.freed += other.freed;
        self.together += other.together;
        self.expected += other.expected;
    }

    /// Whether so few deaths rule out that half of the blocks died. Blocks that live equally long die together, in one
    /// window or between two: then only groups of them are independent, of this size on average.
    pub(super) fn rules_out_deaths(&self) -> bool {
        let group = if self.freed > 0.0 { (self.together / self.freed).max(1.0) } else { 1.0 };
        poisson_at_most((self.freed / group) as u64, self.expected / group) < CHANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::generate::Program;

    /// A block every `period_s` for 40 windows of a second, of which the share `observed` was watched; of the blocks
    /// that outlived two windows so many were seen to be freed, `group` at a time.
    #[track_caller]
    fn check(period_s: f64, observed: f64, (freed, group): (f64, f64), expected: &str) {
        let program = Program::new(40, 40.0).with(|p| p.every(period_s, f64::INFINITY, 100.0));
        let (mut windows, mut history) = program.history();
        windows.observed_s = vec![observed; 40];
        history.samples_freed_at_age = vec![1e6, 1e6, freed];
        history.freed_together_at_age = vec![1e9, 1e9, freed * group];
        let got = noticed(&windows, &history).unwrap();
        let ruled_out = if got.rules_out_deaths() { "stay" } else { "unknown" };
        assert_eq!(
            format!("{:.0} {:.0} {:.2} {ruled_out}", got.outlived, got.freed, got.expected),
            expected
        );
    }

    #[test]
    fn few_deaths_of_many_blocks() {
        // P(none | 2.85) = 0.058, P(none | 5.70) = 0.003.
        check(0.2, 0.03, (0.0, 1.0), "190 0 2.85 unknown");
        check(0.1, 0.03, (0.0, 1.0), "380 0 5.70 stay");
        check(0.1, 0.03, (2.0, 1.0), "382 2 5.73 unknown");
        check(0.1, 0.3, (2.0, 1.0), "382 2 57.30 stay");
        check(0.1, 0.3, (30.0, 1.0), "410 30 61.50 stay");
        check(0.1, 0.3, (30.0, 15.0), "410 30 61.50 unknown");
        check(1.0, 1.0, (0.0, 1.0), "38 0 19.00 stay");
    }

    #[test]
    fn probes_that_were_always_there_hide_nothing() {
        let (windows, history) = Program::new(4, 4.0).history();
        assert_eq!(noticed(&windows, &history), None);
    }
}
