//! Reads what an attach needs from one mapped ELF file: functions, segments, build id.
//!
//! The file may be hostile, and it may change while it is read. So it is read with `pread` in bounded pieces, never mapped (a
//! truncated mapping ends the reader with SIGBUS), and nothing in it is believed unchecked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;
use object::elf::{self, FileHeader64, ProgramHeader64, Rela64, SectionHeader64, Sym64};
use object::pod;
use object::read::StringTable;
use object::read::elf::{FileHeader, NoteIterator};
use object::{LittleEndian, Pod};

use super::frames::{Frames, Unwind};
use crate::units::FileOffset;

type Header = FileHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// The largest piece that is read at once, in bytes. The string table of a browser with symbols has about 100 MiB.
const PIECE_CAP: u64 = 256 << 20;
/// The most bytes of one function that are decoded.
const CODE_CAP: u64 = 1 << 20;
/// The most symbols that one search gives; real files have tens of the names that are searched for.
const FOUND_CAP: usize = 1024;
/// The bytes that are decoded of a function whose end is not known.
const UNKNOWN_SIZE: u64 = 4096;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It is no ELF file at all.
    #[error("not an ELF file")]
    NotElf,
    /// A 32-bit program.
    #[error("a 32-bit program; memmgr measures 64-bit programs only")]
    Not64Bit,
    /// A program for another processor; the machine as the header has it.
    #[error("made for another processor (ELF machine {0}); this memmgr measures x86-64 programs")]
    ForeignMachine(u16),
    /// The file contradicts itself or is larger than any real one.
    #[error("malformed or cut off: {0}")]
    Malformed(&'static str),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Why a symbol cannot be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprobeable {
    /// The symbol's code chooses the function when the program starts.
    #[error("it is an indirect function (IFUNC): the real one is chosen when the program starts")]
    Indirect,
    /// The address lies in a segment that holds data.
    #[error("its symbol points into data, not code")]
    NotExecutable,
    /// The address lies in no segment, or behind what the file holds.
    #[error("its symbol points outside the file's contents")]
    OutsideFile,
}

/// A function symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The name, with characters that are no UTF-8 replaced.
    pub name: String,
    /// The virtual address in the file's own address space.
    pub address: u64,
    /// Bytes of code, 0 when the symbol table does not say.
    pub size: u64,
    /// Where the function stands in the file.
    pub place: Result<FileOffset, Unprobeable>,
    /// Whether the symbol is in the dynamic table, which other files are linked by.
    pub dynamic: bool,
}

/// One ELF file for x86-64, open.
#[derive(Debug)]
pub struct Elf {
    file: File,
    file_size: u64,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    build_id: Option<String>,
    go: bool,
}

#[derive(Debug)]
struct Segment {
    address: u64,
    file_start: u64,
    file_size: u64,
    memory_size: u64,
    executable: bool,
}

#[derive(Debug)]
struct Section {
    name: Vec<u8>,
    kind: elf::SectionType,
    address: u64,
    offset: u64,
    size: u64,
    link: usize,
}

/// Bytes of the file, aligned as the records of the format need them.
struct Piece {
    words: Vec<u64>,
    len: usize,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &pod::bytes_of_slice(&self.words)[..self.len]
    }

    /// As many whole records as the bytes hold.
    fn records<T: Pod>(&self) -> &[T] {
        let count = self.len / size_of::<T>();
        pod::slice_from_bytes(self.bytes(), count).map_or(&[], |(records, _)| records)
    }
}

impl Elf {
    /// Reads the headers. The error says whether the file is foreign or broken.
    pub fn open(file: File) -> Result<Self, ElfError> {
        let mut this = Elf {
            file_size: file.metadata()?.len(),
            file,
            segments: Vec::new(),
            sections: Vec::new(),
            build_id: None,
            go: false,
        };
        let piece = this.piece(0, this.file_size.min(size_of::<Header>() as u64))?;
        let ident = piece.bytes();
        if !ident.starts_with(&elf::ELFMAG) {
            return Err(ElfError::NotElf);
        }
        if ident.get(4) != Some(&elf::ELFCLASS64.0) {
            return Err(ElfError::Not64Bit);
        }
        let header = Header::parse(piece.bytes()).map_err(|_| ElfError::Malformed("the header"))?;
        if ident[5] != elf::ELFDATA2LSB.0 || header.e_machine(LE) != elf::EM_X86_64 {
            return Err(ElfError::ForeignMachine(header.e_machine(LE).0));
        }
        this.read_segments(header)?;
        this.read_sections(header)?;
        Ok(this)
    }

