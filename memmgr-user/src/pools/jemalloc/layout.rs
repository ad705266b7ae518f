//! Where jemalloc keeps its figures: symbols, and the fields of its structures by the debug information of its C code.
//!
//! Names are those of 5.2 (include/jemalloc/internal/arena_structs_b.h, bin.h), of 5.3 (arena_structs.h, pa.h, pac.h, ecache.h)
//! and of 5.3.1; of each figure the names are tried in this order, newest first.

use std::{collections::HashMap, fs::File, io};

use gimli::DwLang;
use object::{Object, ObjectSymbol, ReadCache};

use super::cached::CacheLayout;
use crate::debug_types::{Field, Types};

/// What jemalloc's code is written in.
const C: [DwLang; 5] = [
    gimli::DW_LANG_C,
    gimli::DW_LANG_C89,
    gimli::DW_LANG_C99,
    gimli::DW_LANG_C11,
    gimli::DW_LANG_C17,
];
/// The structures that are read.
const STRUCTURES: [&str; 7] = [
    "arena_s",
    "base_s",
    "bin_s",
    "bin_info_s",
    "cache_bin_array_descriptor_s",
    "cache_bin_s",
    "tcache_s",
];
/// The table that every symbol of the same jemalloc has the prefix of.
const BINS: &str = "bin_infos";

/// Why the inside of a jemalloc is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// No file has its symbols.
    Symbols,
    /// There are symbols, and no types.
    Types,
    /// A structure has no such field.
    Field(&'static str, &'static str),
    /// A file.
    File(String),
}

/// A value in the memory of the process: where the file has it, and its size in bytes.
pub(super) type Symbol = (u64, u64);

/// The symbols of a jemalloc, without their prefix.
#[derive(Debug, Default)]
pub(super) struct Symbols(HashMap<String, Symbol>);

impl Symbols {
    /// Those of a file; none where it has not all that are needed.
    pub(super) fn read<'data>(
        file: &object::File<'data, impl object::ReadRef<'data>>,
    ) -> Option<Self> {
        let names = || file.symbols().filter_map(|symbol| Some((symbol.name().ok()?, symbol)));
        let marked = names()
            .find_map(|(name, symbol)| name.strip_suffix(BINS).filter(|_| symbol.size() > 0))?;
        // Variables of one file (`static`) have no prefix.
        let all = names().filter(|(_, symbol)| symbol.size() > 0).filter_map(|(name, symbol)| {
            let plain = name.strip_prefix(marked).or_else(|| (name == TOTAL).then_some(TOTAL))?;
            is_wanted(plain).then(|| (plain.to_owned(), (symbol.address(), symbol.size())))
        });
        let symbols = Symbols(all.collect());
        [BINS, "arenas", "sz_index2size_tab"]
            .iter()
            .all(|name| symbols.0.contains_key(*name))
            .then_some(symbols)
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<Symbol> {
        self.0.get(name).copied()
    }
}

/// How many arenas there may be.
pub(super) const TOTAL: &str = "narenas_total";
/// It is an `unsigned`.
pub(super) const TOTAL_BYTES: u64 = 4;

fn is_wanted(name: &str) -> bool {
    [BINS, "arenas", "sz_index2size_tab", "disabled_bin", TOTAL].contains(&name)
        || OPTIONS.iter().any(|(variable, ..)| *variable == name)
}

/// How the value of an option is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool,
    Unsigned,
    Signed,
}

/// Variables that hold what is in force, and the name of the setting.
pub(super) const OPTIONS: [(&str, &str, Value); 7] = [
    ("narenas_auto", "narenas", Value::Unsigned),
    ("opt_dirty_decay_ms", "dirty_decay_ms", Value::Signed),
    ("opt_muzzy_decay_ms", "muzzy_decay_ms", Value::Signed),
    ("background_thread_enabled_state", "background_thread", Value::Bool),
    ("opt_retain", "retain", Value::Bool),
    ("opt_tcache", "tcache", Value::Bool),
    ("opt_oversize_threshold", "oversize_threshold", Value::Unsigned),
];

/// Of an arena (`arena_s`).
#[derive(Debug)]
pub(super) struct ArenaLayout {
    pub(super) size: u64,
    pub(super) threads: Field,
    pub(super) active: Field,
    /// Those that add up.
    pub(super) dirty: Vec<Field>,
    pub(super) muzzy: Vec<Field>,
    pub(super) retained: Vec<Field>,
    pub(super) dirty_decay: Field,
    pub(super) muzzy_decay: Field,
    /// Whether it was given to the allocator of huge pages, and what of that is dirty (5.3.1).
    pub(super) huge: Option<(Field, Field)>,
    pub(super) base: Field,
    pub(super) mapped: Field,
    /// Whether muzzy pages count as resident: they do in 5.2.
    pub(super) muzzy_is_resident: bool,
    pub(super) large: LargeLayout,
    pub(super) bins: BinsLayout,
}

/// Of the counts of one class of large blocks, in an arena.
#[derive(Debug)]
pub(super) struct LargeLayout {
    /// The first element.
    pub(super) element: Field,
    pub(super) allocated: Field,
    pub(super) freed: Field,
    /// Their bytes (5.3.1); before, each is of the size of its class.
    pub(super) bytes: Option<Field>,
}

/// Where an arena's bins are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinsLayout {
    /// An array of pointers to them, one for each class (5.2).
    Pointed(Field),
    /// Behind the arena itself, one after the other, from this offset on.
    Behind(u64),
}

