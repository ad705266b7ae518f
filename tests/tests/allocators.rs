//! Allocators beyond malloc and free: their own functions, those inside Rust programs, those that come while a capture runs, and
//! those whose functions have no names any more. Each program counts what it does; figures are equal to the byte.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use memmgr::report::{Allocator, Report};
use memmgr_tests::{
    Capture, Program, Workload,
    counts_itself::{
        Counts, SITES, Truth, assert_complete, assert_consistent, assert_equal_to_the_truth,
        reported_site,
    },
    host::has_library,
    require_root,
    rust_crate::with_allocator,
    take_turn,
};

const EXACT: [&str; 8] =
    ["--mode", "exact", "--stack", "dwarf", "--ring-bytes", "256MiB", "--stack-bytes", "4KiB"];

/// jemalloc and tcmalloc take more thread-local memory than a library that is loaded later gets by default (ld.so(8)).
const ROOM: (&str, &str) = ("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384");

/// The library of each kind, and functions that must have been called.
const LIBRARIES: [(&str, &str, &[&str]); 3] = [
    ("jemalloc", "libjemalloc.so.2", &["mallocx", "rallocx", "xallocx", "dallocx", "sdallocx"]),
    (
        "tcmalloc",
        "libtcmalloc_minimal.so.4",
        &["tc_new_nothrow", "tc_new_aligned_nothrow", "tc_delete_sized", "tc_delete_aligned"],
    ),
    (
        "mimalloc",
        "libmimalloc.so.2",
        &[
            "mi_zalloc",
            "mi_malloc_aligned",
            "mi_realloc_aligned",
            "mi_expand",
            "mi_mallocn",
            "mi_recalloc",
            "mi_heap_malloc",
            "mi_heap_realloc",
            "mi_heap_recalloc",
            "mi_new_nothrow",
        ],
    ),
];

fn extended_calls(kind: &str, seed: u64) -> Command {
    let program = Program::c("extended-calls").flags(&["-fno-builtin", "-fno-omit-frame-pointer"]);
    let mut command = Command::new(program.build());
    command.args([kind, &seed.to_string()]).env(ROOM.0, ROOM.1);
    command
}

fn open(workload: &mut Workload, library: &str) {
    workload.send(&format!("open {library}"));
    assert_eq!(workload.line(), "opened");
}

fn allocator<'a>(report: &'a Report, kind: &str) -> &'a Allocator {
    let mut found = report.target.allocators.iter().filter(|allocator| allocator.kind == kind);
    found.next().unwrap_or_else(|| panic!("no {kind} in {:?}", report.target.allocators))
}

/// Of a function, by one of its names.
fn hits(allocator: &Allocator, name: &str) -> u64 {
    let named = |symbol: &str| symbol.split('=').any(|own| own == name);
    allocator.functions.iter().filter(|f| named(&f.symbol)).map(|f| f.hits).sum()
}

fn not_covered(report: &Report) -> String {
    report.target.not_covered.iter().map(|gap| format!("{}: {}\n", gap.what, gap.why)).collect()
}

#[test]
fn the_functions_of_one_allocator_alone() {
    if !require_root() {
        return;
    }
    for (kind, library, functions) in LIBRARIES {
        if !has_library(library) {
            continue;
        }
        let _turn = take_turn();
        let mut command = extended_calls(kind, 1);
        command.env("LD_PRELOAD", library);
        let mut workload = Workload::start_command(command);
        open(&mut workload, library);
        let capture = Capture::start(workload.pid(), &EXACT);
        let _: Truth = workload.ask("run 60000");
        let half: Truth = workload.ask("run 1");
        assert!(half.total.live_bytes > 0 && half.failed > 0 || kind == "tcmalloc", "{half:?}");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_equal_to_the_truth(report, &half, kind);
        assert_consistent(report, kind);
        assert_eq!(report.capture.loss.unknown_free, 0, "{kind}: no free is told twice");
        for function in functions {
            assert!(hits(allocator(report, kind), function) > 0, "{function} was not called");
        }
        let gaps = not_covered(report);
        assert!(!gaps.contains("operator new") && !gaps.contains("xallocx"), "{kind}: {gaps}");
    }
}

