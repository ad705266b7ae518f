//! Where the runtime keeps its figures: symbols and fields, found once for a program.

use std::{collections::HashMap, fs::File};

use object::{Object, ObjectSegment, ObjectSymbol, ReadCache, SymbolKind};

use super::{
    GoError,
    table::{Fields, Table},
    version,
};
use crate::debug_types::{Field, Types};

/// The fields that are read, by type. A figure of which a field is not there is not shown.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "runtime.mstats",
        &[
            "heapStats.stats[]",
            "heapStats.stats[].committed",
            "heapStats.stats[].released",
            "heapStats.stats[].inHeap",
            "heapStats.stats[].inStacks",
            "heapStats.stats[].inWorkBufs",
            "heapStats.stats[].inPtrScalarBits",
            "heapStats.stats[].tinyAllocCount",
            "heapStats.stats[].largeAlloc",
            "heapStats.stats[].largeAllocCount",
            "heapStats.stats[].smallAllocCount",
            "heapStats.stats[].largeFree",
            "heapStats.stats[].largeFreeCount",
            "heapStats.stats[].smallFreeCount",
            "stacks_sys",
            "mspan_sys",
            "mcache_sys",
            "buckhash_sys",
            "gcMiscSys",
            "other_sys",
            "last_gc_unix",
            "pause_total_ns",
            "pause_ns",
            "numgc",
            "numforcedgc",
            "gc_cpu_fraction",
        ],
    ),
    (
        "runtime.gcControllerState",
        &[
            "gcPercent",
            "memoryLimit",
            "heapInUse",
            "heapReleased",
            "heapFree",
            "totalAlloc",
            "totalFree",
            "mappedReady",
            "gcPercentHeapGoal",
            "sweepDistMinTrigger",
            "triggered",
            "heapMarked",
        ],
    ),
    ("runtime.schedt", &["ngsys", "gFree.n", "gFree.stack.size", "gFree.noStack.size"]),
    ("runtime.p", &["gFree.n", "gFree.size", "mcache"]),
    ("runtime.mcache", &["tinyAllocs", "alloc"]),
    ("runtime.mspan", &["allocCount", "allocCountBeforeCache", "elemsize", "spanclass"]),
    ("runtime.bucket", &["allnext", "typ", "size", "nstk"]),
    ("runtime.memRecordCycle", &["allocs", "frees", "alloc_bytes", "free_bytes"]),
    ("runtime.g", &["atomicstatus", "waitreason", "goid", "waitsince", "startpc", "gopc"]),
];

/// The symbols that are read; of some the name changed.
const SYMBOLS: &[&str] = &[
    "runtime.memstats",
    "runtime.gcController",
    "runtime.sched",
    "runtime.allp",
    "runtime.allgs",
    "runtime.allglen",
    "runtime.gomaxprocs",
    "runtime.emptymspan",
    "runtime.class_to_size",
    "internal/runtime/gc.SizeClassToSize",
    "runtime.waitReasonStrings",
    "runtime.MemProfileRate",
    "runtime.mProfCycle",
    "runtime.mbuckets",
];

/// Everything that is to be known of the program's file.
pub(super) struct Layout {
    /// The version of Go, as the file has it: `go1.19.8`.
    pub(super) version: String,
    /// Addresses as in the file.
    symbols: HashMap<&'static str, u64>,
    fields: HashMap<(&'static str, &'static str), Field>,
    /// Functions by address.
    functions: Vec<(u64, String)>,
    /// Address and file offset of the first segment, to tell where the file was loaded.
    pub(super) first_segment: (u64, u64),
}

impl Layout {
    /// Reads the program's file. Without debug information fields are where the table has them.
    pub(super) fn read(file: File) -> Result<Self, GoError> {
        let cache = ReadCache::new(file);
        let file = object::File::parse(&cache).map_err(|error| GoError::File(error.to_string()))?;
        let version = version::of(&file).ok_or(GoError::NotGo)?;
        let (mut symbols, mut functions) = (HashMap::new(), Vec::new());
        for symbol in file.symbols() {
            let Ok(name) = symbol.name() else { continue };
            if symbol.kind() == SymbolKind::Text {
                functions.push((symbol.address(), name.to_owned()));
            }
            if let Some(wanted) = SYMBOLS.iter().find(|wanted| **wanted == name) {
                symbols.insert(*wanted, symbol.address());
            }
        }
        if symbols.is_empty() {
            return Err(GoError::Stripped(version));
        }
        functions.sort_unstable();
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        let types = Types::read(&file, &[gimli::DW_LANG_Go], &names)
            .map_err(|error| GoError::File(error.to_string()))?;
        let table = Table::of(minor(&version));
        let field = |key: (&str, &str)| match (&types, &table) {
            (Some(types), _) => types.field(key.0, key.1),
            (None, Some(table)) => table.field(key.0, key.1),
            (None, None) => None,
        };
        if types.is_none() && table.is_none() {
            return Err(GoError::NoDebugInformation(version));
        }
        let fields = FIELDS
            .iter()
            .flat_map(|(structure, paths)| paths.iter().map(|path| (*structure, *path)))
            .filter_map(|key| Some((key, field(key)?)))
            .collect();
        let first_segment =
            first_segment(&file).ok_or_else(|| GoError::File("it has no segments".into()))?;
        Ok(Layout { version, symbols, fields, functions, first_segment })
    }

    /// The minor version: 19 of `go1.19.8`; 0 where it is none of that form.
    pub(super) fn minor(&self) -> u32 {
        minor(&self.version)
    }

    /// All fields that are known, by type and path.
    pub(super) fn fields(&self) -> Fields {
        let fields = self.fields.iter();
        fields
            .map(|((structure, path), field)| {
                (((*structure).to_owned(), (*path).to_owned()), *field)
            })
            .collect()
    }

    /// Bytes from the start of a type's values to the end of the last field that is known of it.
    pub(super) fn size(&self, structure: &'static str) -> u64 {
        // Of the generations of counters the second and third are behind the first.
        let generations = self
            .field(structure, "heapStats.stats[]")
            .map_or(0, |stats| stats.offset + 3 * stats.size);
        let fields = self.fields.iter().filter(|((of, _), _)| *of == structure);
        fields.map(|(_, field)| field.offset + field.size).max().unwrap_or(0).max(generations)
    }

    /// The function that begins at this address, as the file has it.
    pub(super) fn function(&self, address: u64) -> Option<&str> {
        let place = self.functions.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        Some(&self.functions[place].1)
    }

    /// The function that this address is in, as the file has it.
    pub(super) fn function_around(&self, address: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|(start, _)| *start <= address);
        Some(&self.functions[behind.checked_sub(1)?].1)
    }

    /// The address of a symbol as the file has it.
    pub(super) fn symbol(&self, name: &'static str) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    /// A field of a type.
    pub(super) fn field(&self, structure: &'static str, path: &'static str) -> Option<Field> {
        self.fields.get(&(structure, path)).copied()
    }
}

fn minor(version: &str) -> u32 {
    let digits = version.trim_start_matches("go1.");
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|d| d.parse().ok()).unwrap_or(0)
}

fn first_segment<'data>(
    file: &object::File<'data, impl object::ReadRef<'data>>,
) -> Option<(u64, u64)> {
    file.segments().map(|segment| (segment.address(), segment.file_range().0)).min()
}
