//! The plan of an attach: where every probe goes, and what is not covered.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmgr_common::Cookie;

use super::elf::ElfError;
use super::site::Site;
use super::table::{Family, Role};
use crate::units::FileOffset;

/// Where all probes go.
#[derive(Debug, Default)]
pub struct AttachPlan {
    /// The allocators, in the order of the mappings.
    pub allocators: Vec<PlannedAllocator>,
    /// What was found and is not measured.
    pub not_covered: Vec<NotCovered>,
}

/// One file with functions to probe.
#[derive(Debug)]
pub struct PlannedAllocator {
    /// Whose allocator it is.
    pub family: Family,
    /// The path in the target's mount namespace, unescaped.
    pub path: PathBuf,
    /// The GNU build id in hexadecimal digits, when the file has one.
    pub build_id: Option<String>,
    /// Device and inode of the mapping.
    pub identity: (u64, u64),
    /// The functions: frees first, then resizes, then allocations. Never empty, no two at one place.
    pub functions: Vec<PlannedFunction>,
    pub(super) file: File,
    pub(super) stamp: Stamp,
}

/// One function to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFunction {
    /// The names of the function, `=` between those of one address.
    pub symbol: String,
    /// What the function does.
    pub role: Role,
    /// Where the function begins in the file.
    pub function: FileOffset,
    /// Where the probe goes: `site.offset` bytes on.
    pub probe: FileOffset,
    /// The place and what it costs.
    pub site: Site,
    /// Whether the end of its calls is seen too.
    pub needs_return: bool,
    /// Where it returns: for a function that may throw, whose return the kernel cannot follow. Nothing for any other.
    pub exits: Vec<FileOffset>,
    /// Whether it is known by a name that every allocator has, and enters no other function of the plan by itself: asked for by
    /// [`Family::has_leaf`].
    pub(super) alone: bool,
    /// What the program is told at each hit.
    pub cookie: Cookie,
}

/// Something that is there and is not measured. Both texts are escaped and fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCovered {
    /// The file or the function.
    pub what: String,
    /// The cause, and what helps when something does.
    pub why: String,
}

/// Why no plan could be made: an option asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An option names a file that the process does not execute.
    #[error("the process does not execute {0}; `grep r-xp /proc/PID/maps` shows what it does")]
    NotMapped(String),
    /// An option names a file that cannot be used.
    #[error("{path} cannot be used: {cause}")]
    Unusable {
        /// The file, escaped.
        path: String,
        /// What is wrong with it.
        cause: ElfError,
    },
    /// `--allocator` names a file without such functions.
    #[error(
        "{path} has no functions `{prefix}malloc` and `{prefix}free` in its symbol tables; if `nm -D` and `nm` show others, give \
         what stands before their names: --allocator {path}:PREFIX"
    )]
    NoFunctions {
        /// The file, escaped.
        path: String,
        /// What was looked for.
        prefix: String,
    },
    /// `--probe` names a place that cannot be probed.
    #[error("--probe {probe}: {why}")]
    BadProbe {
        /// The option's value, escaped.
        probe: String,
        /// What is wrong with the place.
        why: String,
    },
    /// There are more functions than cookies can number.
    #[error("the process holds more than 65536 allocator functions")]
    TooMany,
}

/// A file's size and time of change, which tell whether it was written to since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Stamp { size: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// What tells a file from others, however it was found: on some file systems the device of a mapping is not that of the file.
#[derive(Clone, Debug)]
pub struct FileKey {
    inode: Option<(u64, u64)>,
    /// Path and build id.
    name: Option<(PathBuf, String)>,
}

impl FileKey {
    /// Whether both are the same file.
    pub fn is_same(&self, other: &FileKey) -> bool {
        self.inode.is_some() && self.inode == other.inode
            || self.name.is_some() && self.name == other.name
    }
}

impl PlannedAllocator {
    /// The path to attach by. It leads to the very file that was read, in whatever namespace it lives and even when it is deleted,
    /// for as long as this value lives and only in this process.
    pub fn attach_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// What tells the file from others.
    pub fn key(&self) -> FileKey {
        FileKey {
            inode: self.file.metadata().ok().map(|meta| (meta.dev(), meta.ino())),
            name: self.build_id.clone().map(|build_id| (self.path.clone(), build_id)),
        }
    }

    /// Whether the file is still as it was when its functions were found. To be asked before every attach: the kernel does not
    /// notice when a library is overwritten in place.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::from(&self.file.metadata()?) == self.stamp)
    }
}

impl AttachPlan {
    /// All functions in the order of attaching: every free before every resize before every allocation, so that a block whose
    /// allocation is seen is never freed unseen. A function's position here is the index in its cookie.
    pub fn functions(&self) -> Vec<(&PlannedAllocator, &PlannedFunction)> {
        let mut all: Vec<_> =
            self.allocators.iter().flat_map(|a| a.functions.iter().map(move |f| (a, f))).collect();
        all.sort_by_key(|(_, function)| function.cookie.function());
        all
    }
}

/// A path for people: the target chose it, so control characters are escaped.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
