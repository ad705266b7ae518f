//! What the runtime counts, as its own `ReadMemStats` would tell it at this moment.
//!
//! The formulas are those of runtime/mstats.go, `readmemstats_m`. That one stops the world and empties the caches of the
//! processors into the counters first; here what is in the caches is added to them (runtime/mcache.go, `releaseAll`).

use std::io;

use serde::{Deserialize, Serialize};

use super::{layout::Layout, memory::Memory, memory::Value};

/// Three generations of counters that add up (runtime/mstats.go, `consistentHeapStats`).
const GENERATIONS: u64 = 3;
/// More processors than any host has.
const MOST_PROCESSORS: usize = 1 << 16;
/// `memoryLimit` where there is none.
const NO_LIMIT: u64 = i64::MAX as u64;

/// The heap, bytes and objects. Names as in `runtime.MemStats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heap {
    /// `HeapAlloc`: objects that are reachable, or not yet swept.
    pub alloc_bytes: u64,
    /// `HeapObjects`.
    pub objects: u64,
    /// `TotalAlloc`: ever allocated.
    pub total_alloc_bytes: u64,
    /// `Mallocs`.
    pub mallocs: u64,
    /// `Frees`.
    pub frees: u64,
    /// `HeapInuse`: spans with at least one object.
    pub in_use_bytes: u64,
    /// `HeapIdle`: spans without any.
    pub idle_bytes: u64,
    /// `HeapReleased`: of those, what the kernel has back.
    pub released_bytes: u64,
}

/// The collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Collector {
    /// `NumGC`.
    pub cycles: u64,
    /// `NumForcedGC`.
    pub forced: u64,
    /// `PauseTotalNs`, in seconds.
    pub pause_total_s: f64,
    /// The latest pause.
    pub last_pause_s: f64,
    /// `LastGC`: seconds since 1970; 0 before the first.
    pub last_at_s: f64,
    /// `GCCPUFraction`: share of the processor time since the program began.
    pub cpu_fraction: f64,
    /// `NextGC`: the next cycle is done when the heap has this size; absent where there will be none.
    pub next_goal_bytes: Option<u64>,
    /// What the last cycle found alive.
    #[serde(default)]
    pub live_bytes: u64,
    /// GOGC; absent where it is off.
    pub gogc_percent: Option<u64>,
    /// GOMEMLIMIT; absent where there is none.
    pub memory_limit_bytes: Option<u64>,
}

/// All that the runtime counts of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The heap.
    pub heap: Heap,
    /// `StackInuse`.
    pub stacks_in_use_bytes: u64,
    /// `StackSys`: with those of threads that C made.
    pub stacks_bytes: u64,
    /// `Sys`: everything that the runtime has of the kernel.
    pub sys_bytes: u64,
    /// The collector.
    pub gc: Collector,
}

/// What a figure lacks.
#[derive(Debug)]
pub(super) enum Lacks {
    /// This version of Go has no such field.
    Field(&'static str),
    /// It could not be read.
    Memory(io::Error),
}

impl From<io::Error> for Lacks {
    fn from(error: io::Error) -> Self {
        Lacks::Memory(error)
    }
}

/// Reads them all.
pub(super) fn figures(memory: &Memory, layout: &Layout) -> Result<Figures, Lacks> {
    let stats = Read::symbol(memory, layout, "runtime.memstats", "runtime.mstats")?;
    let control =
        Read::symbol(memory, layout, "runtime.gcController", "runtime.gcControllerState")?;
    let sizes = class_sizes(memory, layout)?;
    let mut counted = Counted::sum(&stats, &sizes)?;
    counted.add_caches(memory, layout, &sizes)?;
    let (in_use, released) = (control.need("heapInUse")?, control.need("heapReleased")?);
    let free = control.need("heapFree")?;
    let others: u64 =
        ["stacks_sys", "mspan_sys", "mcache_sys", "buckhash_sys", "gcMiscSys", "other_sys"]
            .iter()
            .map(|name| stats.need(name))
            .try_fold(0, |sum: u64, bytes: Result<u64, Lacks>| {
                bytes.map(|b| sum.saturating_add(b))
            })?;
    // What the target has there may be anything.
    let sys = [in_use, free, released, others, counted.stacks, counted.work];
    let sys = sys.into_iter().fold(0, u64::saturating_add);
    Ok(Figures {
        heap: Heap {
            alloc_bytes: counted.alloc_bytes.saturating_sub(counted.free_bytes),
            objects: counted.mallocs.saturating_sub(counted.frees),
            total_alloc_bytes: counted.alloc_bytes,
            mallocs: counted.mallocs,
            frees: counted.frees,
            in_use_bytes: in_use,
            idle_bytes: free.saturating_add(released),
            released_bytes: released,
        },
        stacks_in_use_bytes: counted.stacks,
        stacks_bytes: counted.stacks.saturating_add(stats.need("stacks_sys")?),
        sys_bytes: sys,
        gc: collector(&stats, &control, layout.minor())?,
    })
}

/// A value, and how its lack is told.
struct Read<'a>(Value<'a>);

