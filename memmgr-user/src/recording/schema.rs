//! The schema of a recording, its version, and what can be wrong with one.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::{escape::Safe, output::OutputError};

/// `memm`: the application id in the header of every recording (SQLite file format, offset 68).
pub(super) const APPLICATION_ID: u32 = 0x6d65_6d6d;
/// The version of this schema. A table or column that is renamed or removed, or a changed meaning, bumps it.
pub(super) const VERSION: u32 = 2;

/// Tables and views; `docs/recording.md` says what is in them.
pub(super) const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE document (name TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE interval (
    id INTEGER PRIMARY KEY, end_s REAL NOT NULL, live_bytes INTEGER NOT NULL, rss_bytes INTEGER NOT NULL,
    cgroup_bytes INTEGER, swap_bytes INTEGER, threads INTEGER, descriptors INTEGER, observed_s REAL,
    totals TEXT NOT NULL);
CREATE TABLE change (level INTEGER NOT NULL, bucket INTEGER NOT NULL, changes BLOB NOT NULL);
CREATE UNIQUE INDEX change_by_bucket ON change (level, bucket);
CREATE TABLE module (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, build_id TEXT NOT NULL, start INTEGER NOT NULL,
    end INTEGER NOT NULL, file_offset INTEGER NOT NULL, bias INTEGER NOT NULL);
CREATE TABLE location (address INTEGER PRIMARY KEY, module INTEGER, stated INTEGER NOT NULL, reason TEXT);
CREATE TABLE frame (
    address INTEGER NOT NULL, depth INTEGER NOT NULL, function TEXT, module TEXT, file TEXT, line INTEGER,
    inlined INTEGER NOT NULL, stated INTEGER NOT NULL, reason TEXT, PRIMARY KEY (address, depth)) WITHOUT ROWID;
CREATE TABLE node (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, address INTEGER NOT NULL);
CREATE TABLE book (id INTEGER PRIMARY KEY, class TEXT NOT NULL, node INTEGER NOT NULL);
CREATE TABLE site (id INTEGER PRIMARY KEY, book INTEGER NOT NULL, min_bytes INTEGER NOT NULL, max_bytes INTEGER NOT NULL);
CREATE TABLE total (
    book INTEGER PRIMARY KEY, live_count REAL NOT NULL, live_bytes REAL NOT NULL,
    alloc_count REAL NOT NULL, alloc_bytes REAL NOT NULL,
    live_bytes_error REAL NOT NULL, alloc_bytes_error REAL NOT NULL);
CREATE VIEW stack AS
    SELECT book.id AS id, book.class AS class, total.live_count AS live_count, total.live_bytes AS live_bytes,
           total.alloc_count AS alloc_count, total.alloc_bytes AS alloc_bytes,
           total.live_bytes_error AS live_bytes_error, total.alloc_bytes_error AS alloc_bytes_error,
           (WITH RECURSIVE up(id, level) AS (
                SELECT book.node, 0 UNION ALL SELECT node.parent, level + 1 FROM node JOIN up ON node.id = up.id)
            SELECT group_concat(name, ' < ') FROM (
                SELECT coalesce(frame.function, '0x' || printf('%x', node.address)) AS name
                FROM up JOIN node ON node.id = up.id LEFT JOIN frame ON frame.address = node.address
                ORDER BY up.level, frame.depth)) AS frames
    FROM book LEFT JOIN total ON total.book = book.id;
";

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// No SQLite database, or one of another program.
    #[error("{0} is no recording of memmgr")]
    Foreign(Safe),
    /// Written by a later version.
    #[error(
        "{0} was written by a newer memmgr (recording version {1}, this one reads {VERSION}); update memmgr"
    )]
    Newer(Safe, u32),
    /// Written by an earlier version, whose columns are not these.
    #[error(
        "{0} was written by an older memmgr (recording version {1}, this one reads {VERSION}): read it with that one"
    )]
    Older(Safe, u32),
    /// Another program holds it.
    #[error("{0} is locked by another program; try again when that has ended")]
    Locked(Safe),
    /// Its contents do not hold together.
    #[error(
        "{0} is damaged: {1}; a recording that was copied while it was written needs its -wal file beside it"
    )]
    Damaged(Safe, String),
    /// Nothing was recorded yet.
    #[error("{0} holds no interval yet")]
    Empty(Safe),
    /// A moment that it does not hold.
    #[error("{0} begins at {1:.1} s and ends at {2:.1} s: there is nothing at {3:.1} s")]
    NoSuchMoment(Safe, f64, f64, f64),
    /// Two moments are too far back.
    #[error(
        "the single intervals of {0} before {1:.0} s were merged to save room: give an earlier time that is a multiple of {2} intervals, or 0s"
    )]
    Merged(Safe, f64, u32),
    /// A size that divides a class.
    #[error(
        "{0} keeps sizes by classes, of which one is from {1} to {2} bytes: give --min-size {1} or {2}"
    )]
    Sizes(Safe, u64, u64),
    /// The place is full.
    #[error("{0} cannot be written: no space is left; what was recorded until then is in it")]
    Full(Safe),
    /// A place where nothing may be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Anything else.
    #[error("{0}: {1}")]
    Other(Safe, String),
}

impl RecordingError {
    /// What SQLite says, for people.
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let shown = shown(path);
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(shown),
            Some(ErrorCode::DiskFull) => Self::Full(shown),
            Some(ErrorCode::NotADatabase) => Self::Foreign(shown),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(shown, error.to_string()),
            _ => match error {
                rusqlite::Error::SqliteFailure(..) => Self::Other(shown, error.to_string()),
                // A column of the wrong type, a value out of range, a table that is not there.
                _ => Self::Damaged(shown, error.to_string()),
            },
        }
    }
}

/// A path for messages.
pub(super) fn shown(path: &Path) -> Safe {
    Safe::bytes(path.as_os_str().as_encoded_bytes())
}

/// Checks that an open database is a recording that this memmgr reads.
pub(super) fn check(path: &Path, connection: &Connection) -> Result<(), RecordingError> {
    let sqlite = |error| RecordingError::from_sqlite(path, &error);
    let pragma = |name: &str| -> Result<Option<u32>, rusqlite::Error> {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).optional()
    };
    if pragma("application_id").map_err(sqlite)? != Some(APPLICATION_ID) {
        return Err(RecordingError::Foreign(shown(path)));
    }
    match pragma("user_version").map_err(sqlite)? {
        Some(VERSION) => Ok(()),
        Some(newer) if newer > VERSION => Err(RecordingError::Newer(shown(path), newer)),
        Some(older) if older > 0 => Err(RecordingError::Older(shown(path), older)),
        _ => Err(RecordingError::Foreign(shown(path))),
    }
}
