//! Files that a target has mapped, and how the very same file is opened.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::units::{FileOffset, Pid};

/// A file that the target has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// The path as `/proc/PID/maps` shows it, unescaped and without ` (deleted)`; valid in the target's mount namespace.
    pub path: PathBuf,
    /// The device, as `st_dev` encodes it.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// All mappings of the file, in any order.
    pub ranges: Vec<MappedRange>,
    /// Whether no path leads to the file any more.
    pub deleted: bool,
    /// Whether the process runs this file (`/proc/PID/exe`).
    pub main: bool,
}

/// One mapping of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    /// First address.
    pub start: u64,
    /// Address behind the last one.
    pub end: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    /// Whether the target may execute it.
    pub executable: bool,
}

impl MappedFile {
    /// Whether the target can execute the byte at this offset.
    pub fn executes(&self, FileOffset(offset): FileOffset) -> bool {
        self.ranges.iter().filter(|range| range.executable).any(|range| {
            offset
                .checked_sub(range.offset)
                .is_some_and(|distance| distance < range.end.saturating_sub(range.start))
        })
    }
}

/// Opens the mapped file itself, never what its path means to memmgr: by `/proc/PID/map_files`, else, where that is not permitted, by
/// the path inside the target's root, compared by device and inode.
///
/// `proc_root` is where procfs is mounted. Errors name the cause; a file that is not a regular one is `InvalidInput`.
pub fn open_mapped(proc_root: &Path, pid: Pid, file: &MappedFile) -> io::Result<File> {
    let process = proc_root.join(pid.to_string());
    match open_by_range(&process, file) {
        Ok(opened) => Ok(opened),
        Err(cause) if file.deleted => Err(cause),
        Err(_) => open_by_path(&process, file),
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

fn open_by_range(process: &Path, file: &MappedFile) -> io::Result<File> {
    let range =
        file.ranges.iter().max_by_key(|range| range.executable).ok_or(io::ErrorKind::NotFound)?;
    let link = process.join("map_files").join(format!("{:x}-{:x}", range.start, range.end));
    regular(File::from(rustix::fs::open(link, FLAGS, Mode::empty())?))
}

fn open_by_path(process: &Path, file: &MappedFile) -> io::Result<File> {
    let directory = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let root = rustix::fs::open(process.join("root"), directory, Mode::empty())?;
    // IN_ROOT: a symbolic link that the target put there must not lead out of its root.
    let opened =
        rustix::fs::openat2(root, &file.path, FLAGS, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let opened = regular(File::from(opened))?;
    let found = rustix::fs::fstat(&opened)?;
    if (found.st_dev, found.st_ino) != (file.device, file.inode) {
        return Err(io::Error::other(
            "the path now leads to another file than the one that is mapped",
        ));
    }
    Ok(opened)
}

fn regular(file: File) -> io::Result<File> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// A proc directory for process 7 whose root is a directory of its own, with one file mapped.
    fn fixture() -> (tempfile::TempDir, MappedFile) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("7/root");
        std::fs::create_dir_all(root.join("lib")).unwrap();
        std::fs::create_dir_all(dir.path().join("7/map_files")).unwrap();
        std::fs::write(root.join("lib/a.so"), "mapped").unwrap();
        let meta = std::fs::metadata(root.join("lib/a.so")).unwrap();
        let file = MappedFile {
            path: "/lib/a.so".into(),
            device: meta.dev(),
            inode: meta.ino(),
            ranges: vec![
                MappedRange { start: 0x1000, end: 0x2000, offset: 0, executable: false },
                MappedRange { start: 0x2000, end: 0x3000, offset: 0x1000, executable: true },
            ],
            deleted: false,
            main: false,
        };
        (dir, file)
    }

    fn check(dir: &Path, file: &MappedFile, expected: &str) {
        let mut text = String::new();
        let outcome =
            open_mapped(dir, Pid(7), file).and_then(|mut opened| opened.read_to_string(&mut text));
        assert_eq!(outcome.map_or_else(|error| error.to_string(), |_| text), expected);
    }

    #[test]
    fn the_mapped_range_comes_first() {
        let (dir, file) = fixture();
        std::fs::write(dir.path().join("other"), "by range").unwrap();
        symlink(dir.path().join("other"), dir.path().join("7/map_files/2000-3000")).unwrap();
        check(dir.path(), &file, "by range");
    }

    #[test]
    fn the_path_is_the_second_choice_and_is_compared() {
        let (dir, mut file) = fixture();
        check(dir.path(), &file, "mapped");
        file.inode += 1;
        check(dir.path(), &file, "the path now leads to another file than the one that is mapped");
        file.deleted = true;
        check(dir.path(), &file, "No such file or directory (os error 2)");
    }

    #[test]
    fn a_link_in_the_target_does_not_lead_to_the_host() {
        let (dir, mut file) = fixture();
        let host = dir.path().join("host");
        std::fs::write(&host, "host").unwrap();
        symlink(&host, dir.path().join("7/root/lib/link.so")).unwrap();
        file.path = "/lib/link.so".into();
        check(dir.path(), &file, "No such file or directory (os error 2)");
    }

    #[test]
    fn pipes_and_directories_are_refused_without_waiting() {
        let (dir, mut file) = fixture();
        let pipe = dir.path().join("7/root/lib/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in ["/lib/pipe", "/lib"] {
            file.path = path.into();
            check(dir.path(), &file, "not a regular file");
        }
    }

    #[test]
    fn only_executable_ranges_execute() {
        let (_dir, file) = fixture();
        for (offset, expected) in
            [(0, false), (0xfff, false), (0x1000, true), (0x1fff, true), (0x2000, false)]
        {
            assert_eq!(file.executes(FileOffset(offset)), expected, "{offset:#x}");
        }
    }
}