impl<'a> Read<'a> {
    fn symbol(
        memory: &Memory,
        layout: &'a Layout,
        symbol: &'static str,
        structure: &'static str,
    ) -> Result<Self, Lacks> {
        let address = layout.symbol(symbol).ok_or(Lacks::Field(symbol))?;
        Ok(Read(memory.value(layout, structure, memory.loaded(address))?))
    }

    fn need(&self, path: &'static str) -> Result<u64, Lacks> {
        self.0.get(path).ok_or(Lacks::Field(path))
    }
}

/// Bytes of an object by size class.
fn class_sizes(memory: &Memory, layout: &Layout) -> Result<Vec<u64>, Lacks> {
    const NAMES: [&str; 2] = ["runtime.class_to_size", "internal/runtime/gc.SizeClassToSize"];
    let address = NAMES.iter().find_map(|name| layout.symbol(name));
    let address = memory.loaded(address.ok_or(Lacks::Field(NAMES[0]))?);
    let counts = layout.field("runtime.mstats", "heapStats.stats[].smallAllocCount");
    let classes = counts.ok_or(Lacks::Field("smallAllocCount"))?.size / 8;
    let mut bytes = vec![0; classes.min(1024) as usize * 2];
    memory.read(address, &mut bytes)?;
    Ok(bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect())
}

/// Sums over the generations and the caches.
#[derive(Default)]
struct Counted {
    alloc_bytes: u64,
    free_bytes: u64,
    mallocs: u64,
    frees: u64,
    stacks: u64,
    /// Work buffers and bitmaps of the collector.
    work: u64,
}

impl Counted {
    fn sum(Read(stats): &Read<'_>, sizes: &[u64]) -> Result<Self, Lacks> {
        let mut sums = Counted::default();
        let stride = stats.bytes("heapStats.stats[]", 0).ok_or(Lacks::Field("heapStats"))?.len();
        for generation in 0..GENERATIONS {
            let shift = generation * stride as u64;
            let word = |path| {
                let words = stats.words(path, shift);
                words.and_then(|words| words.first().copied()).ok_or(Lacks::Field(path))
            };
            let words = |path| stats.words(path, shift).ok_or(Lacks::Field(path));
            let tiny = word("heapStats.stats[].tinyAllocCount")?;
            // A generation alone can be less than nothing.
            let add = |sum: &mut u64, more: u64| *sum = sum.wrapping_add(more);
            add(&mut sums.alloc_bytes, word("heapStats.stats[].largeAlloc")?);
            add(&mut sums.free_bytes, word("heapStats.stats[].largeFree")?);
            add(&mut sums.mallocs, word("heapStats.stats[].largeAllocCount")?.wrapping_add(tiny));
            add(&mut sums.frees, word("heapStats.stats[].largeFreeCount")?.wrapping_add(tiny));
            add(&mut sums.stacks, word("heapStats.stats[].inStacks")?);
            add(&mut sums.work, word("heapStats.stats[].inWorkBufs")?);
            // Gone in later versions, where the bitmaps are in the spans.
            let bitmaps = stats.words("heapStats.stats[].inPtrScalarBits", shift);
            add(&mut sums.work, bitmaps.and_then(|words| words.first().copied()).unwrap_or(0));
            for (count, size) in words("heapStats.stats[].smallAllocCount")?.iter().zip(sizes) {
                add(&mut sums.mallocs, *count);
                add(&mut sums.alloc_bytes, count.wrapping_mul(*size));
            }
            for (count, size) in words("heapStats.stats[].smallFreeCount")?.iter().zip(sizes) {
                add(&mut sums.frees, *count);
                add(&mut sums.free_bytes, count.wrapping_mul(*size));
            }
        }
        Ok(sums)
    }

