//! heaptrack, injected into a running process and taken out of it.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use memmgr_tests::lines::Lines;
use rustix::process::{Pid, Signal, kill_process_group};

use super::leak::Seed;

/// Longest wait for its way into a process or out of it. It may hang: gdb calls functions of the target where it
/// happens to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// heaptrack's script at work. It ends when this is dropped; what it injected stays.
pub struct Heaptrack {
    target: u32,
    script: Child,
    lines: Lines,
}

impl Heaptrack {
    /// Injects it and returns when it records.
    pub fn inject(target: u32, seed: &Seed) -> Result<Self> {
        // Its interpreter says on stderr what it read.
        let mut script = Command::new("sh")
            .args(["-c", "exec heaptrack \"$@\" 2>&1", "sh", "--output"])
            .arg(seed.directory().join("heaptrack"))
            .args(["--pid", &target.to_string()])
            // Its gdb and its interpreter are in the group too.
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .context("heaptrack cannot be started")?;
        let lines = Lines::of(script.stdout.take().context("no stdout")?);
        let this = Heaptrack { target, script, lines };
        while this.line()?.context("heaptrack ended")? != "injection finished" {}
        Ok(this)
    }

    /// Ends the recording. The script ends when nothing is written any more: it has no other way that leaves
    /// the target without hooks, because its shell forgets about them when a signal ends it.
    pub fn end(mut self) -> Result<()> {
        let status = Command::new("timeout")
            .args(["--signal=KILL", &PATIENCE.as_secs().to_string(), "gdb"])
            .args(["--batch-silent", "-n", "-iex=set auto-solib-add off"])
            .args(["-p", &self.target.to_string()])
            .args(["-ex", "sharedlibrary libheaptrack_inject"])
            .args(["-ex", "call (void) heaptrack_stop()", "-ex", "detach"])
            .stderr(Stdio::null())
            .status()
            .context("gdb cannot be started")?;
        ensure!(status.success(), "gdb cannot end it: {status}");
        let mut recorded = 0;
        while let Some(line) = self.line()? {
            if let Some(count) = line.trim().strip_prefix("allocations:") {
                recorded = count.trim().parse()?;
            }
        }
        self.script.wait()?;
        ensure!(recorded > 0, "it recorded no allocation");
        Ok(())
    }

    fn line(&self) -> Result<Option<String>> {
        self.lines.within(PATIENCE).context("heaptrack hangs")
    }
}

impl Drop for Heaptrack {
    fn drop(&mut self) {
        // Nothing to do about failures: it has ended already, and taken its pipe away.
        if let Some(group) = i32::try_from(self.script.id()).ok().and_then(Pid::from_raw)
            && matches!(self.script.try_wait(), Ok(None))
        {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.script.wait();
        }
        let _ = fs::remove_file(format!("/tmp/heaptrack_fifo{}", self.script.id()));
    }
}
