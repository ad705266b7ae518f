//! The mappings of a process: `/proc/PID/maps`, and with figures `/proc/PID/smaps`.
//!
//! The parser is ours because the procfs crate's wants UTF-8, keeps the kernel's escapes, and does not tell
//! a deleted file from a name: memmgr places probes by these paths.

use std::{collections::HashSet, ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use super::{
    process_dir::{ProcessDir, ProcessError},
    text,
};

/// One line of `/proc/PID/maps`, see proc_pid_maps(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind the mapping.
    pub end: u64,
    /// Offset of `start` in the mapped file, in bytes.
    pub offset: u64,
    /// What the target may do there.
    pub permissions: Permissions,
    /// Major and minor number of the file's device; on btrfs and overlayfs not what stat(2) says.
    pub device: (u32, u32),
    /// The file's inode; 0 for no file.
    pub inode: u64,
    /// What is mapped.
    pub kind: Kind,
}

/// What the target may do with a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `r`
    pub read: bool,
    /// `w`
    pub write: bool,
    /// `x`
    pub execute: bool,
    /// `s`: writes are seen by others; otherwise private, copied on write.
    pub shared: bool,
}

/// What is mapped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file; also memfd (`/memfd:NAME`), System V (`/SYSV...`) and anonymous (`/dev/zero`) shared memory.
    File {
        /// As the target sees it, with escapes undone and without ` (deleted)`. The kernel writes a newline as
        /// `\012` and a backslash as itself: a name that holds these four characters reads as a newline.
        path: PathBuf,
        /// True when the path names this file no more.
        deleted: bool,
    },
    /// `[heap]`: what brk(2) gave.
    Heap,
    /// `[stack]`: of the main thread.
    Stack,
    /// `[vdso]`
    Vdso,
    /// `[vsyscall]`
    Vsyscall,
    /// No file, with the name that the target gave by prctl(PR_SET_VMA), if it did.
    Anonymous {
        /// `NAME` of `[anon:NAME]` or `[anon_shmem:NAME]`.
        name: Option<String>,
    },
    /// Anything else: `[vvar]`, `[uprobes]`, `anon_inode:[io_uring]`, ...
    Other(String),
}

impl Mapping {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// True when the address lies inside.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// True for memory of the target's own that it can write: private, without a file.
    pub fn is_private_anonymous(&self) -> bool {
        matches!(self.kind, Kind::Anonymous { .. })
            && self.permissions.write
            && !self.permissions.shared
    }
}

/// A mapping with its figures from `/proc/PID/smaps`, all in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingFigures {
    /// The mapping.
    pub mapping: Mapping,
    /// Resident (`Rss`); without hugetlbfs.
    pub rss: u64,
    /// Proportional (`Pss`).
    pub pss: u64,
    /// `Private_Clean`
    pub private_clean: u64,
    /// `Private_Dirty`
    pub private_dirty: u64,
    /// `Shared_Clean`
    pub shared_clean: u64,
    /// `Shared_Dirty`
    pub shared_dirty: u64,
    /// The part of `rss` that belongs to no file (`Anonymous`).
    pub anonymous: u64,
    /// Touched since the kernel looked last, or since `clear_refs` (`Referenced`), a part of `rss`.
    pub referenced: u64,
    /// Given back when the kernel wants it (`LazyFree`: MADV_FREE, and not written since), a part of `rss`.
    pub lazily_freed: u64,
    /// Swapped out (`Swap`).
    pub swap: u64,
    /// Locked (`Locked`).
    pub locked: u64,
    /// Transparent huge pages of anonymous memory (`AnonHugePages`), a part of `rss`.
    pub anon_huge: u64,
    /// Huge pages of hugetlbfs (`Shared_Hugetlb` + `Private_Hugetlb`), no part of `rss`.
    pub hugetlb: u64,
    /// `nh` among `VmFlags`: no transparent huge pages; since Linux 6.7 so for `MAP_STACK`.
    pub no_huge_pages: bool,
}

