//! The rows of a recording, table by table.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use rusqlite::OptionalExtension;

use super::{
    Documents, Location, ModuleRecord, Recording,
    schema::{RecordingError, shown},
    series::Bucket,
};
use crate::{
    aggregate::SizeClass,
    report::{Frame, TimelinePoint, Totals},
    track::Class,
    units::Address,
};

impl Recording {
    pub(super) fn ended(&self) -> rusqlite::Result<bool> {
        let state = "SELECT value FROM meta WHERE name = 'state'";
        let state: Option<String> =
            self.connection.query_row(state, [], |row| row.get(0)).optional()?;
        Ok(state.as_deref() == Some("ended"))
    }

    pub(super) fn documents(&self) -> Result<Documents, RecordingError> {
        let query = "SELECT json FROM document WHERE name = 'capture'";
        let json: String =
            self.connection.query_row(query, [], |row| row.get(0)).map_err(|e| self.error(&e))?;
        serde_json::from_str(&json)
            .map_err(|error| RecordingError::Damaged(shown(&self.path), error.to_string()))
    }

    #[allow(clippy::type_complexity, reason = "two columns")]
    pub(super) fn points(
        &self,
    ) -> rusqlite::Result<(Vec<TimelinePoint>, Vec<[Totals; Class::COUNT]>)> {
        let mut select = self.connection.prepare(
            "SELECT end_s, live_bytes, rss_bytes, cgroup_bytes, swap_bytes, threads, descriptors, observed_s,
                    totals
             FROM interval ORDER BY id",
        )?;
        let unsigned = |value: Option<i64>| value.map(|value| value as u64);
        let rows = select.query_map([], |row| {
            let point = TimelinePoint {
                t_s: row.get(0)?,
                live_bytes: row.get::<_, i64>(1)? as u64,
                rss_bytes: row.get::<_, i64>(2)? as u64,
                cgroup_bytes: unsigned(row.get(3)?),
                swap_bytes: unsigned(row.get(4)?),
                threads: unsigned(row.get(5)?),
                descriptors: unsigned(row.get(6)?),
                observed_s: row.get(7)?,
            };
            let totals: String = row.get(8)?;
            Ok((point, by_class(&totals)))
        })?;
        rows.collect()
    }

    pub(super) fn buckets_there(&self) -> rusqlite::Result<HashSet<(u32, u32)>> {
        let mut select = self.connection.prepare("SELECT level, bucket FROM change")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    pub(super) fn changes(&self, bucket: Bucket) -> rusqlite::Result<Vec<u8>> {
        self.connection
            .prepare_cached("SELECT changes FROM change WHERE level = ?1 AND bucket = ?2")?
            .query_row([bucket.level, bucket.number], |row| row.get(0))
    }

    /// The book and the size class of every site.
    pub(super) fn sites(&self) -> rusqlite::Result<Vec<(u32, SizeClass)>> {
        let mut select =
            self.connection.prepare("SELECT book, min_bytes, max_bytes FROM site ORDER BY id")?;
        let rows = select.query_map([], |row| {
            let (min_bytes, max_bytes) =
                (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
            Ok((row.get(0)?, SizeClass { min_bytes, max_bytes }))
        })?;
        rows.collect()
    }

    pub(super) fn books(&self) -> rusqlite::Result<Vec<(u32, String, u32)>> {
        let mut select = self.connection.prepare("SELECT id, class, node FROM book ORDER BY id")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    }

    /// Parent and address of every node, in the order of their handles, those of the roots left out.
    pub(super) fn nodes(&self) -> rusqlite::Result<Vec<(u32, Address)>> {
        let mut select = self.connection.prepare("SELECT parent, address FROM node ORDER BY id")?;
        let rows =
            select.query_map([], |row| Ok((row.get(0)?, Address(row.get::<_, i64>(1)? as u64))))?;
        rows.collect()
    }

    pub(super) fn modules(&self) -> rusqlite::Result<Vec<ModuleRecord>> {
        let mut select = self.connection.prepare(
            "SELECT path, build_id, start, end, file_offset, bias FROM module ORDER BY id",
        )?;
        let rows = select.query_map([], |row| {
            let number = |at| row.get::<_, i64>(at).map(|value| value as u64);
            Ok(ModuleRecord {
                path: row.get(0)?,
                build_id: row.get(1)?,
                start: number(2)?,
                end: number(3)?,
                file_offset: number(4)?,
                bias: number(5)?,
            })
        })?;
        rows.collect()
    }

    pub(super) fn frames(&self) -> rusqlite::Result<HashMap<Address, Vec<Arc<Frame>>>> {
        let mut select = self.connection.prepare(
            "SELECT address, function, module, file, line, inlined, stated, reason
             FROM frame ORDER BY address, depth",
        )?;
        let mut frames: HashMap<Address, Vec<Arc<Frame>>> = HashMap::default();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let frame = Frame {
                function: row.get(1)?,
                module: row.get(2)?,
                file: row.get(3)?,
                line: row.get(4)?,
                inlined: row.get(5)?,
                address: row.get::<_, i64>(6)? as u64,
                reason: row.get(7)?,
            };
            frames.entry(Address(row.get::<_, i64>(0)? as u64)).or_default().push(Arc::new(frame));
        }
        Ok(frames)
    }

    pub(super) fn unresolved(
        &self,
        frames: &HashMap<Address, Vec<Arc<Frame>>>,
    ) -> rusqlite::Result<Vec<Location>> {
        let mut select =
            self.connection.prepare("SELECT address, module, stated, reason FROM location")?;
        let rows = select.query_map([], |row| {
            Ok(Location {
                address: Address(row.get::<_, i64>(0)? as u64),
                module: row.get(1)?,
                stated: row.get::<_, i64>(2)? as u64,
                reason: row.get(3)?,
            })
        })?;
        rows.filter(|row| row.as_ref().map_or(true, |l| !frames.contains_key(&l.address))).collect()
    }
}

/// Totals in the order of the classes. A recording from before there was a class has none of it.
fn by_class(json: &str) -> [Totals; Class::COUNT] {
    let mut totals: Vec<Totals> = serde_json::from_str(json).unwrap_or_default();
    totals.resize(Class::COUNT, Totals::default());
    totals.try_into().unwrap_or_default()
}
