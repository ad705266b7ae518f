//! What is at the pages of a process: `/proc/PID/pagemap`, and of huge pages `/proc/kpageflags`.
//!
//! Documentation/admin-guide/mm/pagemap.rst has the layouts: 64 bits for each page of the address space, and 64 flags
//! for each frame of memory. Both are only read.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use super::{
    process_dir::{ProcessDir, ProcessError},
    roots::Roots,
};
use crate::units::Address;

const PAGE: u64 = memmgr_common::limits::PAGE_SIZE;
/// Bytes of an entry of either file.
const ENTRY: u64 = 8;

/// Bits of an entry of pagemap. The number of the frame is shown to CAP_SYS_ADMIN only, to others it is 0.
const FRAME: u64 = (1 << 55) - 1;
/// Nobody else maps the page; never set for the kernel's page of zeroes (Linux 4.2).
const EXCLUSIVE: u64 = 1 << 56;
/// There is no memory and must not be: it is said to be swapped out too (MADV_GUARD_INSTALL, Linux 6.13).
const GUARD: u64 = 1 << 58;
/// A page of a file, or of shared anonymous memory.
const OF_FILE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// Bits of an entry of kpageflags (include/uapi/linux/kernel-page-flags.h).
const ON_LIST: u64 = 1 << 5;
const ACTIVE: u64 = 1 << 6;
const COMPOUND_HEAD: u64 = 1 << 15;
const COMPOUND_TAIL: u64 = 1 << 16;
const HUGETLB: u64 = 1 << 17;
const TRANSPARENT_HUGE: u64 = 1 << 22;
const ZEROES: u64 = 1 << 24;

/// Pages in a huge one.
const HUGE: u64 = 512;
/// Two pages that are no further apart are read at once: an entry costs a hundredth of a system call.
const GAP: u64 = 64;
/// Entries that are read at once.
const MOST_ENTRIES: u64 = 4096;

/// What is at a page's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nothing.
    Gone,
    /// A page of the process's own.
    Private,
    /// A part of a transparent huge page, of 2 MiB. Smaller ones that are larger than a page count as single pages.
    Huge,
    /// A page of its own, swapped out.
    Swapped,
    /// A file's page, shared memory, or a huge page of hugetlbfs, which is no part of the resident memory.
    NotOwn,
    /// The kernel's page of zeroes: it was read, and takes no memory before it is written.
    Zero,
}

/// The page tables of one process, open. It is the memory that the process has now: after an exec it must be opened anew.
pub struct PageMap {
    pages: File,
    /// Flags by frame; not readable without root.
    flags: Option<File>,
}

impl PageMap {
    /// Opens them.
    pub fn open(roots: &Roots, dir: &ProcessDir) -> Result<Self, ProcessError> {
        let flags = File::open(roots.proc.join("kpageflags"));
        if let Err(error) = &flags {
            tracing::debug!("huge pages count as single ones: kpageflags: {error}");
        }
        Ok(PageMap { pages: dir.open_file("pagemap")?, flags: flags.ok() })
    }

    /// What is at these pages, which must be ascending; `None` when the process has no memory any more.
    pub fn look(&self, pages: &[Address]) -> io::Result<Option<Vec<(Address, Page)>>> {
        let mut found = Vec::with_capacity(pages.len());
        let mut buffer = Vec::new();
        for run in runs(pages) {
            let pages = &pages[run];
            let (first, last) = (number(pages[0]), number(pages[pages.len() - 1]));
            buffer.resize(((last - first + 1) * ENTRY) as usize, 0);
            match self.pages.read_exact_at(&mut buffer, first * ENTRY) {
                Ok(()) => {}
                // What can be read ends with the memory of a process that has ended.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            for &page in pages {
                let at = (number(page) - first) * ENTRY;
                let entry = u64::from_le_bytes(
                    buffer[at as usize..][..ENTRY as usize].try_into().expect("eight bytes"),
                );
                found.push((page, self.page(number(page), entry)));
            }
        }
        Ok(Some(found))
    }

    /// Of each page of this range whether a page of the process's own is there; `None` when the process has no memory any more.
    pub fn own(&self, start: u64, end: u64) -> io::Result<Option<Vec<bool>>> {
        let mut own = Vec::with_capacity((end.div_ceil(PAGE) - start / PAGE) as usize);
        let read = self.entries(start, end, |entries| {
            own.extend(words(entries).map(|entry| self.is_own(entry)));
            Ok(true)
        })?;
        Ok(read.then_some(own))
    }

