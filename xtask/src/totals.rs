//! Counting what test programs report.

use std::fmt;

/// Tests over all test programs of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Tests that succeeded.
    pub(crate) passed: usize,
    /// Names of tests that failed.
    pub(crate) failed: Vec<String>,
    /// Tests marked `#[ignore]`.
    pub(crate) ignored: usize,
    /// Tests that returned early, with their reasons; they also count as passed.
    pub(crate) skipped: Vec<String>,
}

impl Totals {
    /// Takes one line of a test program's output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failed.push(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            // "ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s"
            let count = |word: &str| {
                let part = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
                part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.ignored += count("ignored");
        }
    }

    /// How many tests ran.
    pub(crate) fn ran(&self) -> usize {
        self.passed + self.failed.len()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        let passed = self.passed.saturating_sub(skipped);
        write!(
            f,
            "{passed} tests passed, {failed} failed, {} ignored, {skipped} skipped",
            self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_programs_add_up() {
        let output = "running 3 tests\n\
            test units::sizes ... ok\n\
            test track::realloc ... FAILED\n\
            test slow ... ignored, needs an hour\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s\n";
        let mut totals = Totals::default();
        output.lines().for_each(|line| totals.line(line));
        totals.skipped.push("live: no root".into());
        assert_eq!(totals.failed, ["track::realloc"]);
        assert_eq!(totals.ran(), 4);
        assert_eq!(totals.to_string(), "2 tests passed, 1 failed, 1 ignored, 1 skipped");
    }
}