    /// What the processors have given out of their spans since these were cached.
    fn add_caches(&mut self, memory: &Memory, layout: &Layout, sizes: &[u64]) -> Result<(), Lacks> {
        let empty = layout.symbol("runtime.emptymspan").map(|address| memory.loaded(address));
        for processor in processors(memory, layout)? {
            let processor = memory.value(layout, "runtime.p", processor)?;
            let cache = processor.get("mcache").ok_or(Lacks::Field("mcache"))?;
            if cache == 0 {
                continue;
            }
            let cache = memory.value(layout, "runtime.mcache", cache)?;
            let tiny = cache.get("tinyAllocs").ok_or(Lacks::Field("tinyAllocs"))?;
            self.mallocs = self.mallocs.wrapping_add(tiny);
            self.frees = self.frees.wrapping_add(tiny);
            let spans = cache.words("alloc", 0).ok_or(Lacks::Field("alloc"))?;
            for (class, span) in spans.iter().enumerate() {
                if *span == 0 || Some(*span) == empty {
                    continue;
                }
                let span = memory.value(layout, "runtime.mspan", *span)?;
                let need = |path| span.get(path).ok_or(Lacks::Field(path));
                let used = need("allocCount")?.saturating_sub(need("allocCountBeforeCache")?);
                let size = sizes.get(class >> 1).copied().unwrap_or(0);
                self.mallocs = self.mallocs.wrapping_add(used);
                self.alloc_bytes = self.alloc_bytes.wrapping_add(used.wrapping_mul(size));
            }
        }
        Ok(())
    }
}

/// Addresses of the `runtime.p`.
pub(super) fn processors(memory: &Memory, layout: &Layout) -> Result<Vec<u64>, Lacks> {
    let slice = layout.symbol("runtime.allp").ok_or(Lacks::Field("runtime.allp"))?;
    let slice = memory.words(memory.loaded(slice), 2)?;
    let count = usize::try_from(slice[1]).unwrap_or(usize::MAX).min(MOST_PROCESSORS);
    Ok(memory.words(slice[0], count)?.into_iter().filter(|address| *address != 0).collect())
}

fn collector(stats: &Read<'_>, control: &Read<'_>, minor: u32) -> Result<Collector, Lacks> {
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let cycles = stats.need("numgc")?;
    let pauses = stats.0.words("pause_ns", 0).ok_or(Lacks::Field("pause_ns"))?;
    let last = cycles.checked_sub(1).and_then(|last| {
        let place = usize::try_from(last).ok()?.checked_rem(pauses.len())?;
        pauses.get(place).copied()
    });
    let percent = control.need("gcPercent")? as u32 as i32;
    let limit = control.need("memoryLimit")?;
    Ok(Collector {
        cycles,
        forced: stats.need("numforcedgc")?,
        pause_total_s: seconds(stats.need("pause_total_ns")?),
        last_pause_s: seconds(last.unwrap_or(0)),
        last_at_s: seconds(stats.need("last_gc_unix")?),
        cpu_fraction: f64::from_bits(stats.need("gc_cpu_fraction")?),
        next_goal_bytes: goal(control, limit, minor)?,
        live_bytes: control.need("heapMarked")?,
        gogc_percent: u64::try_from(percent).ok(),
        memory_limit_bytes: (limit != NO_LIMIT).then_some(limit),
    })
}

/// runtime/mgcpacer.go, `heapGoalInternal`.
fn goal(control: &Read<'_>, limit: u64, minor: u32) -> Result<Option<u64>, Lacks> {
    const LEAST_RUNWAY: u64 = 64 << 10;
    let by_percent = control.need("gcPercentHeapGoal")?;
    let by_limit = (limit != NO_LIMIT).then(|| goal_of_limit(control, limit, minor)).transpose()?;
    let triggered = control.need("triggered")?;
    let goal = if let Some(goal) = by_limit.filter(|goal| *goal < by_percent) {
        goal
    } else {
        let goal = by_percent.max(control.need("sweepDistMinTrigger")?);
        let least = triggered.checked_add(LEAST_RUNWAY).filter(|_| triggered != u64::MAX);
        goal.max(least.unwrap_or(0))
    };
    Ok((goal != u64::MAX).then_some(goal))
}

/// The same, `memoryLimitHeapGoal`.
fn goal_of_limit(control: &Read<'_>, limit: u64, minor: u32) -> Result<u64, Lacks> {
    const LEAST_HEADROOM: u64 = 1 << 20;
    let allocated = control.need("totalAlloc")?.wrapping_sub(control.need("totalFree")?);
    let ready = control.need("mappedReady")?;
    let marked = control.need("heapMarked")?;
    let beside = ready.saturating_sub(control.need("heapFree")?).saturating_sub(allocated);
    let over = ready.saturating_sub(limit);
    let taken = beside.saturating_add(over);
    if taken >= limit {
        return Ok(marked);
    }
    let goal = limit - taken;
    let percent = if minor >= 21 { 3 } else { 0 };
    let headroom = (goal / 100 * percent).max(LEAST_HEADROOM);
    let goal =
        if goal < headroom || goal - headroom < headroom { headroom } else { goal - headroom };
    Ok(goal.max(marked))
}
