//! Targets in namespaces of their own, and hosts without tracefs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use memmgr::report::Report;
use memmgr_tests::{Capture, Program, Workload, capture::binary, require_root};

use crate::{check_whole, live_through, obeys_commands, run, tell};

/// Copies a program and the libraries that the loader names for it below a new root, which has a place to mount on.
fn fill_root(root: &Path, program: &Path) {
    let libraries = run(Command::new("ldd").arg(program)).stdout;
    let paths =
        libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for path in paths {
        let copy = root.join(path.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
        fs::copy(&path, &copy).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    fs::copy(program, root.join("program")).expect("a copy");
    for directory in ["old", "new"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
}

/// In other mount and PID namespaces, with a root and a libc of its own, whose paths mean other
/// files to memmgr or none.
#[test]
fn a_target_in_a_container() {
    if !require_root() {
        return;
    }
    let root = tempfile::tempdir().expect("no temporary directory");
    fill_root(root.path(), &obeys_commands().build());
    let script = r#"
        mount -t tmpfs tmpfs "$1/new" && cp -a "$1/lib64" "$1/lib" "$1/old" "$1/program" "$1/new" || exit 99
        cd "$1/new" && pivot_root . old && exec /program"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]);
    command.arg(root.path());
    let mut workload = Workload::start_command(command);
    let children = format!("/proc/{0}/task/{0}/children", workload.pid());
    let inside: u32 = fs::read_to_string(children)
        .expect("it runs")
        .trim()
        .parse()
        .expect("unshare has one child");
    let status = fs::read_to_string(format!("/proc/{inside}/status")).expect("it runs");
    assert!(status.contains(&format!("NSpid:\t{inside}\t1\n")), "{status}");

    let capture = Capture::start(inside, &["--mode", "exact"]);
    tell(&mut workload, "hold 1000 100", "held 100000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_eq!(live_through(report, "hold_blocks"), (100_000, 100));
    assert_eq!(report.target.pid, inside);
    check_whole(report);
    let modules: Vec<_> = report
        .stacks
        .iter()
        .flat_map(|stack| &stack.frames)
        .filter(|frame| frame.function.as_deref() == Some("hold_blocks"))
        .filter_map(|frame| frame.module.as_deref())
        .collect();
    assert!(modules.iter().all(|module| *module == "/program"), "{modules:?}");
}

/// A capture by a memmgr for which this script prepared the mounts.
fn captured_after(script: &str, pid: u32) -> (Report, String) {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let place = directory.path().join("report.json");
    let ended = run(Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{script}\n\"$1\" report -d 1s --mode exact -p $2 -o \"$3\" && cat /proc/self/mounts"), "sh"])
        .arg(binary())
        .arg(pid.to_string())
        .arg(&place));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = serde_json::from_slice(&fs::read(&place).expect("a report")).expect("a report");
    (report, ended.stdout)
}

/// By functions of the kernel, which need its types, or else by tracepoints; without tracefs memmgr opens it for itself
/// alone. The mappings are seen every way.
#[test]
fn with_and_without_tracefs_and_types() {
    if !require_root() {
        return;
    }
    let without = "umount -l /sys/kernel/tracing /sys/kernel/debug 2>/dev/null\ntest ! -d /sys/kernel/tracing/events || exit 98";
    let with = "mount -t tracefs tracefs /sys/kernel/tracing || exit 97";
    let no_types = "\nmount -t tmpfs none /sys/kernel/btf || exit 96\n\"$1\" doctor | grep -q 'mapping calls.*tracepoints' || exit 95";
    for (tracefs, types, mounted) in
        [(without, "", false), (without, no_types, false), (with, no_types, true)]
    {
        // Grows without a pause, by brk.
        let mut command = Command::new(Program::c("ends-by-itself").build());
        command.arg("60000");
        let workload = Workload::spawn(command);
        let (report, mounts) = captured_after(&format!("{tracefs}{types}"), workload.pid());
        assert_eq!(mounts.contains("tracefs"), mounted, "{mounts}");
        let uncovered = &report.target.not_covered;
        assert!(report.mapped.alloc_bytes > 0, "{:?}", report.mapped);
        assert!(!uncovered.iter().any(|what| what.what.contains("mmap")), "{uncovered:?}");
    }
}
