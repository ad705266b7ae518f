//! jemalloc's arenas, read from outside: what `mallctl` says of them (src/arena.c, `arena_stats_merge`).
//!
//! It takes its locks first; here what was read while it changed is read again.

mod cached;
mod layout;
mod read;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    library::Library,
    settings::{Origin, Settings},
};
use crate::{
    source::{memory::ProcessMemory, roots::Roots},
    units::Pid,
};
use layout::{Lack, Layout, OPTIONS, Symbols, Value};
use read::Reader;

/// What a jemalloc holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jemalloc {
    /// Arenas that were ever used, in the order of their numbers.
    pub arenas: Vec<JemallocArena>,
    /// How many there are, with those that were never used: threads share when there are more of them (`arenas.narenas`).
    pub most_arenas: Option<u64>,
    /// Whether it counts blocks: otherwise it was built without statistics (`--disable-stats`).
    pub has_statistics: bool,
}

/// An arena. Names of jemalloc's own figures are those below `stats.arenas.<i>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JemallocArena {
    /// Its number.
    pub index: u64,
    /// Threads that allocate from it (`nthreads`).
    pub threads: u64,
    /// In pages that hold blocks (`pactive`).
    pub active_bytes: u64,
    /// In pages that are free, and were written (`pdirty`).
    pub dirty_bytes: u64,
    /// In pages that were given back by MADV_FREE (`pmuzzy`).
    pub muzzy_bytes: u64,
    /// Address space that was given back and is kept (`retained`).
    pub retained_bytes: u64,
    /// Milliseconds until dirty pages are given back; -1 for never (`dirty_decay_ms`).
    pub dirty_decay_ms: i64,
    /// The same of muzzy pages (`muzzy_decay_ms`).
    pub muzzy_decay_ms: i64,
    /// Of the blocks that count as in use, those that are free in the caches of its threads (`tcache_bytes`); absent where that is
    /// not known, as in 5.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_bytes: Option<u64>,
    /// What it counts; absent where it was built without statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// What an arena counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// By its own reckoning: active, dirty, and its own data (`resident`).
    pub resident_bytes: u64,
    /// Mapped, without what is retained (`mapped`).
    pub mapped_bytes: u64,
    /// Its own data (`base`).
    pub base_bytes: u64,
    /// Blocks that have pages of their own (`large.nmalloc` less `large.ndalloc`).
    pub large_count: u64,
    /// Bytes of them (`large.allocated`).
    pub large_bytes: u64,
    /// Small blocks by size, of those sizes that have any slab.
    pub bins: Vec<Bin>,
}

/// Small blocks of one size, which share slabs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Bytes of a block.
    pub size_bytes: u64,
    /// Bytes of a slab.
    pub slab_bytes: u64,
    /// Blocks that a slab has room for (`nregs`).
    pub slab_regions: u64,
    /// Slabs (`curslabs`).
    pub slabs: u64,
    /// Blocks in use, with those that threads keep in their caches (`curregs`).
    pub regions: u64,
}

impl Jemalloc {
    /// Small blocks by size, those of all arenas added up.
    pub fn sizes(&self) -> Vec<Bin> {
        let mut all: Vec<Bin> = Vec::new();
        let counted = self.arenas.iter().filter_map(|arena| arena.counted.as_ref());
        for bin in counted.flat_map(|counted| &counted.bins) {
            match all.iter_mut().find(|sum| sum.size_bytes == bin.size_bytes) {
                Some(sum) => {
                    sum.slabs += bin.slabs;
                    sum.regions += bin.regions;
                }
                None => all.push(*bin),
            }
        }
        all
    }
}

impl Bin {
    /// In use, with what threads keep.
    pub fn in_use_bytes(&self) -> u64 {
        self.regions * self.size_bytes
    }

    /// Room for blocks that no one uses.
    pub fn free_bytes(&self) -> u64 {
        (self.slabs * self.slab_regions - self.regions) * self.size_bytes
    }

    /// Bytes of its slabs.
    pub fn all_bytes(&self) -> u64 {
        self.slabs * self.slab_bytes
    }
}

impl JemallocArena {
    /// In use, with what threads keep; absent where it does not count.
    pub fn in_use_bytes(&self) -> Option<u64> {
        let counted = self.counted.as_ref()?;
        Some(counted.large_bytes + counted.bins.iter().map(Bin::in_use_bytes).sum::<u64>())
    }

    /// Room in slabs that no one uses.
    pub fn free_bytes(&self) -> u64 {
        self.counted.iter().flat_map(|counted| &counted.bins).map(Bin::free_bytes).sum()
    }
}

/// Where the state of a jemalloc is.
pub(super) struct Place {
    symbols: Symbols,
    layout: Result<Layout, Lack>,
    bias: u64,
    /// How it is known.
    pub(super) by: String,
}

/// Finds where a library keeps its state; the error says in a sentence why not.
pub(super) fn find(
    library: &Library,
    roots: &Roots,
    pid: Pid,
    caches: &[PathBuf],
) -> Result<Place, String> {
    let mut best: Option<Place> = None;
    for (file, path) in library.symbol_files(roots, pid, caches) {
        let Ok((symbols, layout)) = layout::read(file) else { continue };
        let by = format!("by the debug information of {}", path.display());
        let is_whole = layout.is_ok();
        if is_whole || best.is_none() {
            best = Some(Place { symbols, layout, bias: library.bias, by });
        }
        if is_whole {
            break;
        }
    }
    best.ok_or_else(|| {
        "it has no symbols for its state: install its debug symbols (Debian: libjemalloc2-dbgsym of the debug archive), link it \
         unstripped, or let debuginfod-find fetch them"
            .to_owned()
    })
}

impl Place {
    /// Adds the options that are in force, which need symbols only.
    pub(super) fn add_settings(&self, memory: &ProcessMemory, settings: &mut Settings) {
        for (variable, name, kind) in OPTIONS {
            let Some((address, size)) = self.symbols.get(variable) else { continue };
            let mut bytes = [0; 8];
            let Some(read) = bytes.get_mut(..size as usize) else { continue };
            if memory.read(address.wrapping_add(self.bias), read).is_err() {
                continue;
            }
            let value = u64::from_le_bytes(bytes);
            let value = match kind {
                Value::Bool => (value != 0).to_string(),
                Value::Signed => value.cast_signed().to_string(),
                // Before the first allocation.
                Value::Unsigned if value == 0 && name == "narenas" => continue,
                Value::Unsigned => value.to_string(),
            };
            settings.set(name, value, Origin::Memory);
        }
    }

    /// All arenas at one moment; the error says in a sentence why not.
    pub(super) fn reader<'a>(&'a self, memory: &'a ProcessMemory) -> Result<Reader<'a>, String> {
        let layout = self.layout.as_ref().map_err(|lack| match lack {
            Lack::Symbols | Lack::Types => {
                "it has symbols and no debug information about its types: build its C code with -g, or install its debug symbols"
                    .to_owned()
            }
            Lack::Field(structure, field) => format!(
                "its debug information has no {field} of {structure} where memmgr knows it: this version is not known"
            ),
            Lack::File(error) => format!("its debug information cannot be read: {error}"),
        })?;
        let reader = Reader::new(self, layout, memory);
        let reader = reader.map_err(|error| format!("its tables cannot be read: {error}"))?;
        reader.ok_or_else(|| {
            "its tables are not what its debug information says: nothing of it is believed"
                .to_owned()
        })
    }
}
