//! Reads that may hang: what the kernel holds a lock of the process for, or walks its page tables.
//!
//! Each has a thread of its own and a time; a process that hangs keeps its own readers and nobody else's.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::units::Pid;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The host.
    Host,
    /// A process.
    Process(Pid),
    /// A cgroup, as the client names it.
    Cgroup(PathBuf),
    /// The page of a report.
    Report(String),
}

/// How much is read at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Reads at a time.
    pub at_once: usize,
    /// Of them, reads of one subject.
    pub of_one: usize,
    /// How long a client waits for one.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { at_once: 8, of_one: 2, patience: Duration::from_secs(5) }
    }
}

/// Nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// Others are being read, or this one is.
    #[error("memmgr reads as much as it may at a time: ask again in a moment")]
    Busy,
    /// The read goes on, and nobody waits for it.
    #[error("it could not be read within {} s: something holds the kernel's lock of its memory", .0.as_secs_f64())]
    Slow(Duration),
    /// A bug in the reader, which is on stderr.
    #[error("memmgr failed while it read")]
    Panicked,
}

/// Reads within bounds.
#[derive(Debug)]
pub struct Reads {
    bounds: Bounds,
    slots: Arc<Semaphore>,
    under_way: Arc<Mutex<HashMap<Subject, usize>>>,
}

impl Reads {
    /// Nothing is read yet.
    pub fn new(bounds: Bounds) -> Self {
        Reads { bounds, slots: Arc::new(Semaphore::new(bounds.at_once)), under_way: Arc::default() }
    }

    /// Does blocking work about a subject, and waits for it.
    ///
    /// # Errors
    /// When too much is under way, or it takes too long.
    pub async fn read<T: Send + 'static>(
        &self,
        subject: Subject,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        let slot = self.slot(subject).ok_or(NotRead::Busy)?;
        let read = spawn_blocking(move || {
            // Held until the work is done, not until the client has gone.
            let _slot = slot;
            work()
        });
        match timeout(self.bounds.patience, read).await {
            Ok(done) => done.map_err(|_| NotRead::Panicked),
            Err(_) => Err(NotRead::Slow(self.bounds.patience)),
        }
    }

    fn slot(&self, subject: Subject) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(subject.clone()).or_default();
        (*count < self.bounds.of_one).then(|| {
            *count += 1;
            Slot { subject, under_way: Arc::clone(&self.under_way), _permit: permit }
        })
    }
}

/// The right to read one thing.
#[derive(Debug)]
struct Slot {
    subject: Subject,
    under_way: Arc<Mutex<HashMap<Subject, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn reads(patience: Duration) -> Reads {
        Reads::new(Bounds { at_once: 3, of_one: 2, patience })
    }

    fn process(pid: u32) -> Subject {
        Subject::Process(Pid(pid))
    }

    #[tokio::test]
    async fn a_process_that_hangs_delays_only_those_who_ask_for_it() {
        let patience = Duration::from_secs(1);
        let reads = reads(patience);
        let mut held = Vec::new();
        let mut hang = || {
            let (release, wait) = channel::<()>();
            held.push(release);
            move || wait.recv().is_err()
        };
        let slow = Err(NotRead::Slow(patience));
        let both = tokio::join!(reads.read(process(1), hang()), reads.read(process(1), hang()));
        assert_eq!(both, (slow.clone(), slow.clone()));
        assert_eq!(reads.read(process(1), || true).await, Err(NotRead::Busy));
        assert_eq!(reads.read(process(2), || 7).await, Ok(7));
        // Bounded altogether as well.
        assert_eq!(reads.read(process(3), hang()).await, slow);
        assert_eq!(reads.read(process(2), || 7).await, Err(NotRead::Busy));
        // What ends makes room, and leaves nothing behind.
        drop(held);
        while reads.slots.available_permits() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(reads.read(process(1), || 8).await, Ok(8));
        while !reads.under_way.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_reader_that_panics_gives_its_slot_back() {
        let reads = reads(Duration::from_mins(1));
        for _ in 0..10 {
            let read = reads.read(process(1), || panic!("a bug")).await;
            assert_eq!(read, Err::<(), _>(NotRead::Panicked));
        }
        assert_eq!(reads.read(process(1), || ()).await, Ok(()));
    }
}
