//! Which Go made a program.

use integer_encoding::VarInt;
use object::{Object, ObjectSection};

/// What the linker puts before what it knows of the build (debug/buildinfo of Go's library).
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the header says how the strings are stored, and where they are stored in it.
const FLAGS: usize = 15;
const INLINE: u8 = 2;
const HEADER: usize = 32;

/// The version as the file has it, `go1.19.8`. `None` for a program that Go did not make.
pub(super) fn of<'data>(file: &object::File<'data, impl object::ReadRef<'data>>) -> Option<String> {
    let section = file.section_by_name(".go.buildinfo")?;
    let data = section.data().ok()?;
    parse(data)
}

/// Since 1.18 the strings follow the header, each after its length.
fn parse(data: &[u8]) -> Option<String> {
    let start = data.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let data = &data[start..];
    if data.get(FLAGS)? & INLINE == 0 {
        return None;
    }
    let (length, bytes) = u64::decode_var(data.get(HEADER..)?)?;
    let text = data.get(HEADER + bytes..)?;
    let version = std::str::from_utf8(text.get(..usize::try_from(length).ok()?)?).ok()?;
    version.starts_with("go1.").then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_follows_the_header() {
        let mut data = vec![0; 16];
        data.extend(MAGIC);
        data.extend([8, INLINE]);
        data.resize(16 + HEADER, 0);
        data.extend(b"\x08go1.19.8rest");
        let check = |data: &[u8], expected: Option<&str>| {
            assert_eq!(parse(data).as_deref(), expected, "{data:?}");
        };
        check(&data, Some("go1.19.8"));
        check(&data[..data.len() - 5], None);
        check(&data[..40], None);
        check(b"", None);
        // Before 1.18 the header holds pointers.
        data[16 + FLAGS] = 0;
        check(&data, None);
    }
}
