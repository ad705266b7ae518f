//! What a person says by hand about allocators: `--allocator PATH[:PREFIX]` and `--probe FUNC@[PATH:]OFFSET`.

use std::path::PathBuf;
use std::str::FromStr;

use super::table::Role;
use crate::units::FileOffset;

/// `--allocator PATH[:PREFIX]`: this mapped file is an allocator whose functions' names begin with the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatorOption {
    /// The file, as the target's mappings show it.
    pub path: PathBuf,
    /// What stands before `malloc`; empty for the plain names.
    pub prefix: String,
}

/// `--probe FUNC@[PATH:]OFFSET`: this place in a file is such a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOption {
    /// What the function is.
    pub role: Role,
    /// The file, as the target's mappings show it; `None` for the program itself.
    pub path: Option<PathBuf>,
    /// Where the function is in that file.
    pub offset: FileOffset,
}

/// An option's value that cannot be understood; says what is expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(String);

impl FromStr for AllocatorOption {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (path, prefix) = match text.rsplit_once(':') {
            Some((path, prefix)) if is_identifier(prefix) => (path, prefix),
            // A colon inside the path, as `/opt/a:b/lib.so`.
            Some((_, rest)) if rest.contains('/') => (text, ""),
            Some((_, prefix)) => {
                return Err(OptionError(format!(
                    "`{}` cannot begin the name of a C function; write PATH or PATH:PREFIX, as in /usr/bin/app:je_",
                    prefix.escape_debug()
                )));
            }
            None => (text, ""),
        };
        Ok(AllocatorOption { path: absolute(path)?, prefix: prefix.to_owned() })
    }
}

impl FromStr for ProbeOption {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (function, place) = text.split_once('@').ok_or_else(|| {
            OptionError("write FUNC@OFFSET or FUNC@PATH:OFFSET, as in malloc@0x1234 or free@/usr/lib/libx.so:0x99610".into())
        })?;
        let role = Role::from_name(function).ok_or_else(|| {
            let names: Vec<&str> = Role::ALL.into_iter().map(Role::name).collect();
            OptionError(format!("`{}` is not one of {}", function.escape_debug(), names.join(", ")))
        })?;
        let (path, offset) = match place.rsplit_once(':') {
            Some((path, offset)) => (Some(absolute(path)?), offset),
            None => (None, place),
        };
        Ok(ProbeOption { role, path, offset: FileOffset(number(offset)?) })
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn absolute(path: &str) -> Result<PathBuf, OptionError> {
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(OptionError(format!(
        "`{}` is not an absolute path; give the file as `grep r-xp /proc/PID/maps` shows it",
        path.escape_debug()
    )))
}

fn number(text: &str) -> Result<u64, OptionError> {
    // `from_str_radix` also takes a sign, which no offset has.
    let digits_only = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.ok().filter(|_| digits_only).ok_or_else(|| {
        OptionError(format!(
            "`{}` is not an offset; write it as 0x1234 or in decimal digits",
            text.escape_debug()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = OptionError>>(
        text: &str,
        show: impl Fn(T) -> String,
        expected: &str,
    ) {
        assert_eq!(
            text.parse::<T>().map_or_else(|error| error.to_string(), show),
            expected,
            "{text}"
        );
    }

    #[test]
    fn allocators() {
        for (text, expected) in [
            ("/usr/bin/app", "/usr/bin/app + "),
            ("/usr/bin/app:je_", "/usr/bin/app + je_"),
            ("/opt/a:b/lib.so", "/opt/a:b/lib.so + "),
            ("/opt/a:b/lib.so:_rjem_", "/opt/a:b/lib.so + _rjem_"),
            (
                "/usr/bin/app:9x",
                "`9x` cannot begin the name of a C function; write PATH or PATH:PREFIX, as in /usr/bin/app:je_",
            ),
            (
                "/usr/bin/app:",
                "`` cannot begin the name of a C function; write PATH or PATH:PREFIX, as in /usr/bin/app:je_",
            ),
            (
                "app",
                "`app` is not an absolute path; give the file as `grep r-xp /proc/PID/maps` shows it",
            ),
            (
                "",
                "`` is not an absolute path; give the file as `grep r-xp /proc/PID/maps` shows it",
            ),
        ] {
            check(
                text,
                |a: AllocatorOption| format!("{} + {}", a.path.display(), a.prefix),
                expected,
            );
        }
    }

    #[test]
    fn probes() {
        for (text, expected) in [
            ("malloc@0x1234", "malloc None 4660"),
            ("free@4660", "free None 4660"),
            ("calloc@/lib/x.so:0x10", "calloc Some(\"/lib/x.so\") 16"),
            ("calloc@/a:b@c/x.so:16", "calloc Some(\"/a:b@c/x.so\") 16"),
            (
                "malloc",
                "write FUNC@OFFSET or FUNC@PATH:OFFSET, as in malloc@0x1234 or free@/usr/lib/libx.so:0x99610",
            ),
            (
                "throw@1",
                "`throw` is not one of free, cfree, free_sized, free_aligned_sized, realloc, reallocarray, xallocx, heap_realloc, \
                 heap_reallocn, malloc, calloc, posix_memalign, aligned_alloc, memalign, valloc, pvalloc, heap_malloc, \
                 heap_calloc, new, new_n",
            ),
            ("malloc@", "`` is not an offset; write it as 0x1234 or in decimal digits"),
            ("malloc@0x", "`0x` is not an offset; write it as 0x1234 or in decimal digits"),
            ("malloc@0x+1", "`0x+1` is not an offset; write it as 0x1234 or in decimal digits"),
            ("malloc@-1", "`-1` is not an offset; write it as 0x1234 or in decimal digits"),
            ("malloc@12ab", "`12ab` is not an offset; write it as 0x1234 or in decimal digits"),
            (
                "malloc@0x10000000000000000",
                "`0x10000000000000000` is not an offset; write it as 0x1234 or in decimal digits",
            ),
            (
                "malloc@x.so:1",
                "`x.so` is not an absolute path; give the file as `grep r-xp /proc/PID/maps` shows it",
            ),
        ] {
            let show = |p: ProbeOption| format!("{} {:?} {}", p.role.name(), p.path, p.offset.0);
            check(text, show, expected);
        }
    }
}
