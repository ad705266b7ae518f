//! What memmgr uses while nothing happens.

use std::{
    fmt::Write as _,
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use memmgr_tests::capture::binary;

use crate::service::{self, LARGE, SMALL};

const SPAN: Duration = Duration::from_secs(20);

/// Measures and writes the table.
pub fn table(text: &mut String) -> Result<()> {
    writeln!(text, "| target | share of a core | resident | at its peak |\n|---|---:|---:|---:|")?;
    for scale in [SMALL, LARGE] {
        let program = service::build(scale)?;
        let size = fs::metadata(&program)?.len() >> 20;
        // It waits for a word on stdin.
        let target = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let target = Ended(target);
        let memmgr = Command::new(binary())
            .args(["leaks", "--duration", "0", "--pid", &target.0.id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start memmgr")?;
        let memmgr = Ended(memmgr);
        // Attached, and the pace has slowed down.
        sleep(Duration::from_secs(3));
        let (began, before) = (Instant::now(), busy_s(memmgr.0.id())?);
        sleep(SPAN);
        let share = (busy_s(memmgr.0.id())? - before) / began.elapsed().as_secs_f64();
        let status = fs::read_to_string(format!("/proc/{}/status", memmgr.0.id()))?;
        let kib = |field: &str| -> Result<f64> {
            let value = status.lines().find_map(|line| line.strip_prefix(field));
            let value = value.context("no such field")?.trim().trim_end_matches(" kB");
            Ok(value.parse::<f64>()?)
        };
        writeln!(
            text,
            "| a program of {size} MiB | {:.2} % | {:.1} MiB | {:.1} MiB |",
            share * 100.0,
            kib("VmRSS:")? / 1024.0,
            kib("VmHWM:")? / 1024.0
        )?;
    }
    Ok(())
}

/// Seconds that all threads of a process ran for.
fn busy_s(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = schedstat.split(' ').next().context("an empty schedstat")?;
        sum += nanoseconds.parse::<f64>()? / 1e9;
    }
    Ok(sum)
}

/// Ends its process when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
