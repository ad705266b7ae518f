//! Where a result goes. It is opened before a capture starts, so that a wrong path is found out at
//! once, and written whole or not at all.
//!
//! memmgr runs as root and may be pointed at a directory that somebody else can write to. A file is
//! built without a name in the directory of its place, readable by its owner only, and gets its name
//! at the end: no link is followed, no device or pipe is opened, no other file is touched, and a
//! memmgr that is killed leaves nothing. Where the filesystem has no files without a name, it is
//! built under a new one.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::escape::Safe;

/// Names that are tried before giving up: with 64 random bits the second is never needed.
const NAMES_MAX: usize = 8;

/// Why a result cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file is already there and may not be replaced.
    #[error("{0} already exists; use -f to overwrite it, or give another name with -o")]
    Exists(Shown),
    /// The name is a symbolic link.
    #[error(
        "{0} is a symbolic link, which memmgr does not write through; give the name of a file with -o"
    )]
    Symlink(Shown),
    /// The name is a directory, a device, a pipe or a socket.
    #[error(
        "{0} is {1}, not a regular file; give another name with -o, or `-o -` for standard output"
    )]
    NotRegular(Shown, &'static str),
    /// The path ends in no name.
    #[error("{0:?} names no file; give a file name with -o, or `-o -` for standard output")]
    NoName(PathBuf),
    /// Anyone could swap the file while it is written.
    #[error(
        "everyone may replace files in {0}: it is world-writable and not sticky; \
         `chmod o-w` or `chmod +t` it, or write to another directory with -o"
    )]
    OpenToAll(Shown),
    /// The directory cannot be used.
    #[error("cannot write in {0}: {1}; give a directory that exists and is writable with -o")]
    Directory(Shown, io::Error),
    /// The result could not be stored; nothing was left behind.
    #[error(
        "cannot write {0}: {1}; nothing was left behind, free some space or give another place with -o"
    )]
    Write(Shown, io::Error),
}

/// A path as an error shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Safe);

