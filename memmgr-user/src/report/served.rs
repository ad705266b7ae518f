//! Hit and miss: allocations that the allocator served from what it held, and its calls to the kernel for more.
//!
//! A miss is a call of `brk`, `mmap` or `mremap` that an allocator made and that gave it memory. One allocation may take two of
//! them (glibc aligns the heap of a new arena by a second one), so that allocations less calls is the least that was served without.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    history::StackHistory,
    judge::{is_of_allocator, subject_name},
    track::Class,
};

use super::{Report, Stack};

/// Stacks that are told by name.
const MOST_STACKS: usize = 20;
/// The heap of an arena, as a way.
const ARENA: &str = "mmap for an arena";

/// Where the memory of allocations came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Blocks given out, resized ones included; 0 where no allocator was probed.
    pub allocations: u64,
    /// Calls by which the allocator got memory of the kernel.
    pub kernel_calls: u64,
    /// Bytes of address space that these calls gave; of a mapping that was made larger, all of it.
    pub kernel_bytes: u64,
    /// Of those bytes, what was given back to the kernel by the end.
    pub returned_bytes: u64,
    /// The share of allocations that took no call to the kernel, 0 to 1: the least, where allocations are no estimate and nothing
    /// is uncounted; absent without allocations.
    pub hit_rate: Option<f64>,
    /// The calls by what was called, most calls first.
    pub ways: Vec<Way>,
    /// The stacks that made most calls, most first.
    pub stacks: Vec<Missing>,
    /// What of the allocator's calls to the kernel is not among them, in a sentence; absent where all are.
    #[serde(default)]
    pub uncounted: Option<String>,
    /// Blocks given out in each of the windows of `windows_s`.
    pub windows_allocations: Vec<u64>,
    /// Calls to the kernel in each of them.
    pub windows_kernel_calls: Vec<u64>,
}

/// Calls to the kernel of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// `brk`, `mmap`, `mremap`, `mmap for an arena` (glibc's `new_heap`, where its symbols are known), or `brk or mmap` where the name
    /// of the function that made the call does not tell.
    pub name: String,
    /// How many.
    pub calls: u64,
    /// Bytes that they gave.
    pub bytes: u64,
}

/// A stack whose allocations made the allocator call the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The stack, of class `mapping`, by its id in `stacks`.
    pub stack: u32,
    /// The function to look at.
    pub subject: String,
    /// How many calls.
    pub calls: u64,
    /// Bytes that they gave.
    pub bytes: u64,
}

impl Served {
    /// The share of allocations of each window that took no call to the kernel; `None` for a window without allocations.
    pub fn rates(&self) -> impl Iterator<Item = Option<f64>> {
        let windows = self.windows_allocations.iter().zip(&self.windows_kernel_calls);
        windows.map(|(allocations, calls)| hit_rate(*allocations, *calls))
    }
}

/// The least share of allocations that took no call; `None` without allocations.
fn hit_rate(allocations: u64, calls: u64) -> Option<f64> {
    (allocations > 0).then(|| 1.0 - (calls as f64 / allocations as f64).min(1.0))
}

/// Allocations by window, of all stacks of the heap, and of each stack that mapped memory.
#[derive(Default)]
pub(super) struct Course {
    heap: Vec<f64>,
    mapping: Vec<(u32, Vec<f64>)>,
}

impl Course {
    /// Takes in one stack.
    pub(super) fn add(&mut self, id: u32, history: &StackHistory) {
        match history.class {
            Class::Heap => add(&mut self.heap, &history.alloc_count),
            Class::Mapping => self.mapping.push((id, history.alloc_count.clone())),
            Class::FileMapping | Class::Resident => {}
        }
    }

