//! The moments in which memmgr must not wait for a processor: while probes are put in place and taken
//! away. Between two of their steps a busy target with many threads would otherwise run for seconds,
//! with half of the probes.

use rustix::process::{getpriority_process, setpriority_process};

/// The highest priority of the ordinary scheduler, see setpriority(2).
const HIGHEST: i32 = -20;

/// The calling thread runs before others until this is dropped. It works for a fraction of a second
/// and mostly waits for the kernel, so that the target loses nothing by it.
pub struct Urgent {
    before: Option<i32>,
}

impl Urgent {
    /// Raises the priority, where that is permitted.
    pub fn begin() -> Self {
        // To Linux process 0 is the calling thread.
        let before = getpriority_process(None).ok();
        let raised = before.is_some() && setpriority_process(None, HIGHEST).is_ok();
        Urgent { before: before.filter(|_| raised) }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && let Err(error) = setpriority_process(None, before)
        {
            tracing::debug!("the priority stays high: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_priority_is_as_before_afterwards() {
        let now = || getpriority_process(None).unwrap();
        let before = now();
        let urgent = Urgent::begin();
        // Without the right to raise it nothing changes.
        assert!(now() == HIGHEST || now() == before);
        drop(urgent);
        assert_eq!(now(), before);
    }
}
