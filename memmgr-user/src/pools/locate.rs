//! Where a process's glibc keeps its main arena and its parameters: by symbols of its debug file, or found by what they look like.

use std::{fs::File, path::Path};

use object::{Object, ObjectSymbol, ReadCache};

use super::layout::{BINS, Layout};
use crate::source::memory::{ProcessMemory, words};

/// What is looked for.
const SYMBOLS: [&str; 2] = ["main_arena", "mp_"];
/// More of a library's own memory is not searched.
const MOST_SEARCHED: u64 = 16 << 20;
/// So many of an arena's bins are empty and point to themselves, however fragmented its heap is.
const LEAST_EMPTY: usize = 32;
/// No parameter in bytes is larger.
const LARGE: u64 = 1 << 47;

/// Where both are in the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) arena: u64,
    pub(super) parameters: u64,
    /// How it is known.
    pub(super) by: String,
}

/// Addresses in the file of the main arena and the parameters, by a file's symbols.
pub(super) fn by_symbols(file: File) -> Option<[u64; 2]> {
    let cache = ReadCache::new(file);
    let file = object::File::parse(&cache).ok()?;
    let find = |wanted: &str| {
        file.symbols().find(|symbol| symbol.name() == Ok(wanted)).map(|symbol| symbol.address())
    };
    Some([find(SYMBOLS[0])?, find(SYMBOLS[1])?])
}

/// Whether what was found by name is what it looks like: another build may have the same name.
pub(super) fn is_right(memory: &ProcessMemory, place: &Place, layout: &Layout) -> bool {
    let mut arena = vec![0; layout.arena.size()];
    let mut parameters = vec![0; layout.parameters.size()];
    memory.read(place.arena, &mut arena).is_ok()
        && memory.read(place.parameters, &mut parameters).is_ok()
        && is_arena(&arena, place.arena, layout)
        && are_parameters(&parameters, layout, None)
}

/// Finds both in the library's own memory, by what they look like.
pub(super) fn by_search(
    memory: &ProcessMemory,
    ranges: &[(u64, u64)],
    heap: Option<u64>,
    layout: &Layout,
) -> Option<Place> {
    let (mut arena, mut parameters) = (None, None);
    for (start, end) in ranges {
        let mut bytes = vec![0; (end - start).min(MOST_SEARCHED) as usize];
        if memory.read(*start, &mut bytes).is_err() {
            continue;
        }
        for at in (0..bytes.len()).step_by(8) {
            let address = start + at as u64;
            let piece = |size: usize| bytes.get(at..at + size);
            if arena.is_none()
                && piece(layout.arena.size()).is_some_and(|piece| is_arena(piece, address, layout))
            {
                arena = Some(address);
            }
            if parameters.is_none()
                && heap.is_some()
                && piece(layout.parameters.size())
                    .is_some_and(|piece| are_parameters(piece, layout, heap))
            {
                parameters = Some(address);
            }
        }
    }
    Some(Place {
        arena: arena?,
        parameters: parameters?,
        by: "by a search of the library's memory, since its debug file is not here".to_owned(),
    })
}

/// An arena that is in use: most of its bins are empty and point to themselves, and the others to chunks.
fn is_arena(bytes: &[u8], address: u64, layout: &Layout) -> bool {
    let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
    let mut empty = 0;
    for bin in 0..BINS {
        let at = layout.arena.bins + 16 * bin;
        // A bin is taken for a chunk whose links it holds.
        let own = address + at as u64 - 16;
        match (word(at), word(at + 8)) {
            (next, before) if next == own && before == own => empty += 1,
            (next, before) if is_chunk(next) && is_chunk(before) => {}
            _ => return false,
        }
    }
    let [next, _, _, system, most] =
        [0, 1, 2, 3, 4].map(|field| word(layout.arena.next + 8 * field));
    empty >= LEAST_EMPTY && next != 0 && next.is_multiple_of(8) && system > 0 && system <= most
}

fn is_chunk(address: u64) -> bool {
    address != 0 && address.is_multiple_of(16) && address < LARGE
}