    /// What it comes to; nothing where nothing was allocated.
    pub(super) fn served(self, report: &Report) -> Option<Served> {
        let calling = |stack: &&Stack| {
            stack.class == Class::Mapping.name()
                && stack.alloc_count > 0
                && is_of_allocator(stack, report)
        };
        let mut calling: Vec<&Stack> = report.stacks.iter().filter(calling).collect();
        calling.sort_by_key(|stack| std::cmp::Reverse((stack.alloc_count, stack.alloc_bytes)));
        let (mut ways, mut calls): (Vec<Way>, u64) = (Vec::new(), 0);
        for stack in &calling {
            let name = way(stack);
            let at = ways.iter().position(|way| way.name == name).unwrap_or_else(|| {
                ways.push(Way { name: name.to_owned(), ..Way::default() });
                ways.len() - 1
            });
            ways[at].calls += stack.alloc_count;
            ways[at].bytes += stack.alloc_bytes;
            calls += stack.alloc_count;
        }
        ways.sort_by_key(|way| std::cmp::Reverse(way.calls));
        let made_arenas = ways.iter().any(|way| way.name == ARENA);
        let allocations = report.totals.alloc_count;
        let mut windows_calls = vec![0.0; self.heap.len()];
        let ids: HashSet<u32> = calling.iter().map(|stack| stack.id).collect();
        for (id, course) in &self.mapping {
            if ids.contains(id) {
                add(&mut windows_calls, course);
            }
        }
        let mut windows_allocations = self.heap;
        windows_allocations.resize(windows_calls.len(), 0.0);
        let bytes: u64 = calling.iter().map(|stack| stack.alloc_bytes).sum();
        let live: u64 = calling.iter().map(|stack| stack.live_bytes).sum();
        (allocations > 0 || calls > 0).then(|| Served {
            allocations,
            kernel_calls: calls,
            kernel_bytes: bytes,
            returned_bytes: bytes.saturating_sub(live),
            hit_rate: hit_rate(allocations, calls),
            ways,
            stacks: calling.iter().take(MOST_STACKS).map(|stack| missing(stack)).collect(),
            uncounted: uncounted(report, made_arenas),
            windows_allocations: whole(&windows_allocations),
            windows_kernel_calls: whole(&windows_calls),
        })
    }
}

/// Calls that happened and are not among those that were counted.
fn uncounted(report: &Report, made_arenas: bool) -> Option<String> {
    let is_there = |kind: &str| report.target.allocators.iter().any(|one| one.kind == kind);
    let threads = report.timeline.iter().filter_map(|point| point.threads).max();
    // glibc maps the heap of a thread's arena without access and opens it piece by piece (`grow_heap` in malloc/arena.c). Threads
    // may have ended, but the arenas that were made for them are among the calls.
    if is_there("glibc") && (made_arenas || threads > Some(1)) {
        return Some(
            "what glibc's arenas of threads take by mprotect is not counted: allocations of threads other than the first may go \
             to the kernel much more often than this"
                .to_owned(),
        );
    }
    // Its stacks are known by how the call of the allocator began, which is not kept of a call that is passed over.
    (is_there("musl") && report.capture.mode != "exact").then(|| {
        "musl has no unwind tables: what it took of the kernel in calls that were not sampled is not counted; --mode exact sees all"
            .to_owned()
    })
}

fn add(sum: &mut Vec<f64>, course: &[f64]) {
    sum.resize(sum.len().max(course.len()), 0.0);
    for (sum, more) in sum.iter_mut().zip(course) {
        *sum += more;
    }
}

fn whole(course: &[f64]) -> Vec<u64> {
    course.iter().map(|count| crate::recording::whole(*count)).collect()
}

/// What was called, by the names of the innermost functions.
fn way(stack: &Stack) -> &'static str {
    let names = || stack.frames.iter().filter_map(|frame| frame.function.as_deref());
    if names().any(|name| name.contains("new_heap")) {
        return ARENA;
    }
    // glibc's debug information has names of its own for them: `__GI___mremap`, `__brk_call`.
    match names().next().unwrap_or_default() {
        name if name.contains("brk") => "brk",
        name if name.contains("mremap") => "mremap",
        name if name.contains("mmap") => "mmap",
        // musl makes some of its calls without a function for them.
        _ => "brk or mmap",
    }
}