impl From<&Path> for Shown {
    fn from(path: &Path) -> Self {
        Self(Safe::bytes(path.as_os_str().as_encoded_bytes()))
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An opened place for one result. Dropped without [`Output::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Output(Place);

#[derive(Debug)]
enum Place {
    Stdout,
    File(Pending),
}

impl Output {
    /// Opens `path`, or standard output for `-`. With `force` an existing regular file will be replaced.
    ///
    /// # Errors
    /// Says what is wrong with the path and what to do about it. Nothing was changed then.
    pub fn open(path: &Path, force: bool) -> Result<Self, OutputError> {
        if path == Path::new("-") {
            return Ok(Self(Place::Stdout));
        }
        let create = |directory: &OwnedFd| {
            create_unnamed(directory).or_else(|_| create_temporary(directory))
        };
        Pending::create(path, force, create).map(|pending| Self(Place::File(pending)))
    }

    /// True when the bytes go to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self.0, Place::Stdout)
    }

    /// Has the result written and puts it in its place, on disk before this returns. A reader that closed
    /// standard output has had enough: that is no error.
    ///
    /// # Errors
    /// Those of `write`, and an [`OutputError`] when it could not write. Nothing is at the path then, or what
    /// was there before.
    pub fn commit_with(
        self,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self.0 {
            Place::Stdout => write_stream(&mut io::stdout().lock(), write),
            Place::File(mut pending) => {
                let failed = |error| OutputError::Write(pending.path.as_path().into(), error);
                written(&mut pending.file, write)?.map_err(failed)?;
                Ok(pending.commit()?)
            }
        }
    }

    /// The same for a result that is there.
    pub fn commit(self, bytes: &[u8]) -> anyhow::Result<()> {
        self.commit_with(|out| Ok(out.write_all(bytes)?))
    }
}

fn write_stream(
    stream: &mut impl Write,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match written(stream, write)? {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(OutputError::Write(Path::new("standard output").into(), error).into())
        }
        _ => Ok(()),
    }
}

/// Tells errors of the place, inside, from those of what is written to it.
fn written(
    place: &mut impl Write,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<io::Result<()>> {
    let mut noticing = Noticing { place, error: None };
    let result = write(&mut noticing);
    match (noticing.error, result) {
        (Some(error), _) => Ok(Err(error)),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(place.flush()),
    }
}

/// Keeps the first error of a place, whatever becomes of it on the way through a serializer.
struct Noticing<'a, W> {
    place: &'a mut W,
    error: Option<io::Error>,
}

impl<W: Write> Write for Noticing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.place.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.error.get_or_insert(error);
                Err(kind.into())
            }
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.place.flush()
    }
}

/// A file in the directory of its place, without a name or under a temporary one.
#[derive(Debug)]
struct Pending {
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
    temporary: Option<OsString>,
    file: File,
    force: bool,
}

impl Pending {
    fn create(
        path: &Path,
        force: bool,
        create: impl Fn(&OwnedFd) -> Result<(Option<OsString>, File), Errno>,
    ) -> Result<Self, OutputError> {
        // `dir/` and `dir/.` have a file name in Rust's view, but name a directory.
        let ends_in_name =
            !matches!(path.as_os_str().as_encoded_bytes(), [.., b'/'] | [.., b'/', b'.']);
        let name = path
            .file_name()
            .filter(|_| ends_in_name)
            .ok_or_else(|| OutputError::NoName(path.to_owned()))?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directory = open_directory(parent)?;
        check_place(&directory, name, path, force)?;
        let (temporary, file) = create(&directory)
            .map_err(|error| OutputError::Directory(parent.into(), error.into()))?;
        Ok(Self { path: path.to_owned(), directory, name: name.to_owned(), temporary, file, force })
    }

    /// Puts what was written in its place.
    fn commit(mut self) -> Result<(), OutputError> {
        let path = self.path.clone();
        let failed = |error: io::Error| OutputError::Write(path.as_path().into(), error);
        self.file.sync_all().map_err(failed)?;
        // Whatever has appeared at the place since it was opened is looked at again.
        check_place(&self.directory, &self.name, &self.path, self.force)?;
        let moved = if self.force { self.replace() } else { self.place_new() };
        match moved {
            Ok(()) => rustix::fs::fsync(&self.directory).map_err(|error| failed(error.into())),
            Err(Errno::EXIST) => Err(OutputError::Exists(self.path.as_path().into())),
            Err(error) => Err(failed(error.into())),
        }
    }

    fn replace(&mut self) -> Result<(), Errno> {
        // A link replaces nothing, so that a file without a name gets a temporary one first.
        let temporary = match self.temporary.take() {
            Some(name) => name,
            None => with_new_name(|name| self.link(name))?.0,
        };
        let temporary = self.temporary.insert(temporary);
        rustix::fs::renameat(&self.directory, &*temporary, &self.directory, &self.name)
    }

    /// Moves the file to a name that must not be taken.
    fn place_new(&self) -> Result<(), Errno> {
        let Some(from) = &self.temporary else { return self.link(&self.name) };
        let (directory, to) = (&self.directory, &self.name);
        match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
            // Some filesystems cannot rename without replacing. A link never replaces either; the
            // temporary name goes when this is dropped.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.link(to),
            result => result,
        }
    }

    /// Gives the file a name that must not be taken: the way of open(2) for files without one.
    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, file, &self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // After a commit the name is gone already. If it cannot be removed, nothing else can be done.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
}

/// Opens the directory, whose descriptor stands for it from now on, whatever becomes of its path.
fn open_directory(path: &Path) -> Result<OwnedFd, OutputError> {
    let failed = |error: Errno| OutputError::Directory(path.into(), error.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&directory).map_err(failed)?.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(OutputError::OpenToAll(path.into()));
    }
    Ok(directory)
}

/// Refuses a place that is taken by something that may not be replaced.
fn check_place(
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    force: bool,
) -> Result<(), OutputError> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(OutputError::Directory(path.into(), error.into())),
        Ok(stat) => stat,
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if force => return Ok(()),
        FileType::RegularFile => return Err(OutputError::Exists(path.into())),
        FileType::Symlink => return Err(OutputError::Symlink(path.into())),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something else",
    };
    Err(OutputError::NotRegular(path.into(), kind))
}

fn create_unnamed(directory: &OwnedFd) -> Result<(Option<OsString>, File), Errno> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?;
    Ok((None, file.into()))
}

fn create_temporary(directory: &OwnedFd) -> Result<(Option<OsString>, File), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &OsStr| rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
    with_new_name(open).map(|(name, file)| (Some(name), file.into()))
}

/// Does something with a name that nothing has; it must fail with EXIST where something has it.
fn with_new_name<T>(
    mut act: impl FnMut(&OsStr) -> Result<T, Errno>,
) -> Result<(OsString, T), Errno> {
    for _ in 0..NAMES_MAX {
        // The keys of a new hasher are random. That a taken name fails is what makes a guessed one harmless.
        let name = OsString::from(format!(
            ".memmgr-{:016x}.tmp",
            RandomState::new().build_hasher().finish()
        ));
        match act(&name) {
            Ok(done) => return Ok((name, done)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests;
