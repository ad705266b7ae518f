//! What code a process has mapped: ranges of addresses → files, which stay open so that a target
//! that has exited, or a file that was replaced, still unwinds and resolves.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use object::{
    Object, ObjectSection, ObjectSegment, SectionKind,
    read::{ReadCache, elf::ElfFile64},
};

use crate::{
    allocator::{MappedFile, MappedRange},
    source::mappings::{Kind, Mapping},
    units::Address,
};

/// Sections larger than this are not read: no real unwind table comes near.
const MOST_SECTION_BYTES: u64 = 512 << 20;

/// A file with code.
pub struct Module {
    /// As the target's mappings name it.
    pub path: PathBuf,
    /// The very file that is mapped.
    pub file: File,
    /// GNU build id in hex, empty when there is none.
    pub build_id: String,
    /// Where the file's segments lie in its own addresses: file offset, length, address.
    segments: Vec<(u64, u64, u64)>,
}

/// A section's bytes and where the file wants them.
pub struct Section {
    /// Address as the file states it.
    pub address: std::ops::Range<u64>,
    /// Contents; empty for `.text`, of which only the address matters.
    pub bytes: Vec<u8>,
}

/// What an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Code of a module, at this address as the file states it.
    Module {
        /// Index into [`Modules`].
        module: usize,
        /// Address as the file states it.
        address: u64,
    },
    /// Code of a file that could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
        /// Offset in the file.
        offset: u64,
    },
    /// The kernel's page of fast system calls.
    Vdso,
    /// Executable memory without a file: a compiler at run time put it there.
    Generated,
    /// Not in any executable mapping that was ever seen.
    Unmapped,
}

#[derive(Clone)]
struct Range {
    end: u64,
    offset: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Module(usize),
    Unreadable(PathBuf, String),
    Vdso,
    Generated,
}

/// All code that was seen mapped. Ranges that went away are kept until something else takes their place.
#[derive(Default)]
pub struct Modules {
    modules: Vec<Module>,
    by_identity: std::collections::HashMap<(u64, u64), usize>,
    ranges: BTreeMap<u64, Range>,
}

impl Modules {
    /// Takes in the executable mappings; returns the start of every range that is new or changed.
    pub fn update(
        &mut self,
        mappings: &[Mapping],
        mut open: impl FnMut(&MappedFile) -> io::Result<File>,
    ) -> Vec<u64> {
        let files = mapped_files(mappings);
        let mut changed = Vec::new();
        for mapping in mappings.iter().filter(|mapping| mapping.permissions.execute) {
            let what = match &mapping.kind {
                Kind::Vdso | Kind::Vsyscall => What::Vdso,
                Kind::File { path, .. } => {
                    let identity = file_of(mapping);
                    let known = self.by_identity.get(&identity).copied();
                    match known.map_or_else(|| self.add(identity, &files, &mut open), Ok) {
                        Ok(module) => What::Module(module),
                        Err(error) => What::Unreadable(path.clone(), error.to_string()),
                    }
                }
                _ => What::Generated,
            };
            let range = Range { end: mapping.end, offset: mapping.offset, what };
            if self.replace(mapping.start, range) {
                changed.push(mapping.start);
            }
        }
        changed
    }

    /// The module of this index.
    pub fn module(&self, index: usize) -> &Module {
        &self.modules[index]
    }

    /// All modules.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter()
    }

    /// What an address belongs to.
    pub fn place(&self, Address(address): Address) -> Place {
        let Some((start, range)) =
            self.ranges.range(..=address).next_back().filter(|(_, range)| address < range.end)
        else {
            return Place::Unmapped;
        };
        let offset = range.offset + (address - start);
        match &range.what {
            What::Module(module) => match self.modules[*module].stated(offset) {
                Some(address) => Place::Module { module: *module, address },
                None => Place::Unreadable {
                    path: self.modules[*module].path.clone(),
                    why: "no segment of the file covers it".into(),
                    offset,
                },
            },
            What::Unreadable(path, why) => {
                Place::Unreadable { path: path.clone(), why: why.clone(), offset }
            }
            What::Vdso => Place::Vdso,
            What::Generated => Place::Generated,
        }
    }

    /// For the range that begins at `start`: its end, its module, and what to add to an address of the file to get one of the process.
    pub fn mapped_module(&self, start: u64) -> Option<(u64, &Module, u64)> {
        let range = self.ranges.get(&start)?;
        let What::Module(module) = range.what else { return None };
        let module = &self.modules[module];
        Some((range.end, module, start.wrapping_sub(module.stated(range.offset)?)))
    }

    /// Where the code of a module is mapped: its first address, the first behind it, the file offset of the
    /// first, and what to add to an address of the file to get one of the process.
    pub fn span(&self, module: usize) -> Option<(u64, u64, u64, u64)> {
        let own =
            |(_, range): &(&u64, &Range)| matches!(range.what, What::Module(m) if m == module);
        let mut ranges = self.ranges.iter().filter(own);
        let (start, first) = ranges.next()?;
        let end = ranges.map(|(_, range)| range.end).fold(first.end, u64::max);
        let bias = start.wrapping_sub(self.modules[module].stated(first.offset)?);
        Some((*start, end, first.offset, bias))
    }

    fn add(
        &mut self,
        identity: (u64, u64),
        files: &[MappedFile],
        open: &mut impl FnMut(&MappedFile) -> io::Result<File>,
    ) -> io::Result<usize> {
        let file = files
            .iter()
            .find(|file| (file.device, file.inode) == identity)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let module = Module::read(file.path.clone(), open(file)?)?;
        self.modules.push(module);
        self.by_identity.insert(identity, self.modules.len() - 1);
        Ok(self.modules.len() - 1)
    }

    /// Puts a range in; false when it was there already.
    fn replace(&mut self, start: u64, range: Range) -> bool {
        let same = |old: &Range| {
            old.end == range.end
                && old.offset == range.offset
                && match (&old.what, &range.what) {
                    (What::Module(a), What::Module(b)) => a == b,
                    (What::Unreadable(a, _), What::Unreadable(b, _)) => a == b,
                    (What::Vdso, What::Vdso) | (What::Generated, What::Generated) => true,
                    _ => false,
                }
        };
        if self.ranges.get(&start).is_some_and(same) {
            return false;
        }
        let overlapped: Vec<u64> = self
            .ranges
            .range(..range.end)
            .rev()
            .take_while(|(_, old)| old.end > start)
            .map(|(start, _)| *start)
            .collect();
        for old in overlapped {
            self.ranges.remove(&old);
        }
        self.ranges.insert(start, range);
        true
    }
}

