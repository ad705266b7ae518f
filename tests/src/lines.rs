//! Lines of a pipe, read on a thread of their own, so that a child never blocks on a full pipe and a
//! test never waits for ever.

use std::{
    io::{BufRead, BufReader, Read},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// Longest wait for one line. Only a hang reaches it: no verdict depends on it.
const PATIENCE: Duration = Duration::from_mins(5);

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
        match self.receiver.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line came in {PATIENCE:?}"),
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
