//! Where the C library makes the mapping system calls, for kernels on which every other way to see them slows the host down.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use memmgr_common::{MappingCookie, events::Kind};

use super::elf::{Elf, Symbol};
use super::mapped::MappedFile;
use super::plan::{Stamp, shown};
use super::site::{self, KernelFacts, Need, Requirement, Site, system_call};
use crate::units::FileOffset;

/// Every mapping system call of glibc: through its public functions, which its own allocator and threads use too.
#[derive(Debug)]
pub struct LibraryCalls {
    /// The places.
    pub places: Vec<Place>,
    file: File,
    stamp: Stamp,
}

/// One place of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where, in the file.
    pub offset: FileOffset,
    /// What happens there, and what it costs.
    pub cookie: MappingCookie,
}

impl LibraryCalls {
    /// The path to attach by, as [`super::PlannedAllocator::attach_path`].
    pub fn attach_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Whether the file is still as it was when the places were found.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::from(&self.file.metadata()?) == self.stamp)
    }
}

/// One function that makes one system call.
struct Call {
    function: &'static str,
    /// arch/x86/entry/syscalls/syscall_64.tbl
    number: u32,
    /// What happens when it begins, if that matters: the first two arguments are the range.
    begin: Option<Kind>,
    end: Kind,
    /// Positions of the arguments that are read behind the system call.
    read: &'static [u8],
}

/// An end without its beginning is harmless, so the ends come first.
const CALLS: [Call; 4] = [
    Call { function: "mmap", number: 9, begin: None, end: Kind::Map, read: &[1, 2, 3] },
    Call { function: "brk", number: 12, begin: None, end: Kind::Break, read: &[] },
    Call {
        function: "mremap",
        number: 25,
        begin: Some(Kind::RemapBegin),
        end: Kind::RemapEnd,
        read: &[2],
    },
    Call {
        function: "munmap",
        number: 11,
        begin: Some(Kind::UnmapBegin),
        end: Kind::UnmapEnd,
        read: &[],
    },
];

/// A function that glibc alone has.
const GLIBC: &str = "gnu_get_libc_version";

/// Finds the calls in a process with these files mapped. The error says why not all of its mapping calls would be seen there.
pub fn mapping_calls(
    files: &[MappedFile],
    mut open: impl FnMut(&MappedFile) -> io::Result<File>,
    kernel: KernelFacts,
) -> Result<LibraryCalls, String> {
    let mut found = None;
    for file in files.iter().filter(|file| file.ranges.iter().any(|range| range.executable)) {
        let Ok(opened) = open(file) else { continue };
        let Ok(stamp) = opened.metadata().map(|meta| Stamp::from(&meta)) else { continue };
        let Ok(elf) = Elf::open(opened) else { continue };
        if elf.is_go() {
            return Err(format!("{} makes system calls of its own", shown(&file.path)));
        }
        let named = |name: &str| name == GLIBC || CALLS.iter().any(|call| call.function == name);
        let mut symbols =
            elf.functions(|name, _, _| named(name)).map_err(|error| error.to_string())?;
        // What no other file is linked by is the business of the file alone: a part of a static program, or of ld.so.
        symbols.retain(|symbol| symbol.dynamic);
        if symbols.is_empty() {
            continue;
        }
        if !symbols.iter().any(|symbol| symbol.name == GLIBC) {
            let (path, name) = (shown(&file.path), &symbols[0].name);
            return Err(format!("{path} has a function {name} and is not glibc"));
        }
        if found.is_some() {
            return Err("it has mapped more than one C library".into());
        }
        let places = places(file, &elf, &symbols, kernel)?;
        found = Some(LibraryCalls { places, file: elf.into_file(), stamp });
    }
    found.ok_or_else(|| "it has not mapped glibc".into())
}