    /// Hands on the entries of this range, some thousands at a time. False when the process has no memory any more, or `take`
    /// wants no more.
    fn entries(
        &self,
        start: u64,
        end: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let (mut entries, last) = (Vec::new(), end.div_ceil(PAGE));
        for first in (start / PAGE..last).step_by(MOST_ENTRIES as usize) {
            entries.resize((MOST_ENTRIES.min(last - first) * ENTRY) as usize, 0);
            match self.pages.read_exact_at(&mut entries, first * ENTRY) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
            if !take(&entries)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there is a page of the process's own, huge or not.
    fn is_own(&self, entry: u64) -> bool {
        // Only a page that others map too may be the page of zeroes.
        entry & PRESENT != 0
            && entry & OF_FILE == 0
            && (entry & EXCLUSIVE != 0 || self.flags_of(entry & FRAME) & ZEROES == 0)
    }

    /// Bytes in this range that the kernel takes first when it needs memory: pages on its lists that are not active. `None`
    /// where it cannot be told, or the process has no memory any more.
    pub fn inactive_bytes(&self, start: u64, end: u64) -> io::Result<Option<u64>> {
        let Some(flags) = &self.flags else { return Ok(None) };
        let mut inactive = 0;
        let read = self.entries(start, end, |entries| {
            let here = words(entries).filter(|entry| entry & PRESENT != 0);
            let mut frames: Vec<u64> = here.map(|entry| entry & FRAME).collect();
            // Without the rights for it the kernel hides the frames.
            if frames.contains(&0) {
                return Ok(false);
            }
            frames.sort_unstable();
            inactive += inactive_of(flags, &frames)?;
            Ok(true)
        })?;
        Ok(read.then_some(inactive * PAGE))
    }

    fn page(&self, number: u64, entry: u64) -> Page {
        if entry & PRESENT == 0 {
            let is_swapped = entry & SWAPPED != 0 && entry & (OF_FILE | GUARD) == 0;
            return if is_swapped { Page::Swapped } else { Page::Gone };
        }
        if entry & OF_FILE != 0 {
            return Page::NotOwn;
        }
        let frame = entry & FRAME;
        if entry & EXCLUSIVE == 0 && self.flags_of(frame) & ZEROES != 0 {
            return Page::Zero;
        }
        // A huge page is aligned in both spaces; of single pages one in 512 is so by chance.
        if frame == 0 || frame % HUGE != number % HUGE {
            return Page::Private;
        }
        // Whatever is smaller begins anew in the middle, where a huge page goes on.
        let middle = self.flags_of(frame / HUGE * HUGE + HUGE / 2);
        match (middle & COMPOUND_TAIL != 0, middle & HUGETLB != 0) {
            (true, true) => Page::NotOwn,
            (true, false) if middle & TRANSPARENT_HUGE != 0 => Page::Huge,
            _ => Page::Private,
        }
    }

    /// The flags of a frame; none where they cannot be read.
    fn flags_of(&self, frame: u64) -> u64 {
        let mut flags = [0; ENTRY as usize];
        match &self.flags {
            Some(file) if frame != 0 && file.read_exact_at(&mut flags, frame * ENTRY).is_ok() => {
                u64::from_le_bytes(flags)
            }
            _ => 0,
        }
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<{ ENTRY as usize }>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

/// How many of these frames, in order, are on a list and not active.
fn inactive_of(flags: &File, frames: &[u64]) -> io::Result<u64> {
    let mut inactive = 0;
    let mut buffer = Vec::new();
    // Of a page of several frames, the first has the flags for all on kernels before 6.9 (fs/proc/page.c).
    let mut whole = 0;
    for run in frames.chunk_by(|a, b| b - a <= GAP) {
        let (first, last) = (run[0], run[run.len() - 1]);
        buffer.resize(((last - first + 1) * ENTRY) as usize, 0);
        flags.read_exact_at(&mut buffer, first * ENTRY)?;
        let flags: Vec<u64> = words(&buffer).collect();
        for frame in run {
            let own = flags[(frame - first) as usize];
            if own & COMPOUND_HEAD != 0 {
                whole = own;
            }
            let counts = if own & COMPOUND_TAIL != 0 { own | whole } else { own };
            inactive += u64::from(counts & ON_LIST != 0 && counts & ACTIVE == 0);
        }
    }
    Ok(inactive)
}

fn number(page: Address) -> u64 {
    page.0 / PAGE
}

/// Parts of ascending pages that are near enough to be read at once.
fn runs(pages: &[Address]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, page) in pages.iter().enumerate() {
        let number = number(*page);
        match runs.last_mut() {
            Some(run)
                if number - self::number(pages[run.end - 1]) <= GAP
                    && number - self::number(pages[run.start]) < MOST_ENTRIES =>
            {
                run.end = at + 1;
            }
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{source::roots::fake::FakeTree, units::Pid};

    /// A tree with these entries of pagemap by number of the page, and of kpageflags by frame. Both files are sparse.
    fn tree(pages: &[(u64, u64)], flags: Option<&[(u64, u64)]>) -> FakeTree {
        let tree = FakeTree::new(&[("proc/7/stat", "")]);
        let write = |path: &str, entries: &[(u64, u64)]| {
            let file = File::create(tree.path().join(path)).unwrap();
            file.set_len(1 << 40).unwrap();
            for (at, entry) in entries {
                file.write_all_at(&entry.to_le_bytes(), at * ENTRY).unwrap();
            }
        };
        write("proc/7/pagemap", pages);
        if let Some(flags) = flags {
            write("proc/kpageflags", flags);
        }
        tree
    }

    fn look(tree: &FakeTree, numbers: &[u64]) -> Option<Vec<Page>> {
        let roots = tree.roots();
        let dir = ProcessDir::open(&roots, Pid(7)).unwrap();
        let pages: Vec<Address> = numbers.iter().map(|number| Address(number * PAGE)).collect();
        let found = PageMap::open(&roots, &dir).unwrap().look(&pages).unwrap()?;
        assert!(found.iter().map(|(page, _)| page).eq(&pages));
        Some(found.into_iter().map(|(_, page)| page).collect())
    }

    #[test]
    fn what_is_not_active_is_counted() {
        let here = |frame: u64| PRESENT | EXCLUSIVE | frame;
        let pages =
            [(10, here(900)), (11, here(905)), (12, here(4000)), (13, SWAPPED), (15, here(4001))];
        let flags = [
            (900, ON_LIST),
            (901, ON_LIST | ACTIVE),
            (905, ON_LIST | ACTIVE),
            (4000, ON_LIST | COMPOUND_HEAD),
            (4001, COMPOUND_TAIL),
        ];
        let check = |tree: &FakeTree, end: u64, expected: Option<u64>| {
            let roots = tree.roots();
            let dir = ProcessDir::open(&roots, Pid(7)).unwrap();
            let map = PageMap::open(&roots, &dir).unwrap();
            assert_eq!(map.inactive_bytes(10 * PAGE, end * PAGE).unwrap(), expected, "{end}");
        };
        let with_flags = tree(&pages, Some(&flags));
        check(&with_flags, 11, Some(PAGE));
        check(&with_flags, 12, Some(PAGE));
        check(&with_flags, 15, Some(2 * PAGE));
        check(&with_flags, 16, Some(3 * PAGE));
        check(&tree(&pages, None), 16, None);
        // Without rights the frames are hidden.
        check(&tree(&[(10, here(0))], Some(&flags)), 11, None);
    }

    #[test]
    fn pages_of_its_own_are_told_from_others() {
        const OWN: u64 = PRESENT | EXCLUSIVE;
        // One that is shared with a child, the page of zeroes, one of a file, and one that is swapped out.
        let pages = [
            (10, OWN | 0x384),
            (11, PRESENT | 0x385),
            (12, PRESENT | 0x386),
            (13, PRESENT | OF_FILE | 0x387),
            (14, SWAPPED | 0x5),
        ];
        let tree = tree(&pages, Some(&[(0x385, 0), (0x386, ZEROES)]));
        let roots = tree.roots();
        let dir = ProcessDir::open(&roots, Pid(7)).unwrap();
        let map = PageMap::open(&roots, &dir).unwrap();
        let own = map.own(9 * PAGE, 16 * PAGE).unwrap();
        assert_eq!(own, Some(vec![false, true, true, false, false, false, false]));
        tree.write("proc/7/pagemap", "");
        assert_eq!(map.own(9 * PAGE, 16 * PAGE).unwrap(), None);
    }

    #[test]
    fn entries_say_what_is_there() {
        const OWN: u64 = PRESENT | EXCLUSIVE;
        // Frames: one anywhere, and one that lies in its huge page as page 1027 does: three behind a border of 512.
        const ANYWHERE: u64 = 1000;
        const ALIGNED: u64 = 5123;
        const NEXT: u64 = ALIGNED + 1;
        const MIDDLE: u64 = COMPOUND_TAIL | TRANSPARENT_HUGE;
        for (entry, flags, expected) in [
            (0, &[][..], Page::Gone),
            (OWN | ANYWHERE, &[], Page::Private),
            (SWAPPED | 5, &[], Page::Swapped),
            (SWAPPED | GUARD, &[], Page::Gone),
            (SWAPPED | OF_FILE, &[], Page::Gone),
            (PRESENT | OF_FILE | ANYWHERE, &[], Page::NotOwn),
            // Shared with a child, and the page of zeroes.
            (PRESENT | ANYWHERE, &[(ANYWHERE, 0)], Page::Private),
            (PRESENT | ANYWHERE, &[(ANYWHERE, ZEROES)], Page::Zero),
            (OWN | ALIGNED, &[(5376, MIDDLE)], Page::Huge),
            (OWN | ALIGNED, &[(ALIGNED, MIDDLE), (5376, 0)], Page::Private),
            (OWN | NEXT, &[(5376, MIDDLE)], Page::Private),
            (OWN | ALIGNED, &[(5376, COMPOUND_TAIL | HUGETLB)], Page::NotOwn),
            (PRESENT | ALIGNED, &[(ALIGNED, ZEROES | MIDDLE), (5376, MIDDLE)], Page::Zero),
        ] {
            let tree = tree(&[(1027, entry)], Some(flags));
            assert_eq!(look(&tree, &[1027]), Some(vec![expected]), "{entry:#x} {flags:x?}");
        }
        let without_flags = tree(&[(1027, OWN | ALIGNED)], None);
        assert_eq!(look(&without_flags, &[1027]), Some(vec![Page::Private]));
        let without_frames = tree(&[(1024, OWN)], Some(&[(256, MIDDLE)]));
        assert_eq!(look(&without_frames, &[1024]), Some(vec![Page::Private]));
    }

    #[test]
    fn pages_far_and_near_keep_their_order() {
        let there = [5, 6, 7, 5000, 9000, 1 << 35, (1 << 35) + 3];
        let tree = tree(&there.map(|number| (number, PRESENT | EXCLUSIVE)), None);
        let asked = [4, 5, 7, 8, 5000, 9000, 1 << 35, (1 << 35) + 3, (1 << 35) + 4];
        let expected =
            asked.map(|number| if there.contains(&number) { Page::Private } else { Page::Gone });
        assert_eq!(look(&tree, &asked), Some(expected.to_vec()));
        assert_eq!(look(&tree, &[]), Some(vec![]));
    }

    #[test]
    fn runs_are_near_and_bounded() {
        let check = |numbers: &[u64], expected: &[Range<usize>]| {
            let pages: Vec<Address> = numbers.iter().map(|number| Address(number * PAGE)).collect();
            assert_eq!(runs(&pages), expected);
        };
        check(&[], &[]);
        check(&[1, 2, 66, 131, 132], &[0..3, 3..5]);
        let all: Vec<u64> = (10..10 + 5000).collect();
        check(&all, &[0..4096, 4096..5000]);
    }

    #[test]
    fn a_process_that_ended_has_no_pages() {
        let tree = tree(&[], None);
        tree.write("proc/7/pagemap", "");
        assert_eq!(look(&tree, &[5]), None);
    }

    #[test]
    fn own_pages_are_there_when_they_are_touched_and_gone_afterwards() {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
        let roots = Roots::default();
        let dir = ProcessDir::open(&roots, Pid(std::process::id())).unwrap();
        let length = 16 * PAGE as usize;
        // SAFETY: new memory, used by nobody else.
        let memory = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE).unwrap()
        }
        .cast::<u8>();
        let at = |page: u64| memory.wrapping_add((page * PAGE) as usize);
        let look = || {
            let pages: Vec<Address> = [2, 3, 5].map(|page| Address(at(page) as u64)).to_vec();
            let found = PageMap::open(&roots, &dir).unwrap().look(&pages).unwrap().unwrap();
            found.into_iter().map(|(_, page)| page).collect::<Vec<_>>()
        };
        assert_eq!(look(), [Page::Gone; 3]);
        // SAFETY: inside of the mapping.
        unsafe {
            at(2).write_volatile(1);
            at(3).read_volatile();
        }
        let untouched =
            if rustix::process::geteuid().is_root() { Page::Zero } else { Page::Private };
        assert_eq!(look(), [Page::Private, untouched, Page::Gone]);
        // SAFETY: nothing refers to the memory.
        unsafe { madvise(memory.cast(), length, Advice::LinuxDontNeed).unwrap() };
        assert_eq!(look(), [Page::Gone; 3]);
        // SAFETY: as above.
        unsafe { munmap(memory.cast(), length).unwrap() };
    }
}
