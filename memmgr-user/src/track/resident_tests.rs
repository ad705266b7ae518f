//! Tests of `resident`.

use std::collections::BTreeMap;

use super::*;

const K: u64 = SMALL;
const SECOND: u64 = 1_000_000_000;
/// Where a huge page begins, in small ones.
const BORDER: u64 = 512;

enum Step {
    /// A page is touched by a stack.
    Touch(u64, u32),
    /// A page that is there is written, by a stack.
    Copy(u64, u32),
    Fork,
    Hints,
    /// A second later it is looked at all that is due: what is not named is gone.
    Look(&'static [(u64, Page)]),
    Exec,
}
use Step::{Copy, Exec, Fork, Hints, Look, Touch};

const P: Page = Page::Private;

struct Run {
    /// Bytes that are there, by stack.
    live: Vec<(u32, u64)>,
    /// Bytes allocated and freed over all.
    moved: (u64, u64),
    resident: Resident,
}

fn run(most: usize, interval: u64, script: &[Step]) -> Run {
    let mut resident = Resident::new(most);
    let (mut live, mut moved) = (BTreeMap::new(), (0, 0));
    let mut out = |delta: Delta| {
        assert_eq!(delta.class, Class::Resident);
        let bytes = delta.bytes.round() as u64;
        let sum: &mut i64 = live.entry(delta.stack.0).or_default();
        match delta.direction {
            Direction::Allocated => {
                moved.0 += bytes;
                *sum += bytes as i64;
            }
            Direction::Freed | Direction::Replaced => {
                moved.1 += bytes;
                *sum -= bytes as i64;
            }
        }
    };
    let mut now = KernelTime(0);
    for step in script {
        let page = |number: u64, stack: u32| NewBlock {
            address: Address(number * K),
            size: K,
            interval,
            stack: StackHandle(stack),
            time: now,
        };
        match step {
            Touch(number, stack) => resident.touched(page(*number, *stack), &mut out),
            Copy(number, stack) => resident.copied(page(*number, *stack)),
            Fork => resident.forked(),
            Hints => resident.expect_hints(),
            Look(there) => {
                now.0 += SECOND;
                let found: Vec<(Address, Page)> = resident
                    .due(usize::MAX)
                    .into_iter()
                    .map(|address| {
                        let named = there.iter().find(|(number, _)| number * K == address.0);
                        (address, named.map_or(Page::Gone, |(_, page)| *page))
                    })
                    .collect();
                resident.looked(&found, now, &mut out);
            }
            Exec => resident.clear(&mut out),
        }
    }
    let live: Vec<(u32, u64)> = live
        .into_iter()
        .map(|(stack, bytes)| (stack, u64::try_from(bytes).expect("never below 0")))
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    Run { live, moved, resident }
}

/// Pages that are there by stack, allocated and freed pages.
#[track_caller]
fn check(script: &[Step], live: &[(u32, u64)], allocated: u64, freed: u64) {
    let run = run(usize::MAX, 0, script);
    let pages: Vec<(u32, u64)> =
        run.live.iter().map(|(stack, bytes)| (*stack, bytes / K)).collect();
    assert_eq!((pages.as_slice(), run.moved), (live, (allocated * K, freed * K)));
}

#[test]
fn a_page_is_booked_when_it_is_seen() {
    check(&[Touch(5, 1)], &[], 0, 0);
    check(&[Touch(5, 1), Touch(6, 2), Look(&[(5, P), (6, P)])], &[(1, 1), (2, 1)], 2, 0);
}

#[test]
fn a_page_that_is_not_there_any_more_is_freed() {
    let script =
        [Touch(5, 1), Touch(6, 1), Look(&[(5, P), (6, P)]), Look(&[(6, P)]), Look(&[(6, P)])];
    check(&script, &[(1, 1)], 2, 1);
}

#[test]
fn a_page_that_nobody_saw_has_come_and_gone() {
    check(&[Touch(5, 1), Look(&[])], &[], 1, 1);
}

#[test]
fn a_page_that_was_touched_just_now_may_be_on_its_way() {
    let mut resident = Resident::new(usize::MAX);
    let time = KernelTime(SECOND);
    let stack = StackHandle(1);
    let page = NewBlock { address: Address(5 * K), size: K, interval: 0, stack, time };
    let mut booked = 0.0;
    let mut out = |delta: Delta| booked += delta.bytes;
    resident.touched(page, &mut out);
    let soon = KernelTime(SECOND + ON_ITS_WAY_NS / 2);
    assert_eq!(resident.due(9), [page.address]);
    resident.looked(&[(page.address, Page::Gone)], soon, &mut out);
    assert_eq!((resident.unknown(), resident.due(9)), (1, vec![page.address]));
    resident.looked(&[(page.address, P)], KernelTime(2 * SECOND), &mut out);
    assert_eq!(resident.unknown(), 0);
    assert_eq!(booked, 4096.0);
}

#[test]
fn a_fault_where_a_page_is_held_means_that_it_had_gone() {
    check(&[Touch(5, 1), Look(&[(5, P)]), Touch(5, 2), Look(&[(5, P)])], &[(2, 1)], 2, 1);
    check(&[Touch(5, 1), Touch(5, 2), Look(&[(5, P)])], &[(2, 1)], 2, 1);
    // Where the kernel takes pages away to see who uses them, only looking tells.
    check(&[Hints, Touch(5, 1), Look(&[(5, P)]), Touch(5, 2), Look(&[(5, P)])], &[(1, 1)], 1, 0);
    check(&[Hints, Touch(5, 1), Look(&[(5, P)]), Touch(5, 2), Look(&[])], &[], 1, 1);
}

#[test]
fn a_page_that_is_swapped_out_is_held_and_comes_back_to_its_stack() {
    let swapped = Look(&[(5, Page::Swapped)]);
    check(&[Touch(5, 1), Look(&[(5, P)]), swapped], &[(1, 1)], 1, 0);
    let script = [
        Touch(5, 1),
        Look(&[(5, P)]),
        Look(&[(5, Page::Swapped)]),
        Touch(5, 2),
        Look(&[(5, P)]),
        Touch(5, 3),
        Look(&[(5, P)]),
    ];
    check(&script[..5], &[(1, 1)], 1, 0);
    check(&script, &[(3, 1)], 2, 1);
}

#[test]
fn pages_of_files_are_counted_and_not_booked() {
    let script = [Touch(5, 1), Touch(6, 1), Look(&[(5, Page::NotOwn), (6, P)])];
    check(&script, &[(1, 1)], 1, 0);
    assert_eq!(run(usize::MAX, 0, &script).resident.not_booked().shared, 1.0);
    let estimated = run(usize::MAX, 8192, &script).resident.not_booked().shared;
    assert!((estimated - weight(4096, 8192)).abs() < 1e-9, "{estimated}");
    // A file was mapped where memory was.
    check(&[Touch(5, 1), Look(&[(5, P)]), Look(&[(5, Page::NotOwn)])], &[], 1, 1);
}

#[test]
fn what_is_only_read_is_no_memory_before_it_is_written() {
    check(&[Touch(5, 1), Look(&[(5, Page::Zero)])], &[], 0, 0);
    let script = [Touch(5, 1), Look(&[(5, Page::Zero)]), Copy(5, 2), Look(&[(5, P)])];
    check(&script, &[(2, 1)], 1, 0);
    // Within one interval: the stack that wrote is the one that takes the memory.
    check(&[Touch(5, 1), Copy(5, 2), Look(&[(5, P)])], &[(2, 1)], 1, 0);
}

#[test]
fn a_copy_of_what_a_child_shares_is_no_new_memory() {
    let script = [Touch(5, 1), Look(&[(5, P)]), Fork, Copy(5, 2), Copy(6, 2), Look(&[(5, P)])];
    check(&script, &[(1, 1)], 1, 0);
}

#[test]
fn a_huge_page_is_one_page() {
    const HUGE_PAGE: Page = Page::Huge;
    let (a, b) = (BORDER + 7, BORDER + 9);
    const A: u64 = BORDER + 7;
    const B: u64 = BORDER + 9;
    let first = || [Touch(a, 1), Look(&[(A, HUGE_PAGE)])];
    check(&first(), &[(1, 512)], 512, 0);
    // From then on it is looked at where it begins.
    let [touch, look] = first();
    check(&[touch, look, Look(&[(BORDER, HUGE_PAGE)])], &[(1, 512)], 512, 0);
    let [touch, look] = first();
    check(&[touch, look, Look(&[])], &[], 512, 512);
    // Two threads touched it at once.
    let both = Look(&[(A, HUGE_PAGE), (B, HUGE_PAGE)]);
    check(&[Touch(a, 1), Touch(b, 2), both], &[(1, 512)], 512, 0);
    // It had gone, and came back.
    let [touch, look] = first();
    let again = Look(&[(BORDER, HUGE_PAGE), (B, HUGE_PAGE)]);
    check(&[touch, look, Touch(b, 2), again], &[(2, 512)], 1024, 512);
    // Small pages that the kernel makes one of keep their size.
    let small = Look(&[(A, P), (B, P)]);
    let collapsed = Look(&[(A, HUGE_PAGE), (B, HUGE_PAGE)]);
    check(&[Touch(a, 1), Touch(b, 1), small, collapsed], &[(1, 2)], 2, 0);
}

#[test]
fn samples_stand_for_what_they_were_drawn_from() {
    let stands_for = (4096.0 * weight(4096, 16384)).round() as u64;
    let script = [Touch(5, 1), Touch(6, 1), Look(&[(5, P), (6, P)]), Look(&[(6, P)])];
    let Run { live, moved, .. } = run(usize::MAX, 16384, &script);
    assert_eq!((live, moved), (vec![(1, stands_for)], (2 * stands_for, stands_for)));
}

#[test]
fn a_full_table_counts_what_it_does_not_keep() {
    let script = [Touch(5, 1), Touch(6, 2), Touch(5, 3), Look(&[(5, P), (6, P)])];
    let Run { live, moved, resident } = run(1, 0, &script);
    assert_eq!((live, moved), (vec![(3, K)], (2 * K, K)));
    assert_eq!(resident.not_booked().table_full, 1);
}

#[test]
fn another_program_begins_without_pages() {
    check(&[Touch(5, 1), Look(&[(5, P)]), Touch(6, 1), Exec, Look(&[])], &[], 1, 1);
}

#[test]
fn all_pages_have_their_turn() {
    let script: Vec<Step> = (0..10).map(|number| Touch(number, 1)).collect();
    let mut resident = run(usize::MAX, 0, &script).resident;
    let all = resident.due(3);
    assert_eq!(all.len(), 10, "what is new is always due");
    let found: Vec<_> = all.iter().map(|page| (*page, P)).collect();
    resident.looked(&found, KernelTime(SECOND), &mut |_| {});
    let mut turns = || resident.due(4).iter().map(|page| page.0 / K).collect::<Vec<_>>();
    assert_eq!(turns(), [0, 1, 2, 3]);
    assert_eq!(turns(), [4, 5, 6, 7]);
    assert_eq!(turns(), [0, 1, 8, 9]);
    assert_eq!(turns(), [2, 3, 4, 5]);
}

#[test]
fn a_page_is_24_bytes() {
    assert_eq!(size_of::<Held>(), 24);
}
