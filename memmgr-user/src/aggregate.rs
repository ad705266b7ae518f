//! [`Delta`]s → books by stack, cut into intervals. Pure.
//!
//! A *site* is one stack and one size class; a *book* is one stack. Sites know what was allocated and
//! freed in the running interval, and of what is freed the interval in which it was allocated, so that
//! any two moments can be compared exactly later. Books know how low their outstanding bytes went.

mod size;

use hashbrown::HashMap;

use crate::{
    stacks::StackHandle,
    track::{Class, Delta, Direction},
    units::KernelTime,
};

pub use size::SizeClass;

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

    fn apply(&mut self, direction: Direction, amount: Amount) {
        match direction {
            Direction::Allocated => {
                self.alloc_count += amount.count;
                self.alloc_bytes += amount.bytes;
                self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes());
            }
            Direction::Freed | Direction::Replaced => {
                self.free_count += amount.count;
                self.free_bytes += amount.bytes;
            }
        }
    }

    /// Adds another's counts and bytes so many times.
    fn add_times(&mut self, times: f64, other: Sums) {
        self.alloc_count += times * other.alloc_count;
        self.alloc_bytes += times * other.alloc_bytes;
        self.free_count += times * other.free_count;
        self.free_bytes += times * other.free_bytes;
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
    /// Variance of `bytes` by sampling, bytes squared: by Horvitz and Thompson (1952) the sum of (S/p)² (1 − p)
    /// over the sampled blocks, each of S bytes and sampled with probability p; 0 where every call is counted.
    pub variance: f64,
}

impl Amount {
    /// Adds another.
    pub fn add(&mut self, other: Amount) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.samples += other.samples;
        self.variance += other.variance;
    }

    /// What it is when each of its blocks stands for so many times as many: a variance goes with the square.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Amount {
            count: self.count * factor,
            bytes: self.bytes * factor,
            variance: self.variance * factor * factor,
            ..self
        }
    }

    /// Takes another away.
    pub fn take(&mut self, other: Amount) {
        self.add(Amount {
            count: -other.count,
            bytes: -other.bytes,
            samples: -other.samples,
            variance: -other.variance,
        });
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
    /// Of those, born in the running interval: what they stand for is not known before it ends.
    born_bytes: f64,
    low_bytes: f64,
    /// As many of those as were there at the lowest moment.
    born_at_low: f64,
    touched: bool,
}

impl Book {
    fn reaches_low(&mut self) {
        if self.live_bytes < self.low_bytes {
            (self.low_bytes, self.born_at_low) = (self.live_bytes, self.born_bytes);
        }
    }

    /// Ends the interval, whose births stand for so many times as many; returns how far it went below its end.
    fn cut(&mut self, stands_for: f64) -> f64 {
        let more = stands_for - 1.0;
        self.live_bytes += more * self.born_bytes;
        let low_bytes = self.low_bytes + more * self.born_at_low;
        (self.born_bytes, self.touched) = (0.0, false);
        (self.live_bytes - low_bytes).max(0.0)
    }
}

struct Site {
    book: u32,
    class: Class,
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
    touched_books: Vec<(u32, Class)>,
    new_books: Vec<(Class, StackHandle)>,
    new_sites: Vec<(u32, SizeClass)>,
    /// Where the intervals end, and how many times as much their births stand for.
    cuts: Vec<KernelTime>,
    factors: Vec<f64>,
    totals: [Sums; Class::COUNT],
    /// Heap blocks born in the running interval, before they are multiplied.
    born: Sums,
    /// The heap's peak up to the last cut.
    peak_before: f64,
}

impl Ledger {
    /// Books in which blocks below and from `divide` bytes are never in one size class.
    pub fn new(divide: u64) -> Self {
        Ledger { divide, ..Ledger::default() }
    }

