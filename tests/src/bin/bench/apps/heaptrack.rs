//! heaptrack, injected into a running process and taken out of it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use memmgr_tests::{lines::Lines, servers::Ends};

use super::leak::Seed;

/// heaptrack's script at work. It ends when this is dropped; what it injected stays.
pub struct Heaptrack {
    target: u32,
    script: Ends,
    lines: Lines,
}

impl Heaptrack {
    /// Injects it and returns when it records.
    pub fn inject(target: u32, seed: &Seed) -> Result<Self> {
        let mut script = Command::new("heaptrack")
            .arg("--output")
            .arg(seed.directory().join("heaptrack"))
            .args(["--pid", &target.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("heaptrack cannot be started")?;
        let lines = Lines::of(script.stdout.take().context("no stdout")?);
        let script = Ends(script);
        while lines.next().context("heaptrack ended")? != "injection finished" {}
        Ok(Heaptrack { target, script, lines })
    }

    /// Ends the recording. The script ends when nothing is written any more: it has no other way that leaves
    /// the target without hooks, because its shell forgets about them when a signal ends it.
    pub fn end(mut self) -> Result<()> {
        let status = Command::new("gdb")
            .args(["--batch-silent", "-n", "-iex=set auto-solib-add off"])
            .args(["-p", &self.target.to_string()])
            .args(["-ex", "sharedlibrary libheaptrack_inject"])
            .args(["-ex", "call (void) heaptrack_stop()", "-ex", "detach"])
            .stderr(Stdio::null())
            .status()
            .context("gdb cannot be started")?;
        ensure!(status.success(), "gdb: {status}");
        let said = self.lines.rest();
        self.script.0.wait()?;
        let recorded = said.iter().find_map(|line| line.trim().strip_prefix("allocations:"));
        let recorded: u64 = recorded.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        ensure!(recorded > 0, "it recorded no allocation");
        Ok(())
    }
}
