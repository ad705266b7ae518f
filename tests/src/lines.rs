//! Lines of a pipe, read on a thread of their own, so that a child never blocks on a full pipe and a
//! test never waits for ever.

use std::{
    error::Error,
    fmt,
    io::{BufRead, BufReader, Read},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// Longest wait for one line. Only a hang reaches it: no verdict depends on it.
const PATIENCE: Duration = Duration::from_mins(5);

/// No line came in this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence(pub Duration);

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was said for {:?}", self.0)
    }
}

impl Error for Silence {}

/// Lines as they come.
pub struct Lines {
    receiver: Receiver<String>,
}

impl Lines {
    /// Starts to read. Bytes that are no UTF-8 are replaced.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Lines { receiver }
    }

    /// The next line; `None` at the end.
    pub fn next(&self) -> Option<String> {
        self.within(PATIENCE).unwrap_or_else(|_| panic!("no line came in {PATIENCE:?}"))
    }

    /// The next line; `None` at the end; an error when none comes in this time.
    pub fn within(&self, patience: Duration) -> Result<Option<String>, Silence> {
        match self.receiver.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(Silence(patience)),
        }
    }

    /// The lines that came and were not read yet.
    pub fn come(&self) -> Vec<String> {
        self.receiver.try_iter().collect()
    }

    /// Everything up to the end.
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
