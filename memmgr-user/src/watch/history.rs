//! What was seen, kept in SQLite: every look for an hour, minutes for a day, ten minutes for as long as is wanted.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;

use super::alert::Alert;
use crate::{escape::Safe, monitor::Look};

/// `memw`: the application id in the header of the file (SQLite file format, offset 68).
const APPLICATION_ID: u32 = 0x6d65_6d77;
/// A table or column that is renamed or removed, or a changed meaning, raises it.
const VERSION: u32 = 1;
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, pid INTEGER NOT NULL, start INTEGER NOT NULL,
    UNIQUE (kind, name, pid, start));
CREATE TABLE IF NOT EXISTS point (
    level INTEGER NOT NULL, at_ms INTEGER NOT NULL, series INTEGER NOT NULL,
    mean REAL NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    PRIMARY KEY (level, at_ms, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, json TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS alert_by_time ON alert (at_ms);
";
/// How long to wait for another program that holds the database.
const PATIENCE: Duration = Duration::from_secs(2);
/// Each level is made from the one before: its points' distance, and how long it is kept. The last is kept for the
/// retention, and the first has every look.
const STEPS_MS: [i64; 3] = [0, 60_000, 600_000];
const KEPT_MS: [i64; 2] = [3_600_000, 86_400_000];
/// Processes and groups of a look that are kept: the largest.
const MOST_PROCESSES: usize = 30;
const MOST_GROUPS: usize = 50;
/// Alerts that are read back.
const MOST_ALERTS: usize = 1000;

/// The history cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("the history in {path} cannot be {done}")]
pub struct HistoryError {
    path: Safe,
    done: &'static str,
    source: rusqlite::Error,
}

/// A history that is written.
pub struct History {
    path: Safe,
    connection: Connection,
    retention_ms: i64,
    series: HashMap<Series, i64>,
    /// Until when each level was made from the one before.
    made_ms: [i64; 3],
}

/// Whose figures they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Series {
    /// `used`, `available` or `swap` of the host, `cgroup` for usage, `process` for resident memory.
    pub kind: &'static str,
    /// The cgroup's path or the process's name. Hostile.
    pub name: String,
    /// The process's number, 0 for none.
    pub pid: u32,
    /// Its start in clock ticks since boot.
    pub start_ticks: u64,
}

impl History {
    /// Opens a file, or makes it. What is older than `retention` is given up.
    ///
    /// # Errors
    /// When it is no history, or cannot be written.
    pub fn open(path: &Path, retention: Duration) -> Result<Self, HistoryError> {
        let shown = Safe::bytes(path.as_os_str().as_encoded_bytes());
        let open = || -> rusqlite::Result<(Connection, [i64; 3])> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(PATIENCE)?;
            let empty: bool =
                connection
                    .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
            if empty {
                connection.pragma_update(None, "application_id", APPLICATION_ID)?;
                connection.pragma_update(None, "user_version", VERSION)?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
            }
            check(&connection)?;
            // A crash of the host may cost the last looks, never the file (sqlite.org/wal.html).
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            let mut made = [0; 3];
            for level in 1..STEPS_MS.len() {
                made[level] = connection.query_row(
                    "SELECT coalesce(max(at_ms) + ?2, 0) FROM point WHERE level = ?1",
                    params![level as i64, STEPS_MS[level]],
                    |row| row.get(0),
                )?;
            }
            Ok((connection, made))
        };
        let (connection, made_ms) = open().map_err(|source| HistoryError {
            path: shown.clone(),
            done: "opened",
            source,
        })?;
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        Ok(History { path: shown, connection, retention_ms, series: HashMap::new(), made_ms })
    }

    /// Keeps a look, all of it or nothing.
    ///
    /// # Errors
    /// When it cannot be written: a full disk. What was kept before is still there, and the next look may be kept.
    pub fn look(&mut self, look: &Look) -> Result<(), HistoryError> {
        self.try_look(look).map_err(|source| {
            // What was not committed has no numbers.
            self.series.clear();
            self.failed(source)
        })
    }

    /// Keeps an alert.
    ///
    /// # Errors
    /// As above.
    pub fn alert(&mut self, alert: &Alert, at: SystemTime) -> Result<(), HistoryError> {
        let json = serde_json::to_string(alert).unwrap_or_default();
        self.connection
            .execute("INSERT INTO alert (at_ms, json) VALUES (?1, ?2)", params![ms(at), json])
            .map(drop)
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError { path: self.path.clone(), done: "written", source }
    }

    fn try_look(&mut self, look: &Look) -> rusqlite::Result<()> {
        let at_ms = ms(look.time);
        let transaction = self.connection.transaction()?;
        let mut known = HashMap::new();
        for (series, bytes) in figures(look) {
            let id = match self.series.remove(&series) {
                Some(id) => id,
                None => id(&transaction, &series)?,
            };
            known.insert(series, id);
            transaction
                .prepare_cached("INSERT OR REPLACE INTO point VALUES (0, ?1, ?2, ?3, ?3, ?3)")?
                .execute(params![at_ms, id, bytes as i64])?;
        }
        let mut made = self.made_ms;
        for level in 1..STEPS_MS.len() {
            let step = STEPS_MS[level];
            let whole = at_ms.div_euclid(step) * step;
            if whole > made[level] {
                transaction.execute(
                    "INSERT OR REPLACE INTO point
                     SELECT ?1, at_ms / ?2 * ?2, series, avg(mean), min(low), max(high) FROM point
                     WHERE level = ?1 - 1 AND at_ms >= ?3 AND at_ms < ?4 GROUP BY at_ms / ?2, series",
                    params![level as i64, step, made[level], whole],
                )?;
                made[level] = whole;
                let kept = at_ms - KEPT_MS[level - 1];
                // Never what the next level is not made of yet.
                transaction.execute(
                    "DELETE FROM point WHERE level = ?1 - 1 AND at_ms < min(?2, ?3)",
                    params![level as i64, kept, whole],
                )?;
                forget(&transaction, at_ms - self.retention_ms)?;
            }
        }
        transaction.commit()?;
        // Processes that are not among the largest any more: their numbers are in the file.
        (self.series, self.made_ms) = (known, made);
        Ok(())
    }
}