    fn read_segments(&mut self, header: &Header) -> Result<(), ElfError> {
        let count = u64::from(header.e_phnum.get(LE));
        let table = self.piece(
            header.e_phoff.get(LE),
            count * size_of::<ProgramHeader64<LittleEndian>>() as u64,
        )?;
        for segment in table.records::<ProgramHeader64<LittleEndian>>() {
            let (offset, size) = (segment.p_offset.get(LE), segment.p_filesz.get(LE));
            match segment.p_type.get(LE) {
                elf::PT_LOAD => self.segments.push(Segment {
                    address: segment.p_vaddr.get(LE),
                    file_start: offset,
                    file_size: size,
                    memory_size: segment.p_memsz.get(LE),
                    executable: segment.p_flags.get(LE).contains(elf::PF_X),
                }),
                // Notes are small; a huge one is no reason to refuse the file.
                elf::PT_NOTE if size <= 1 << 20 => {
                    self.read_notes(offset, size, segment.p_align.get(LE));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_notes(&mut self, offset: u64, size: u64, align: u64) {
        let Ok(piece) = self.piece(offset, size) else { return };
        let Ok(mut notes) = NoteIterator::<Header>::new(LE, align, piece.bytes()) else { return };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"Go" {
                self.go = true;
            } else if note.name() == elf::ELF_NOTE_GNU && note.n_type(LE) == elf::NT_GNU_BUILD_ID {
                let digits = note.desc().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
                let digits =
                    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
                self.build_id = Some(digits.collect());
            }
        }
    }

    fn read_sections(&mut self, header: &Header) -> Result<(), ElfError> {
        let count = u64::from(header.e_shnum.get(LE));
        let table = self.piece(
            header.e_shoff.get(LE),
            count * size_of::<SectionHeader64<LittleEndian>>() as u64,
        )?;
        let headers = table.records::<SectionHeader64<LittleEndian>>();
        let Some(names) = headers.get(usize::from(header.e_shstrndx.get(LE).0)) else {
            return Ok(());
        };
        let names = self.piece(names.sh_offset.get(LE), names.sh_size.get(LE))?;
        let strings = StringTable::new(names.bytes(), 0, names.bytes().len() as u64);
        self.sections = headers
            .iter()
            .map(|section| Section {
                name: strings.get(section.sh_name.get(LE)).unwrap_or_default().to_vec(),
                kind: section.sh_type.get(LE),
                address: section.sh_addr.get(LE),
                offset: section.sh_offset.get(LE),
                size: section.sh_size.get(LE),
                link: section.sh_link.get(LE) as usize,
            })
            .collect();
        self.go |= self.section(b".note.go.buildid").or(self.section(b".go.buildinfo")).is_some();
        Ok(())
    }

    /// The GNU build id in lower-case hexadecimal digits.
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// Whether the Go tool chain linked the file.
    pub fn is_go(&self) -> bool {
        self.go
    }

    /// Whether the file has the names of its own functions, not only of those that other files are linked by.
    pub fn has_symbols(&self) -> bool {
        self.sections.iter().any(|section| section.kind == elf::SHT_SYMTAB)
    }

    /// The first of these texts that stands among the file's constants.
    pub fn holds<'a>(&self, texts: &[&'a str]) -> Option<&'a str> {
        let section = self.section(b".rodata")?;
        let piece = self.piece(section.offset, section.size).ok()?;
        texts.iter().copied().find(|text| memmem::find(piece.bytes(), text.as_bytes()).is_some())
    }

    /// The name of the function that the dynamic linker puts into the pointer at this address.
    pub fn linked(&self, slot: u64) -> Option<String> {
        for section in self.sections.iter().filter(|section| section.kind == elf::SHT_RELA) {
            let table = self.piece(section.offset, section.size).ok()?;
            let mut rows = table.records::<Rela64<LittleEndian>>().iter();
            let Some(row) = rows.find(|row| row.r_offset.get(LE) == slot) else { continue };
            let index = u64::from(row.r_sym(LE, false));
            let symbols = self.sections.get(section.link)?;
            let size = size_of::<Sym64<LittleEndian>>() as u64;
            let at = symbols.offset.checked_add(index.checked_mul(size)?)?;
            let symbol = self.piece(at, size).ok()?;
            let name = symbol.records::<Sym64<LittleEndian>>().first()?.st_name.get(LE);
            let names = self.sections.get(symbols.link)?;
            let names = self.piece(names.offset, names.size).ok()?;
            let names = StringTable::new(names.bytes(), 0, names.bytes().len() as u64);
            return Some(String::from_utf8_lossy(names.get(name).ok()?).into_owned());
        }
        None
    }

    /// Gives back the file.
    pub fn into_file(self) -> File {
        self.file
    }

    /// How stacks through this file's functions are walked.
    pub fn frame_pointers(&self) -> Unwind {
        match self.frames() {
            // Go keeps frame pointers in all its code and has no tables for it.
            _ if self.go => Unwind::FramePointers,
            Some(frames) => frames.unwind(),
            None => Unwind::None,
        }
    }

