//! What memmgr uses while nothing happens.

use std::{
    fmt::Write as _,
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use memmgr_tests::{capture::binary, servers::Ends};

use crate::{
    service::{self, LARGE, SMALL},
    target::processor_ns,
    usage::resident_bytes,
};

const SPAN: Duration = Duration::from_secs(20);

/// Measures and writes the table.
pub fn table(text: &mut String) -> Result<()> {
    writeln!(text, "| target | share of a core | resident | at its peak |\n|---|---:|---:|---:|")?;
    for scale in [SMALL, LARGE] {
        let program = service::build(scale)?;
        let size = fs::metadata(&program)?.len() >> 20;
        // It waits for a word on stdin.
        let target = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let target = Ends(target);
        let memmgr = Command::new(binary())
            .args(["leaks", "--duration", "0", "--pid", &target.0.id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start memmgr")?;
        let memmgr = Ends(memmgr);
        // Attached, and the pace has slowed down.
        sleep(Duration::from_secs(3));
        let (began, before) = (Instant::now(), processor_ns(memmgr.0.id())?);
        sleep(SPAN);
        let share = (processor_ns(memmgr.0.id())? - before) / began.elapsed().as_nanos() as f64;
        let mib = |field| {
            Ok::<_, anyhow::Error>(resident_bytes(memmgr.0.id(), field)? as f64 / 1_048_576.0)
        };
        writeln!(
            text,
            "| a program of {size} MiB | {:.2} % | {:.1} MiB | {:.1} MiB |",
            share * 100.0,
            mib("VmRSS:")?,
            mib("VmHWM:")?
        )?;
    }
    Ok(())
}
