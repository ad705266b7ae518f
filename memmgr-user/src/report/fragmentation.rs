//! Fragmentation: which resident pages of the allocator's memory hold little or nothing that is outstanding, and whose blocks keep
//! them from being given back.
//!
//! Needs every block, so that samples and windows tell nothing of it. A page with few outstanding bytes is *sparse*: it cannot be given back
//! as long as one block is on it. A page with none is *empty*: the allocator keeps it, or what is on it is older than the capture.

use std::{collections::HashMap, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    source::mappings::{Kind, MappingFigures},
    stacks::StackHandle,
};

const PAGE: u64 = memmgr_common::limits::PAGE_SIZE;
/// A page of which less than this part is outstanding is sparse.
const SPARSE: u64 = PAGE / 4;
/// Mappings and stacks that are told one by one.
const MOST_ROWS: usize = 20;
/// More blocks are not sorted: that would take 100 MiB.
pub(super) const MOST_BLOCKS: usize = 4 << 20;

/// Resident pages of the mappings that hold outstanding blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fragmentation {
    /// Whether the capture began before the program did: then no block is older, and an empty page is one that the allocator keeps.
    pub from_start: bool,
    /// All of them together.
    pub total: Occupancy,
    /// The mappings with most resident bytes that are not outstanding, most first.
    pub mappings: Vec<Area>,
    /// The stacks whose blocks keep most sparse pages, most first.
    pub pinned_by: Vec<Pinning>,
}

/// What is on the resident pages of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// Bytes of resident pages.
    pub resident_bytes: u64,
    /// Outstanding bytes on them, as asked for.
    pub live_bytes: u64,
    /// Bytes of resident pages without an outstanding byte.
    pub empty_bytes: u64,
    /// Bytes of resident pages of which less than a quarter is outstanding, and something is.
    pub sparse_bytes: u64,
    /// Outstanding bytes on those.
    pub sparse_live_bytes: u64,
}

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// `[heap]`, `[anon:NAME]`, or empty for one without a name. Hostile.
    pub name: String,
    /// What is on its pages.
    pub pages: Occupancy,
}

/// A stack whose blocks lie on sparse pages. A page counts for the stack that has most bytes on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinning {
    /// The stack by its id in `stacks`.
    pub stack: u32,
    /// The function to look at.
    pub subject: String,
    /// Sparse pages.
    pub pages: u64,
    /// Outstanding bytes on them, of all stacks.
    pub live_bytes: u64,
    /// The rest of these pages.
    pub pinned_bytes: u64,
}

/// An outstanding block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub start: u64,
    pub end: u64,
    pub stack: StackHandle,
}

/// What is found, with stacks by their handles.
pub(super) struct Found {
    pub total: Occupancy,
    pub mappings: Vec<Area>,
    pub pinned_by: Vec<(StackHandle, Pinning)>,
}

/// Looks at the mappings that hold one of `blocks`, and at the program break's. `is_there` says of each page of a range whether it is
/// resident; `None` leaves out the mapping.
pub(super) fn look(
    mappings: &[MappingFigures],
    mut blocks: Vec<Held>,
    mut is_there: impl FnMut(Range<u64>) -> Option<Vec<bool>>,
) -> Found {
    separate(&mut blocks);
    let mut found =
        Found { total: Occupancy::default(), mappings: Vec::new(), pinned_by: Vec::new() };
    let mut pinned: HashMap<StackHandle, Pinning> = HashMap::new();
    for figures in mappings {
        let mapping = &figures.mapping;
        let is_heap = mapping.kind == Kind::Heap;
        if !(is_heap || mapping.is_private_anonymous()) || figures.rss == 0 {
            continue;
        }
        let first = blocks.partition_point(|block| block.end <= mapping.start);
        let blocks = &blocks[first..];
        if !is_heap && blocks.first().is_none_or(|block| block.start >= mapping.end) {
            continue;
        }
        let Some(there) = is_there(mapping.start..mapping.end) else { continue };
        let mut area = Area {
            start: mapping.start,
            end: mapping.end,
            name: match &mapping.kind {
                Kind::Anonymous { name: Some(name) } => format!("[anon:{name}]"),
                Kind::Heap => "[heap]".to_owned(),
                _ => String::new(),
            },
            pages: Occupancy::default(),
        };
        let mut rest = blocks;
        for (at, _) in there.iter().enumerate().filter(|(_, is_there)| **is_there) {
            let page = mapping.start + at as u64 * PAGE;
            let page = page..page + PAGE;
            let behind = rest.partition_point(|block| block.end <= page.start);
            rest = &rest[behind..];
            let on_page = rest.iter().take_while(|block| block.start < page.end);
            area.pages.add(Occupancy::of(on_page.clone(), &page));
            pin(&mut pinned, on_page, &page);
        }
        found.total.add(area.pages);
        found.mappings.push(area);
    }
    found.mappings.sort_by_key(|area| std::cmp::Reverse(area.pages.wasted()));
    found.mappings.truncate(MOST_ROWS);
    found.pinned_by.extend(pinned);
    found
        .pinned_by
        .sort_by_key(|(stack, pinning)| (std::cmp::Reverse(pinning.pinned_bytes), *stack));
    found.pinned_by.truncate(MOST_ROWS);
    found
}

