//! Swap that a test makes, and that is gone after it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A swap file in use. Dropped, it is taken out of use and removed.
pub struct Swap(PathBuf);

impl Swap {
    /// Makes one of so many MiB in a directory. Nothing, with the reason said, where the host lets none be made; where `CI` is
    /// `true` that is a failure.
    pub fn make(directory: &Path, mebibytes: u64) -> Option<Self> {
        let path = directory.join("swap");
        let size = format!("{mebibytes}M");
        let made = run("fallocate", &["-l", &size], &path)
            .and_then(|()| run("chmod", &["600"], &path))
            .and_then(|()| run("/sbin/mkswap", &[], &path))
            .and_then(|()| run("/sbin/swapon", &[], &path));
        match made {
            Ok(()) => Some(Swap(path)),
            Err(error) => {
                assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "no swap: {error}");
                println!("skipped: no swap can be made: {error}");
                None
            }
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // What is in it comes back into memory; if that fails, the file must stay.
        if run("/sbin/swapoff", &[], &self.0).is_ok() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
