//! Where a process's glibc keeps its main arena and its parameters: by symbols of its debug file, or found by what they look like.

use std::{fs::File, path::Path};

use object::{Object, ObjectSymbol, ReadCache};

use super::layout::{BINS, Layout};
use crate::source::memory::{ProcessMemory, words};

/// What is looked for.
const SYMBOLS: [&str; 2] = ["main_arena", "mp_"];
/// More of a library's own memory is not searched.
const MOST_SEARCHED: u64 = 16 << 20;
/// So many of four lists fit at any moment of a busy process, too.
const FITTING: usize = 3;
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

/// Whether what was found by name is what it looks like: another build may have the same name, and another version other fields.
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
                && is_linked(memory, address, layout)
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

/// An arena that is in use, by itself: each of its bins is empty and points to itself, or both its links point to chunks.
fn is_arena(bytes: &[u8], address: u64, layout: &Layout) -> bool {
    let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
    let own = address..address + bytes.len() as u64;
    let is_chunk = |chunk: u64| is_chunk(chunk) && !own.contains(&chunk);
    let [next, _, _, system, most] =
        [0, 1, 2, 3, 4].map(|field| word(layout.arena.next + 8 * field));
    let top = word(layout.arena.top);
    // Before the first block the end of the heap is at a bin.
    let has_top = is_chunk(top) || top == bin(address, 0, layout);
    let is_bin = |(at, bin): (usize, u64)| {
        let (next, before) = (word(at), word(at + 8));
        (next == bin && before == bin) || (is_chunk(next) && is_chunk(before))
    };
    next != 0
        && next.is_multiple_of(8)
        && system > 0
        && system <= most
        && has_top
        && (0..BINS).map(|at| (layout.arena.bins + 16 * at, bin(address, at, layout))).all(is_bin)
}

/// Where the bin is as a chunk, which it is taken for: one whose links it holds.
fn bin(arena: u64, number: usize, layout: &Layout) -> u64 {
    (arena + (layout.arena.bins + 16 * number) as u64).wrapping_sub(16)
}

/// Whether what looks like an arena is one: the chunks that its bins point to point back to them.
fn is_linked(memory: &ProcessMemory, arena: u64, layout: &Layout) -> bool {
    let (mut used, mut fitting) = (0, 0);
    for bin in (0..BINS).map(|number| bin(arena, number, layout)) {
        let Ok(links) = memory.words(bin.wrapping_add(16), 2) else { return false };
        if links != [bin, bin] {
            used += 1;
            let back = [links[0].wrapping_add(24), links[1].wrapping_add(16)];
            fitting += usize::from(back.iter().all(|at| memory.word(*at).ok() == Some(bin)));
        }
    }
    fitting * 4 >= used * FITTING
}

fn is_chunk(address: u64) -> bool {
    address != 0 && address.is_multiple_of(16) && address < LARGE
}

/// The parameters: figures that fit each other, and where it is known the beginning of the heap.
fn are_parameters(bytes: &[u8], layout: &Layout, heap: Option<u64>) -> bool {
    let word = |at: usize| words(&bytes[at..at + 8]).next().unwrap_or(0);
    let half = |at: usize| word(at) as u32;
    let [trim, pad, threshold, _, _] = [0, 8, 16, 24, 32].map(word);
    // How many may be mapped is anything: 0 turns it off.
    let [count, highest, is_fixed] = [0, 8, 12].map(|more| half(layout.parameters.mappings + more));
    let [mapped, most_mapped, heap_start, _, cached, per_bin] =
        [0, 1, 2, 3, 4, 5].map(|field| word(layout.parameters.mapped_bytes + 8 * field));
    let sizes = [trim, pad, threshold].iter().all(|bytes| *bytes < LARGE || *bytes == u64::MAX);
    sizes
        && count <= highest
        && is_fixed <= 1
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
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::pools::layout::{ArenaLayout, ParameterLayout, layouts};

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
        put(layout.top, 0x5000);
        put(layout.next, address);
        put(layout.next + 24, 132 << 10);
        put(layout.next + 32, 132 << 10);
        bytes
    }

    #[test]
    fn an_arena_is_known_by_its_bins() {
        let layout = layouts(Some(36))[0];
        let good = arena(0x7000);
        let check = |changes: &[(usize, u64)], address: u64, expected: bool| {
            let mut bytes = good.clone();
            for (at, word) in changes {
                bytes[*at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            assert_eq!(is_arena(&bytes, address, &layout), expected, "{changes:x?} {address:x}");
        };
        let ArenaLayout { bins, next, top, .. } = layout.arena;
        check(&[], 0x7000, true);
        check(&[], 0x7008, false);
        // One of a bin's links alone; both; one to another bin.
        check(&[(bins, 0x5550)], 0x7000, false);
        check(&[(bins, 0x5550), (bins + 8, 0x5560)], 0x7000, true);
        check(&[(bins, 0x5550), (bins + 8, 0x7100)], 0x7000, false);
        // However few are empty.
        let all: Vec<_> = (0..2 * BINS).map(|link| (bins + 8 * link, 0x5550)).collect();
        check(&all, 0x7000, true);
        // More in use than ever was, no list of arenas, no end.
        check(&[(next + 32, 1)], 0x7000, false);
        check(&[(next, 0)], 0x7000, false);
        check(&[(top, 0x7200)], 0x7000, false);
        assert!(!is_arena(&vec![0; layout.arena.size()], 0x7000, &layout));
    }

    #[test]
    fn what_is_found_by_a_search_has_chunks_that_point_back() {
        let layout = layouts(Some(36))[0];
        let check = |bins: usize, torn: usize, expected: bool| {
            let file = tempfile::tempfile().unwrap();
            let put = |at: u64, word: u64| file.write_all_at(&word.to_le_bytes(), at).unwrap();
            file.write_all_at(&arena(0x7000), 0x7000).unwrap();
            for number in 0..bins {
                let (bin, chunk) = (bin(0x7000, number, &layout), 0x10_000 + 0x100 * number as u64);
                let back = if number < torn { 0 } else { bin };
                for (at, word) in [(bin, chunk), (chunk, back)] {
                    put(at + 16, word);
                    put(at + 24, word);
                }
            }
            let memory = ProcessMemory::new(file);
            assert_eq!(is_linked(&memory, 0x7000, &layout), expected, "{torn} of {bins}");
        };
        check(0, 0, true);
        check(BINS, 0, true);
        check(BINS, 20, true);
        check(BINS, 40, false);
        check(1, 1, false);
    }

    #[test]
    fn parameters_are_known_by_what_fits() {
        let layout = layouts(Some(36))[0];
        let ParameterLayout { mappings, mapped_bytes } = layout.parameters;
        let check = |changes: &[(usize, u64)], expected: bool| {
            let mut bytes = vec![0; layout.parameters.size()];
            let usual = [(0, 128 << 10), (16, 128 << 10), (mappings + 4, 65536)];
            let heap = [(mapped_bytes + 16, 0x5000)];
            for (at, word) in usual.iter().chain(&heap).chain(changes) {
                bytes[*at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            assert_eq!(are_parameters(&bytes, &layout, Some(0x5000)), expected, "{changes:x?}");
        };
        check(&[], true);
        // Nothing is mapped, and nothing trimmed.
        check(&[(mappings + 4, 0)], true);
        check(&[(0, u64::MAX), (16, 0)], true);
        check(&[(mappings, 3)], false);
        check(&[(mappings + 12, 2)], false);
        check(&[(mapped_bytes, 4096)], false);
        check(&[(mapped_bytes + 16, 0x6000)], false);
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