/// Sorts blocks, and ends each where the next one begins at the latest: one whose free was lost is followed by what was given out in
/// its place, and one that is just being resized by its copy.
fn separate(blocks: &mut [Held]) {
    blocks.sort_unstable();
    let mut begin_of_next = u64::MAX;
    for block in blocks.iter_mut().rev() {
        block.end = block.end.min(begin_of_next);
        begin_of_next = block.start;
    }
}

/// Bytes of a block that are on a page.
fn overlap(block: &Held, page: &Range<u64>) -> u64 {
    block.end.min(page.end).saturating_sub(block.start.max(page.start))
}

fn pin<'a>(
    pinned: &mut HashMap<StackHandle, Pinning>,
    on_page: impl Iterator<Item = &'a Held> + Clone,
    page: &Range<u64>,
) {
    let live: u64 = on_page.clone().map(|block| overlap(block, page)).sum();
    if live == 0 || live >= SPARSE {
        return;
    }
    let mut by_stack: Vec<(StackHandle, u64)> = Vec::new();
    for block in on_page {
        match by_stack.iter_mut().find(|(stack, _)| *stack == block.stack) {
            Some((_, bytes)) => *bytes += overlap(block, page),
            None => by_stack.push((block.stack, overlap(block, page))),
        }
    }
    let Some((stack, _)) = by_stack.into_iter().max_by_key(|(_, bytes)| *bytes) else { return };
    let pinning = pinned.entry(stack).or_default();
    pinning.pages += 1;
    pinning.live_bytes += live;
    pinning.pinned_bytes += PAGE - live;
}

