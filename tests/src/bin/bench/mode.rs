//! The modes of a capture, and the flags that ask for them.

use std::process::Command;

use memmgr_tests::capture::binary;

/// How memmgr captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Growth of the process, without a probe on an allocator.
    Growth,
    /// Poisson sampling by bytes.
    Sample,
    /// What the budget allows.
    Auto,
    /// Every call.
    Exact,
}

impl Mode {
    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Growth => "growth",
            Mode::Sample => "sample",
            Mode::Auto => "auto",
            Mode::Exact => "exact",
        }
    }

    /// Whether the memmgr under test has it.
    pub fn is_there(self) -> bool {
        accepts(&["--mode", self.name()])
    }

    /// Flags for what the mode itself costs: where a budget would change that, it is off.
    pub fn flags(self) -> Vec<&'static str> {
        let mut flags = vec!["--mode", self.name()];
        if matches!(self, Mode::Sample | Mode::Exact) && accepts(&WITHOUT_BUDGET) {
            flags.extend(WITHOUT_BUDGET);
        }
        flags
    }
}

/// Turns the budget off.
const WITHOUT_BUDGET: [&str; 2] = ["--max-overhead", "off"];

/// Whether the memmgr under test, which may be of another version, knows flags: it looks at them before it helps.
fn accepts(flags: &[&str]) -> bool {
    let output = Command::new(binary()).arg("leaks").args(flags).arg("--help").output();
    output.expect("memmgr prints its help").status.success()
}
