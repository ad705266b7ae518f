//! Records of kills on disk, so many and no more: a process that is started and killed again and again fills no disk.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use humantime::format_rfc3339_seconds;

use super::{flight::Flight, kernel_log::Kill};
use crate::output::{Output, OutputError};

/// One that is started and killed again and again has one record in this time: it holds the minute before it.
const EVERY: Duration = Duration::from_mins(1);
/// Records of one watch.
const MOST: u32 = 100;

/// Writes records.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    /// When names were recorded last.
    last: HashMap<String, Instant>,
    written: u32,
}

impl Records {
    /// Into this directory, which is made if it is not there.
    pub fn new(directory: PathBuf) -> Self {
        Records { directory, last: HashMap::new(), written: 0 }
    }

    /// Writes what was seen before a kill; nothing where the last record has it, another watch wrote it, or there are
    /// enough.
    ///
    /// # Errors
    /// When it cannot be written. Nothing is left of it then, and the next kill may be written.
    pub fn keep(
        &mut self,
        flight: &Flight,
        kill: &Kill,
        now: Instant,
    ) -> anyhow::Result<Option<PathBuf>> {
        let last = self.last.get(&kill.comm);
        let is_known = last.is_some_and(|last| now.saturating_duration_since(*last) < EVERY);
        if is_known || self.written >= MOST {
            return Ok(None);
        }
        std::fs::create_dir_all(&self.directory)?;
        let time = format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
        let path = self.directory.join(format!("memmgr-oom-{time}-{}.json", kill.pid));
        let record = flight.record(kill)?;
        let written = match Output::open(&path, false)
            .map_err(anyhow::Error::from)
            .and_then(|output| output.commit(&record))
        {
            Ok(()) => Some(path),
            // Another watch in this directory: it saw the same minute.
            Err(error) if matches!(error.downcast_ref(), Some(OutputError::Exists(_))) => None,
            Err(error) => return Err(error),
        };
        // As many names as records.
        self.last.insert(kill.comm.clone(), now);
        self.written += 1;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_of_a_name_and_a_hundred_in_all() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = Records::new(directory.path().join("new"));
        let (flight, begin) = (Flight::default(), Instant::now());
        let mut keep = |second: u64, pid: u32| {
            let kill = Kill { pid, ..Kill::default() };
            let path = records.keep(&flight, &kill, begin + Duration::from_secs(second));
            path.unwrap().is_some_and(|path| path.exists())
        };
        let kept: Vec<bool> = [0, 1, 59, 60, 61].map(|second| keep(second, second as u32)).to_vec();
        assert_eq!(kept, [true, false, false, true, false]);
        let other = Kill { pid: 9, comm: "other".to_owned(), ..Kill::default() };
        let path = records.keep(&flight, &other, begin + Duration::from_secs(61)).unwrap();
        assert!(path.is_some_and(|path| path.exists()));
        let more = (0..200_u32).filter(|n| {
            let kill = Kill { pid: 1000 + n, ..Kill::default() };
            let at = begin + Duration::from_secs(1000 + 60 * u64::from(*n));
            records.keep(&flight, &kill, at).unwrap().is_some()
        });
        assert_eq!(more.count(), 97);
    }

    #[test]
    fn two_watches_write_one_record() {
        let directory = tempfile::tempdir().unwrap();
        let kill = Kill { pid: 7, ..Kill::default() };
        let keep = || {
            let mut records = Records::new(directory.path().to_owned());
            records.keep(&Flight::default(), &kill, Instant::now()).unwrap().is_some()
        };
        // Both in one second, sooner or later.
        let times = (0..100).take_while(|_| keep()).count();
        assert!(times < 100);
    }

    #[test]
    fn what_cannot_be_written_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("taken");
        std::fs::write(&place, "").unwrap();
        let mut records = Records::new(place.clone());
        let (flight, kill, now) = (Flight::default(), Kill::default(), Instant::now());
        assert!(records.keep(&flight, &kill, now).is_err());
        std::fs::remove_file(&place).unwrap();
        assert!(records.keep(&flight, &kill, now).unwrap().is_some());
    }
}