fn missing(stack: &Stack) -> Missing {
    Missing {
        stack: stack.id,
        subject: subject_name(stack),
        calls: stack.alloc_count,
        bytes: stack.alloc_bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::{Allocator, Frame, Target, TimelinePoint, Totals};

    /// Frames as `function@module`, leaf first.
    fn stack(id: u32, class: Class, calls: u64, bytes: u64, frames: &[&str]) -> Stack {
        let frame = |text: &&str| {
            let (function, module) = text.split_once('@').unwrap();
            Arc::new(Frame {
                function: Some(function.to_owned()),
                module: Some(module.to_owned()),
                ..Frame::default()
            })
        };
        let frames = frames.iter().map(frame).collect();
        let class = class.name().to_owned();
        Stack { id, class, alloc_count: calls, alloc_bytes: bytes, frames, ..Stack::default() }
    }

    fn history(class: Class, calls: &[f64]) -> StackHistory {
        StackHistory { alloc_count: calls.to_vec(), ..StackHistory::empty(class, calls.len()) }
    }

    const MMAP: [&str; 3] = ["mmap@libc.so", "malloc@libc.so", "load@app"];

    fn report(stacks: Vec<Stack>, allocations: u64) -> Report {
        let allocator = |path: &str| Allocator {
            kind: "glibc".into(),
            path: path.into(),
            ..Allocator::default()
        };
        Report {
            target: Target { allocators: vec![allocator("libc.so")], ..Target::default() },
            totals: Totals { alloc_count: allocations, ..Totals::default() },
            stacks,
            ..Report::default()
        }
    }

    #[test]
    fn calls_of_the_allocator_are_told_from_the_programs_own() {
        let stacks = vec![
            stack(0, Class::Heap, 1000, 1000, &["malloc@libc.so", "load@app"]),
            stack(1, Class::Mapping, 7, 700, &MMAP),
            stack(
                2,
                Class::Mapping,
                2,
                200,
                &["__brk_call@libc.so", "sbrk@libc.so", "malloc@libc.so", "start@app"],
            ),
            stack(3, Class::Mapping, 50, 5000, &["mmap@libc.so", "map_segment@app"]),
            stack(4, Class::FileMapping, 9, 900, &MMAP),
            stack(
                5,
                Class::Mapping,
                1,
                64,
                &["mmap@libc.so", "alloc_new_heap@libc.so", "malloc@libc.so", "run@app"],
            ),
        ];
        let mut course = Course::default();
        course.add(0, &history(Class::Heap, &[600.0, 400.0]));
        course.add(1, &history(Class::Mapping, &[7.0, 0.0]));
        course.add(2, &history(Class::Mapping, &[0.0, 2.0]));
        course.add(3, &history(Class::Mapping, &[25.0, 25.0]));
        course.add(5, &history(Class::Mapping, &[0.0, 1.0]));
        let served = course.served(&report(stacks, 1000)).unwrap();
        assert_eq!((served.kernel_calls, served.kernel_bytes), (10, 964));
        assert_eq!(served.hit_rate, Some(0.99));
        assert_eq!(served.windows_allocations, [600, 400]);
        assert_eq!(served.windows_kernel_calls, [7, 3]);
        let ways: Vec<_> = served.ways.iter().map(|way| (way.name.as_str(), way.calls)).collect();
        assert_eq!(ways, [("mmap", 7), ("brk", 2), ("mmap for an arena", 1)]);
        let named: Vec<_> = served.stacks.iter().map(|s| (s.stack, s.subject.as_str())).collect();
        assert_eq!(named, [(1, "load"), (2, "start"), (5, "run")]);
    }

    /// Part of the sentence about calls that may be missing, or none.
    fn check_uncounted(kind: &str, mode: &str, threads: u64, stacks: Vec<Stack>, words: &str) {
        let mut report = report(stacks, 10);
        report.target.allocators[0].kind = kind.into();
        report.capture.mode = mode.into();
        report.timeline =
            vec![TimelinePoint { threads: Some(threads), ..TimelinePoint::default() }];
        let uncounted = Course::default().served(&report).unwrap().uncounted.unwrap_or_default();
        assert!(uncounted.contains(words), "{kind}, {mode}, {threads}: {uncounted}");
        assert_eq!(uncounted.is_empty(), words.is_empty(), "{kind}, {mode}: {uncounted}");
    }

    #[test]
    fn what_is_not_counted_is_told() {
        let arena = || {
            let frames = ["mmap@libc.so", "alloc_new_heap@libc.so", "malloc@libc.so", "run@app"];
            vec![stack(5, Class::Mapping, 1, 64, &frames)]
        };
        check_uncounted("glibc", "exact", 1, vec![], "");
        check_uncounted("glibc", "exact", 2, vec![], "mprotect");
        // Its threads have ended.
        check_uncounted("glibc", "auto", 1, arena(), "mprotect");
        check_uncounted("musl", "exact", 2, vec![], "");
        check_uncounted("musl", "auto", 1, vec![], "--mode exact");
        check_uncounted("jemalloc", "auto", 2, arena(), "");
    }

    #[test]
    fn there_may_be_nothing_to_tell() {
        let check = |stacks: Vec<Stack>, allocations, expected: Option<(u64, Option<f64>)>| {
            let served = Course::default().served(&report(stacks, allocations));
            assert_eq!(served.map(|served| (served.kernel_calls, served.hit_rate)), expected);
        };
        check(vec![], 0, None);
        check(vec![], 10, Some((0, Some(1.0))));
        // No allocator was probed.
        check(vec![stack(0, Class::Mapping, 3, 30, &MMAP)], 0, Some((3, None)));
        // Two calls for one allocation.
        check(vec![stack(0, Class::Mapping, 2, 30, &MMAP)], 1, Some((2, Some(0.0))));
    }
}