/// Gives up what is too old, and the names that nothing is left of.
fn forget(connection: &Connection, before_ms: i64) -> rusqlite::Result<()> {
    let last = STEPS_MS.len() as i64 - 1;
    let gone = connection
        .execute("DELETE FROM point WHERE level <= ?1 AND at_ms < ?2", params![last, before_ms])?;
    connection.execute("DELETE FROM alert WHERE at_ms < ?1", [before_ms])?;
    if gone > 0 {
        connection.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM point)", [])?;
    }
    Ok(())
}

fn check(connection: &Connection) -> rusqlite::Result<()> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    if number("application_id")? == APPLICATION_ID && number("user_version")? == VERSION {
        return Ok(());
    }
    let text = "it is no history of memmgr, or one of another version".to_owned();
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
        Some(text),
    ))
}

fn id(connection: &Connection, series: &Series) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO series (kind, name, pid, start) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET kind = kind RETURNING id",
        )?
        .query_row(
            params![series.kind, series.name, series.pid, series.start_ticks as i64],
            |row| row.get(0),
        )
}

/// What is kept of a look: the host, and the largest groups and processes.
fn figures(look: &Look) -> Vec<(Series, u64)> {
    let of_the_host =
        |kind, bytes: u64| (Series { kind, name: String::new(), pid: 0, start_ticks: 0 }, bytes);
    let host = &look.host;
    let mut figures = vec![of_the_host("used", host.used_bytes)];
    figures.extend(host.available_bytes.map(|bytes| of_the_host("available", bytes)));
    if host.swap_total_bytes > 0 {
        figures.push(of_the_host(
            "swap",
            host.swap_total_bytes - host.swap_free_bytes.min(host.swap_total_bytes),
        ));
    }
    let mut groups: Vec<_> = look.groups.iter().collect();
    groups.sort_unstable_by_key(|group| std::cmp::Reverse(group.usage_bytes));
    figures.extend(groups.iter().take(MOST_GROUPS).map(|group| {
        (
            Series { kind: "cgroup", name: group.path.clone(), pid: 0, start_ticks: 0 },
            group.usage_bytes,
        )
    }));
    let mut rows: Vec<_> = look.processes.rows.iter().collect();
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.rss_bytes));
    figures.extend(rows.iter().take(MOST_PROCESSES).map(|row| {
        let series = Series {
            kind: "process",
            name: row.comm.clone(),
            pid: row.pid.0,
            start_ticks: row.start_ticks,
        };
        (series, row.rss_bytes)
    }));
    figures
}