fn places(
    file: &MappedFile,
    elf: &Elf,
    symbols: &[Symbol],
    kernel: KernelFacts,
) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    for call in &CALLS {
        let of_file = |why: String| format!("{} of {}: {why}", call.function, shown(&file.path));
        let symbol = symbols.iter().find(|symbol| symbol.name == call.function);
        let symbol = symbol.ok_or_else(|| of_file("its symbol is not there".into()))?;
        let start = symbol.place.map_err(|why| of_file(why.to_string()))?;
        let code =
            elf.code(symbol.address, symbol.size).map_err(|error| of_file(error.to_string()))?;
        let read = call.read.iter().copied().collect();
        let ends = system_call::behind(&code, call.number, read, kernel);
        let mut add = |kind, site: &Site| {
            let offset = FileOffset(start.0 + u64::from(site.offset));
            places.push(Place { offset, cookie: MappingCookie::new(kind, !site.emulated) });
            if file.executes(offset) {
                Ok(())
            } else {
                Err(of_file("it is not mapped as code".into()))
            }
        };
        for site in ends.map_err(|error| of_file(error.to_string()))? {
            add(call.end, &site)?;
        }
        if let Some(kind) = call.begin {
            let arguments = [0, 1].into_iter().collect();
            let requirement = Requirement { need: Need::Entry, arguments, kernel };
            let site = site::choose(&code, requirement);
            add(kind, &site.map_err(|error| of_file(error.to_string()))?)?;
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use crate::allocator::MappedRange;

    const KERNEL: KernelFacts = KernelFacts { multi_byte_nop_emulated: true };
    const PROGRAM: &str = "int main(void) { return 0; }";

    fn compiled(directory: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (input, output) = (directory.join(format!("{name}.c")), directory.join(name));
        std::fs::write(&input, source).unwrap();
        let status =
            Command::new("cc").arg("-o").arg(&output).arg(&input).args(flags).status().unwrap();
        assert!(status.success(), "cc {flags:?}");
        output
    }

    fn mapped(path: &Path, main: bool) -> MappedFile {
        let range = MappedRange { start: 0x1000, end: 1 << 40, offset: 0, executable: true };
        MappedFile {
            path: path.into(),
            device: 1,
            inode: 1,
            ranges: vec![range],
            deleted: false,
            main,
        }
    }

    /// The C library of these tests.
    fn library() -> MappedFile {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6")).unwrap();
        mapped(Path::new(libc), false)
    }

    /// The moments that are found, in the order of attaching, or why none are.
    fn check(files: &[MappedFile], expected: &str) {
        let found = mapping_calls(files, |file| File::open(&file.path), KERNEL);
        let found = found.map(|calls| {
            let of = |kind: Kind| {
                calls.places.iter().filter(|place| place.cookie.kind() == kind as u16).count()
            };
            assert!(of(Kind::RemapEnd) >= 1, "{:?}", calls.places);
            [Kind::Map, Kind::Break, Kind::UnmapEnd, Kind::UnmapBegin, Kind::RemapBegin]
                .map(|kind| of(kind).to_string())
                .join(" ")
        });
        let found = found.unwrap_or_else(|why| why);
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn the_library_is_found_where_it_is_all_that_maps() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name, source, flags: &[&str]| compiled(directory.path(), name, source, flags);
        let static_program = make("static", PROGRAM, &["-static"]);
        let dynamic = make("dynamic", PROGRAM, &[]);
        let own = make("own.so", "void *mmap(void) { return 0; }", &["-shared"]);
        let libc = library();
        check(&[mapped(&dynamic, true), libc.clone()], "1 1 1 1 1");
        check(&[mapped(&static_program, true)], "it has not mapped glibc");
        check(&[mapped(&dynamic, true)], "it has not mapped glibc");
        check(&[libc.clone(), mapped(&own, false)], "has a function mmap and is not glibc");
        check(&[libc.clone(), libc], "more than one C library");
    }

    #[test]
    fn a_library_that_is_not_mapped_as_code_is_not_probed() {
        let mut file = library();
        file.ranges[0].end = 0x1100;
        check(&[file], "it is not mapped as code");
    }
}
