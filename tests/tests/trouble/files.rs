//! Allocators that cannot be found by name, and those that a person names.

use std::{fs, path::Path, process::Command};

use memmgr_tests::{Capture, Program, Workload, require_root};

use crate::{check_refused, check_whole, live_through, obedient, obeys_commands, run, tell};

/// A static program with glibc inside, with and without its symbols.
fn static_program() -> Program {
    // The loader for dlopen is left out; the workload is not asked to load anything here.
    obeys_commands().flags(&["-static", "-Wl,--no-warnings", "-w"])
}

fn stripped(program: &Path, directory: &Path) -> std::path::PathBuf {
    let stripped = directory.join("stripped");
    let ended = run(Command::new("strip").arg("-o").arg(&stripped).arg(program));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    stripped
}

/// The offset in the file of a function of a static program, from its symbols.
fn offset(program: &Path, function: &str) -> u64 {
    let symbols = run(Command::new("nm").arg(program)).stdout;
    let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(function));
    let address =
        hex(line.unwrap_or_else(|| panic!("no {function}")).split(' ').next().expect("an address"));
    // Type Offset VirtAddr PhysAddr FileSiz MemSiz Flags
    let segments = run(Command::new("readelf").args(["-lW"]).arg(program)).stdout;
    segments
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.first() == Some(&"LOAD"))
        .map(|fields| (hex(fields[1]), hex(fields[2]), hex(fields[4])))
        .find(|(_, start, length)| (*start..start + length).contains(&address))
        .map(|(offset, start, _)| address - start + offset)
        .expect("a segment")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
}

#[test]
fn a_program_without_symbols_is_refused_with_advice() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let program = stripped(&static_program().build(), directory.path());
    let workload = Workload::start_command(Command::new(program));
    let advice = ["no allocator", "--allocator PATH[:PREFIX]", "--probe FUNC@OFFSET"];
    check_refused(workload.pid(), &[], 1, &advice);
}

#[test]
fn a_program_without_symbols_is_probed_at_offsets() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let twin = static_program().build();
    let program = stripped(&twin, directory.path());
    let mut workload = Workload::start_command(Command::new(program));
    let at =
        |function: &str, beyond: u64| format!("{function}@{:#x}", offset(&twin, function) + beyond);
    // One byte into an instruction of several, and far from any function.
    for (probe, words) in [
        (at("malloc", 1), "--probe"),
        ("malloc@0x7".to_owned(), "--probe"),
        ("malloc@0xffffffff".to_owned(), "--probe"),
        ("free@/nowhere/lib.so:0x10".to_owned(), "/nowhere/lib.so"),
    ] {
        check_refused(workload.pid(), &["--probe", &probe], 1, &[words]);
    }
    let (malloc, free) = (at("malloc", 0), at("free", 0));
    let capture =
        Capture::start(workload.pid(), &["--mode", "exact", "--probe", &malloc, "--probe", &free]);
    tell(&mut workload, "hold 1000 100", "held 100000");
    let outcome = capture.interrupt();
    let totals = &outcome.expect_report().totals;
    assert_eq!((totals.live_bytes, totals.live_count, totals.free_count), (100_000, 100, 0));
}

/// The library of a program with an allocator of its own.
fn acme() -> std::path::PathBuf {
    Program::c("prefixed-allocator").flags(&["-shared", "-fPIC"]).build()
}

#[test]
fn an_allocator_with_a_prefix() {
    if !require_root() {
        return;
    }
    let library = acme();
    let mut workload = obedient();
    tell(&mut workload, &format!("load {}", library.display()), "loaded");
    let allocator = format!("{}:acme_", library.display());
    let capture = Capture::start(workload.pid(), &["--mode", "exact", "--allocator", &allocator]);
    tell(&mut workload, "call keep_some 1000 100", "called 100000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_eq!(live_through(report, "keep_some"), (100_000, 100));
    assert_eq!((report.totals.free_count, report.totals.free_bytes), (100, 50_100));
    assert!(report.capture.complete, "{:?}", report.capture.loss);
    check_whole(report);
}

/// Calls that are left by longjmp are never paired with later ones. Where they hide later calls, the
/// report does not claim to be complete.
#[test]
fn an_allocator_that_is_left_by_longjmp() {
    if !require_root() {
        return;
    }
    let library = acme();
    let allocator = format!("{}:acme_", library.display());
    for function in ["give_up_and_keep", "give_up_and_keep_deeper"] {
        let mut workload = obedient();
        tell(&mut workload, &format!("load {}", library.display()), "loaded");
        let flags = ["--mode", "exact", "--allocator", &allocator];
        let capture = Capture::start(workload.pid(), &flags);
        tell(&mut workload, &format!("call {function} 1000 100"), "called 100000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        let (held, loss) = (live_through(report, function), &report.capture.loss);
        assert_eq!(report.capture.accounting.residual, 0);
        assert!(loss.unmatched_return > 0, "{function}: {loss:?}");
        assert!(
            held == (100_000, 100) || !report.capture.complete,
            "{function}: {held:?} {loss:?}"
        );
    }
}

#[test]
fn allocators_that_are_named_wrongly() {
    if !require_root() {
        return;
    }
    let library = acme();
    let mut workload = obedient();
    let named = |prefix: &str| format!("{}:{prefix}", library.display());
    check_refused(
        workload.pid(),
        &["--allocator", &named("acme_")],
        1,
        &["prefixed-allocator", "/proc/"],
    );
    tell(&mut workload, &format!("load {}", library.display()), "loaded");
    check_refused(workload.pid(), &["--allocator", &named("other_")], 1, &["other_malloc"]);
}

/// A program that carries the mark of a Go build: its own heap is named as not covered, C libraries are measured.
#[test]
fn a_go_program() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let mark = directory.path().join("mark");
    fs::write(&mark, b"\xff Go buildinf:\x08\x02").expect("a file");
    let marked = |program: &Path, name: &str| {
        let copy = directory.path().join(name);
        let ended = run(Command::new("objcopy")
            .arg(format!("--add-section=.go.buildinfo={}", mark.display()))
            .arg(program)
            .arg(&copy));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        copy
    };
    let dynamic = marked(&obeys_commands().build(), "dynamic");
    let mut workload = Workload::start_command(Command::new(&dynamic));
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, "hold 100 10", "held 1000");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert!(
        report
            .target
            .not_covered
            .iter()
            .any(|left_out| left_out.what == dynamic.to_string_lossy()
                && left_out.why.contains("Go")),
        "{:?}",
        report.target.not_covered
    );
    assert!(report.target.allocators.iter().all(|allocator| allocator.path.contains("libc.so")));
    assert_eq!(live_through(report, "hold_blocks"), (1000, 10));

    // As most Go programs are: static, without any C function.
    let without_c = stripped(&static_program().build(), directory.path());
    let workload = Workload::start_command(Command::new(marked(&without_c, "static")));
    check_refused(workload.pid(), &[], 1, &["Go"]);
}
