//! Starting a command so that its first allocation is captured.
//!
//! A child is made and waits before it becomes the command. Probes belong to files, not to processes:
//! they are placed in the files that the command will map, which its own dynamic loader is asked for, and
//! the kernel puts the breakpoints in as the loader maps them. Then the child is let go.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread::JoinHandle,
};

use object::{
    Object, ObjectSegment, SegmentFlags,
    elf::{PF_X, PT_INTERP},
    read::{ReadCache, elf::ProgramHeader},
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{
    allocator::{MappedFile, MappedRange},
    escape::Safe,
    modules::parse,
    units::Pid,
};

/// Interpreters of interpreters that the kernel follows (BINPRM_MAX_RECURSION is 4, fs/exec.c).
const MOST_INTERPRETERS: usize = 5;

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The shell's code for this is 127.
    #[error("{0}: there is no such command")]
    NotFound(Safe),
    /// The shell's code for this is 126.
    #[error("{0} cannot be run: {1}")]
    NotRunnable(Safe, io::Error),
    /// Something of ours failed.
    #[error("the command could not be started: {0}")]
    Failed(#[from] io::Error),
}

/// A command that waits to be let go.
pub struct Launch {
    /// Its process, which is the command's from then on.
    pub pid: Pid,
    /// The files that it will map: itself, its loader, its libraries.
    pub files: Vec<MappedFile>,
    command: Safe,
    go: OwnedFd,
    spawning: JoinHandle<io::Result<Child>>,
}

impl Launch {
    /// Makes the child.
    pub fn prepare(words: &[std::ffi::OsString]) -> Result<Self, LaunchError> {
        let (program, arguments) = words.split_first().ok_or_else(|| {
            LaunchError::Failed(io::Error::new(io::ErrorKind::InvalidInput, "no command was given"))
        })?;
        let shown = Safe::bytes(program.as_encoded_bytes());
        let path = which::which(program).map_err(|_| {
            // A path that is there and is no program.
            if program.as_encoded_bytes().contains(&b'/') && Path::new(program).exists() {
                let denied = io::Error::from_raw_os_error(libc::EACCES);
                return LaunchError::NotRunnable(shown.clone(), denied);
            }
            LaunchError::NotFound(shown.clone())
        })?;
        let files = predict(&path).map_err(|e| LaunchError::NotRunnable(shown.clone(), e))?;
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut command = Command::new(&path);
        command.arg0(program).args(arguments);
        let (tell_fd, wait_fd, go_fd) = (tell.as_raw_fd(), wait.as_raw_fd(), go.as_raw_fd());
        // SAFETY: between fork and exec only system calls are made: close, getpid, write, read, _exit. The descriptor
        // that is closed is the child's copy of one that nothing in the child uses.
        unsafe {
            command.pre_exec(move || {
                // With its own copy open the child would wait for itself when memmgr is gone.
                libc::close(go_fd);
                let pid = libc::getpid().to_ne_bytes();
                if libc::write(tell_fd, pid.as_ptr().cast(), pid.len()) != pid.len() as isize {
                    return Err(io::Error::last_os_error());
                }
                let mut byte = 0_u8;
                // Nothing to read means that memmgr gave up, or is gone.
                match libc::read(wait_fd, (&raw mut byte).cast(), 1) {
                    1 => Ok(()),
                    // Nobody is left to be told.
                    _ => libc::_exit(126),
                }
            });
        }
        // `spawn` returns when the child has become the command: it waits in a thread of its own.
        let spawning = std::thread::Builder::new().name("launch".into()).spawn(move || {
            let child = command.spawn();
            drop((tell, wait));
            child
        })?;
        let mut pid = [0_u8; 4];
        File::from(told).read_exact(&mut pid)?;
        let pid = Pid(u32::from_ne_bytes(pid));
        Ok(Launch { pid, files, command: shown, go, spawning })
    }

    /// What it will be called: the kernel's name of a process is that of its file.
    pub fn name(&self) -> String {
        let name = self.files.iter().find(|file| file.main).and_then(|file| file.path.file_name());
        name.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Lets the child become the command.
    pub fn go(self) -> Result<Running, LaunchError> {
        rustix::io::write(&self.go, &[1]).map_err(io::Error::from)?;
        let child = match self.spawning.join() {
            Ok(child) => child.map_err(|error| LaunchError::NotRunnable(self.command, error))?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(Running(child))
    }
}

/// The command, running or ended.
pub struct Running(Child);

impl Running {
    /// Waits for its end.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

/// The files that a program will map.
fn predict(path: &Path) -> io::Result<Vec<MappedFile>> {
    let mut program = path.to_owned();
    for _ in 0..MOST_INTERPRETERS {
        match interpreter_of_script(&program)? {
            Some(interpreter) => program = interpreter,
            None => return predict_elf(&program),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// What stands behind `#!`.
fn interpreter_of_script(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut head = Vec::new();
    BufReader::new(File::open(path)?.take(256)).read_until(b'\n', &mut head)?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let interpreter = words.next().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOEXEC))?;
    let interpreter = PathBuf::from(OsStr::from_bytes(interpreter));
    // `env` runs the first of its words that is no option and no variable.
    if interpreter.file_name() == Some(OsStr::new("env")) {
        let command = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
        if let Some(found) = command.and_then(|word| which::which(OsStr::from_bytes(word)).ok()) {
            return Ok(Some(found));
        }
    }
    Ok(Some(interpreter))
}

fn predict_elf(path: &Path) -> io::Result<Vec<MappedFile>> {
    let mut files = vec![MappedFile { main: true, ..mapped_file(path)? }];
    if let Some(loader) = loader_of(path)? {
        // The loader finds the libraries as it will for the command; it runs nothing of them.
        let listed = Command::new(&loader).arg("--list").arg(path).output()?;
        let libraries = String::from_utf8_lossy(&listed.stdout);
        for library in libraries.lines().filter_map(library_of) {
            files.extend(mapped_file(Path::new(library)));
        }
        files.extend(mapped_file(&loader));
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert((file.device, file.inode)));
    Ok(files)
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f…)`, `/lib64/ld.so (0x7f…)`.
fn library_of(line: &str) -> Option<&str> {
    let path = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
    let path = path.rsplit_once(" (0x").map_or(path, |(path, _)| path);
    path.starts_with('/').then_some(path)
}

fn loader_of(path: &Path) -> io::Result<Option<PathBuf>> {
    let file = File::open(path)?;
    let cache = ReadCache::new(&file);
    let elf = parse(&cache).map_err(|_| not_elf("it"))?;
    let endian = elf.endian();
    for header in elf.elf_program_headers() {
        if header.p_type(endian) == PT_INTERP {
            let name = header.data(endian, &cache).map_err(|()| not_elf("its loader's name"))?;
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            return Ok(Some(PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}

/// A file as it will be mapped; the addresses are those that the file states.
fn mapped_file(path: &Path) -> io::Result<MappedFile> {
    let path = fs::canonicalize(path)?;
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    let cache = ReadCache::new(&file);
    let elf = parse(&cache).map_err(|_| not_elf("it"))?;
    let page = memmgr_common::limits::PAGE_SIZE;
    let ranges = elf.segments().map(|segment| {
        let (offset, length) = segment.file_range();
        let lead = segment.address() % page;
        let executable =
            matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.contains(PF_X));
        MappedRange {
            start: segment.address() - lead,
            end: (segment.address() + length).next_multiple_of(page),
            offset: offset - lead.min(offset),
            executable,
        }
    });
    let ranges = ranges.collect();
    let (device, inode) = (metadata.dev(), metadata.ino());
    Ok(MappedFile { path, device, inode, ranges, deleted: false, main: false })
}

fn not_elf(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is no 64-bit ELF program"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_as_loaders_list_them() {
        for (line, expected) in [
            ("\tlinux-vdso.so.1 (0x00007ffd2c5f1000)", None),
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)",
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f2)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tlibz.so => not found", None),
            ("\tlibm.so => /opt/my libs/libm.so (0x00007f3)", Some("/opt/my libs/libm.so")),
        ] {
            assert_eq!(library_of(line), expected, "{line}");
        }
    }

    #[test]
    fn the_files_of_a_program_of_this_host() {
        let files = predict(Path::new("/bin/sh")).unwrap();
        assert!(files[0].main && files[0].ranges.iter().any(|range| range.executable));
        let libc =
            files.iter().find(|file| file.path.to_string_lossy().contains("libc.so")).unwrap();
        assert!(libc.ranges.iter().any(|range| range.executable));
    }

    #[test]
    fn scripts_lead_to_their_interpreters() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        for (line, expected) in
            [("#!/bin/sh -e\n", "/bin/sh"), ("#! /usr/bin/env -S A=b sh\n", "sh")]
        {
            fs::write(&script, line).unwrap();
            let found = interpreter_of_script(&script).unwrap().unwrap();
            assert!(found.ends_with(expected.trim_start_matches('/')), "{found:?}");
        }
        fs::write(&script, "\x7fELF").unwrap();
        assert_eq!(interpreter_of_script(&script).unwrap(), None);
    }
}
