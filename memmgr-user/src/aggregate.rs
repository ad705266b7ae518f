//! [`Delta`]s → books by stack, cut into intervals. Pure.
//!
//! A *site* is one stack and one size class; a *book* is one stack. Sites know what was allocated and
//! freed in the running interval, and of what is freed the interval in which it was allocated, so that
//! any two moments can be compared exactly later. Books know how low their outstanding bytes went.

use hashbrown::HashMap;

use crate::{
    stacks::StackHandle,
    track::{Class, Delta, Direction},
    units::KernelTime,
};

/// Sums over allocations; in sample mode estimates. Whole numbers stay exact up to 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Blocks allocated.
    pub alloc_count: f64,
    /// Bytes allocated.
    pub alloc_bytes: f64,
    /// Blocks freed.
    pub free_count: f64,
    /// Bytes freed.
    pub free_bytes: f64,
    /// Most bytes live at any time.
    pub peak_live_bytes: f64,
}

impl Sums {
    /// Bytes outstanding; estimates cannot go below 0 by rounding.
    pub fn live_bytes(&self) -> f64 {
        (self.alloc_bytes - self.free_bytes).max(0.0)
    }

    /// Blocks outstanding.
    pub fn live_count(&self) -> f64 {
        (self.alloc_count - self.free_count).max(0.0)
    }

    fn apply(&mut self, delta: &Delta) {
        match delta.direction {
            Direction::Allocated => {
                self.alloc_count += delta.count;
                self.alloc_bytes += delta.bytes;
                self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes());
            }
            Direction::Freed | Direction::Replaced => {
                self.free_count += delta.count;
                self.free_bytes += delta.bytes;
            }
        }
    }
}

/// Which outstanding blocks a person wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    /// At least this old, in seconds.
    pub min_age_s: f64,
    /// At least this large, in bytes.
    pub min_size: u64,
}

/// Blocks and what they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    /// Blocks; in sample mode estimated.
    pub count: f64,
    /// Bytes; in sample mode estimated.
    pub bytes: f64,
    /// Blocks that were really seen.
    pub samples: f64,
}

impl Amount {
    /// Adds another.
    pub fn add(&mut self, other: Amount) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.samples += other.samples;
    }

    /// Takes another away.
    pub fn take(&mut self, other: Amount) {
        self.add(Amount { count: -other.count, bytes: -other.bytes, samples: -other.samples });
    }
}

/// One site in one interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteDelta {
    /// Index of the site, in the order of their first allocation.
    pub site: u32,
    /// What was allocated.
    pub allocated: Amount,
    /// What was freed, by how many intervals ago it was allocated; 0 is this one. Ascending.
    pub freed: Vec<(u32, Amount)>,
}

/// What changed over a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Every site that changed, ascending.
    pub sites: Vec<SiteDelta>,
    /// For every book that changed, ascending: how far its outstanding bytes went below what they are at the end.
    pub dips: Vec<(u32, f64)>,
}

/// The books' changes over one interval, and what is new in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// Stacks that are new, in the order of their numbers.
    pub new_books: Vec<(Class, StackHandle)>,
    /// Sites that are new, in the order of their numbers: the book and the size class.
    pub new_sites: Vec<(u32, SizeClass)>,
    /// What changed.
    pub changes: Changes,
    /// By class since the attach, as of the end of the interval.
    pub totals: [Sums; Class::COUNT],
}

#[derive(Default)]
struct Book {
    live_bytes: f64,
    low_bytes: f64,
    touched: bool,
}

struct Site {
    book: u32,
    allocated: Amount,
    freed: Vec<(u32, Amount)>,
    touched: bool,
}

/// Books by class, stack and size class.
#[derive(Default)]
pub struct Ledger {
    /// A boundary between size classes beside the powers of two: where `--min-size` divides.
    divide: u64,
    sites: Vec<Site>,
    site_of: HashMap<SiteKey, u32>,
    books: Vec<Book>,
    book_of: HashMap<(Class, StackHandle), u32>,
    touched_sites: Vec<u32>,
    touched_books: Vec<u32>,
    new_books: Vec<(Class, StackHandle)>,
    new_sites: Vec<(u32, SizeClass)>,
    /// Where the intervals end.
    cuts: Vec<KernelTime>,
    totals: [Sums; Class::COUNT],
}

