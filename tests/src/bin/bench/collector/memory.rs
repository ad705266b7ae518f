//! Bytes of resident memory for each live allocation, each number of them in a process of its own.

use std::{fmt::Write as _, process::Command};

use anyhow::{Result, ensure};
use memmgr::modules::Modules;
use memmgr_common::events::Kind;

use super::{
    LIVE, collector, heading,
    rate::{STACKS, frames, size},
    records::{Records, Stack},
};
use crate::usage::resident_bytes;

/// Measures and writes the table.
pub fn table(text: &mut String) -> Result<()> {
    heading(text, "memory")?;
    let mut rows = [String::from("| at the end |"), String::from("| at its peak |")];
    for live in LIVE {
        let output = Command::new(std::env::current_exe()?)
            .args(["collector", &live.to_string()])
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let output = String::from_utf8(output.stdout)?;
        for (row, bytes) in rows.iter_mut().zip(output.split_whitespace()) {
            write!(row, " {bytes} |")?;
        }
    }
    for row in rows {
        writeln!(text, "{row}")?;
    }
    Ok(())
}

/// Bytes for each of so many live allocations: at the end, and at the peak.
pub fn of_this_process(live: usize) -> Result<String> {
    let mut collector = collector(Modules::default());
    let mut records = Records::default();
    for stack in 0..STACKS {
        records.clear();
        records.frames(stack as u64 + 1, &frames(stack));
        // The books of every stack are there before the blocks are.
        records.block(Kind::Alloc, 64, size(stack), Stack::Known(stack as u64 + 1));
        records.free(Kind::Free, 64);
        records.iter().for_each(|record| _ = collector.take(record));
    }
    let resident = |field| resident_bytes(std::process::id(), field);
    let before = resident("VmRSS:")?;
    for block in 0..live {
        records.clear();
        let stack = block % STACKS;
        // Blocks of a heap lie side by side.
        let address = 0x5555_0000_0000 + block as u64 * 64;
        records.block(Kind::Alloc, address, size(stack), Stack::Known(stack as u64 + 1));
        records.iter().for_each(|record| _ = collector.take(record));
    }
    ensure!(collector.blocks.len() == live, "blocks were lost");
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / live as f64;
    Ok(format!("{:.1} {:.1}", each(resident("VmRSS:")?), each(resident("VmHWM:")?)))
}