/// Each form of operator new and delete, in allocators that do not come to their own malloc and free by them.
#[test]
fn operators_that_an_allocator_brings_along() {
    if !require_root() {
        return;
    }
    for (kind, library, _) in LIBRARIES {
        if !has_library(library) {
            continue;
        }
        let _turn = take_turn();
        let program = Program::cpp("counts-operators").flags(&[
            "-std=c++17",
            "-fsized-deallocation",
            "-fno-omit-frame-pointer",
        ]);
        let mut command = Command::new(program.build());
        command.env("LD_PRELOAD", library);
        let mut workload = Workload::start_command(command);
        let capture = Capture::start(workload.pid(), &EXACT);
        let truth: Truth = workload.ask("run 5 60000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_equal_to_the_truth(report, &truth, kind);
        assert_consistent(report, kind);
        assert_eq!(report.capture.loss.unknown_free, 0, "{kind}: no free is told twice");
        let own = allocator(report, kind);
        assert!(hits(own, "_Znwm") > 0, "{kind}: {own:?}");
        assert!(!not_covered(report).contains("operator"), "{kind}: {}", not_covered(report));
        if kind == "mimalloc" {
            // As Debian compiles it, nothing can be thrown through it.
            continue;
        }
        // What is thrown under a probe arrives, and the program goes on.
        let capture = Capture::start(workload.pid(), &EXACT);
        workload.send("throw 100");
        assert_eq!(workload.line(), "caught 100");
        let _: Truth = workload.ask("run 6 1000");
        assert_eq!(capture.interrupt().code, 0);
    }
}

/// One after the other is loaded while the capture runs, beside glibc's, which goes on serving the program itself.
#[test]
fn allocators_that_are_loaded_while_a_capture_runs() {
    if !require_root() {
        return;
    }
    for (kind, library, _) in LIBRARIES {
        if !has_library(library) {
            continue;
        }
        let _turn = take_turn();
        let mut workload = Workload::start_command(extended_calls(kind, 2));
        let mut capture = Capture::start(workload.pid(), &EXACT);
        open(&mut workload, library);
        // Blocks are given out only once it is probed, so that every one of them counts.
        assert!(capture.says(&format!("({kind}) are probed since")), "memmgr ended");
        let truth: Truth = workload.ask("run 40000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_complete(report, kind);
        assert_consistent(report, kind);
        let mut sum = Counts::default();
        for site in 0..SITES {
            let seen = reported_site(report, site);
            assert_eq!(seen, truth.sites[site], "{kind}: site_{site}");
            sum.live_bytes += seen.live_bytes;
        }
        assert_eq!(sum.live_bytes, truth.total.live_bytes);
        assert!(
            allocator(report, "glibc").functions.iter().any(|f| f.hits > 0),
            "dlopen allocates"
        );
        let gaps = not_covered(report);
        // The file behind the library's name has a longer one.
        assert!(gaps.contains(library) && gaps.contains("gave out in the first"), "{gaps}");
    }
}

/// The program, how it is called by its allocator, and functions of its that must have been called.
const RUST: [(Option<&str>, &str, &[&str]); 3] = [
    (None, "glibc", &["malloc", "calloc", "realloc", "posix_memalign", "free"]),
    (
        Some("jemalloc"),
        "jemalloc",
        &[
            "_rjem_malloc",
            "_rjem_mallocx",
            "_rjem_calloc",
            "_rjem_realloc",
            "_rjem_rallocx",
            "_rjem_sdallocx",
        ],
    ),
    (
        Some("mimalloc"),
        "mimalloc",
        &["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned", "mi_free"],
    ),
];

fn rust_program(program: &Path, seed: u64) -> Command {
    let mut command = Command::new(program);
    command.args([&seed.to_string(), "4", "0"]);
    command
}

#[test]
fn rust_programs_with_a_global_allocator() {
    if !require_root() {
        return;
    }
    for (feature, kind, functions) in RUST {
        let program = with_allocator(feature);
        let _turn = take_turn();
        let mut workload = Workload::start_command(rust_program(&program, 3));
        let capture = Capture::start(workload.pid(), &EXACT);
        let _: Truth = workload.ask("run 100000");
        let _: Truth = workload.ask("free");
        let truth: Truth = workload.ask("run 20000");
        assert!(truth.failed > 0 && truth.total.live_count > 100, "{truth:?}");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_equal_to_the_truth(report, &truth, kind);
        assert_consistent(report, kind);
        assert_eq!(report.capture.loss.unknown_free, 0, "{kind}");
        for function in functions {
            assert!(hits(allocator(report, kind), function) > 0, "{function} was not called");
        }
    }
}

/// A copy without symbols, and its debug file below a directory of debug files.
fn stripped(program: &Path, directory: &Path) -> (PathBuf, PathBuf) {
    let copy = directory.join("stripped");
    let run = |command: &mut Command| {
        let output = command.output().expect("binutils are installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    fs::copy(program, &copy).expect("a copy");
    let notes = run(Command::new("readelf").arg("-n").arg(program));
    let build_id = notes.split("Build ID: ").nth(1).expect("a build id").trim();
    let (first, rest) = build_id.split_at(2);
    let debug = directory.join("debug/.build-id").join(first);
    fs::create_dir_all(&debug).expect("a directory");
    let keep = ["--only-keep-debug"];
    run(Command::new("objcopy").args(keep).arg(program).arg(debug.join(format!("{rest}.debug"))));
    run(Command::new("strip").arg("--strip-all").arg(&copy));
    (copy, directory.join("debug"))
}

/// Without symbols a program's own allocator is not silently passed over; with the debug file, in the target's own root, it is
/// found, and every figure is right.
#[test]
fn an_allocator_without_symbols_is_told_or_found_by_its_debug_file() {
    if !require_root() {
        return;
    }
    for (feature, kind) in [("jemalloc", "jemalloc"), ("mimalloc", "mimalloc")] {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let (program, debug) = stripped(&with_allocator(Some(feature)), directory.path());
        let _turn = take_turn();
        let mut workload = Workload::start_command(rust_program(&program, 4));
        let capture = Capture::start(workload.pid(), &EXACT);
        let truth: Truth = workload.ask("run 5000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert!(report.totals.live_bytes < truth.total.live_bytes);
        let gaps = not_covered(report);
        assert!(gaps.contains(&format!("it seems to hold {kind}'s malloc")), "{gaps}");
        assert!(outcome.stdout.contains("--probe malloc@0x"), "{}", outcome.stdout);

        // Only the target has the debug file: nothing is put into the host's directory.
        let script = r#"mount --bind "$1" /usr/lib/debug && shift && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&debug).arg(&program);
        command.args(["4", "4", "0"]);
        let mut workload = Workload::start_command(command);
        let capture = Capture::start(workload.pid(), &EXACT);
        let truth: Truth = workload.ask("run 20000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_complete(report, kind);
        assert_eq!(report.totals.live_bytes, truth.total.live_bytes, "{kind}");
        assert_eq!(report.totals.alloc_count, truth.total.alloc_count, "{kind}");
        assert_eq!(report.totals.alloc_bytes, truth.total.alloc_bytes, "{kind}");
        assert!(!not_covered(report).contains("seems to hold"), "{}", not_covered(report));
    }
}
