//! What the server says of itself.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Counters since it began.
#[derive(Debug, Default)]
pub struct Own {
    looks: AtomicU64,
    failed_looks: AtomicU64,
    last_look_ns: AtomicU64,
    cut: AtomicU64,
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Own {
    /// Counts a look at the host, and remembers how long it took.
    pub fn looked(&self, took: Duration, succeeded: bool) {
        self.looks.fetch_add(1, Relaxed);
        self.failed_looks.fetch_add(u64::from(!succeeded), Relaxed);
        self.last_look_ns.store(took.as_nanos() as u64, Relaxed);
    }

    /// Counts a connection that was ended by a limit.
    pub fn cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(status).or_default() += 1;
    }

    /// Looks, those that failed among them.
    pub fn looks(&self) -> u64 {
        self.looks.load(Relaxed)
    }

    /// Looks that failed.
    pub fn failed_looks(&self) -> u64 {
        self.failed_looks.load(Relaxed)
    }

    /// How long the last look took.
    pub fn last_look(&self) -> Duration {
        Duration::from_nanos(self.last_look_ns.load(Relaxed))
    }

    /// Connections that were ended by a limit.
    pub fn cuts(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    /// Answers by their status.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Processor time that this process has taken, all threads together.
pub fn processor_time() -> Duration {
    // The kernel's time of a process is never negative.
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}
