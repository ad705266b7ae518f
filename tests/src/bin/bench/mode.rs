//! The modes of a capture, and the flags that ask for them.

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

    /// Flags for what the mode itself costs: where a budget would change that, it is off.
    pub fn flags(self) -> Vec<&'static str> {
        let mut flags = vec!["--mode", self.name()];
        if matches!(self, Mode::Sample | Mode::Exact) && knows("--max-overhead") {
            flags.extend(["--max-overhead", "0"]);
        }
        flags
    }
}

/// Whether the memmgr under test has a flag or a mode.
pub fn knows(word: &str) -> bool {
    let help = std::process::Command::new(memmgr_tests::capture::binary())
        .args(["leaks", "--help"])
        .output()
        .expect("memmgr prints its help");
    String::from_utf8_lossy(&help.stdout).contains(word)
}
