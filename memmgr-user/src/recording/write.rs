//! Writing: one transaction an interval.

use rusqlite::{ErrorCode, Transaction, params};

use super::{
    Documents, Ending, Entry, Query, Recording,
    changes::encode,
    level::{FACTOR, LEVELS},
    schema::RecordingError,
};
use crate::{
    aggregate::{Changes, Sums},
    report::Totals,
};

impl Recording {
    /// Writes an interval: all of it, or on an error nothing.
    pub fn write(&mut self, entry: &Entry) -> Result<(), RecordingError> {
        self.try_write(entry).map_err(|error| RecordingError::from_sqlite(&self.path, &error))
    }

    /// Writes what is known at the end only, and makes one file of it.
    pub fn finish(&mut self, ending: &Ending) -> Result<(), RecordingError> {
        let recorded = self.read(&Query::default())?;
        let finish = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            documents(&transaction, &ending.documents)?;
            frames(&transaction, ending)?;
            let mut insert = transaction
                .prepare("INSERT OR REPLACE INTO total VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for stack in recorded.stacks() {
                let (live, allocated) = (stack.live, stack.allocated);
                let [live_error, alloc_error] = stack.uncertainty.errors(&recorded.coverage);
                insert.execute(params![
                    stack.book,
                    live.count,
                    live.bytes,
                    allocated.count,
                    allocated.bytes,
                    live_error,
                    alloc_error,
                ])?;
            }
            drop(insert);
            transaction.execute("UPDATE meta SET value = 'ended' WHERE name = 'state'", [])?;
            transaction.commit()
        };
        let sqlite = |error| RecordingError::from_sqlite(&self.path, &error);
        finish().map_err(sqlite)?;
        // Leaving WAL takes the log into the file: one file that can be copied.
        match self.connection.pragma_update(None, "journal_mode", "DELETE") {
            // Somebody reads it: all is written, and the log stays beside it.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            result => result.map_err(sqlite),
        }
    }

    fn try_write(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        // Not `transaction()`: its borrow of the connection would lock the rest of `self`.
        let transaction = self.connection.unchecked_transaction()?;
        let id = self.intervals;
        let point = &entry.point;
        let totals = entry.interval.totals.map(totals);
        transaction
            .prepare_cached(
                "INSERT INTO interval VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                id,
                point.t_s,
                point.live_bytes as i64,
                point.rss_bytes as i64,
                point.cgroup_bytes.map(|bytes| bytes as i64),
                point.swap_bytes.map(|bytes| bytes as i64),
                point.threads.map(|threads| threads as i64),
                point.descriptors.map(|descriptors| descriptors as i64),
                point.observed_s,
                json(&totals)?,
            ])?;
        tree(&transaction, entry)?;
        let mut insert = transaction
            .prepare_cached("INSERT INTO book VALUES ((SELECT count(*) FROM book), ?1, ?2)")?;
        for (class, stack) in &entry.interval.new_books {
            insert.execute(params![class.name(), stack.0])?;
        }
        drop(insert);
        let mut insert = transaction.prepare_cached("INSERT INTO site VALUES (?1, ?2, ?3, ?4)")?;
        for (book, class) in &entry.interval.new_sites {
            let most = i64::try_from(class.max_bytes).unwrap_or(i64::MAX);
            insert.execute(params![
                self.book_of.len() as i64,
                book,
                class.min_bytes as i64,
                most
            ])?;
            self.book_of.push(*book);
        }
        drop(insert);
        documents(&transaction, &entry.documents)?;

        let mut bucket = id;
        let mut changes = std::borrow::Cow::Borrowed(&entry.interval.changes);
        for level in 0..LEVELS {
            let bytes = encode_or_fail(&changes, self.scale)?;
            transaction
                .prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3)")?
                .execute(params![level, bucket, bytes])?;
            for old in self.retention.written(level, bucket, bytes.len() as u64) {
                transaction
                    .prepare_cached("DELETE FROM change WHERE level = ?1 AND bucket = ?2")?
                    .execute(params![level, old])?;
            }
            let Some(merger) = self.mergers.get_mut(level as usize) else { break };
            merger.add(bucket, &changes, &self.book_of);
            if !(bucket + 1).is_multiple_of(FACTOR) {
                break;
            }
            changes = std::borrow::Cow::Owned(merger.take());
            bucket /= FACTOR;
        }
        transaction.commit()?;
        self.intervals += 1;
        Ok(())
    }
}

fn encode_or_fail(changes: &Changes, scale: u32) -> rusqlite::Result<Vec<u8>> {
    encode(changes, scale).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn tree(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO node VALUES (?1, ?2, ?3)")?;
    for node in &entry.nodes {
        insert.execute(params![node.handle.0, node.parent.0, node.address.0 as i64])?;
    }
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO location VALUES (?1, ?2, ?3, ?4)")?;
    for location in &entry.locations {
        let (address, stated) = (location.address.0 as i64, location.stated as i64);
        insert.execute(params![address, location.module, stated, location.reason])?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO module (path, build_id, start, end, file_offset, bias, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT count(*) FROM module))",
    )?;
    for module in &entry.modules {
        insert.execute(params![
            module.path,
            module.build_id,
            module.start as i64,
            module.end as i64,
            module.file_offset as i64,
            module.bias as i64,
        ])?;
    }
    Ok(())
}

fn documents(transaction: &Transaction<'_>, documents: &Documents) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO document VALUES ('capture', ?1)")?
        .execute([json(documents)?])?;
    Ok(())
}

fn frames(transaction: &Transaction<'_>, ending: &Ending) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare("INSERT OR REPLACE INTO frame VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for (address, frames) in &ending.frames {
        for (depth, frame) in frames.iter().enumerate() {
            insert.execute(params![
                address.0 as i64,
                depth as i64,
                frame.function,
                frame.module,
                frame.file,
                frame.line,
                frame.inlined,
                frame.address as i64,
                frame.reason,
            ])?;
        }
    }
    Ok(())
}

/// Sums as a report shows them; their errors are known to who reads.
pub(super) fn totals(sums: Sums) -> Totals {
    Totals {
        alloc_count: whole(sums.alloc_count),
        alloc_bytes: whole(sums.alloc_bytes),
        free_count: whole(sums.free_count),
        free_bytes: whole(sums.free_bytes),
        live_count: whole(sums.live_count()),
        live_bytes: whole(sums.live_bytes()),
        peak_live_bytes: whole(sums.peak_live_bytes),
        ..Totals::default()
    }
}

/// An estimate as a report shows it: it can fall below 0 by rounding.
pub(crate) fn whole(estimate: f64) -> u64 {
    estimate.max(0.0).round() as u64
}