    /// The unwind tables; `None` when the file has none that can be read.
    pub fn frames(&self) -> Option<Frames> {
        let section =
            self.section(b".eh_frame").filter(|section| section.kind != elf::SHT_NOBITS)?;
        let text = self.section(b".text").map_or(0, |text| text.address);
        let piece = self.piece(section.offset, section.size).ok()?;
        Some(Frames::new(piece.bytes().to_vec(), section.address, text))
    }

    /// The defined function symbols that `keep` accepts by name, address and size, of both symbol tables. A symbol that is in both
    /// appears once, as dynamic.
    pub fn functions(
        &self,
        mut keep: impl FnMut(&str, u64, u64) -> bool,
    ) -> Result<Vec<Symbol>, ElfError> {
        let mut found: Vec<Symbol> = Vec::new();
        for (kind, dynamic) in [(elf::SHT_DYNSYM, true), (elf::SHT_SYMTAB, false)] {
            for section in self.sections.iter().filter(|section| section.kind == kind) {
                let Some(strings) = self.sections.get(section.link) else { continue };
                let names = self.piece(strings.offset, strings.size)?;
                let names = StringTable::new(names.bytes(), 0, names.bytes().len() as u64);
                let table = self.piece(section.offset, section.size)?;
                for symbol in table.records::<Sym64<LittleEndian>>() {
                    if !matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC)
                        || symbol.st_shndx.get(LE) == elf::SHN_UNDEF
                    {
                        continue;
                    }
                    let Ok(name) = names.get(symbol.st_name.get(LE)) else { continue };
                    let name = String::from_utf8_lossy(name);
                    let (address, size) = (symbol.st_value.get(LE), symbol.st_size.get(LE));
                    if !keep(&name, address, size)
                        || found.iter().any(|f| f.name == name && f.address == address)
                    {
                        continue;
                    }
                    let place = match symbol.st_type() {
                        elf::STT_GNU_IFUNC => Err(Unprobeable::Indirect),
                        _ => self.place(address),
                    };
                    if found.len() == FOUND_CAP {
                        return Err(ElfError::Malformed("the same symbols appear over and over"));
                    }
                    found.push(Symbol { name: name.into_owned(), address, size, place, dynamic });
                }
            }
        }
        Ok(found)
    }

    /// The file offset of an address, through the executable segments only.
    pub fn place(&self, address: u64) -> Result<FileOffset, Unprobeable> {
        let segment = self
            .segments
            .iter()
            .find(|segment| {
                address
                    .checked_sub(segment.address)
                    .is_some_and(|distance| distance < segment.memory_size)
            })
            .ok_or(Unprobeable::OutsideFile)?;
        if !segment.executable {
            return Err(Unprobeable::NotExecutable);
        }
        let distance = address - segment.address;
        let offset = segment.file_start.checked_add(distance).ok_or(Unprobeable::OutsideFile)?;
        if distance >= segment.file_size || offset >= self.file_size {
            return Err(Unprobeable::OutsideFile);
        }
        Ok(FileOffset(offset))
    }

    /// The address of a file offset inside an executable segment.
    pub fn address(&self, offset: FileOffset) -> Option<u64> {
        let executable = self.segments.iter().filter(|segment| segment.executable);
        let mut addresses = executable.filter_map(|segment| {
            let distance = offset.0.checked_sub(segment.file_start)?;
            (distance < segment.file_size).then(|| segment.address.checked_add(distance))?
        });
        addresses.next().filter(|&address| self.place(address) == Ok(offset))
    }

    /// The code of the function at `address`, up to its end: the symbol's size, else what the unwind tables say, else a page; always
    /// within its segment.
    pub fn code(&self, address: u64, size: u64) -> Result<Vec<u8>, ElfError> {
        let outside = ElfError::Malformed("a function lies outside its segments");
        let Ok(FileOffset(offset)) = self.place(address) else { return Err(outside) };
        let size = match size {
            0 => self
                .frames()
                .and_then(|frames| frames.function_at(address))
                .map_or(UNKNOWN_SIZE, |f| f.end - address),
            size => size,
        };
        let segment_end = self
            .segments
            .iter()
            .filter(|segment| segment.executable && segment.file_start <= offset)
            .map(|segment| segment.file_start.saturating_add(segment.file_size))
            .find(|&end| offset < end)
            .ok_or(outside)?;
        let end = offset.saturating_add(size.min(CODE_CAP)).min(segment_end).min(self.file_size);
        Ok(self.piece(offset, end - offset)?.bytes().to_vec())
    }

    fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    fn piece(&self, offset: u64, size: u64) -> Result<Piece, ElfError> {
        if size > PIECE_CAP || offset.checked_add(size).is_none_or(|end| end > self.file_size) {
            return Err(ElfError::Malformed("a table lies outside the file or is too large"));
        }
        let len = size as usize;
        let mut words = vec![0; len.div_ceil(8)];
        self.file.read_exact_at(&mut pod::bytes_of_slice_mut(&mut words)[..len], offset)?;
        Ok(Piece { words, len })
    }
}

#[cfg(test)]
mod tests;
