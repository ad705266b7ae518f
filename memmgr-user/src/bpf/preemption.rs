//! Whether one process can take the processor from another in the middle of a BPF program.
//!
//! A program on a function runs preemptible, and is passed over where it is running on the processor already
//! (kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`): while one thread is put aside within the program, the
//! calls of all others on that processor are missed. Tracepoints run with preemption off and miss none.
//! Kernels that preempt themselves only for real-time tasks, or where they ask for it, do not come to that.

use std::{fs, io::Read};

use flate2::read::GzDecoder;

/// Whether this kernel does. A kernel that does not say how it was configured is taken for one that does not: what is
/// missed is counted.
pub fn in_programs() -> bool {
    let system = rustix::system::uname();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let config = || configuration(&system.release().to_string_lossy());
    preempts(&system.version().to_string_lossy(), &command_line, config)
}

/// By what `uname -v` says, the last `preempt=` that the kernel was booted with, and its configuration.
fn preempts(version: &str, command_line: &str, config: impl FnOnce() -> Option<String>) -> bool {
    let says = |word| version.split_whitespace().any(|it| it == word);
    if !says("PREEMPT_DYNAMIC") {
        return says("PREEMPT") || says("PREEMPT_RT");
    }
    let mut chosen =
        command_line.split_whitespace().filter_map(|word| word.strip_prefix("preempt="));
    match chosen.next_back() {
        Some(model) => model == "full",
        None => config().is_some_and(|text| text.lines().any(|line| line == "CONFIG_PREEMPT=y")),
    }
}

fn configuration(release: &str) -> Option<String> {
    let own = || {
        let mut text = String::new();
        GzDecoder::new(fs::File::open("/proc/config.gz").ok()?).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let installed = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    own().or_else(|| installed.iter().find_map(|path| fs::read_to_string(path).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_preempts() {
        let full = Some("# CONFIG_PREEMPT_NONE is not set\nCONFIG_PREEMPT=y\n");
        let voluntary = Some("CONFIG_PREEMPT_VOLUNTARY=y\n# CONFIG_PREEMPT is not set\n");
        for (version, command_line, config, expected) in [
            ("#1 SMP Debian 5.10.0-1", "", full, false),
            ("#1 SMP PREEMPT Wed", "preempt=none", None, true),
            ("#1 SMP PREEMPT_RT Debian 6.12.1-1", "", None, true),
            ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.1-1", "quiet", voluntary, false),
            ("#1 SMP PREEMPT_DYNAMIC Wed", "quiet", full, true),
            ("#1 SMP PREEMPT_DYNAMIC Wed", "preempt=lazy quiet", full, false),
            ("#1 SMP PREEMPT_DYNAMIC Wed", "preempt=none preempt=full", voluntary, true),
            ("#1 SMP PREEMPT_DYNAMIC Wed", "quiet", None, false),
        ] {
            let found = preempts(version, command_line, || config.map(str::to_owned));
            assert_eq!(found, expected, "{version:?} {command_line:?}");
        }
    }
}