impl Ledger {
    /// Books in which blocks below and from `divide` bytes are never in one size class.
    pub fn new(divide: u64) -> Self {
        Ledger { divide, ..Ledger::default() }
    }

    /// Books one delta.
    pub fn apply(&mut self, delta: &Delta) {
        let class = SizeClass::of(delta.size, self.divide);
        let interval = self.cuts.len() as u32;
        let age = interval - self.interval_of(delta.born);
        let index = self.site(delta.class, delta.stack, class);
        let site = &mut self.sites[index as usize];
        // Mappings are never sampled, and a part of one that goes may leave two.
        let samples = match delta.class {
            Class::Heap | Class::Resident => 1.0,
            Class::Mapping | Class::FileMapping => delta.count,
        };
        let amount = Amount { count: delta.count, bytes: delta.bytes, samples };
        if !site.touched {
            site.touched = true;
            self.touched_sites.push(index);
        }
        let book = &mut self.books[site.book as usize];
        if !book.touched {
            book.touched = true;
            book.low_bytes = book.live_bytes;
            self.touched_books.push(site.book);
        }
        match delta.direction {
            Direction::Allocated => {
                site.allocated.add(amount);
                book.live_bytes += delta.bytes;
                // After a replacement this is the first moment that counts.
                book.low_bytes = book.low_bytes.min(book.live_bytes);
            }
            Direction::Freed | Direction::Replaced => {
                add_freed(&mut site.freed, age, amount);
                book.live_bytes -= delta.bytes;
                if delta.direction == Direction::Freed {
                    book.low_bytes = book.low_bytes.min(book.live_bytes);
                }
            }
        }
        self.totals[delta.class as usize].apply(delta);
    }

    /// Totals of the heap.
    pub fn heap(&self) -> Sums {
        self.totals[Class::Heap as usize]
    }

    /// Where the running interval began; `None` while it is the first.
    pub fn interval_began(&self) -> Option<KernelTime> {
        self.cuts.last().copied()
    }

    /// Ends the running interval. Every delta so far must have been born before `end`, and every later one not.
    pub fn cut(&mut self, end: KernelTime) -> Interval {
        self.cuts.push(end);
        self.touched_sites.sort_unstable();
        self.touched_books.sort_unstable();
        let sites = self.touched_sites.drain(..).map(|index| {
            let site = &mut self.sites[index as usize];
            site.touched = false;
            SiteDelta {
                site: index,
                allocated: std::mem::take(&mut site.allocated),
                freed: std::mem::take(&mut site.freed),
            }
        });
        let dips = self.touched_books.drain(..).map(|index| {
            let book = &mut self.books[index as usize];
            book.touched = false;
            (index, (book.live_bytes - book.low_bytes).max(0.0))
        });
        Interval {
            new_books: std::mem::take(&mut self.new_books),
            new_sites: std::mem::take(&mut self.new_sites),
            changes: Changes { sites: sites.collect(), dips: dips.collect() },
            totals: self.totals,
        }
    }

    fn interval_of(&self, born: KernelTime) -> u32 {
        // Most blocks die young: the running interval and the one before need no search.
        match self.cuts.as_slice() {
            [] => 0,
            [.., last] if *last <= born => self.cuts.len() as u32,
            cuts => cuts.partition_point(|cut| *cut <= born) as u32,
        }
    }

    fn site(&mut self, class: Class, stack: StackHandle, size_class: SizeClass) -> u32 {
        let key = SiteKey::new(class, stack, size_class, self.divide);
        if let Some(index) = self.site_of.get(&key) {
            return *index;
        }
        let book = *self.book_of.entry((class, stack)).or_insert_with(|| {
            self.books.push(Book::default());
            self.new_books.push((class, stack));
            self.books.len() as u32 - 1
        });
        let index = self.sites.len() as u32;
        let (allocated, freed) = (Amount::default(), Vec::new());
        self.sites.push(Site { book, allocated, freed, touched: false });
        self.new_sites.push((book, size_class));
        self.site_of.insert(key, index);
        index
    }
}