/// Of a bin (`bin_s`).
#[derive(Debug)]
pub(super) struct BinLayout {
    pub(super) size: u64,
    pub(super) regions: Field,
    pub(super) slabs: Field,
}

/// Of what is the same for all bins of a class (`bin_info_s`).
#[derive(Debug)]
pub(super) struct InfoLayout {
    pub(super) size: u64,
    pub(super) region: Field,
    pub(super) slab: Field,
    pub(super) regions: Field,
    /// Bins of the class in an arena; one before 5.2.
    pub(super) shards: Option<Field>,
}

/// Of an arena's own data (`base_s`).
#[derive(Debug)]
pub(super) struct BaseLayout {
    pub(super) size: u64,
    pub(super) allocated: Field,
    pub(super) resident: Field,
    pub(super) mapped: Field,
}

/// All that is to be known of a jemalloc.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) arena: ArenaLayout,
    pub(super) bin: BinLayout,
    pub(super) info: InfoLayout,
    pub(super) base: BaseLayout,
    /// Of the caches of threads, where they are known.
    pub(super) cache: Option<CacheLayout>,
}

/// Reads a file's symbols, and where it has them its types.
pub(super) fn read(file: File) -> Result<(Symbols, Result<Layout, Lack>), Lack> {
    let cache = ReadCache::new(file);
    let file = object::File::parse(&cache).map_err(|error| Lack::File(error.to_string()))?;
    let symbols = Symbols::read(&file).ok_or(Lack::Symbols)?;
    let layout = || {
        let types = Types::read(&file, &C, &STRUCTURES);
        let types = types.map_err(|error: io::Error| Lack::File(error.to_string()))?;
        Layout::of(&types.ok_or(Lack::Types)?)
    };
    Ok((symbols, layout()))
}

impl Layout {
    fn of(types: &Types) -> Result<Self, Lack> {
        let size = |structure| types.size_of(structure).ok_or(Lack::Field(structure, "size"));
        let optional = |structure, path| types.field(structure, path);
        // The first that is there, of several names.
        let field = |structure, paths: &[&'static str]| {
            let found = paths.iter().find_map(|path| optional(structure, path));
            found.ok_or(Lack::Field(structure, paths[0]))
        };
        let arena = |paths: &[&'static str]| field("arena_s", paths);
        let pages = |new: [&'static str; 2], old| match new.map(|path| optional("arena_s", path)) {
            [Some(plain), Some(guarded)] => Ok(vec![plain, guarded]),
            _ => arena(&[old]).map(|field| vec![field]),
        };
        let bins = match optional("arena_s", "bins[].bin_shards") {
            Some(_) => BinsLayout::Pointed(arena(&["bins[]"])?),
            None => BinsLayout::Behind(arena(&["all_bins[]", "bins[]"])?.offset),
        };
        let huge = optional("arena_s", "pa_shard.ever_used_hpa")
            .zip(optional("arena_s", "pa_shard.hpa_shard.psset.stats.merged.ndirty"));
        Ok(Layout {
            arena: ArenaLayout {
                size: size("arena_s")?,
                threads: arena(&["nthreads[]"])?,
                active: arena(&["pa_shard.nactive", "nactive"])?,
                dirty: pages(
                    [
                        "pa_shard.pac.ecache_dirty.eset.npages",
                        "pa_shard.pac.ecache_dirty.guarded_eset.npages",
                    ],
                    "extents_dirty.npages",
                )?,
                muzzy: pages(
                    [
                        "pa_shard.pac.ecache_muzzy.eset.npages",
                        "pa_shard.pac.ecache_muzzy.guarded_eset.npages",
                    ],
                    "extents_muzzy.npages",
                )?,
                retained: pages(
                    [
                        "pa_shard.pac.ecache_retained.eset.npages",
                        "pa_shard.pac.ecache_retained.guarded_eset.npages",
                    ],
                    "extents_retained.npages",
                )?,
                dirty_decay: arena(&["pa_shard.pac.decay_dirty.time_ms", "decay_dirty.time_ms"])?,
                muzzy_decay: arena(&["pa_shard.pac.decay_muzzy.time_ms", "decay_muzzy.time_ms"])?,
                huge,
                base: arena(&["base"])?,
                mapped: arena(&["stats.pa_shard_stats.pac_stats.pac_mapped", "stats.mapped"])?,
                muzzy_is_resident: optional("arena_s", "pa_shard").is_none(),
                large: LargeLayout {
                    element: arena(&["stats.lstats[]"])?,
                    allocated: arena(&["stats.lstats[].nmalloc"])?,
                    freed: arena(&["stats.lstats[].ndalloc"])?,
                    bytes: optional("arena_s", "stats.lstats[].active_bytes"),
                },
                bins,
            },
            bin: BinLayout {
                size: size("bin_s")?,
                regions: field("bin_s", &["stats.curregs"])?,
                slabs: field("bin_s", &["stats.curslabs"])?,
            },
            info: InfoLayout {
                size: size("bin_info_s")?,
                region: field("bin_info_s", &["reg_size"])?,
                slab: field("bin_info_s", &["slab_size"])?,
                regions: field("bin_info_s", &["nregs"])?,
                shards: optional("bin_info_s", "n_shards"),
            },
            base: BaseLayout {
                size: size("base_s")?,
                allocated: field("base_s", &["allocated"])?,
                resident: field("base_s", &["resident"])?,
                mapped: field("base_s", &["mapped"])?,
            },
            cache: CacheLayout::of(types),
        })
    }
}
