//! The thread that writes the recording, so that a slow disk never keeps events waiting.

use std::thread::JoinHandle;

use tokio::sync::mpsc::{self, Sender, error::TrySendError};

use super::{Ending, Entry, Recording, schema::RecordingError};

/// Intervals that wait for the disk; with more the next interval is longer instead.
const WAITING: usize = 4;

/// The sending end.
pub struct Recorder {
    entries: Sender<Entry>,
    thread: JoinHandle<Result<Recording, RecordingError>>,
}

/// Whether an interval can be handed on.
#[derive(Debug)]
pub enum Room<'a> {
    /// This takes it.
    Here(mpsc::Permit<'a, Entry>),
    /// The disk is behind: later.
    Later,
    /// Writing failed; [`Recorder::finish`] says why.
    Never,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(recording: Recording) -> std::io::Result<Self> {
        Self::start_watched(recording, |_| {})
    }

    /// The same. `written` sees the recording after each interval, on the thread that writes it: as long as it looks,
    /// intervals wait.
    pub fn start_watched(
        mut recording: Recording,
        mut written: impl FnMut(&Recording) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (entries, mut received) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            while let Some(entry) = received.blocking_recv() {
                recording.write(&entry)?;
                written(&recording);
            }
            Ok(recording)
        })?;
        Ok(Recorder { entries, thread })
    }

    /// Whether an interval can be handed on now.
    pub fn room(&self) -> Room<'_> {
        match self.entries.try_reserve() {
            Ok(permit) => Room::Here(permit),
            Err(TrySendError::Full(())) => Room::Later,
            Err(TrySendError::Closed(())) => Room::Never,
        }
    }

    /// Hands on the last interval, however long the disk takes.
    pub async fn last(&self, entry: Entry) {
        // Closed means that writing failed, which `finish` says.
        let _ = self.entries.send(entry).await;
    }

    /// Waits until all is written, and ends the recording.
    pub fn finish(self, ending: &Ending) -> Result<Recording, RecordingError> {
        drop(self.entries);
        let mut recording = match self.thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        recording.finish(ending)?;
        Ok(recording)
    }
}
