//! Stacks by frame pointers: whole, and each apart from the others, whatever their depth and the size of their frames.

use std::collections::BTreeMap;

use memmgr::report::Stack;
use memmgr_tests::{
    Capture, Program, Workload,
    counts_itself::{assert_complete, heap},
    require_root, take_turn,
};

/// As in the program.
const DEPTHS: [usize; 9] = [1, 2, 3, 5, 8, 13, 21, 40, 100];
const FRAME_SIZES: u64 = 9;
const LEFT: u64 = 40;
const RIGHT: u64 = 72;
const CORNER: u64 = 104;

/// The program's own part of a stack, leaf first: `keeps 2*descends from_left`.
fn chain(stack: &Stack) -> String {
    let names = stack.frames.iter().filter_map(|frame| frame.function.as_deref());
    let mut parts = Vec::new();
    let mut depth = 0;
    for name in names.take_while(|name| *name != "main" && *name != "__start_context") {
        if name == "descends" {
            depth += 1;
            continue;
        }
        if depth > 0 {
            parts.push(format!("{depth}*descends"));
            depth = 0;
        }
        parts.push(name.to_owned());
    }
    parts.join(" ")
}

#[test]
fn stacks_of_every_depth_and_frame_size_are_kept_apart() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("calls-deep").flags(&["-fno-omit-frame-pointer"]);
    let mut workload = Workload::start(&program, &[]);
    let flags = ["--mode", "exact", "--stack", "fp", "--ring-bytes", "64MiB"];
    let capture = Capture::start(workload.pid(), &flags);
    workload.send("go");
    assert_eq!(workload.line(), "done");
    let outcome = capture.interrupt();
    let report = outcome.expect_report();
    assert_complete(report, "deep calls");

    let mut seen = BTreeMap::new();
    for stack in heap(report) {
        let (count, bytes) = seen.entry(chain(stack)).or_insert((0, 0));
        *count += stack.live_count;
        *bytes += stack.live_bytes;
    }
    let mut truth = BTreeMap::from([("keeps in_the_corner".to_owned(), (1, CORNER))]);
    for depth in DEPTHS {
        for (side, size) in [("from_left", LEFT), ("from_right", RIGHT)] {
            let chain = format!("keeps {depth}*descends {side}");
            truth.insert(chain, (FRAME_SIZES, FRAME_SIZES * size));
        }
    }
    assert_eq!(seen, truth);
}