impl Module {
    fn read(path: PathBuf, file: File) -> io::Result<Self> {
        let (build_id, segments) = {
            let cache = ReadCache::new(&file);
            let elf = parse(&cache)?;
            let build_id = elf.build_id().ok().flatten().unwrap_or_default();
            let segments = elf
                .segments()
                .map(|segment| {
                    let (offset, length) = segment.file_range();
                    (offset, length, segment.address())
                })
                .collect();
            (build_id.iter().map(|byte| format!("{byte:02x}")).collect(), segments)
        };
        Ok(Module { path, file, build_id, segments })
    }

    /// The address, as the file states it, of what lies at this file offset.
    fn stated(&self, offset: u64) -> Option<u64> {
        // Mappings begin on pages, segments need not: the mapped page may begin before the segment.
        let page = |offset: u64| offset & !(memmgr_common::limits::PAGE_SIZE - 1);
        self.segments
            .iter()
            .filter(|(start, length, _)| (page(*start)..start + length).contains(&offset))
            .max_by_key(|(start, ..)| *start)
            .map(|(start, _, address)| address.wrapping_add(offset).wrapping_sub(*start))
    }

    /// Sections by name, those that are there.
    pub fn sections<const N: usize>(&self, names: [&str; N]) -> io::Result<[Option<Section>; N]> {
        let cache = ReadCache::new(&self.file);
        let elf = parse(&cache)?;
        Ok(names.map(|name| {
            let section = elf.section_by_name(name)?;
            if section.size() > MOST_SECTION_BYTES {
                return None;
            }
            let bytes = if section.kind() == SectionKind::Text {
                Vec::new()
            } else {
                section.uncompressed_data().ok()?.into_owned()
            };
            let address = section.address()..section.address().checked_add(section.size())?;
            Some(Section { address, bytes })
        }))
    }
}

/// The GNU build id of a file in hex; `None` when it cannot be read or has none.
pub fn build_id_of(path: &Path) -> Option<String> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|m| m.is_file()))?;
    Some(Module::read(path.to_owned(), file).ok()?.build_id).filter(|id| !id.is_empty())
}

/// The file as 64-bit ELF; the error says what is wrong with it.
pub(crate) fn parse<'a>(
    cache: &'a ReadCache<&'a File>,
) -> io::Result<ElfFile64<'a, object::Endianness, &'a ReadCache<&'a File>>> {
    ElfFile64::parse(cache)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Device, as `st_dev` encodes it, and inode: which file it is.
pub fn file_of(mapping: &Mapping) -> (u64, u64) {
    (rustix::fs::makedev(mapping.device.0, mapping.device.1), mapping.inode)
}

/// The mapped files behind a list of mappings, with all their ranges.
pub fn mapped_files(mappings: &[Mapping]) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for mapping in mappings {
        let Kind::File { path, deleted } = &mapping.kind else { continue };
        let (device, inode) = file_of(mapping);
        let at = *index.entry((device, inode)).or_insert_with(|| {
            let (path, deleted) = (path.clone(), *deleted);
            files.push(MappedFile {
                path,
                device,
                inode,
                ranges: Vec::new(),
                deleted,
                main: false,
            });
            files.len() - 1
        });
        files[at].ranges.push(MappedRange {
            start: mapping.start,
            end: mapping.end,
            offset: mapping.offset,
            executable: mapping.permissions.execute,
        });
    }
    files
}
