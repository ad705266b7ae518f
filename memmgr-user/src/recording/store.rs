//! Where a recording is: made, opened, put in its place.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use crate::output::Output;

use super::{
    level::{LEVELS, Merger},
    retain::Retention,
    schema::{APPLICATION_ID, RecordingError, SCHEMA, VERSION, check, shown},
};

/// How long to wait for another program that holds the database.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pages after which SQLite moves the write-ahead log into the database: 1 MiB.
const LOG_PAGES: u32 = 256;

/// An open recording.
pub struct Recording {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) scale: u32,
    /// The book of every site.
    pub(super) book_of: Vec<u32>,
    pub(super) intervals: u32,
    /// One for every level but the first.
    pub(super) mergers: [Merger; LEVELS as usize - 1],
    pub(super) retention: Retention,
}

/// Whether a file begins as SQLite databases do.
pub fn is_recording(bytes: &[u8]) -> bool {
    bytes.starts_with(b"SQLite format 3\0")
}

impl Recording {
    /// A recording in memory. Counts are kept in units of 1/`scale`.
    pub fn in_memory(scale: u32) -> Result<Self, RecordingError> {
        let path = PathBuf::from("the recording in memory");
        let connection = Connection::open_in_memory()
            .and_then(|connection| prepare(&connection, scale).map(|()| connection))
            .map_err(|error| RecordingError::from_sqlite(&path, &error))?;
        Ok(Self::new(path, connection, scale, Retention::IN_MEMORY))
    }

    /// A recording in a new file, readable by its owner alone. With `force` it takes the place of another
    /// recording, which stays until the new one is ready to be written.
    pub fn create(path: &Path, scale: u32, force: bool) -> Result<Self, RecordingError> {
        let io = |error: io::Error| RecordingError::Other(shown(path), error.to_string());
        let sqlite = |error: rusqlite::Error| RecordingError::from_sqlite(path, &error);
        let name = path.file_name().ok_or_else(|| {
            RecordingError::Other(shown(path), "the path ends in no file name".into())
        })?;
        // The same checks as for every result; nothing is left of it.
        drop(Output::open(path, force)?);
        // Made under another name, so that a recording is at its name only when it is whole.
        let mut making = name.to_owned();
        making.push(format!(".{}.new", std::process::id()));
        let making = path.with_file_name(making);
        let made = || -> Result<(), RecordingError> {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&making)
                .map_err(io)?;
            let connection = Connection::open(&making).map_err(sqlite)?;
            prepare(&connection, scale).map_err(sqlite)?;
            connection.close().map_err(|(_, error)| sqlite(error))?;
            // What an earlier recording left behind belongs to that one alone.
            for beside in ["-wal", "-shm", "-journal"] {
                let mut left = path.as_os_str().to_owned();
                left.push(beside);
                match fs::remove_file(&left) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                    _ => {}
                }
            }
            fs::rename(&making, path).map_err(io)
        };
        if let Err(error) = made() {
            // Nothing of it is worth keeping; that it is there is what matters less now.
            let _ = fs::remove_file(&making);
            return Err(error);
        }
        let connection = Connection::open(path).map_err(sqlite)?;
        connection.busy_timeout(PATIENCE).map_err(sqlite)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
        // A crash of the host may cost the last intervals, never the file (sqlite.org/wal.html).
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(sqlite)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(sqlite)?;
        Ok(Self::new(path.to_owned(), connection, scale, Retention::IN_FILE))
    }

    /// Opens one for reading; it may be written by another memmgr at the same time.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let sqlite = |error: rusqlite::Error| RecordingError::from_sqlite(path, &error);
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(sqlite)?;
        connection.busy_timeout(PATIENCE).map_err(sqlite)?;
        check(path, &connection)?;
        let scale = connection
            .query_row("SELECT value FROM meta WHERE name = 'count_scale'", [], |row| row.get(0))
            .map_err(sqlite)?;
        Ok(Self::new(path.to_owned(), connection, scale, Retention::IN_FILE))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn new(path: PathBuf, connection: Connection, scale: u32, retention: Retention) -> Self {
        Recording {
            path,
            connection,
            scale,
            book_of: Vec::new(),
            intervals: 0,
            mergers: Default::default(),
            retention,
        }
    }
}

fn prepare(connection: &Connection, scale: u32) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(SCHEMA)?;
    connection
        .execute("INSERT INTO meta VALUES ('count_scale', ?1), ('state', 'running')", [scale])?;
    // Last: a database with this number is whole.
    connection.pragma_update(None, "user_version", VERSION)
}
