//! Files that are replaced on disk while a process has them mapped, and libraries that come later.

use std::{
    fs,
    path::{Path, PathBuf},
};

use memmgr::report::Report;
use memmgr_tests::{Capture, Program, Workload, require_root};

use crate::{check_whole, live_through, obedient, obeys_commands, tell};

/// The library of a plugin, in the version that the target loads, and in the one that replaces it.
fn versions() -> (PathBuf, PathBuf) {
    let shared = Program::c("plugin").flags(&["-shared", "-fPIC"]);
    let old = shared.clone().flags(&["-DKEEP=keep_in_old"]).build();
    let new = shared.flags(&["-DKEEP=keep_in_new", "-DPADDED"]).build();
    (old, new)
}

/// How a file goes away.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// As package managers do: the new file under another name, then renamed over the old one.
    RenamedOver,
    /// Moved aside and another put in its place.
    MovedAside,
    Unlinked,
}

impl Way {
    const ALL: [Way; 3] = [Way::RenamedOver, Way::MovedAside, Way::Unlinked];

    fn replace(self, place: &Path, new: &Path) {
        let other = place.with_extension("other");
        match self {
            Way::RenamedOver => {
                fs::copy(new, &other).expect("a copy");
                fs::rename(&other, place).expect("a rename");
            }
            Way::MovedAside => {
                fs::rename(place, &other).expect("a rename");
                fs::copy(new, place).expect("a copy");
            }
            Way::Unlinked => fs::remove_file(place).expect("it is there"),
        }
    }
}

/// The symbols are those of the mapped file, whatever lies at its path. Its name is the one that the
/// kernel had for it at the attach.
#[track_caller]
fn check_old(report: &Report, held: (u64, u64), names: &[&Path]) {
    assert_eq!(live_through(report, "keep_in_old"), held, "{:#?}", report.stacks);
    assert_eq!(live_through(report, "work"), held, "{:#?}", report.stacks);
    assert_eq!(live_through(report, "keep_in_new"), (0, 0));
    let frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    let of_plugin = frames.filter(|frame| frame.function.as_deref() == Some("keep_in_old"));
    for frame in of_plugin {
        let module = frame.module.as_deref().expect("a module");
        assert!(names.iter().any(|name| name.to_str() == Some(module)), "{module}");
        assert!(frame.file.as_ref().is_some_and(|file| file.ends_with("plugin.c")), "{frame:?}");
    }
    check_whole(report);
}

fn target_with_plugin(directory: &Path) -> (Workload, PathBuf) {
    let place = directory.join("plugin.so");
    fs::copy(versions().0, &place).expect("a copy");
    let mut workload = obedient();
    tell(&mut workload, &format!("load {}", place.display()), "loaded");
    (workload, place)
}

#[test]
fn a_library_that_was_replaced_before() {
    if !require_root() {
        return;
    }
    for way in Way::ALL {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let (mut workload, place) = target_with_plugin(directory.path());
        way.replace(&place, &versions().1);
        let aside = place.with_extension("other");
        let names = [if matches!(way, Way::MovedAside) { &*aside } else { &*place }];
        let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
        tell(&mut workload, "call work 100 100", "called 10000");
        check_old(capture.interrupt().expect_report(), (10_000, 100), &names);
    }
}

#[test]
fn a_library_that_is_replaced_during_the_capture() {
    if !require_root() {
        return;
    }
    for way in Way::ALL {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let (mut workload, place) = target_with_plugin(directory.path());
        let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
        tell(&mut workload, "call work 100 100", "called 10000");
        way.replace(&place, &versions().1);
        tell(&mut workload, "call work 100 100", "called 10000");
        check_old(capture.interrupt().expect_report(), (20_000, 200), &[&place]);
    }
}

/// The allocator itself: what is probed is the mapped file, which no path leads to any more.
#[test]
fn an_allocator_that_was_replaced() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let place = directory.path().join("libjemalloc.so.2");
    for way in Way::ALL {
        fs::copy("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", &place)
            .expect("Debian's libjemalloc2");
        let mut command = std::process::Command::new(obeys_commands().build());
        command.env("LD_PRELOAD", &place);
        let mut workload = Workload::start_command(command);
        way.replace(&place, &versions().1);
        let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
        tell(&mut workload, "hold 100 100", "held 10000");
        let outcome = capture.interrupt();
        let report = outcome.expect_report();
        assert_eq!(live_through(report, "hold_blocks"), (10_000, 100), "{way:?}");
        let jemalloc =
            report.target.allocators.iter().find(|allocator| allocator.kind == "jemalloc");
        let jemalloc = jemalloc.unwrap_or_else(|| panic!("{:?}", report.target.allocators));
        let aside = place.with_extension("other");
        let name = if matches!(way, Way::MovedAside) { &aside } else { &place };
        assert_eq!(jemalloc.path, name.to_string_lossy());
        assert!(jemalloc.functions.iter().any(|function| function.hits >= 100));
    }
}

/// A library that is loaded after the attach: stacks through it are whole.
#[test]
fn a_library_that_is_loaded_during_the_capture() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let place = directory.path().join("plugin.so");
    fs::copy(versions().0, &place).expect("a copy");
    let mut workload = obedient();
    let capture = Capture::start(workload.pid(), &["--mode", "exact"]);
    tell(&mut workload, &format!("load {}", place.display()), "loaded");
    tell(&mut workload, "call work 100 100", "called 10000");
    // Even when it was unlinked before anybody looked at it.
    check_old(capture.interrupt().expect_report(), (10_000, 100), &[&place]);
}
