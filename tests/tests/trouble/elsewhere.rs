//! Targets in namespaces of their own, and hosts without tracefs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use memmgr::report::Report;
use memmgr_tests::{Capture, Program, Workload, capture::binary, host::has_program, require_root};

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

/// What `unshare --fork` runs.
fn only_child(workload: &Workload) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", workload.pid());
    fs::read_to_string(children).expect("it runs").trim().parse().expect("unshare has one child")
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
    let inside = only_child(&workload);
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

/// Where the other C library's dynamic linker is in the container; the host has no such path.
const OTHER_LIBC: &str = "opt/other/ld-musl.so.1";

/// What is outstanding, by the named functions of its stack, up to `main`.
fn table(report: &Report) -> Vec<(Vec<String>, u64, u64)> {
    let mut rows: Vec<_> = report
        .stacks
        .iter()
        .filter(|stack| stack.class == "heap" && stack.live_count > 0)
        .map(|stack| {
            let names = stack.frames.iter().filter_map(|frame| frame.function.clone());
            let mut names: Vec<String> = names.collect();
            let main =
                names.iter().position(|name| name == "main").map_or(names.len(), |at| at + 1);
            names.truncate(main);
            (names, stack.live_count, stack.live_bytes)
        })
        .collect();
    rows.sort();
    rows
}

fn captured_holding(workload: &mut Workload, pid: u32) -> Report {
    let capture = Capture::start(pid, &["--mode", "exact"]);
    tell(workload, "hold 1000 100", "held 100000");
    tell(workload, "hold 77 3", "held 231");
    let report = capture.interrupt().expect_report().clone();
    assert_eq!(live_through(&report, "hold_blocks"), (100_231, 103));
    // Debian's musl has no unwind tables, so that the walk ends at what called `main`.
    assert_eq!(live_through(&report, "main"), (100_231, 103));
    report
}

/// In user, mount and PID namespaces made by nobody in particular, on an overlay, with a C library that the host does not have: the
/// same table as outside.
#[test]
fn a_target_in_a_container_of_another_system() {
    if !require_root() || !has_program("musl-gcc") {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let lower = directory.path().join("lower");
    let linker = lower.join(OTHER_LIBC);
    for made in
        [linker.parent().expect("a parent"), &lower.join("old"), &directory.path().join("layers")]
    {
        fs::create_dir_all(made).expect("a directory");
    }
    let mut bytes = fs::read("/lib/ld-musl-x86_64.so.1").expect("musl is installed");
    // The host's own is another file with other contents.
    bytes.extend_from_slice(b"of another system");
    fs::write(&linker, bytes).expect("a copy");
    fs::set_permissions(&linker, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let other = format!("-Wl,--dynamic-linker=/{OTHER_LIBC}");
    let program = obeys_commands().compiler("musl-gcc").flags(&[&other]).build();
    fs::copy(&program, lower.join("program")).expect("a copy");

    let script = r#"
        mount -t tmpfs tmpfs "$1/layers" && cd "$1/layers" && mkdir upper work new &&
        mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=upper,workdir=work" new &&
        cd new && pivot_root . old && exec /program"#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", script, "sh"]).arg(directory.path());
    let mut contained = Workload::start_command(command);
    let pid = only_child(&contained);
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/user")).expect("it runs");
    assert_ne!(namespace(&pid.to_string()), namespace("self"));
    let inside = captured_holding(&mut contained, pid);
    let allocators = &inside.target.allocators;
    assert!(
        allocators.iter().any(|a| a.kind == "musl" && a.path == format!("/{OTHER_LIBC}")),
        "{allocators:?}"
    );

    let mut outside = Command::new(&linker);
    outside.arg(&program);
    let mut outside = Workload::start_command(outside);
    let pid = outside.pid();
    assert_eq!(table(&inside), table(&captured_holding(&mut outside, pid)));
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