/// What was kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Past {
    /// By kind and by the last figure, the largest first.
    pub series: Vec<PastSeries>,
    /// Alerts as they were told, the last last.
    pub alerts: Vec<Alert>,
}

/// The figures of a thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastSeries {
    /// See [`Series::kind`].
    pub kind: String,
    /// See [`Series::name`].
    pub name: String,
    /// The process's number, 0 for none.
    pub pid: u32,
    /// The oldest first.
    pub points: Vec<Point>,
}

/// Figures of a step of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Mean bytes.
    pub mean: f64,
    /// The least.
    pub low: u64,
    /// The most.
    pub high: u64,
}

impl Past {
    /// Reads what was kept in the time before `now`: every look of the last hour, and coarser steps of longer times.
    ///
    /// # Errors
    /// When it is no history, or cannot be read.
    pub fn read(path: &Path, before: Duration, now: SystemTime) -> Result<Self, HistoryError> {
        Self::try_read(path, before, now).map_err(|source| HistoryError {
            path: Safe::bytes(path.as_os_str().as_encoded_bytes()),
            done: "read",
            source,
        })
    }

    fn try_read(path: &Path, before: Duration, now: SystemTime) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        check(&connection)?;
        let before_ms = i64::try_from(before.as_millis()).unwrap_or(i64::MAX);
        let since_ms = ms(now).saturating_sub(before_ms);
        let level = KEPT_MS.iter().filter(|kept| before_ms > **kept).count() as i64;
        let mut series: Vec<(i64, PastSeries)> = Vec::new();
        let mut statement = connection.prepare(
            "SELECT series.id, kind, name, pid, at_ms, mean, low, high FROM point JOIN series ON series.id = series
             WHERE level = ?1 AND at_ms >= ?2 ORDER BY series.id, at_ms",
        )?;
        let mut rows = statement.query(params![level, since_ms])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if series.last().is_none_or(|(last, _)| *last != id) {
                let of = PastSeries {
                    kind: row.get(1)?,
                    name: row.get(2)?,
                    pid: row.get(3)?,
                    points: Vec::new(),
                };
                series.push((id, of));
            }
            let point = Point {
                at_ms: row.get(4)?,
                mean: row.get(5)?,
                low: row.get::<_, i64>(6)? as u64,
                high: row.get::<_, i64>(7)? as u64,
            };
            if let Some((_, last)) = series.last_mut() {
                last.points.push(point);
            }
        }
        let mut series: Vec<PastSeries> = series.into_iter().map(|(_, series)| series).collect();
        let rank = |kind: &str| {
            ["used", "available", "swap", "cgroup"]
                .iter()
                .position(|known| *known == kind)
                .unwrap_or(9)
        };
        let last = |series: &PastSeries| series.points.last().map_or(0.0, |point| point.mean);
        series.sort_by(|a, b| {
            rank(&a.kind).cmp(&rank(&b.kind)).then_with(|| last(b).total_cmp(&last(a)))
        });
        let mut statement = connection.prepare(
            "SELECT json FROM alert WHERE at_ms >= ?1 ORDER BY at_ms DESC, id DESC LIMIT ?2",
        )?;
        let alerts = statement
            .query_map(params![since_ms, MOST_ALERTS as i64], |row| row.get::<_, String>(0))?;
        let mut alerts: Vec<Alert> = alerts
            .collect::<rusqlite::Result<Vec<String>>>()?
            .iter()
            .filter_map(|json| serde_json::from_str(json).ok())
            .collect();
        alerts.reverse();
        Ok(Past { series, alerts })
    }
}

