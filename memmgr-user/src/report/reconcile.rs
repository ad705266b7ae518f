//! Explains a target's resident memory line by line, so that the lines add up to it.
//!
//! ```text
//! rss = min(tracked, heap) + allocator_retained + own_mappings + thread_stacks + file + shmem + untracked
//! ```
//!
//! Every resident page goes to exactly one line, by the mapping that holds it:
//!
//! | mapping | line |
//! | --- | --- |
//! | `[stack]`, and anonymous mappings that are a thread's stack | thread stacks |
//! | private anonymous memory that the target mapped since the attach, not through its allocator | own mappings |
//! | `[heap]` and other private anonymous writable mappings | heap: tracked, then allocator retained |
//! | shared memory: memfd, System V, `/dev/shm`, shared anonymous | shmem |
//! | other files, pages as in the file | file |
//! | other files, pages that the target wrote (`.data`, relocations) | untracked |
//! | anything else | untracked |
//!
//! `.bss` has no file behind it and cannot be told from the heap by its mapping: it is in the heap's lines.

use std::{ops::Range, path::Path};

use super::{Reconciliation, mapped_by::runtime_heap};
use crate::{
    source::mappings::{Kind, Mapping, MappingFigures},
    units::human_bytes,
};

/// A blocked thread uses little of its stack, and its stack pointer is near the upper end. Where it is not,
/// something else was merged into the mapping, and the kernel does not tell how much of it is stack.
const DEEPEST_STACK: u64 = 8 << 20;

/// How names begin that glibc (2.39+, when the tunable `glibc.mem.decorate_maps` is on) and bionic give to stacks.
const STACK_NAMES: [&str; 4] = [
    " glibc: pthread stack",
    " glibc: pthread user stack",
    " glibc: unused stack",
    "stack_and_tls:",
];

/// Explains the resident bytes of `mappings` (in the order of their addresses, all of one process), of which
/// the allocator says that `tracked_live_bytes` are allocated. `own_mappings` are the ranges that the target mapped
/// by itself since the attach and did not unmap. `thread_stack_pointers` are those of the
/// threads that were blocked; the stack of any other thread counts as heap, unless it has a name.
pub fn reconcile(
    mappings: &[MappingFigures],
    tracked_live_bytes: u64,
    own_mappings: &[Range<u64>],
    thread_stack_pointers: &[u64],
) -> Reconciliation {
    let lines = Lines::of(mappings, own_mappings, thread_stack_pointers);
    let tracked_resident = tracked_live_bytes.min(lines.heap);
    Reconciliation {
        rss_bytes: lines.rss,
        tracked_live_bytes,
        allocator_retained_bytes: lines.heap - tracked_resident,
        runtime_heap: lines.runtime_heap.map(str::to_owned),
        own_mappings_bytes: lines.own,
        thread_stacks_bytes: lines.thread_stacks,
        file_bytes: lines.file,
        shmem_bytes: lines.shmem,
        untracked_bytes: lines.written_file_pages + lines.other,
        explanation: lines.explain(tracked_live_bytes),
    }
}

/// Resident bytes by line, and the figures beside RSS that the sentences need.
#[derive(Default)]
struct Lines {
    rss: u64,
    heap: u64,
    own: u64,
    thread_stacks: u64,
    file: u64,
    shmem: u64,
    written_file_pages: u64,
    other: u64,
    heap_swap: u64,
    hugetlb: u64,
    runtime_heap: Option<&'static str>,
}

impl Lines {
    fn of(mappings: &[MappingFigures], own: &[Range<u64>], stack_pointers: &[u64]) -> Self {
        let mut pointers = stack_pointers.to_vec();
        pointers.sort_unstable();
        let mut lines = Self::default();
        let mut below = None;
        for figures in mappings {
            let mapping = &figures.mapping;
            lines.rss += figures.rss;
            lines.hugetlb += figures.hugetlb;
            if mapping.kind == Kind::Stack || is_thread_stack(figures, below, &pointers) {
                lines.thread_stacks += figures.rss;
            } else if mapping.kind == Kind::Heap || mapping.is_private_anonymous() {
                let own = share_in(figures, own);
                lines.own += own;
                lines.heap += figures.rss - own;
                lines.heap_swap += figures.swap;
            } else if let Kind::File { path, .. } = &mapping.kind {
                lines.runtime_heap = lines.runtime_heap.or_else(|| runtime_heap(path));
                // Shared memory that is written stays the file's; only a private copy leaves it.
                let copied =
                    if mapping.permissions.shared { 0 } else { figures.anonymous.min(figures.rss) };
                lines.written_file_pages += copied;
                let line = if is_shared_memory(path) { &mut lines.shmem } else { &mut lines.file };
                *line += figures.rss - copied;
            } else if mapping.permissions.shared && matches!(mapping.kind, Kind::Anonymous { .. }) {
                lines.shmem += figures.rss;
            } else {
                lines.other += figures.rss;
            }
            below = Some(mapping);
        }
        lines
    }