impl MappingFigures {
    /// A mapping of which nothing is resident.
    pub fn empty(mapping: Mapping) -> Self {
        Self {
            mapping,
            rss: 0,
            pss: 0,
            private_clean: 0,
            private_dirty: 0,
            shared_clean: 0,
            shared_dirty: 0,
            anonymous: 0,
            referenced: 0,
            lazily_freed: 0,
            swap: 0,
            locked: 0,
            anon_huge: 0,
            hugetlb: 0,
            no_huge_pages: false,
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        if key == b"VmFlags" {
            self.no_huge_pages = value.split(u8::is_ascii_whitespace).any(|flag| flag == b"nh");
            return;
        }
        let figure = match key {
            b"Rss" => &mut self.rss,
            b"Pss" => &mut self.pss,
            b"Private_Clean" => &mut self.private_clean,
            b"Private_Dirty" => &mut self.private_dirty,
            b"Shared_Clean" => &mut self.shared_clean,
            b"Shared_Dirty" => &mut self.shared_dirty,
            b"Anonymous" => &mut self.anonymous,
            b"Referenced" => &mut self.referenced,
            b"LazyFree" => &mut self.lazily_freed,
            b"Swap" => &mut self.swap,
            b"Locked" => &mut self.locked,
            b"AnonHugePages" => &mut self.anon_huge,
            b"Shared_Hugetlb" | b"Private_Hugetlb" => &mut self.hugetlb,
            _ => return,
        };
        // A sum, for the two kinds of hugetlb; every other key comes once.
        *figure = figure.saturating_add(text::kilobytes(value).unwrap_or(0));
    }
}

/// The mappings in the order of their addresses; none for a kernel thread or a zombie.
pub fn read_mappings(dir: &ProcessDir) -> Result<Vec<Mapping>, ProcessError> {
    let content = dir.read("maps")?;
    let mut mappings = parse_maps(&content).map_err(|line| dir.malformed("maps", line))?;
    for mapping in &mut mappings {
        settle_deleted(dir, mapping);
    }
    Ok(mappings)
}

/// The mappings with their figures. The kernel walks all page tables of the target for this: read it rarely.
pub fn read_mapping_figures(dir: &ProcessDir) -> Result<Vec<MappingFigures>, ProcessError> {
    let content = dir.read("smaps")?;
    let mut figures = parse_smaps(&content).map_err(|line| dir.malformed("smaps", line))?;
    for figures in &mut figures {
        settle_deleted(dir, &mut figures.mapping);
    }
    Ok(figures)
}

/// The files that the target can execute, one mapping each (the first executable one), in the order of
/// their addresses. One file at two paths comes once a path.
pub fn executable_files(mappings: &[Mapping]) -> Vec<&Mapping> {
    let mut seen = HashSet::new();
    mappings
        .iter()
        .filter(|mapping| {
            mapping.permissions.execute
                && matches!(&mapping.kind, Kind::File { .. })
                && seen.insert((mapping.device, mapping.inode, &mapping.kind))
        })
        .collect()
}

/// Parses `/proc/PID/maps`. A line that is not in the kernel's form is returned, escaped.
pub fn parse_maps(content: &[u8]) -> Result<Vec<Mapping>, String> {
    lines(content).map(parse_mapping).collect()
}

/// Parses `/proc/PID/smaps`. A line that is not in the kernel's form is returned, escaped.
pub fn parse_smaps(content: &[u8]) -> Result<Vec<MappingFigures>, String> {
    let mut all: Vec<MappingFigures> = Vec::new();
    for line in lines(content) {
        // A mapping's first word is its addresses, a figure's ends with a colon.
        let first = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        match (first.strip_suffix(b":"), all.last_mut()) {
            (Some(key), Some(figures)) => figures.set(key, line[first.len()..].trim_ascii()),
            _ => all.push(MappingFigures::empty(parse_mapping(line)?)),
        }
    }
    // One that grows while the file is read comes twice: the kernel goes on behind the end that it had.
    all.dedup_by_key(|figures| figures.mapping.start);
    Ok(all)
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn parse_mapping(line: &[u8]) -> Result<Mapping, String> {
    let parse = || {
        let mut words = line.splitn(6, |&byte| byte == b' ');
        let (start, end) = pair(words.next()?, b'-')?;
        let permissions = permissions(words.next()?)?;
        let offset = text::hex(words.next()?)?;
        let (major, minor) = pair(words.next()?, b':')?;
        let inode = text::decimal(words.next()?)?;
        // The rest is padding and a name; no name begins with a space.
        let name = words.next().unwrap_or_default().trim_ascii_start();
        (start <= end).then(|| Mapping {
            start,
            end,
            offset,
            permissions,
            device: (major as u32, minor as u32),
            inode,
            kind: kind(name),
        })
    };
    parse().ok_or_else(|| line.escape_ascii().take(400).map(char::from).collect())
}

fn pair(word: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = word.iter().position(|&byte| byte == separator)?;
    Some((text::hex(&word[..at])?, text::hex(&word[at + 1..])?))
}

fn permissions(word: &[u8]) -> Option<Permissions> {
    let &[read, write, execute, shared] = word else { return None };
    Some(Permissions {
        read: read == b'r',
        write: write == b'w',
        execute: execute == b'x',
        shared: shared == b's',
    })
}

const DELETED: &[u8] = b" (deleted)";

fn kind(name: &[u8]) -> Kind {
    let given = |prefix: &[u8]| name.strip_prefix(prefix)?.strip_suffix(b"]").map(lossy);
    match name {
        b"" => Kind::Anonymous { name: None },
        b"[heap]" => Kind::Heap,
        b"[stack]" => Kind::Stack,
        b"[vdso]" => Kind::Vdso,
        b"[vsyscall]" => Kind::Vsyscall,
        [b'/', ..] => {
            let (path, deleted) =
                name.strip_suffix(DELETED).map_or((name, false), |path| (path, true));
            Kind::File { path: OsString::from_vec(text::unescape(path, b"\n")).into(), deleted }
        }
        _ => match given(b"[anon:").or_else(|| given(b"[anon_shmem:")) {
            Some(name) => Kind::Anonymous { name: Some(name) },
            None => Kind::Other(lossy(name)),
        },
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// A file whose name really ends in ` (deleted)` is not deleted: it is still there, below the target's root.
fn settle_deleted(dir: &ProcessDir, mapping: &mut Mapping) {
    let Kind::File { path, deleted: deleted @ true } = &mut mapping.kind else { return };
    let mut name = path.clone().into_os_string().into_vec();
    name.extend_from_slice(DELETED);
    let name = PathBuf::from(OsString::from_vec(name));
    let below_root = dir.path().join("root").join(name.strip_prefix("/").unwrap_or(&name));
    let exists = std::fs::symlink_metadata(below_root)
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata) == mapping.inode);
    if exists {
        *path = name;
        *deleted = false;
    }
}

#[cfg(test)]
#[path = "mappings_tests.rs"]
mod tests;
