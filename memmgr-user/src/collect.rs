//! The collector: every record of the ring buffer goes through here, one at a time, in order.
//!
//! It is the straight line between the reader and the books: decode, unwind, track, aggregate. One
//! task owns it; there is no lock.

use hashbrown::HashMap;

use crate::{
    aggregate::{Interval, Ledger},
    decode::{self, Backing, Block, Event, Origin, RawStack, ResizeEnd, StackKey, Touch, decode},
    modules::{Modules, Place},
    source::pagemap::Page,
    stacks::{Outer, StackHandle, Stacks},
    track::{Blocks, Change, Class, Mappings, NewBlock, Resident},
    units::{Address, KernelTime},
    unwind::{Unwinder, Unwound},
};

/// Caps of the collector. Reaching one is counted.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Live blocks: 25 to 50 bytes each.
    pub blocks: usize,
    /// Live mapped ranges: about 100 bytes each.
    pub ranges: usize,
    /// Pages that were touched: about 60 bytes each.
    pub pages: usize,
    /// Nodes of the stack tree: about 24 bytes each, and 25 more for each whole stack.
    pub stack_nodes: usize,
    /// Blocks below and from this size are booked apart; 0 for none.
    pub divide: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { blocks: 64 << 20, ranges: 1 << 20, pages: 1 << 20, stack_nodes: 8 << 20, divide: 0 }
    }
}

/// What the collector counted itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub received: u64,
    /// Records decoded.
    pub decoded: u64,
    /// Allocations without a stack.
    pub stack_missing: u64,
    /// Allocations whose stack was cut short.
    pub stack_truncated: u64,
    /// Children that the target made.
    pub forks: u64,
    /// Those that began with a copy of its memory, breakpoints included.
    pub heirs: u64,
}

/// What a record means for the capture as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Go on.
    On,
    /// The target runs another program now.
    Exec,
}

/// State of one capture.
pub struct Collector {
    /// Books.
    pub ledger: Ledger,
    /// Live heap blocks.
    pub blocks: Blocks,
    /// Live mapped ranges.
    pub mappings: Mappings,
    /// Pages that were touched.
    pub resident: Resident,
    /// All stacks.
    pub stacks: Stacks,
    /// The code that is mapped.
    pub modules: Modules,
    /// Own counts.
    pub counts: Counts,
    /// The first event's time.
    pub first_event: Option<KernelTime>,
    began: KernelTime,
    unwinder: Unwinder,
    known: HashMap<StackKey, (StackHandle, Outer)>,
    /// A file was mapped, or a stack led into code that is not known: the mappings must be read again.
    stale: bool,
}

impl Collector {
    /// A collector that begins at `began`.
    pub fn new(
        began: KernelTime,
        modules: Modules,
        program_break: Option<Address>,
        caps: Caps,
    ) -> Self {
        Collector {
            ledger: Ledger::new(caps.divide),
            blocks: Blocks::new(began, caps.blocks),
            mappings: Mappings::new(program_break, caps.ranges),
            resident: Resident::new(caps.pages),
            stacks: Stacks::new(caps.stack_nodes),
            modules,
            counts: Counts::default(),
            first_event: None,
            began,
            unwinder: Unwinder::default(),
            known: HashMap::new(),
            stale: false,
        }
    }

    /// Tells the unwinder of ranges that are new in `modules`.
    pub fn learn(&mut self, changed: &[u64]) {
        self.unwinder.add(&self.modules, changed);
        self.stale = false;
    }

    /// Whether the mappings should be read again.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Ends the running interval of the books. What comes later counts to the next one, even when the
    /// kernel part stamped it just before: it was not in the books yet. `stands_for` as in [`Ledger::cut`].
    pub fn cut(&mut self, now: KernelTime, stands_for: f64) -> Interval {
        // Blocks know the millisecond of their birth: the boundary lies behind the running one.
        let ms = now.0.saturating_sub(self.began.0) / 1_000_000 + 1;
        self.ledger.cut(KernelTime(self.began.0 + ms * 1_000_000), stands_for)
    }

    /// The allocator probes are in place again, after a stretch of time without them. For before the first record
    /// of what they see.
    pub fn resume(&mut self, at: KernelTime) {
        self.blocks.resume(at);
    }

    /// The process runs another program now, which is captured too: all memory of the old one is gone.
    pub fn begin_program(&mut self) {
        let ledger = &mut self.ledger;
        self.blocks.clear(&mut |delta| ledger.apply(&delta));
        self.mappings.clear(&mut |delta| ledger.apply(&delta));
        self.resident.clear(&mut |delta| ledger.apply(&delta));
        self.stale = true;
    }

    /// What is at the pages that were due to be looked at.
    pub fn looked(&mut self, found: &[(Address, Page)], now: KernelTime) {
        let now = now.max(self.ledger.interval_began().unwrap_or_default());
        let ledger = &mut self.ledger;
        self.resident.looked(found, now, &mut |delta| ledger.apply(&delta));
    }

    /// Takes one record.
    pub fn take(&mut self, record: &[u8]) -> Course {
        self.counts.received += 1;
        match decode(record) {
            Ok((mut origin, event)) => {
                self.counts.decoded += 1;
                self.first_event.get_or_insert(origin.time);
                if let Some(began) = self.ledger.interval_began() {
                    origin.time = origin.time.max(began);
                }
                self.event(origin, event)
            }
            Err(error) => {
                tracing::error!("{error}");
                Course::On
            }
        }
    }

