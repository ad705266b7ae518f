//! Tests of `output`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Opening must fail with a sentence that holds `expected`, and must change nothing.
#[track_caller]
fn check_refused(directory: &Path, name: &str, force: bool, expected: &str) {
    let before = names(directory);
    let error = Output::open(&directory.join(name), force).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("-o"), "no remedy: {error}");
    assert_eq!(names(directory), before);
}

type Create = fn(&OwnedFd) -> Result<(Option<OsString>, File), Errno>;

/// Both ways to build a file, and how many names one takes before the commit.
const CREATE: [(Create, usize); 2] = [(create_unnamed, 0), (create_temporary, 1)];

#[test]
fn a_committed_file_is_whole_and_private() {
    for (create, names_before) in CREATE {
        for force in [false, true] {
            let dir = directory();
            let path = dir.path().join("out.svg");
            let pending = Pending::create(&path, force, create).unwrap();
            assert!(!path.exists(), "nothing is at the place before the commit");
            assert_eq!(names(dir.path()).len(), names_before);
            if force {
                fs::write(&path, "old").unwrap();
            }
            Output(Place::File(pending)).commit(b"bytes").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"bytes");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
            assert_eq!(names(dir.path()), ["out.svg"]);
        }
    }
}

#[test]
fn the_temporary_file_is_private_from_the_start() {
    let dir = directory();
    let _pending = Pending::create(&dir.path().join("out"), false, create_temporary).unwrap();
    let temporary = dir.path().join(&names(dir.path())[0]);
    assert_eq!(fs::symlink_metadata(temporary).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn dropped_without_a_commit_nothing_stays() {
    let dir = directory();
    let path = dir.path().join("out");
    drop(Output::open(&path, false).unwrap());
    assert_eq!(names(dir.path()), [""; 0]);
    fs::write(&path, "old").unwrap();
    drop(Output::open(&path, true).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn an_existing_file_is_replaced_only_when_told() {
    let dir = directory();
    let path = dir.path().join("out");
    fs::write(&path, "old").unwrap();
    check_refused(dir.path(), "out", false, "already exists; use -f to overwrite it");
    Output::open(&path, true).unwrap().commit(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn replacing_leaves_other_names_of_the_old_file_alone() {
    let dir = directory();
    let (path, other) = (dir.path().join("out"), dir.path().join("precious"));
    fs::write(&other, "precious").unwrap();
    fs::hard_link(&other, &path).unwrap();
    Output::open(&path, true).unwrap().commit(b"new").unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"precious");
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn symbolic_links_are_never_written_through() {
    let dir = directory();
    fs::write(dir.path().join("precious"), "precious").unwrap();
    symlink("precious", dir.path().join("link")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    for force in [false, true] {
        check_refused(dir.path(), "link", force, "is a symbolic link");
        check_refused(dir.path(), "dangling", force, "is a symbolic link");
    }
    assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"precious");
}

#[test]
fn only_regular_files_are_replaced() {
    let dir = directory();
    fs::create_dir(dir.path().join("directory")).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    for force in [false, true] {
        check_refused(dir.path(), "directory", force, "is a directory");
        check_refused(dir.path(), "fifo", force, "is a pipe");
        check_refused(dir.path(), "socket", force, "is a socket");
        let error = Output::open(Path::new("/dev/null"), force).unwrap_err().to_string();
        assert!(error.starts_with("/dev/null is a device, not a regular file; "), "{error}");
    }
}

/// What is wrong with a place when something is to be written there.
fn refusal(output: Output) -> OutputError {
    output.commit(b"new").unwrap_err().downcast().unwrap()
}

#[test]
fn a_place_taken_meanwhile_is_not_lost() {
    let dir = directory();
    let path = dir.path().join("out");
    let output = Output::open(&path, false).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    assert!(matches!(refusal(output), OutputError::Exists(_)));
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn a_link_planted_meanwhile_is_not_followed() {
    for force in [false, true] {
        let dir = directory();
        let path = dir.path().join("out");
        fs::write(dir.path().join("precious"), "precious").unwrap();
        let output = Output::open(&path, force).unwrap();
        symlink("precious", &path).unwrap();
        assert!(matches!(refusal(output), OutputError::Symlink(_)));
        assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"precious");
        assert_eq!(names(dir.path()), ["out", "precious"]);
    }
}

/// The last step by itself: the check before it has already passed when the other file appears.
#[test]
fn neither_way_of_placing_replaces_anything() {
    let link: fn(&Pending) -> Result<(), Errno> = |pending| pending.link(&pending.name);
    for (create, place) in [
        (create_temporary as Create, Pending::place_new as fn(&Pending) -> Result<(), Errno>),
        (create_temporary, link),
        (create_unnamed, link),
    ] {
        let dir = directory();
        let path = dir.path().join("out");
        let pending = Pending::create(&path, false, create).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        assert_eq!(place(&pending), Err(Errno::EXIST));
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
        fs::remove_file(&path).unwrap();
        symlink("precious", &path).unwrap();
        assert_eq!(place(&pending), Err(Errno::EXIST));
        fs::remove_file(&path).unwrap();
        assert_eq!(place(&pending), Ok(()));
        drop(pending);
        assert_eq!(names(dir.path()), ["out"]);
    }
}

#[test]
fn the_directory_may_move_while_the_capture_runs() {
    let dir = directory();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::create_dir(&old).unwrap();
    let output = Output::open(&old.join("out"), false).unwrap();
    fs::rename(&old, &new).unwrap();
    fs::create_dir(&old).unwrap();
    output.commit(b"bytes").unwrap();
    assert_eq!(names(&new), ["out"]);
    assert_eq!(names(&old), [""; 0]);
}

#[test]
fn directories_open_to_all_are_refused_unless_sticky() {
    let dir = directory();
    let chmod = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o777);
    check_refused(dir.path(), "out", true, "world-writable and not sticky");
    chmod(0o1777);
    Output::open(&dir.path().join("out"), false).unwrap().commit(b"bytes").unwrap();
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn paths_that_cannot_be_files_are_refused() {
    let dir = directory();
    check_refused(dir.path(), "missing/out", false, "cannot write in");
    for name in ["sub/", "sub/.", ".."] {
        check_refused(dir.path(), name, true, "names no file");
    }
    fs::write(dir.path().join("file"), "").unwrap();
    check_refused(dir.path(), "file/out", false, "Not a directory");
    let error = Output::open(Path::new(""), false).unwrap_err().to_string();
    assert_eq!(
        error,
        "\"\" names no file; give a file name with -o, or `-o -` for standard output"
    );
}

#[test]
fn hostile_paths_are_shown_escaped() {
    let dir = directory();
    fs::write(dir.path().join("a\x1b[2J"), "").unwrap();
    check_refused(dir.path(), "a\x1b[2J", false, "a\\u{1b}[2J already exists");
}

#[test]
fn long_names_leave_room_for_the_temporary_one() {
    let dir = directory();
    let name = "n".repeat(255);
    Output::open(&dir.path().join(&name), false).unwrap().commit(b"bytes").unwrap();
    assert_eq!(names(dir.path()), [name]);
}

#[test]
fn a_reader_that_left_is_no_error_and_a_full_device_is_one() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    write_stream(&mut File::from(writer), |out| Ok(out.write_all(b"bytes")?)).unwrap();
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = write_stream(&mut full, |out| Ok(out.write_all(b"bytes")?)).unwrap_err();
    let Some(OutputError::Write(_, error)) = error.downcast_ref() else { panic!("{error}") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    // What is not the fault of the place stays what it is.
    let mut place = Vec::new();
    let error = write_stream(&mut place, |_| anyhow::bail!("no such figures")).unwrap_err();
    assert_eq!(error.to_string(), "no such figures");
    assert!(Output::open(Path::new("-"), false).unwrap().is_stdout());
}
