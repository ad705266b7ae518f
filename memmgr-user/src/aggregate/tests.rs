//! Scripts of allocations → intervals.

use super::*;
use crate::track::{Blocks, Change, NewBlock};
use crate::units::Address;

const SECOND: u64 = 1_000_000_000;

enum Step {
    Alloc {
        address: u64,
        size: u64,
        stack: u32,
        at_s: u64,
    },
    Free(u64),
    Resize(u64, u64),
    Cut(u64),
    /// An interval whose windows stand for so many times the time that they were open.
    Windows(u64, f64),
}
use Step::{Alloc, Cut, Free, Resize, Windows};

fn run(script: &[Step]) -> (Ledger, Vec<Interval>) {
    let mut blocks = Blocks::new(KernelTime(0), usize::MAX);
    let mut ledger = Ledger::new(0);
    let mut intervals = Vec::new();
    let block = |address, size, stack, at_s| NewBlock {
        address: Address(address),
        size,
        interval: 0,
        stack: StackHandle(stack),
        time: KernelTime(at_s * SECOND),
    };
    for step in script {
        let tid = crate::units::Tid(1);
        let changes = match step {
            Alloc { address, size, stack, at_s } => {
                vec![Change::Alloc(block(*address, *size, *stack, *at_s))]
            }
            Free(address) => vec![Change::Free(Address(*address))],
            // In place, by stack 1, in the second where the last cut was.
            Resize(address, size) => vec![
                Change::ResizeBegin(tid, Address(*address)),
                Change::ResizeMoved(tid, block(*address, *size, 1, intervals.len() as u64)),
            ],
            Cut(at_s) => {
                intervals.push(ledger.cut(KernelTime(at_s * SECOND), 1.0));
                continue;
            }
            Windows(at_s, stands_for) => {
                intervals.push(ledger.cut(KernelTime(at_s * SECOND), *stands_for));
                continue;
            }
        };
        for change in changes {
            blocks.apply(change, &mut |delta| ledger.apply(&delta));
        }
    }
    (ledger, intervals)
}

/// Every interval as `site+allocated/count -age:freed/count…` and `book dip`.
fn check(script: &[Step], expected: &[&str]) {
    let (_, intervals) = run(script);
    let shown: Vec<String> = intervals
        .iter()
        .map(|interval| {
            let mut words = Vec::new();
            for delta in &interval.changes.sites {
                let a = delta.allocated;
                words.push(format!("{}+{}/{}", delta.site, a.bytes, a.count));
                for (age, freed) in &delta.freed {
                    words.push(format!("-{age}:{}/{}", freed.bytes, freed.count));
                }
            }
            for (book, dip) in &interval.changes.dips {
                words.push(format!("b{book}v{dip}"));
            }
            words.join(" ")
        })
        .collect();
    assert_eq!(shown, expected);
}

fn alloc(address: u64, size: u64, stack: u32, at_s: u64) -> Step {
    Alloc { address, size, stack, at_s }
}

#[test]
fn frees_know_the_interval_of_their_birth() {
    check(
        &[
            alloc(1, 16, 7, 0),
            alloc(2, 16, 7, 0),
            Free(1),
            Cut(1),
            alloc(3, 16, 7, 1),
            Cut(2),
            Free(2),
            Free(3),
            Cut(3),
            Cut(4),
        ],
        &["0+32/2 -0:16/1 b0v16", "0+16/1 b0v16", "0+0/0 -1:16/1 -2:16/1 b0v0", ""],
    );
}

#[test]
fn sizes_are_sites_and_stacks_are_books() {
    check(
        &[alloc(1, 16, 7, 0), alloc(2, 17, 7, 0), alloc(3, 32, 7, 0), alloc(4, 5, 8, 0), Cut(1)],
        &["0+33/2 1+32/1 2+5/1 b0v65 b1v5"],
    );
}

#[test]
fn a_resize_is_no_dip() {
    check(
        &[alloc(1, 100, 1, 0), Cut(1), Resize(1, 110), Cut(2), Resize(1, 300), Cut(3)],
        &["0+100/1 b0v100", "0+110/1 -1:100/1 b0v10", "0+0/0 -1:110/1 1+300/1 b0v190"],
    );
    // Smaller than before: that is the low.
    check(
        &[alloc(1, 100, 1, 0), Cut(1), Resize(1, 70), Cut(2)],
        &["0+100/1 b0v100", "0+70/1 -1:100/1 b0v0"],
    );
}

#[test]
fn blocks_go_as_what_they_came_as() {
    // Windows of an eighth of the first second and of a quarter of the third; the second was watched all the time.
    check(
        &[
            alloc(1, 16, 7, 0),
            alloc(2, 16, 7, 0),
            alloc(3, 16, 7, 0),
            Free(1),
            Windows(1, 8.0),
            Free(2),
            alloc(4, 16, 7, 1),
            Cut(2),
            alloc(5, 16, 7, 2),
            Free(3),
            Free(4),
            Windows(3, 4.0),
            Free(5),
            Cut(4),
        ],
        &[
            "0+384/24 -0:128/8 b0v256",
            "0+16/1 -1:128/8 b0v16",
            // At its lowest all older blocks are gone and the new one is there.
            "0+64/4 -1:16/1 -2:128/8 b0v0",
            "0+0/0 -1:64/4 b0v0",
        ],
    );
}

#[test]
fn totals_follow_the_windows() {
    let script = [alloc(1, 10, 1, 0), alloc(2, 20, 1, 0), Free(1), Windows(1, 10.0), Free(2)];
    let (ledger, intervals) = run(&script);
    let heap = ledger.heap();
    assert_eq!((heap.alloc_bytes, heap.free_bytes, heap.live_bytes()), (300.0, 300.0, 0.0));
    assert_eq!((heap.alloc_count, heap.free_count), (20.0, 20.0));
    // Not 300: what was highest within the windows tells nothing about the time between.
    assert_eq!((intervals[0].totals[0].live_bytes(), heap.peak_live_bytes), (200.0, 200.0));
}

#[test]
fn a_variance_goes_with_the_square() {
    let amount = Amount { count: 3.0, bytes: 30.0, samples: 2.0, variance: 7.0 };
    let expected = Amount { count: 12.0, bytes: 120.0, samples: 2.0, variance: 112.0 };
    assert_eq!(amount.times(4.0), expected);
    assert_eq!(amount.times(1.0), amount);
}

#[test]
fn totals_and_the_peak() {
    let (ledger, _) = run(&[alloc(1, 10, 1, 0), alloc(2, 20, 1, 0), Free(1), alloc(3, 5, 2, 0)]);
    let heap = ledger.heap();
    assert_eq!((heap.alloc_bytes, heap.free_bytes, heap.live_bytes()), (35.0, 10.0, 25.0));
    assert_eq!((heap.alloc_count, heap.free_count, heap.peak_live_bytes), (3.0, 1.0, 30.0));
}
