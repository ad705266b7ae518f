//! Whether probes on the C library are the right way to watch mapping calls: one instruction of them has to be
//! single-stepped, so that a program that unmaps all the time is better off with the tracepoints of the system calls.

/// What the probes cost of late.
#[derive(Debug, Default)]
pub(super) struct Library {
    /// Nanoseconds that they took, and that the target used.
    spent: f64,
    cpu: f64,
    decided: bool,
}

impl Library {
    /// Nanoseconds of the target's time that make a judgement.
    const MEASURE: f64 = 250_000_000.0;

    /// Takes what was spent of `cpu` nanoseconds. Once it was more than `share` of them: the percent that it was.
    pub(super) fn is_too_dear(&mut self, spent: f64, cpu: f64, share: f64) -> Option<f64> {
        self.spent += spent;
        self.cpu += cpu;
        let percent = self.spent / self.cpu.max(1.0) * 100.0;
        let over = !self.decided && self.spent > self.cpu.max(Self::MEASURE) * share;
        self.decided |= over;
        if self.cpu >= Self::MEASURE {
            (self.spent, self.cpu) = (0.0, 0.0);
        }
        over.then_some(percent.min(100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_borne_and_a_storm_is_not() {
        const MS: f64 = 1e6;
        let looks = |spent: f64, times: usize| {
            let mut library = Library::default();
            (0..times).filter_map(|_| library.is_too_dear(spent, 50.0 * MS, 0.05)).collect()
        };
        let check = |spent: f64, times: usize, expected: &[f64]| {
            let found: Vec<f64> = looks(spent, times);
            assert_eq!(found, expected, "{spent} ns {times} times");
        };
        check(0.0, 100, &[]);
        check(2.0 * MS, 100, &[]);
        // 12 ms in one look are a burst, 13 are more than the budget of a quarter of a second.
        check(12.0 * MS, 1, &[]);
        check(13.0 * MS, 1, &[26.0]);
        check(3.0 * MS, 100, &[6.0]);
    }
}