impl Occupancy {
    fn of<'a>(on_page: impl Iterator<Item = &'a Held>, page: &Range<u64>) -> Self {
        let live_bytes: u64 = on_page.map(|block| overlap(block, page)).sum();
        let is_sparse = live_bytes > 0 && live_bytes < SPARSE;
        let when = |is: bool, bytes: u64| if is { bytes } else { 0 };
        Occupancy {
            resident_bytes: PAGE,
            live_bytes,
            empty_bytes: when(live_bytes == 0, PAGE),
            sparse_bytes: when(is_sparse, PAGE),
            sparse_live_bytes: when(is_sparse, live_bytes),
        }
    }

    fn add(&mut self, other: Occupancy) {
        self.resident_bytes += other.resident_bytes;
        self.live_bytes += other.live_bytes;
        self.empty_bytes += other.empty_bytes;
        self.sparse_bytes += other.sparse_bytes;
        self.sparse_live_bytes += other.sparse_live_bytes;
    }

    /// Resident bytes that are not outstanding.
    pub fn wasted(&self) -> u64 {
        self.resident_bytes - self.live_bytes
    }

    /// Bytes of sparse pages that are not outstanding: what their blocks keep from being given back.
    pub fn pinned_bytes(&self) -> u64 {
        self.sparse_bytes - self.sparse_live_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mappings::{Mapping, Permissions};

    fn mapping(kind: Kind, pages: Range<u64>) -> MappingFigures {
        let permissions = Permissions { read: true, write: true, ..Permissions::default() };
        let (start, end) = (pages.start * PAGE, pages.end * PAGE);
        let mapping =
            Mapping { start, end, offset: 0, permissions, device: (0, 0), inode: 0, kind };
        MappingFigures { rss: PAGE, ..MappingFigures::empty(mapping) }
    }

    fn held(stack: u32, start: u64, size: u64) -> Held {
        Held { start, end: start + size, stack: StackHandle(stack) }
    }

    fn anonymous(pages: Range<u64>) -> MappingFigures {
        mapping(Kind::Anonymous { name: None }, pages)
    }

    /// Of each mapping `first page: resident/live/empty/sparse`, in pages but for the live bytes; then who pins how many pages and bytes.
    fn check(mappings: &[MappingFigures], absent: &[u64], blocks: &[Held], expected: &str) {
        let found = look(mappings, blocks.to_vec(), |range| {
            let pages = range.start / PAGE..range.end / PAGE;
            Some(pages.map(|page| !absent.contains(&page)).collect())
        });
        let mut all = Occupancy::default();
        let mut words: Vec<String> = Vec::new();
        for area in &found.mappings {
            let p = area.pages;
            all.add(p);
            words.push(format!(
                "{}: {}/{}/{}/{}",
                area.start / PAGE,
                p.resident_bytes / PAGE,
                p.live_bytes,
                p.empty_bytes / PAGE,
                p.sparse_bytes / PAGE
            ));
        }
        assert_eq!(found.total, all);
        let pinned: u64 = found.pinned_by.iter().map(|(_, pinning)| pinning.pinned_bytes).sum();
        assert_eq!(found.total.pinned_bytes(), pinned);
        words.extend(found.pinned_by.iter().map(|(stack, pinning)| {
            format!("{} pins {} by {}", stack.0, pinning.pages, pinning.live_bytes)
        }));
        assert_eq!(words.join(", "), expected);
    }

    #[test]
    fn pages_are_empty_sparse_or_used() {
        let blocks = [
            // Page 10: full. Page 11: not touched. Page 12: one block of two stacks. Page 13: nothing.
            held(1, 10 * PAGE, PAGE),
            held(1, 11 * PAGE, 8),
            held(1, 12 * PAGE, 16),
            held(2, 12 * PAGE + 64, 32),
        ];
        check(
            &[anonymous(10..14)],
            &[11],
            &blocks,
            &format!("10: 3/{}/1/1, 2 pins 1 by 48", PAGE + 48),
        );
    }

    #[test]
    fn blocks_reach_over_pages() {
        // From the middle of page 5 to the first bytes of page 8.
        let blocks = [held(3, 5 * PAGE + PAGE / 2, 2 * PAGE + PAGE / 2 + 10)];
        check(
            &[anonymous(4..9)],
            &[],
            &blocks,
            &format!("4: 5/{}/1/1, 3 pins 1 by 10", 2 * PAGE + PAGE / 2 + 10),
        );
    }

    #[test]
    fn blocks_whose_frees_were_lost_do_not_count_for_what_is_in_their_place() {
        // One of two pages, in which another was given out, and one that begins where another does.
        let blocks = [
            held(1, 10 * PAGE, 2 * PAGE),
            held(2, 10 * PAGE + 64, 32),
            held(3, 12 * PAGE, PAGE),
            held(4, 12 * PAGE, 16),
        ];
        let live = 64 + 32 + PAGE;
        check(&[anonymous(10..13)], &[], &blocks, &format!("10: 3/{live}/1/1, 1 pins 1 by 96"));
    }

    #[test]
    fn mappings_without_blocks_are_not_the_allocators_but_for_the_heap() {
        let blocks = [held(1, 20 * PAGE, PAGE)];
        check(
            &[mapping(Kind::Heap, 2..4), anonymous(10..12), anonymous(20..21), anonymous(30..31)],
            &[],
            &blocks,
            "2: 2/0/2/0, 20: 1/4096/0/0",
        );
        check(&[mapping(Kind::Stack, 20..21)], &[], &blocks, "");
        check(&[], &[], &[], "");
    }
}