/// The parameters: figures that fit each other, and where it is known the beginning of the heap.
fn are_parameters(bytes: &[u8], layout: &Layout, heap: Option<u64>) -> bool {
    let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
    let half = |at: usize| word(at) as u32;
    let [trim, pad, threshold, _, _] = [0, 8, 16, 24, 32].map(word);
    let [count, most, highest] = [0, 4, 8].map(|more| half(layout.parameters.mappings + more));
    let [mapped, most_mapped, heap_start, _, cached, per_bin] =
        [0, 1, 2, 3, 4, 5].map(|field| word(layout.parameters.mapped_bytes + 8 * field));
    let sizes = [trim, pad, threshold].iter().all(|bytes| *bytes < LARGE || *bytes == u64::MAX);
    sizes
        && threshold > 0
        && count <= highest
        && most > 0
        && mapped <= most_mapped
        && mapped.is_multiple_of(4096)
        && cached < 1 << 32
        && per_bin < 1 << 16
        && heap.is_none_or(|heap| heap_start == heap)
}

/// The minor version of a C library's file: 36 where its newest version of a symbol is GLIBC_2.36.
pub(super) fn version(file: File) -> Option<u32> {
    let cache = ReadCache::new(file);
    let file = object::read::elf::ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
    let endian = object::Endianness::Little;
    let sections = file.elf_section_table();
    let (mut versions, link) = sections.gnu_verdef(endian, &cache).ok()??;
    let strings = sections.strings(endian, &cache, link).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut names))) = versions.next() {
        while let Ok(Some(name)) = names.next() {
            let name =
                name.name(endian, strings).ok().and_then(|name| std::str::from_utf8(name).ok());
            let minor = name
                .and_then(|name| name.strip_prefix("GLIBC_2."))
                .and_then(|minor| minor.split('.').next()?.parse::<u32>().ok());
            newest = newest.max(minor);
        }
    }
    newest
}

/// Whether a mapped file is glibc's C library, by its name.
pub(super) fn is_glibc(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_old = |name: &str| {
        name.strip_prefix("libc-2.").and_then(|rest| rest.strip_suffix(".so")).is_some()
    };
    name == "libc.so.6" || is_old(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::layout::layouts;

    /// An arena at an address, whose bins are all empty.
    fn arena(address: u64) -> Vec<u8> {
        let layout = layouts(Some(36))[0].arena;
        let mut bytes = vec![0; layout.size()];
        let mut put = |at: usize, word: u64| bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        for bin in 0..BINS {
            let at = layout.bins + 16 * bin;
            put(at, address + at as u64 - 16);
            put(at + 8, address + at as u64 - 16);
        }
        put(layout.next, address);
        put(layout.next + 24, 132 << 10);
        put(layout.next + 32, 132 << 10);
        bytes
    }

    #[test]
    fn an_arena_is_known_by_its_bins() {
        let layout = layouts(Some(36))[0];
        let good = arena(0x7000);
        assert!(is_arena(&good, 0x7000, &layout));
        assert!(!is_arena(&good, 0x7008, &layout));
        let with = |at: usize, word: u64| {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            bytes
        };
        // One of a bin's links alone.
        assert!(!is_arena(&with(layout.arena.bins, 0), 0x7000, &layout));
        assert!(is_arena(
            &{
                let mut bytes = with(layout.arena.bins, 0x5550);
                bytes[layout.arena.bins + 8..layout.arena.bins + 16]
                    .copy_from_slice(&0x5560_u64.to_le_bytes());
                bytes
            },
            0x7000,
            &layout
        ));
        // More in use than ever was.
        assert!(!is_arena(&with(layout.arena.next + 32, 1), 0x7000, &layout));
        assert!(!is_arena(&vec![0; layout.arena.size()], 0x7000, &layout));
    }

    #[test]
    fn names_of_the_library() {
        for (path, expected) in [
            ("/lib/x86_64-linux-gnu/libc.so.6", true),
            ("/lib/libc-2.31.so", true),
            ("/lib/ld-musl-x86_64.so.1", false),
            ("/usr/lib/libc++.so.1", false),
            ("/usr/lib/libc.so.7", false),
        ] {
            assert_eq!(is_glibc(Path::new(path)), expected, "{path}");
        }
    }
}