    /// One sentence a line that is not 0, the largest doubt with it.
    fn explain(&self, tracked: u64) -> Vec<String> {
        let tracked_resident = tracked.min(self.heap);
        let retained = self.heap - tracked_resident;
        let mut sentences = vec![format!(
            "{} is resident; at most {} of it ({}) is heap that was allocated since memmgr attached and is not freed.",
            human_bytes(self.rss),
            human_bytes(tracked_resident),
            percent(tracked_resident, self.rss),
        )];
        let mut add = |bytes: u64, sentence: &str| {
            if bytes > 0 {
                sentences.push(format!("{} {sentence}", human_bytes(bytes)));
            }
        };
        add(
            tracked - tracked_resident,
            "of the tracked heap cannot be resident: it was allocated and never touched, or it is swapped out.",
        );
        if let Some(heap) = self.runtime_heap {
            add(
                retained,
                &format!(
                    "more is resident in anonymous memory: {heap}, which no call of the allocator tells of, and what the \
                     allocator has beside the tracked heap."
                ),
            );
        } else {
            add(
                retained,
                "more is resident in the heap's mappings: allocated before memmgr attached, kept by the allocator \
                 after a free, lost to fragmentation, or zeroed static data (.bss).",
            );
        }
        add(
            self.own,
            "is memory that the program mapped by itself since memmgr attached, not through its allocator; the \
             mappings by stack show where.",
        );
        add(self.heap_swap, "of the heap is swapped out and not part of the resident memory.");
        add(self.thread_stacks, "is stacks of threads.");
        add(
            self.file,
            "is pages of mapped files: programs, libraries and data, which the kernel can drop and read again \
             unless they are dirty or locked.",
        );
        add(
            self.shmem,
            "is shared memory (memfd, /dev/shm, System V), which may be in use by other processes too.",
        );
        add(
            self.written_file_pages,
            "is untracked: pages of mapped files that the process changed, as .data and relocations of libraries.",
        );
        add(self.other, "is untracked: read-only anonymous memory and special mappings.");
        add(
            self.hugetlb,
            "of huge pages (hugetlbfs) is in use besides: the kernel does not count it as resident.",
        );
        sentences
    }
}

/// Resident bytes of a mapping that lie in one of `ranges`. The kernel joins neighbours into one mapping and tells
/// its resident bytes as a whole: they are taken to be spread evenly.
fn share_in(figures: &MappingFigures, ranges: &[Range<u64>]) -> u64 {
    let mapping = &figures.mapping;
    let inside: u64 = ranges
        .iter()
        .map(|range| range.end.min(mapping.end).saturating_sub(range.start.max(mapping.start)))
        .sum();
    let size = u128::from(mapping.end - mapping.start).max(1);
    (u128::from(figures.rss) * u128::from(inside) / size).min(u128::from(figures.rss)) as u64
}

/// A thread's stack is anonymous memory that its name says to be one, or that holds a thread's stack pointer
/// near its upper end and was made as a stack: above a guard page, or with `MAP_STACK`. The pointer alone is
/// not enough: Go's threads run on stacks inside of its heap.
pub(crate) fn is_thread_stack(
    figures: &MappingFigures,
    below: Option<&Mapping>,
    sorted_pointers: &[u64],
) -> bool {
    let mapping = &figures.mapping;
    if !mapping.is_private_anonymous() {
        return false;
    }
    if let Kind::Anonymous { name: Some(name) } = &mapping.kind {
        return STACK_NAMES.iter().any(|stack| name.starts_with(stack));
    }
    let lowest = mapping.start.max(mapping.end.saturating_sub(DEEPEST_STACK));
    let first = sorted_pointers.partition_point(|&pointer| pointer < lowest);
    let holds_pointer = sorted_pointers.get(first).is_some_and(|&pointer| pointer < mapping.end);
    holds_pointer
        && (figures.no_huge_pages || below.is_some_and(|below| is_guard(below, mapping.start)))
}

fn is_guard(mapping: &Mapping, above: u64) -> bool {
    let permissions = mapping.permissions;
    mapping.end == above
        && matches!(mapping.kind, Kind::Anonymous { .. })
        && !(permissions.read || permissions.write || permissions.execute)
}

/// Files that exist only in memory, by the names that the kernel gives them. tmpfs elsewhere looks like any
/// other file from here.
pub(crate) fn is_shared_memory(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    [&b"/memfd:"[..], b"/SYSV", b"/dev/shm/"].iter().any(|prefix| name.starts_with(prefix))
        || name == b"/dev/zero"
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "0 %".to_owned()
    } else {
        format!("{:.0} %", part as f64 * 100.0 / whole as f64)
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