/// Milliseconds since 1970.
fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::Host,
        source::processes::{Row, Table},
        units::Pid,
    };

    /// A second since 1970 at which the host uses so much, and a process half of it.
    fn look(second: u64, used: u64) -> Look {
        let row = Row {
            pid: Pid(7),
            start_ticks: 1,
            parent: Pid(1),
            comm: "server".to_owned(),
            state: 'S',
            threads: 1,
            rss_bytes: used / 2,
            virtual_bytes: 0,
            minor_faults: 0,
            major_faults: 0,
        };
        Look {
            at: Duration::from_secs(second),
            time: at(second),
            host: Host { used_bytes: used, ..Host::default() },
            oom_kills: None,
            groups: Vec::new(),
            processes: Table { rows: vec![row], unread: 0 },
        }
    }

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn points(past: &Past, kind: &str) -> Vec<(i64, f64, u64, u64)> {
        let series = past.series.iter().find(|series| series.kind == kind).expect(kind);
        let points = series.points.iter();
        points.map(|point| (point.at_ms / 1000, point.mean, point.low, point.high)).collect()
    }

    #[test]
    fn looks_become_minutes_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.db");
        let mut history = History::open(&path, Duration::from_hours(72)).unwrap();
        for minute in 0..121 {
            for (second, used) in [(0, 100), (30, 300)] {
                history.look(&look(minute * 60 + second, used)).unwrap();
            }
        }
        drop(history);
        let now = at(7230);
        let read = |seconds| Past::read(&path, Duration::from_secs(seconds), now).unwrap();
        let fine = read(3600);
        assert_eq!(points(&fine, "used").len(), 121);
        assert_eq!(points(&fine, "process")[0], (3630, 150.0, 150, 150));
        // One that is not over yet is no minute.
        let minutes = points(&read(86400), "used");
        assert_eq!((minutes.len(), minutes[0]), (120, (0, 200.0, 100, 300)));
        let tens = points(&read(2 * 86400), "used");
        assert_eq!((tens.len(), tens[11]), (12, (6600, 200.0, 100, 300)));
        // An hour of looks is kept, and not more.
        let kept: i64 = Connection::open(&path)
            .unwrap()
            .query_row("SELECT count(*) FROM point WHERE level = 0", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 2 * 121 + 2);
    }

    #[test]
    fn it_goes_on_where_it_was_and_gives_up_what_is_too_old() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.db");
        let day = 86400;
        for begin in [0, 5 * day] {
            let mut history = History::open(&path, Duration::from_secs(2 * day)).unwrap();
            for second in [0, 30, 60, 700] {
                history.look(&look(begin + second, 100)).unwrap();
            }
        }
        let past = Past::read(&path, Duration::from_secs(9 * day), at(5 * day + 700)).unwrap();
        assert_eq!(points(&past, "used"), [(5 * day as i64, 100.0, 100, 100)]);
    }

    #[test]
    fn another_database_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
        let error = anyhow::Error::from(History::open(&path, Duration::ZERO).err().unwrap());
        let error = format!("{error:#}");
        assert!(error.matches("no history of memmgr").count() == 1, "{error}");
        assert!(Past::read(&path, Duration::ZERO, at(0)).is_err());
        let tables: i64 = Connection::open(&path)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1);
    }
}
