//! Where the fields of a program's structures are, by its debug information (DWARF).

use std::{collections::HashMap, io, sync::Arc};

use gimli::{
    Attribute, AttributeValue, DebugInfoOffset, DwLang, DwTag, DwarfSections, EndianArcSlice,
    LittleEndian, SectionId, UnitOffset, UnitSectionOffset,
};
use object::{Object, ObjectSection};

type Reader = EndianArcSlice<LittleEndian>;
type Unit = gimli::Unit<Reader>;
type Entry = gimli::DebuggingInformationEntry<Reader>;

/// The largest section that is read, in bytes; that of a large service has 100 MB.
const SECTION_CAP: u64 = 1 << 30;
/// The longest chain of type names that stand for each other.
const MOST_NAMES: usize = 16;

/// What a type's name stands behind.
const QUALIFIERS: [DwTag; 4] = [
    gimli::DW_TAG_typedef,
    gimli::DW_TAG_const_type,
    gimli::DW_TAG_volatile_type,
    gimli::DW_TAG_atomic_type,
];

/// A field of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Bytes from the start of the value.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) size: u64,
}

/// The debug information about types.
pub(crate) struct Types {
    dwarf: gimli::Dwarf<Reader>,
    units: Vec<Unit>,
    /// Structures by name: the unit and the place in it.
    structures: HashMap<String, (usize, UnitOffset)>,
}

/// A place in the debug information.
type Place = (usize, UnitOffset);

impl Types {
    /// Reads the debug information and finds the structures with these names, in units of these languages (`DW_AT_language`).
    /// `None` where the file has none of them.
    pub(crate) fn read<'data>(
        file: &object::File<'data, impl object::ReadRef<'data>>,
        languages: &[DwLang],
        names: &[&str],
    ) -> io::Result<Option<Self>> {
        let sections =
            DwarfSections::load(|id| section(file, id)).map_err(|error: io::Error| error)?;
        let dwarf =
            sections.borrow(|bytes: &Arc<[u8]>| EndianArcSlice::new(bytes.clone(), LittleEndian));
        let mut this = Types { dwarf, units: Vec::new(), structures: HashMap::new() };
        this.index(languages, names).map_err(malformed)?;
        Ok((!this.structures.is_empty()).then_some(this))
    }

    /// Types are children of a unit. Which one it is nobody knows; of a program in several languages most are passed over whole.
    fn index(&mut self, languages: &[DwLang], names: &[&str]) -> gimli::Result<()> {
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = self.dwarf.unit(header)?;
            let number = self.units.len();
            let mut entries = unit.entries();
            let language = entries.next_dfs()?.and_then(language);
            let mut next = match language {
                Some(language) if !languages.contains(&language) => None,
                // What several units share may have none.
                _ => entries.next_dfs()?.cloned(),
            };
            while let Some(entry) = next {
                if entry.tag() == gimli::DW_TAG_structure_type
                    // Where a structure is only named its fields are in another unit.
                    && entry.attr(gimli::DW_AT_declaration).is_none()
                    && let Some(name) = name(&self.dwarf, &unit, &entry)?
                    && names.contains(&name.as_str())
                {
                    self.structures.entry(name).or_insert((number, entry.offset()));
                }
                next = entries.next_sibling()?.cloned();
            }
            self.units.push(unit);
            if self.structures.len() == names.len() {
                break;
            }
        }
        Ok(())
    }

    /// The size of a structure, in bytes.
    pub(crate) fn size_of(&self, structure: &str) -> Option<u64> {
        self.size(*self.structures.get(structure)?).ok().flatten()
    }

    /// A field by its path: `gFree.n`; `stats[]` is the first element of an array, with its size. What only wraps one
    /// value, as the atomic types do, is that value.
    pub(crate) fn field(&self, structure: &str, path: &str) -> Option<Field> {
        let place = *self.structures.get(structure)?;
        self.walk(place, path).ok().flatten()
    }

    fn walk(&self, mut place: Place, path: &str) -> gimli::Result<Option<Field>> {
        let mut offset = 0;
        for step in path.split('.') {
            let (name, is_element) = match step.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (step, false),
            };
            let Some((inside, member)) = self.member(place, name)? else { return Ok(None) };
            offset += inside;
            place = self.resolve(member)?;
            if is_element {
                let Some(element) = self.target(place)? else { return Ok(None) };
                place = self.resolve(element)?;
            }
        }
        while let Some((inside, member)) = self.member(place, "value")? {
            offset += inside;
            place = self.resolve(member)?;
        }
        Ok(self.size(place)?.map(|size| Field { offset, size }))
    }

    /// The size of an array, of all its dimensions; none where it has no bound.
    fn array_size(&self, place: Place) -> gimli::Result<Option<u64>> {
        let Some(element) = self.target(place)? else { return Ok(None) };
        let mut size = self.size(self.resolve(element)?)?;
        let unit = &self.units[place.0];
        let mut tree = unit.entries_tree(Some(place.1))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let number =
                |name| child.entry().attr_value(name).and_then(|value| value.udata_value());
            let count = number(gimli::DW_AT_count)
                .or_else(|| number(gimli::DW_AT_upper_bound)?.checked_add(1));
            size = size.zip(count).and_then(|(size, count)| size.checked_mul(count));
        }
        Ok(size)
    }

    fn entry(&self, (unit, offset): Place) -> gimli::Result<Entry> {
        self.units[unit].entry(offset)
    }

    /// A member of a structure: where it begins, and its type.
    fn member(&self, place: Place, wanted: &str) -> gimli::Result<Option<(u64, Place)>> {
        let unit = &self.units[place.0];
        let mut tree = unit.entries_tree(Some(place.1))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            if entry.tag() != gimli::DW_TAG_member
                || name(&self.dwarf, unit, entry)?.as_deref() != Some(wanted)
            {
                continue;
            }
            let offset = entry.attr_value(gimli::DW_AT_data_member_location);
            let offset = offset.and_then(|value| value.udata_value());
            let target = entry.attr(gimli::DW_AT_type).map(|attr| self.reference(place.0, attr));
            return Ok(offset.zip(target.flatten()));
        }
        Ok(None)
    }

    /// The type that an entry is about: of an array its element, of another name the type.
    fn target(&self, place: Place) -> gimli::Result<Option<Place>> {
        let entry = self.entry(place)?;
        Ok(entry.attr(gimli::DW_AT_type).and_then(|attr| self.reference(place.0, attr)))
    }

    fn reference(&self, unit: usize, attribute: &Attribute<Reader>) -> Option<Place> {
        match attribute.value() {
            AttributeValue::UnitRef(offset) => Some((unit, offset)),
            AttributeValue::DebugInfoRef(offset) => self.place(offset),
            _ => None,
        }
    }

    /// The place of an offset in the section.
    fn place(&self, offset: DebugInfoOffset) -> Option<Place> {
        self.units.iter().enumerate().find_map(|(number, unit)| {
            let inside = UnitSectionOffset(offset.0).to_unit_offset(&unit.header)?;
            Some((number, inside))
        })
    }

    /// The type that this is another name for, or a qualified form of.
    fn resolve(&self, mut place: Place) -> gimli::Result<Place> {
        for _ in 0..MOST_NAMES {
            let tag = self.entry(place)?.tag();
            if !QUALIFIERS.contains(&tag) {
                break;
            }
            let Some(target) = self.target(place)? else { break };
            place = target;
        }
        Ok(place)
    }

    fn size(&self, place: Place) -> gimli::Result<Option<u64>> {
        let entry = self.entry(place)?;
        if entry.tag() == gimli::DW_TAG_pointer_type {
            return Ok(Some(8));
        }
        if entry.tag() == gimli::DW_TAG_array_type {
            return self.array_size(place);
        }
        Ok(entry.attr_value(gimli::DW_AT_byte_size).and_then(|value| value.udata_value()))
    }
}

