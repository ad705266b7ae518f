//! What the host must offer, and turns for tests that need it to themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether this host can run a live test. Prints why not; where `CI` is `true`, a host that cannot
/// is a failure, so that no job passes without having tested anything.
#[must_use]
pub fn require_root() -> bool {
    let Some(reason) = missing() else { return true };
    skip(reason);
    false
}

fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("probing needs root");
    }
    // bpf(2): without a kernel that was built with it there is no such sysctl.
    if !std::path::Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists() {
        return Some("this kernel has no bpf(2)");
    }
    None
}

/// Waits until no other test of this binary holds a turn. For tests whose outcome depends on a
/// collector that is not starved of processor time.
pub fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that panicked in its turn left nothing behind that matters to the next.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the dynamic linker knows this library. Prints that a test is skipped where it does not;
/// where `CI` is `true`, that is a failure.
#[must_use]
pub fn has_library(name: &str) -> bool {
    let known = std::process::Command::new("/sbin/ldconfig").arg("-p").output();
    let known = known.expect("/sbin/ldconfig cannot be run");
    let found = String::from_utf8_lossy(&known.stdout)
        .lines()
        .any(|line| line.split_ascii_whitespace().next() == Some(name));
    if !found {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Whether there is this static library (`libjemalloc.a`), as above.
pub fn has_static_library(name: &str) -> bool {
    let known = std::process::Command::new("cc").arg(format!("-print-file-name={name}")).output();
    let path = known.expect("cc cannot be run").stdout;
    // Where it finds none it prints the name back.
    let found = path.first() == Some(&b'/');
    if !found {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Whether there is this program, as above.
#[must_use]
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !found {
        skip(&format!("{name} is not installed"));
    }
    found
}

fn skip(reason: &str) {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "live tests cannot run: {reason}");
    println!("skipped: {reason}");
}