    /// Books one delta.
    pub fn apply(&mut self, delta: &Delta) {
        let size = SizeClass::of(delta.size, self.divide);
        let interval = self.cuts.len() as u32;
        let birth = self.interval_of(delta.born);
        let index = self.site(delta.class, delta.stack, size);
        let site = &mut self.sites[index as usize];
        let (count, bytes, variance) = (delta.count, delta.bytes, delta.variance);
        // Mappings are never sampled, and a part of one that goes may leave two.
        let samples = match delta.class {
            Class::Heap | Class::Resident => 1.0,
            Class::Mapping | Class::FileMapping => count,
        };
        let seen = Amount { count, bytes, samples, variance };
        // A block goes as what it came as.
        let amount = match self.factors.get(birth as usize) {
            Some(factor) if delta.class == Class::Heap => seen.times(*factor),
            _ => seen,
        };
        let born = if birth == interval { amount.bytes } else { 0.0 };
        if !site.touched {
            site.touched = true;
            self.touched_sites.push(index);
        }
        let book = &mut self.books[site.book as usize];
        if !book.touched {
            book.touched = true;
            (book.low_bytes, book.born_at_low) = (book.live_bytes, 0.0);
            self.touched_books.push((site.book, delta.class));
        }
        match delta.direction {
            Direction::Allocated => {
                site.allocated.add(amount);
                book.live_bytes += amount.bytes;
                book.born_bytes += born;
                // After a replacement this is the first moment that counts.
                book.reaches_low();
            }
            Direction::Freed | Direction::Replaced => {
                add_freed(&mut site.freed, interval - birth, amount);
                book.live_bytes -= amount.bytes;
                book.born_bytes -= born;
                if delta.direction == Direction::Freed {
                    book.reaches_low();
                }
            }
        }
        self.totals[delta.class as usize].apply(delta.direction, amount);
        if birth == interval && delta.class == Class::Heap {
            self.born.apply(delta.direction, amount);
        }
    }

    /// The number of the book of a stack, if it has one.
    pub fn book(&self, class: Class, stack: StackHandle) -> Option<u32> {
        self.book_of.get(&(class, stack)).copied()
    }

    /// Totals of the heap.
    pub fn heap(&self) -> Sums {
        self.totals[Class::Heap as usize]
    }

    /// Totals of resident memory.
    pub fn resident(&self) -> Sums {
        self.totals[Class::Resident as usize]
    }

    /// Where the running interval began; `None` while it is the first.
    pub fn interval_began(&self) -> Option<KernelTime> {
        self.cuts.last().copied()
    }

    /// Ends the running interval. Every delta so far must have been born before `end`, and every later one not.
    ///
    /// Heap blocks born in it, and their frees whenever they come, count `stands_for` times: the stretch of time that
    /// the interval's windows stand for, divided by the time that the allocator probes were in place; 1 when they
    /// always were. Within windows nothing is known about peaks, so that such an interval has that of its end.
    pub fn cut(&mut self, end: KernelTime, stands_for: f64) -> Interval {
        self.cuts.push(end);
        self.factors.push(stands_for);
        let factor = |class| if class == Class::Heap { stands_for } else { 1.0 };
        let heap = &mut self.totals[Class::Heap as usize];
        heap.add_times(stands_for - 1.0, std::mem::take(&mut self.born));
        if stands_for != 1.0 {
            heap.peak_live_bytes = self.peak_before.max(heap.live_bytes());
        }
        self.peak_before = heap.peak_live_bytes;
        self.touched_sites.sort_unstable();
        self.touched_books.sort_unstable();
        let sites = self.touched_sites.drain(..).map(|index| {
            let site = &mut self.sites[index as usize];
            site.touched = false;
            let mut freed = std::mem::take(&mut site.freed);
            // Ascending: what was born in this interval is first.
            if let Some((0, amount)) = freed.first_mut() {
                *amount = amount.times(factor(site.class));
            }
            let allocated = std::mem::take(&mut site.allocated).times(factor(site.class));
            SiteDelta { site: index, allocated, freed }
        });
        let dips = self
            .touched_books
            .drain(..)
            .map(|(index, class)| (index, self.books[index as usize].cut(factor(class))));
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
        self.sites.push(Site { book, class, allocated, freed, touched: false });
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

#[cfg(test)]
mod tests;