    fn event(&mut self, origin: Origin, event: Event<'_>) -> Course {
        match event {
            Event::Alloc(block) => {
                let block = self.new_block(origin, &block);
                self.change(Change::Alloc(block));
            }
            Event::Free(address) => self.change(Change::Free(address)),
            Event::ResizeBegin(address) => self.change(Change::ResizeBegin(origin.tid, address)),
            Event::ResizeEnd(ResizeEnd::Failed) => self.change(Change::ResizeFailed(origin.tid)),
            Event::ResizeEnd(ResizeEnd::Gone) => self.change(Change::ResizeGone(origin.tid)),
            Event::ResizeEnd(ResizeEnd::Moved(block)) => {
                let block = self.new_block(origin, &block);
                self.change(Change::ResizeMoved(origin.tid, block));
            }
            Event::Frames(list) => {
                let outer = if list.cut { Outer::Cut } else { Outer::Whole };
                let handle = self.stacks.intern(&list.frames, outer);
                // A stack that the kernel part forgot comes again, so that this map is bounded by the tree.
                if handle != Stacks::root(Outer::NotKept) {
                    self.known.insert(list.key, (handle, outer));
                }
            }
            Event::Map(block, backing) => {
                self.stale |= backing == Backing::File;
                let NewBlock { address, size, stack, time, .. } = self.new_block(origin, &block);
                let ledger = &mut self.ledger;
                let out = &mut |delta| ledger.apply(&delta);
                match backing {
                    Backing::Anonymous => {
                        self.mappings.map(address, size, Class::Mapping, stack, time, out);
                    }
                    Backing::File => {
                        self.mappings.map(address, size, Class::FileMapping, stack, time, out);
                    }
                    Backing::Nothing => self.mappings.reserve(address, size, stack, time, out),
                }
            }
            Event::UnmapBegin(span) | Event::RemapBegin(span) => {
                let ledger = &mut self.ledger;
                self.mappings
                    .begin(origin.tid, span.start, span.length, &mut |delta| ledger.apply(&delta));
            }
            Event::UnmapEnd { done: true } => {
                let ledger = &mut self.ledger;
                self.mappings.commit(origin.tid, &mut |delta| ledger.apply(&delta));
            }
            Event::UnmapEnd { done: false } | Event::RemapEnd(None) => {
                self.mappings.restore(origin.tid);
            }
            Event::RemapEnd(Some(block)) => {
                let NewBlock { address, size, stack, time, .. } = self.new_block(origin, &block);
                let ledger = &mut self.ledger;
                self.mappings.moved(origin.tid, address, size, stack, time, &mut |delta| {
                    ledger.apply(&delta);
                });
            }
            Event::Break(block) => {
                let NewBlock { address, stack, time, .. } = self.new_block(origin, &block);
                let ledger = &mut self.ledger;
                self.mappings.set_break(address, stack, time, &mut |delta| ledger.apply(&delta));
            }
            Event::Fault(block, touch) => {
                let page = self.new_block(origin, &block);
                let ledger = &mut self.ledger;
                match touch {
                    Touch::First => {
                        self.resident.touched(page, &mut |delta| ledger.apply(&delta));
                    }
                    Touch::Copied => self.resident.copied(page),
                }
            }
            Event::Fork { shares_memory } => {
                self.counts.forks += 1;
                self.counts.heirs += u64::from(!shares_memory);
                self.resident.forked();
            }
            Event::Exec => return Course::Exec,
            Event::ThreadExit => {}
        }
        Course::On
    }

    fn change(&mut self, change: Change) {
        let ledger = &mut self.ledger;
        self.blocks.apply(change, &mut |delta| ledger.apply(&delta));
    }

    fn new_block(&mut self, origin: Origin, block: &Block<'_>) -> NewBlock {
        NewBlock {
            address: block.address,
            size: block.size,
            interval: block.interval,
            stack: self.stack(&block.stack),
            time: origin.time,
        }
    }

    fn stack(&mut self, raw: &RawStack<'_>) -> StackHandle {
        let handle = match raw {
            RawStack::Copied(copied) => self.unwound(*copied),
            RawStack::Known(key) => {
                let missing = (Stacks::root(Outer::Missing), Outer::Missing);
                let (handle, outer) = self.known.get(key).copied().unwrap_or(missing);
                self.counts.stack_truncated += u64::from(outer == Outer::Cut);
                handle
            }
            RawStack::Missing => Stacks::root(Outer::Missing),
        };
        if handle == Stacks::root(Outer::Missing) {
            self.counts.stack_missing += 1;
        }
        handle
    }

    fn unwound(&mut self, copied: decode::CopiedStack<'_>) -> StackHandle {
        let (frames, outer) = match self.unwinder.unwind(copied) {
            Unwound::Again(stack) => return stack,
            Unwound::Frames(frames, outer) => (frames, outer),
        };
        if outer == Outer::Cut {
            self.counts.stack_truncated += 1;
            // Code that was mapped since the mappings were read cannot be unwound.
            let unmapped = |address: &Address| self.modules.place(*address) == Place::Unmapped;
            self.stale |= frames.last().is_some_and(unmapped);
        }
        let stack = self.stacks.intern(frames, outer);
        self.unwinder.remember(outer, stack);
        stack
    }
}
