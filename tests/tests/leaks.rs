//! Verdicts from short captures: a leak is found with its function on top, and a program that does not leak
//! stays without an alarm. `cargo xtask bench leaks` judges the whole set from longer ones.

use std::thread;

use memmgr_tests::{
    leaks::{Case, Verdict, capture},
    require_root, take_turn,
};

/// Enough for cases that leak often, or whose cycles are short.
const SECONDS: u32 = 12;

const CASES: [&str; 12] = [
    // They leak: beside churn, in C++, in mappings, in threads, from a call site that mostly frees.
    "aligned-blocks",
    "every-nth-request",
    "map-never-erased",
    "mapping",
    "strdup",
    "thread-block",
    // They do not.
    "idle",
    "mapped-buffers",
    "sampled-server",
    "sawtooth",
    "start-up-pools",
    "string-builder",
];

/// What is wrong about the verdict over a case, if anything.
fn mistake(case: &Case) -> Option<String> {
    let outcome = capture(case, SECONDS);
    let report = outcome.expect_report();
    let verdict = Verdict::of(report);
    let mistake = verdict.mistake(&case.expected)?;
    Some(format!(
        "{}: {mistake}: expected {:?}; findings {:#?}",
        case.name, case.expected, report.findings
    ))
}

#[test]
fn verdicts_of_short_captures() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut cases = Case::all().expect("every case has a whole header");
    cases.retain(|case| CASES.contains(&case.name.as_str()));
    assert_eq!(cases.len(), CASES.len(), "a case has another name now");
    // Compiled one after the other, before anything is captured.
    for case in &cases {
        drop(case.command());
    }
    let mistakes: Vec<String> = thread::scope(|scope| {
        let captures: Vec<_> =
            cases.iter().map(|case| scope.spawn(move || mistake(case))).collect();
        captures
            .into_iter()
            .filter_map(|capture| capture.join().expect("no capture panics"))
            .collect()
    });
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
