//! Reads the arenas of a jemalloc by its layout.

use std::io;

use super::{
    Bin, Counted, Jemalloc, JemallocArena, Place, cached,
    layout::{self, BinsLayout, Layout, Symbol},
};
use crate::{
    debug_types::Field,
    source::memory::{ProcessMemory, words},
};

/// Larger values than any of jemalloc's are not read: what debug information says is not to be trusted.
const MOST_BYTES: u64 = 16 << 20;
/// More arenas than jemalloc allows (`MALLOCX_ARENA_LIMIT`).
const MOST_ARENAS: usize = 4096;
/// More classes of size than jemalloc has.
const MOST_CLASSES: u64 = 1024;
/// More bins of one class than an arena may have (`BIN_SHARDS_MAX`).
const MOST_SHARDS: u64 = 64;

/// What is the same for all bins of a class of small blocks.
#[derive(Clone, Copy)]
struct Class {
    bin: Bin,
    shards: u64,
}

/// Reads the arenas, again and again.
pub(in crate::pools) struct Reader<'a> {
    place: &'a Place,
    layout: &'a Layout,
    memory: &'a ProcessMemory,
    classes: Vec<Class>,
    /// Sizes of classes of large blocks.
    large: Vec<u64>,
    page: u64,
}

impl<'a> Reader<'a> {
    /// Reads the tables that never change. Nothing where they do not fit each other.
    pub(super) fn new(
        place: &'a Place,
        layout: &'a Layout,
        memory: &'a ProcessMemory,
    ) -> io::Result<Option<Self>> {
        let table = |name| place.table(memory, name);
        let sizes: Vec<u64> = words(&table("sz_index2size_tab")?).collect();
        let infos = table("bin_infos")?;
        let info = &layout.info;
        let class = |bytes: &[u8]| -> io::Result<Class> {
            let bin = Bin {
                size_bytes: number(bytes, info.region)?,
                slab_bytes: number(bytes, info.slab)?,
                slab_regions: number(bytes, info.regions)?,
                ..Bin::default()
            };
            let shards = info.shards.map_or(Ok(1), |shards| number(bytes, shards))?;
            Ok(Class { bin, shards })
        };
        let classes = infos.chunks_exact(info.size.max(1) as usize).map(class);
        let classes = classes.collect::<io::Result<Vec<Class>>>()?;
        let fits = classes.len() < sizes.len()
            && !classes.is_empty()
            && sizes.len() as u64 <= MOST_CLASSES
            && sizes.is_sorted()
            && classes.iter().zip(&sizes).all(|(class, size)| {
                let bin = &class.bin;
                let room = bin.slab_regions.checked_mul(*size);
                bin.size_bytes == *size
                    && room.is_some_and(|room| 0 < room && room <= bin.slab_bytes)
                    && (1..=MOST_SHARDS).contains(&class.shards)
            });
        // Slabs are of one to a few pages.
        let page = classes.iter().map(|class| class.bin.slab_bytes).fold(0, greatest_divisor);
        let large = sizes.get(classes.len()..).unwrap_or_default().to_vec();
        let is_page = page.is_power_of_two() && page >= 4096;
        Ok((fits && is_page).then_some(Reader { place, layout, memory, classes, large, page }))
    }

    /// All arenas. An error when they changed meanwhile.
    pub(in crate::pools) fn read(&self) -> io::Result<Jemalloc> {
        let table = self.place.table(self.memory, "arenas")?;
        let addresses = words(&table).take(MOST_ARENAS);
        let mut arenas = Vec::new();
        for (index, address) in (0..).zip(addresses).filter(|(_, address)| *address != 0) {
            arenas.push(self.arena(index, address)?);
        }
        // Every arena has data of its own, the first one that of all.
        let counts =
            |arena: &JemallocArena| arena.counted.as_ref().is_some_and(|c| c.base_bytes > 0);
        let has_statistics = arenas.iter().any(counts);
        if !has_statistics {
            for arena in &mut arenas {
                arena.counted = None;
            }
        }
        let most_arenas = self.place.table(self.memory, layout::TOTAL).ok();
        let size = layout::TOTAL_BYTES;
        let most_arenas =
            most_arenas.and_then(|bytes| number(&bytes, Field { offset: 0, size }).ok());
        Ok(Jemalloc { arenas, most_arenas, has_statistics })
    }

