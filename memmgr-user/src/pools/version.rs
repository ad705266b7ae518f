//! Which version of an allocator a file holds, as far as it says so.

use std::{fs::File, path::Path};

use object::{Object, ObjectSection, ReadCache};

use crate::allocator::Family;

/// Larger sections are not searched.
const MOST_BYTES: u64 = 256 << 20;

/// The version: `5.3.0` of jemalloc, `2.0` of mimalloc. That of a library of gperftools' is not in its file or its name.
pub(super) fn version(family: Family, file: File, path: &Path) -> Option<String> {
    match family {
        Family::Jemalloc => {
            let cache = ReadCache::new(file);
            let file = object::File::parse(&cache).ok()?;
            let section =
                file.section_by_name(".rodata").filter(|data| data.size() <= MOST_BYTES)?;
            of_jemalloc(section.data().ok()?)
        }
        Family::Mimalloc => of_name(path.file_name()?.to_str()?),
        _ => None,
    }
}

/// jemalloc says `5.3.0-0-g` and the revision as `mallctl`'s `version` (configure.ac, `jemalloc_version`).
fn of_jemalloc(data: &[u8]) -> Option<String> {
    let is_version = |text: &str| {
        let (version, rest) = text.split_once('-')?;
        let (count, revision) = rest.split_once("-g")?;
        let numbers: Vec<&str> = version.split('.').collect();
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (numbers.len() == 3
            && numbers.iter().all(|number| are_digits(number))
            && are_digits(count)
            && !revision.is_empty()
            && revision.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| version.to_owned())
    };
    data.split(|&byte| byte == 0)
        .filter(|text| text.first().is_some_and(u8::is_ascii_digit) && text.len() < 100)
        .find_map(|text| is_version(std::str::from_utf8(text).ok()?))
}

/// The first two numbers of `libmimalloc.so.2.0`.
fn of_name(name: &str) -> Option<String> {
    let mut numbers = name.split_once(".so.")?.1.split('.');
    let mut number = || numbers.next()?.parse::<u32>().ok();
    Some(format!("{}.{}", number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_data_and_names() {
        let of = |data: &[u8]| of_jemalloc(data).unwrap_or_default();
        assert_eq!(of(b"x\x005.3.0-0-g54eaed1d8b56\0"), "5.3.0");
        assert_eq!(of(b"5.2.1-0-gea6b3e9\0"), "5.2.1");
        for data in [&b"5.3.0-0-g\0"[..], b"5.3-0-gabc\0", b"5.3.0-x-gabc\0", b"5.3.0-0-gxyz\0"] {
            assert_eq!(of(data), "");
        }
        assert_eq!(of_name("libmimalloc.so.2.0").as_deref(), Some("2.0"));
        assert_eq!(of_name("libmimalloc.so.2"), None);
        assert_eq!(of_name("server"), None);
    }
}
