//! Where the fields of the runtime's types are by version, for programs without debug information (`-ldflags=-w`).
//!
//! The table is made of programs of each version by their debug information, and compared with them in tests.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::debug_types::Field;

/// The first line has the minor versions that it is about; each other one a type, a field, and `VERSION:OFFSET+SIZE` from the
/// version on that has it there, or `VERSION:-` where it is no more.
const TABLE: &str = include_str!("offsets.txt");

/// The fields of one version.
pub(super) struct Table(u32);

/// Of types and paths the place.
pub(super) type Fields = BTreeMap<(String, String), Field>;

impl Table {
    /// That of a minor version; nothing where it is not known.
    pub(super) fn of(minor: u32) -> Option<Self> {
        let versions = TABLE.lines().next()?.split_whitespace();
        let mut known = versions.filter_map(|version| version.parse::<u32>().ok());
        known.any(|known| known == minor).then_some(Table(minor))
    }

    /// A field of a type.
    pub(super) fn field(&self, structure: &str, path: &str) -> Option<Field> {
        let places = TABLE.lines().skip(1).find_map(|line| {
            let mut words = line.split(' ');
            (words.next() == Some(structure) && words.next() == Some(path)).then_some(words)
        })?;
        let mut found = None;
        for place in places {
            let (since, place) = place.split_once(':')?;
            if since.parse::<u32>().ok()? > self.0 {
                break;
            }
            found = place.split_once('+').and_then(|(offset, size)| {
                Some(Field { offset: offset.parse().ok()?, size: size.parse().ok()? })
            });
        }
        found
    }
}

/// The table of these fields by version.
pub(super) fn render(versions: &BTreeMap<u32, Fields>) -> String {
    let mut text = versions.keys().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let mut all: Vec<&(String, String)> = versions.values().flat_map(BTreeMap::keys).collect();
    all.sort();
    all.dedup();
    for field in all {
        let _ = write!(text, "\n{} {}", field.0, field.1);
        let mut before = None;
        for (version, fields) in versions {
            let now = fields.get(field);
            match (before, now) {
                (before, now) if before == now => {}
                (_, Some(Field { offset, size })) => {
                    let _ = write!(text, " {version}:{offset}+{size}");
                }
                (_, None) => {
                    let _ = write!(text, " {version}:-");
                }
            }
            before = now;
        }
    }
    text.push('\n');
    text
}

/// The table as it is.
pub(super) fn text() -> &'static str {
    TABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_where_it_was_last() {
        let fields = |places: &[(&str, u64)]| {
            places
                .iter()
                .map(|(path, offset)| {
                    (
                        ("runtime.g".to_owned(), (*path).to_owned()),
                        Field { offset: *offset, size: 8 },
                    )
                })
                .collect::<Fields>()
        };
        let versions = BTreeMap::from([
            (19, fields(&[("goid", 152), ("old", 8)])),
            (21, fields(&[("goid", 152)])),
            (23, fields(&[("goid", 160), ("new", 16)])),
        ]);
        assert_eq!(
            render(&versions),
            "19 21 23\nruntime.g goid 19:152+8 23:160+8\nruntime.g new 23:16+8\nruntime.g old 19:8+8 21:-\n"
        );
    }

    #[test]
    fn versions_that_nobody_looked_at_are_not_guessed() {
        assert!(Table::of(18).is_none() && Table::of(20).is_none() && Table::of(99).is_none());
        let place = |minor| Table::of(minor).and_then(|table| table.field("runtime.g", "goid"));
        assert!(place(19).is_some() && place(27).is_some());
        assert_eq!(Table::of(19).and_then(|table| table.field("runtime.g", "nothing")), None);
    }
}
