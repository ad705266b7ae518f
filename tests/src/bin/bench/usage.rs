//! What a process used from its start to its end, as the kernel accounts for it.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

/// What a process used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Seconds from the moment that was given to its end.
    pub seconds: f64,
    /// Seconds of processor time, user and system.
    pub processor_s: f64,
    /// The most memory that was resident, in bytes.
    pub peak_bytes: u64,
    /// Bytes that were read from disk for it.
    pub read_bytes: u64,
}

/// Waits for a process that must succeed.
pub fn wait(child: &Child, since: Instant) -> Result<Usage> {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    let pid = child.id() as libc::pid_t;
    // SAFETY: both pointers are to places of their types; all zeroes is a valid rusage.
    let (waited, usage) =
        unsafe { (libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()), usage.assume_init()) };
    let seconds = since.elapsed().as_secs_f64();
    ensure!(waited == pid, "cannot wait for memmgr: {}", std::io::Error::last_os_error());
    let status = ExitStatus::from_raw(status);
    ensure!(status.success(), "memmgr failed: {status}");
    let time = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let unsigned = |value: libc::c_long| u64::try_from(value).context("a negative usage");
    Ok(Usage {
        seconds,
        processor_s: time(usage.ru_utime) + time(usage.ru_stime),
        peak_bytes: unsigned(usage.ru_maxrss)? << 10,
        // In units of 512 bytes (getrusage(2)).
        read_bytes: unsigned(usage.ru_inblock)? << 9,
    })
}

/// A field of `/proc/PID/status` that is an amount of memory, in bytes: `VmRSS:`, or `VmHWM:` for the peak.
pub fn resident_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