    fn arena(&self, index: u64, address: u64) -> io::Result<JemallocArena> {
        let layout = &self.layout.arena;
        let bytes = read(self.memory, address, layout.size)?;
        let get = |field: Field| number(&bytes, field);
        let pages = |fields: &[Field]| -> io::Result<u64> {
            let mut pages = 0_u64;
            for field in fields {
                pages = pages.checked_add(get(*field)?).ok_or_else(changed)?;
            }
            pages.checked_mul(self.page).ok_or_else(changed)
        };
        let mut dirty = layout.dirty.clone();
        if let Some((used, in_huge_pages)) = layout.huge
            && get(used)? != 0
        {
            dirty.push(in_huge_pages);
        }
        let active_bytes = pages(&[layout.active])?;
        let dirty_bytes = pages(&dirty)?;
        let muzzy_bytes = pages(&layout.muzzy)?;
        let base_layout = &self.layout.base;
        let base = read(self.memory, get(layout.base)?, base_layout.size)?;
        let (large_count, large_bytes) = self.large(&bytes)?;
        let muzzy = if layout.muzzy_is_resident { muzzy_bytes } else { 0 };
        let resident = [active_bytes, dirty_bytes, muzzy, number(&base, base_layout.resident)?];
        let counted = Counted {
            resident_bytes: resident.into_iter().fold(0, u64::saturating_add),
            mapped_bytes: number(&base, base_layout.mapped)?.saturating_add(get(layout.mapped)?),
            base_bytes: number(&base, base_layout.allocated)?,
            large_count,
            large_bytes,
            bins: self.bins(address, &bytes)?,
        };
        Ok(JemallocArena {
            index,
            threads: get(layout.threads)?,
            active_bytes,
            dirty_bytes,
            muzzy_bytes,
            retained_bytes: pages(&layout.retained)?,
            dirty_decay_ms: get(layout.dirty_decay)?.cast_signed(),
            muzzy_decay_ms: get(layout.muzzy_decay)?.cast_signed(),
            cached_bytes: self.cached(&bytes)?,
            counted: Some(counted),
        })
    }

    /// Bytes of blocks in the caches of the arena's threads.
    fn cached(&self, arena: &[u8]) -> io::Result<Option<u64>> {
        let Some(layout) = &self.layout.cache else { return Ok(None) };
        let first = number(arena, layout.first)?;
        let sizes: Vec<u64> = self
            .classes
            .iter()
            .map(|class| class.bin.size_bytes)
            .chain(self.large.iter().copied())
            .collect();
        let disabled = self.place.symbols.get("disabled_bin");
        let disabled = disabled.map(|(address, _)| address.wrapping_add(self.place.bias));
        cached::bytes(self.memory, layout, first, &sizes, disabled).map(Some)
    }

    /// Number and bytes of large blocks.
    fn large(&self, arena: &[u8]) -> io::Result<(u64, u64)> {
        let layout = &self.layout.arena.large;
        let (mut count, mut all) = (0_u64, 0_u64);
        for (number_of, size) in (0..).zip(&self.large) {
            let get = |field: Field| {
                let offset = field.offset + number_of * layout.element.size;
                number(arena, Field { offset, ..field })
            };
            // An allocation is counted before it can be freed: this one was freed between two reads.
            let now = get(layout.allocated)?.checked_sub(get(layout.freed)?);
            let now = now.ok_or_else(changed)?;
            let bytes = match layout.bytes {
                Some(field) => get(field)?,
                None => now.checked_mul(*size).ok_or_else(changed)?,
            };
            count = count.checked_add(now).ok_or_else(changed)?;
            all = all.checked_add(bytes).ok_or_else(changed)?;
        }
        Ok((count, all))
    }

    /// The bins of an arena that have slabs, those of one class added up.
    fn bins(&self, address: u64, arena: &[u8]) -> io::Result<Vec<Bin>> {
        let layout = &self.layout.bin;
        let mut bins = Vec::new();
        let mut behind = match self.layout.arena.bins {
            BinsLayout::Behind(offset) => address.wrapping_add(offset),
            BinsLayout::Pointed(_) => 0,
        };
        for (class, number_of) in self.classes.iter().zip(0..) {
            let start = match self.layout.arena.bins {
                BinsLayout::Behind(_) => behind,
                BinsLayout::Pointed(field) => {
                    let offset = field.offset + number_of * field.size;
                    number(arena, Field { offset, size: 8 })?
                }
            };
            let size = layout.size.saturating_mul(class.shards);
            behind = start.wrapping_add(size);
            let bytes = read(self.memory, start, size)?;
            let mut sum = class.bin;
            for bytes in bytes.chunks_exact(layout.size.max(1) as usize) {
                let (regions, slabs) =
                    (number(bytes, layout.regions)?, number(bytes, layout.slabs)?);
                // The bytes of all must be a number too.
                let bytes = slabs.checked_mul(class.bin.slab_bytes);
                if bytes.is_none() || regions > slabs * class.bin.slab_regions {
                    return Err(changed());
                }
                sum.regions += regions;
                sum.slabs += slabs;
            }
            if sum.slabs > 0 {
                bins.push(sum);
            }
        }
        Ok(bins)
    }
}

impl Place {
    /// A variable as a whole.
    fn table(&self, memory: &ProcessMemory, name: &str) -> io::Result<Vec<u8>> {
        let (address, size): Symbol =
            self.symbols.get(name).ok_or_else(|| io::Error::other(format!("it has no {name}")))?;
        read(memory, address.wrapping_add(self.bias), size)
    }
}

pub(super) fn read(memory: &ProcessMemory, address: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > MOST_BYTES {
        return Err(io::Error::other("its debug information tells of a value larger than any"));
    }
    let mut bytes = vec![0; size as usize];
    memory.read(address, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn changed() -> io::Error {
    io::Error::other("its figures changed meanwhile")
}

/// An integer of up to 8 bytes.
pub(super) fn number(bytes: &[u8], field: Field) -> io::Result<u64> {
    let start = field.offset as usize;
    let end = start.saturating_add(field.size.min(8) as usize);
    let bytes = bytes.get(start..end);
    let bytes =
        bytes.ok_or_else(|| io::Error::other("its debug information contradicts itself"))?;
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(word))
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}
