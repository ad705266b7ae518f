//! Names of functions: inlined, demangled, generated at run time, and in separate debug files.

use std::{fs, path::Path, process::Command};

use memmgr::report::{Frame, Stack};
use memmgr_tests::{Capture, Program, Workload, require_root};

/// Captures what a workload allocates on one line; the stack that holds most bytes at the end.
fn heaviest(mut workload: Workload) -> Stack {
    let capture = Capture::start(workload.pid(), &["--mode", "exact", "--stack", "dwarf"]);
    let _: serde_json::Value = workload.ask("go");
    let report = capture.interrupt().expect_report().clone();
    let stack = report.stacks.iter().find(|stack| stack.class == "heap").cloned();
    stack.expect("there is a stack")
}

fn name(frame: &Frame) -> &str {
    frame.function.as_deref().unwrap_or_default()
}

#[track_caller]
fn position(stack: &Stack, function: &str) -> usize {
    let found = stack.frames.iter().position(|frame| name(frame).starts_with(function));
    found.unwrap_or_else(|| panic!("no {function} in {:#?}", stack.frames))
}

#[test]
fn code_of_a_compiler_at_run_time_is_named_by_its_perf_map() {
    if !require_root() {
        return;
    }
    let stack = heaviest(Workload::start(&Program::c("generates-code"), &[]));
    assert_eq!((stack.live_count, stack.live_bytes), (100, 100_000));
    let caller = position(&stack, "allocate_for_generated_code");
    assert_eq!(name(&stack.frames[caller + 1]), "generated_by_the_compiler", "{:#?}", stack.frames);
    assert_eq!(name(&stack.frames[caller + 2]), "main");
    assert_eq!(stack.cut, None);
}

#[test]
fn inlined_functions_are_frames_of_their_own_and_names_are_demangled() {
    if !require_root() {
        return;
    }
    let stack = heaviest(Workload::start(&Program::cpp("inlines-calls"), &[]));
    assert_eq!((stack.live_count, stack.live_bytes), (100, 100_000));
    let inlined = position(&stack, "shop::Basket<long>::put");
    assert!(stack.frames[inlined].inlined, "{:#?}", stack.frames);
    assert!(
        stack.frames[inlined]
            .file
            .as_deref()
            .is_some_and(|file| file.ends_with("inlines-calls.cpp"))
    );
    let outer = &stack.frames[inlined + 1];
    assert!(
        name(outer).starts_with("shop::Basket<long>::fill") && !outer.inlined,
        "{:#?}",
        stack.frames
    );
    assert!(outer.line.is_some());
}

/// A stripped program whose debug file lies in the target's own root, named by its build id.
#[test]
fn a_separate_debug_file_is_found_by_build_id() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let built = Program::cpp("inlines-calls").flags(&["-static", "-Wl,--build-id=sha1"]).build();
    let root = directory.path().join("root");
    let program = root.join("program");
    fs::create_dir_all(&root).expect("a root");
    fs::copy(&built, &program).expect("a copy");
    let debug = directory.path().join("debug");
    run(Command::new("objcopy").arg("--only-keep-debug").args([&built, &debug]));
    // Static: malloc and free keep their symbols, the program's own functions do not.
    let keep = ["malloc", "free", "calloc", "realloc"].map(|name| format!("--keep-symbol={name}"));
    run(Command::new("objcopy")
        .args(["--strip-debug", "--strip-unneeded"])
        .args(&keep)
        .arg(&program));
    let id = build_id(&program);
    let place = root.join("usr/lib/debug/.build-id").join(&id[..2]);
    fs::create_dir_all(&place).expect("a place");
    fs::rename(&debug, place.join(format!("{}.debug", &id[2..]))).expect("moved");

    let mut command = Command::new("chroot");
    command.arg(&root).arg("/program");
    let stack = heaviest(Workload::start_command(command));
    assert_eq!((stack.live_count, stack.live_bytes), (100, 100_000));
    position(&stack, "shop::Basket<long>::put");
    position(&stack, "shop::Basket<long>::fill");
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn build_id(program: &Path) -> String {
    let output = Command::new("readelf").arg("-n").arg(program).output().expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let id = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.expect("a build id").to_owned()
}
