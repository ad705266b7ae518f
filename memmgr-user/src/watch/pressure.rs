//! The kernel's own triggers on pressure: it wakes whoever waits when tasks waited for memory for so long in a window, so
//! that nothing has to be polled. See "Monitoring for pressure thresholds" in Documentation/accounting/psi.rst.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rustix::fs::OFlags;
use tokio::io::{Interest, unix::AsyncFd};

/// An open trigger. It is gone when this is dropped.
#[derive(Debug)]
pub struct Trigger(AsyncFd<File>);

impl Trigger {
    /// Sets a trigger on a pressure file: some or all tasks waited for this share of a window.
    ///
    /// # Errors
    /// Where the kernel has no pressure or allows no trigger: then the figures have to be looked at.
    pub fn set(path: &Path, all: bool, percent: f64, window: Duration) -> io::Result<Self> {
        let set = |window_us: u128| {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(path)?;
            let stall_us = (window_us as f64 * percent / 100.0) as u128;
            let line = if all { "full" } else { "some" };
            // One write, with the zero that ends it.
            file.write_all(format!("{line} {} {window_us}\0", stall_us.max(1)).as_bytes())?;
            // SAFETY: a `File` has one descriptor, which is open until the `AsyncFd` is dropped.
            let file = unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?;
            Ok(Trigger(file))
        };
        let window_us = window.as_micros();
        // Without CAP_SYS_RESOURCE only multiples of 2 s are allowed (psi_trigger_create in kernel/sched/psi.c).
        let rounded_us = window_us.div_ceil(2_000_000) * 2_000_000;
        set(window_us).or_else(|error: io::Error| match error.kind() {
            io::ErrorKind::InvalidInput if rounded_us != window_us => set(rounded_us),
            _ => Err(error),
        })
    }

    /// Waits until the kernel says that it was reached.
    ///
    /// # Errors
    /// When the wait itself fails: also when the group of the file is removed.
    pub async fn reached(&self) -> io::Result<()> {
        let mut ready = self.0.ready(Interest::PRIORITY | Interest::ERROR).await?;
        if ready.ready().is_error() {
            return Err(io::ErrorKind::NotFound.into());
        }
        ready.clear_ready();
        Ok(())
    }
}