/// A class of memory, a stack and a size class in 64 bits: it is looked up for every event, and half as long it is
/// twice as often in the processor's cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SiteKey(u64);

impl SiteKey {
    fn new(class: Class, stack: StackHandle, size_class: SizeClass, divide: u64) -> Self {
        // A size class begins at 0, a power of two or the one boundary beside these.
        let begins = match size_class.min_bytes {
            min if min == divide => 64,
            min => min.checked_ilog2().unwrap_or(0),
        };
        SiteKey(u64::from(stack.0) | u64::from(begins) << 32 | (class as u64) << 40)
    }
}

/// Adds to what was freed at this age. A cache that is emptied frees blocks of every age at once: the list
/// stays sorted, so that finding one of a thousand ages is no search through all of them.
pub(crate) fn add_freed(freed: &mut Vec<(u32, Amount)>, age: u32, amount: Amount) {
    match freed.binary_search_by_key(&age, |(age, _)| *age) {
        Ok(at) => freed[at].1.add(amount),
        Err(at) => freed.insert(at, (age, amount)),
    }
}

/// Blocks of similar size: from a power of two to just below the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SizeClass {
    /// The smallest size, in bytes.
    pub min_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
}

impl SizeClass {
    /// Sizes below this are one class.
    const SMALLEST: u64 = 16;

    /// The class of a block. One that reaches from below `divide` to above it is divided there.
    pub fn of(size: u64, divide: u64) -> Self {
        let (mut min_bytes, mut max_bytes) = match size.checked_ilog2() {
            Some(power) if size >= Self::SMALLEST => (1 << power, u64::MAX >> (63 - power)),
            _ => (0, Self::SMALLEST - 1),
        };
        if (min_bytes + 1..=max_bytes).contains(&divide) {
            if size < divide {
                max_bytes = divide - 1;
            } else {
                min_bytes = divide;
            }
        }
        SizeClass { min_bytes, max_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::{Blocks, Change, NewBlock};
    use crate::units::Address;

    const SECOND: u64 = 1_000_000_000;

    enum Step {
        Alloc { address: u64, size: u64, stack: u32, at_s: u64 },
        Free(u64),
        Resize(u64, u64),
        Cut(u64),
    }
    use Step::{Alloc, Cut, Free, Resize};

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
                    intervals.push(ledger.cut(KernelTime(at_s * SECOND)));
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
            &[
                alloc(1, 16, 7, 0),
                alloc(2, 17, 7, 0),
                alloc(3, 32, 7, 0),
                alloc(4, 5, 8, 0),
                Cut(1),
            ],
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
    fn totals_and_the_peak() {
        let (ledger, _) =
            run(&[alloc(1, 10, 1, 0), alloc(2, 20, 1, 0), Free(1), alloc(3, 5, 2, 0)]);
        let heap = ledger.heap();
        assert_eq!((heap.alloc_bytes, heap.free_bytes, heap.live_bytes()), (35.0, 10.0, 25.0));
        assert_eq!((heap.alloc_count, heap.free_count, heap.peak_live_bytes), (3.0, 1.0, 30.0));
    }

    #[test]
    fn size_classes() {
        for (size, divide, expected) in [
            (0, 0, (0, 15)),
            (15, 0, (0, 15)),
            (16, 0, (16, 31)),
            (31, 0, (16, 31)),
            (4096, 0, (4096, 8191)),
            (u64::MAX, 0, (1 << 63, u64::MAX)),
            (5000, 6000, (4096, 5999)),
            (6000, 6000, (6000, 8191)),
            (3000, 6000, (2048, 4095)),
            (5, 10, (0, 9)),
            (10, 10, (10, 15)),
            (4096, 4096, (4096, 8191)),
            (8191, 8191, (8191, 8191)),
        ] {
            let class = SizeClass::of(size, divide);
            assert_eq!((class.min_bytes, class.max_bytes), expected, "{size} {divide}");
        }
    }
}
