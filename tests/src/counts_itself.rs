//! The program `counts-itself`, its truth, and what a report says about the same calls.

use std::{ops::Sub, process::Command};

use memmgr::report::{Report, Stack};
use serde::Deserialize;

use crate::{Program, Workload};

/// Call sites of the program: functions `site_0` and so on.
pub const SITES: usize = 8;

/// Every function that glibc offers and the program calls, for its option `functions`.
pub const ALL_FUNCTIONS: &str = "malloc,calloc,realloc,reallocarray,posix_memalign,aligned_alloc,memalign,valloc,pvalloc,strdup";

/// Bytes asked for by each site with the option `site_sizes=1`.
pub const SITE_SIZES: [u64; SITES] = [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// Blocks and bytes asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Allocations.
    pub alloc_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Frees.
    pub free_count: u64,
    /// Bytes freed.
    pub free_bytes: u64,
    /// Blocks outstanding.
    pub live_count: u64,
    /// Bytes outstanding.
    pub live_bytes: u64,
}

/// What the program did since its start.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    /// Calls of allocator functions.
    pub calls: u64,
    /// Those that failed, as they should.
    pub failed: u64,
    /// All sites together.
    pub total: Counts,
    /// By site.
    pub sites: [Counts; SITES],
}

impl Sub for Counts {
    type Output = Counts;

    /// What was done in between. Outstanding is what is left of that alone: no block older than
    /// `before` may have been freed since.
    fn sub(self, before: Counts) -> Counts {
        Counts {
            alloc_count: self.alloc_count - before.alloc_count,
            alloc_bytes: self.alloc_bytes - before.alloc_bytes,
            free_count: self.free_count - before.free_count,
            free_bytes: self.free_bytes - before.free_bytes,
            live_count: self.live_count - before.live_count,
            live_bytes: self.live_bytes - before.live_bytes,
        }
    }
}

impl Sub<&Truth> for Truth {
    type Output = Truth;

    /// What was done in between, as for [`Counts`].
    fn sub(self, before: &Truth) -> Truth {
        Truth {
            calls: self.calls - before.calls,
            failed: self.failed - before.failed,
            total: self.total - before.total,
            sites: std::array::from_fn(|site| self.sites[site] - before.sites[site]),
        }
    }
}

/// The program. With frame pointers, which `--stack dwarf` does not look at.
pub fn program() -> Program {
    Program::c("counts-itself").flags(&["-fno-builtin", "-fno-omit-frame-pointer"])
}

/// Starts it with glibc's allocator, or with the one of a preloaded library.
pub fn start(program: &Program, preload: Option<&str>, options: &[String]) -> Workload {
    let mut command = Command::new(program.build());
    command.args(options);
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    Workload::start_command(command)
}

/// The heap totals of a report.
pub fn reported(report: &Report) -> Counts {
    let totals = &report.totals;
    Counts {
        alloc_count: totals.alloc_count,
        alloc_bytes: totals.alloc_bytes,
        free_count: totals.free_count,
        free_bytes: totals.free_bytes,
        live_count: totals.live_count,
        live_bytes: totals.live_bytes,
    }
}

/// What a report says of one site: the sums over all stacks with its frame. What was allocated and
/// is not outstanding was freed.
pub fn reported_site(report: &Report, site: usize) -> Counts {
    let name = format!("site_{site}");
    let passes = |stack: &&Stack| {
        stack.frames.iter().any(|frame| frame.function.as_deref() == Some(name.as_str()))
    };
    let mut counts = heap(report).filter(passes).fold(Counts::default(), |mut sum, stack| {
        sum.alloc_count += stack.alloc_count;
        sum.alloc_bytes += stack.alloc_bytes;
        sum.live_count += stack.live_count;
        sum.live_bytes += stack.live_bytes;
        sum
    });
    counts.free_count = counts.alloc_count - counts.live_count;
    counts.free_bytes = counts.alloc_bytes - counts.live_bytes;
    counts
}

/// The stacks of heap memory.
pub fn heap(report: &Report) -> impl Iterator<Item = &Stack> {
    report.stacks.iter().filter(|stack| stack.class == "heap")
}

/// Panics unless the capture lost nothing. A number that is wrong and a number that could not be
/// had are different failures: this is the second one.
#[track_caller]
pub fn assert_complete(report: &Report, what: &str) {
    assert!(
        report.capture.complete,
        "{what}: THE CAPTURE IS NOT COMPLETE, so that nothing can be said about its figures: {:?} {:?}",
        report.capture.loss, report.capture.accounting
    );
}

/// Panics unless a complete report says the truth, in total and by site.
#[track_caller]
pub fn assert_equal_to_the_truth(report: &Report, truth: &Truth, what: &str) {
    assert_complete(report, what);
    assert_eq!(reported(report), truth.total, "{what}: the totals are wrong");
    for (site, expected) in truth.sites.iter().enumerate() {
        assert_eq!(reported_site(report, site), *expected, "{what}: site_{site} is wrong");
    }
}

/// Panics unless a report agrees with itself, however much was lost.
#[track_caller]
pub fn assert_consistent(report: &Report, what: &str) {
    let totals = reported(report);
    let (mut live, mut allocated) = ((0, 0), (0, 0));
    for stack in heap(report) {
        assert!(
            stack.live_bytes <= stack.alloc_bytes,
            "{what}: more is live than was allocated: {stack:?}"
        );
        assert!(
            stack.live_count <= stack.alloc_count,
            "{what}: more is live than was allocated: {stack:?}"
        );
        live = (live.0 + stack.live_count, live.1 + stack.live_bytes);
        allocated = (allocated.0 + stack.alloc_count, allocated.1 + stack.alloc_bytes);
    }
    // A recording keeps the estimates of every interval, stack and size in whole bytes.
    let sizes: usize = heap(report).map(|stack| stack.sizes.len()).sum();
    let rounded = (report.timeline.len() + 1) * sizes + 1;
    let slack = if report.capture.mode == "exact" { 0 } else { rounded as u64 };
    for (figure, sum, total) in [
        ("allocations", allocated.0, totals.alloc_count),
        ("allocated bytes", allocated.1, totals.alloc_bytes),
        ("live blocks", live.0, totals.live_count),
        ("live bytes", live.1, totals.live_bytes),
        ("blocks freed and live", totals.free_count + totals.live_count, totals.alloc_count),
        ("bytes freed and live", totals.free_bytes + totals.live_bytes, totals.alloc_bytes),
    ] {
        assert!(sum.abs_diff(total) <= slack, "{what}: {figure} do not add up: {sum}, {total}");
    }
    assert!(
        report.totals.peak_live_bytes >= totals.live_bytes,
        "{what}: the peak is below the end"
    );

    let books = &report.capture.accounting;
    assert_eq!(books.residual, 0, "{what}: {books:?}");
    assert_eq!(
        books.seen,
        books.filtered + books.sampled_out + books.submitted + books.lost,
        "{what}: {books:?}"
    );
    assert_eq!(books.received, books.submitted + books.stack_records, "{what}: {books:?}");
    assert_eq!(books.decoded, books.received, "{what}: {books:?}");
}