fn language(root: &Entry) -> Option<DwLang> {
    match root.attr_value(gimli::DW_AT_language)? {
        AttributeValue::Language(language) => Some(language),
        _ => None,
    }
}

fn name(dwarf: &gimli::Dwarf<Reader>, unit: &Unit, entry: &Entry) -> gimli::Result<Option<String>> {
    let Some(value) = entry.attr_value(gimli::DW_AT_name) else { return Ok(None) };
    let name = dwarf.attr_string(unit, value)?;
    Ok(Some(String::from_utf8_lossy(&name).into_owned()))
}

/// A section's bytes; none where it is not there. Only those that types are told in, and the one that units refer to.
fn section<'data>(
    file: &object::File<'data, impl object::ReadRef<'data>>,
    id: SectionId,
) -> io::Result<Arc<[u8]>> {
    let is_wanted = matches!(
        id,
        SectionId::DebugInfo
            | SectionId::DebugAbbrev
            | SectionId::DebugLine
            | SectionId::DebugStr
            | SectionId::DebugLineStr
            | SectionId::DebugStrOffsets
    );
    let Some(section) = is_wanted.then(|| file.section_by_name(id.name())).flatten() else {
        return Ok(Arc::new([]));
    };
    let data = section.compressed_data().map_err(io::Error::other)?;
    if data.uncompressed_size > SECTION_CAP {
        return Err(io::Error::other(format!("{} is larger than any real one", id.name())));
    }
    data.decompress().map(Arc::from).map_err(io::Error::other)
}

fn malformed(error: gimli::Error) -> io::Error {
    io::Error::other(format!("its debug information cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use object::ReadCache;

    use super::*;

    /// What a small C program's debug information says, made by the host's compiler.
    #[test]
    fn fields_of_c() {
        let folder = tempfile::tempdir().unwrap();
        let source = "struct later; typedef struct { _Atomic(unsigned long) repr; } number;\n\
            struct inner { int first; number counted; };\n\
            typedef const struct inner inner_t;\n\
            struct outer { struct later *later; inner_t inner[3]; volatile char letters[2][5]; number all[0]; };\n\
            struct later { short only; };\n\
            struct outer outer; struct later later;\n";
        std::fs::write(folder.path().join("a.c"), source).unwrap();
        let object = folder.path().join("a.so");
        let status = std::process::Command::new("cc")
            .args(["-g", "-shared", "-fPIC", "-o"])
            .arg(&object)
            .arg(folder.path().join("a.c"))
            .status();
        assert!(status.is_ok_and(|status| status.success()));
        let cache = ReadCache::new(std::fs::File::open(object).unwrap());
        let file = object::File::parse(&cache).unwrap();
        let read = |languages: &[DwLang]| Types::read(&file, languages, &["outer", "later"]);
        assert!(read(&[gimli::DW_LANG_Go]).unwrap().is_none());
        let c = [gimli::DW_LANG_C99, gimli::DW_LANG_C11, gimli::DW_LANG_C17];
        let types = read(&c).unwrap().expect("structures");
        let check = |path: &str, expected: Option<(u64, u64)>| {
            let found = types.field("outer", path);
            assert_eq!(found.map(|field| (field.offset, field.size)), expected, "{path}");
        };
        check("later", Some((0, 8)));
        check("inner", Some((8, 48)));
        check("inner[]", Some((8, 16)));
        check("inner[].counted", Some((16, 8)));
        check("letters", Some((56, 10)));
        check("all[]", Some((72, 8)));
        check("nothing", None);
        assert_eq!((types.size_of("outer"), types.size_of("later")), (Some(72), Some(2)));
    }
}
