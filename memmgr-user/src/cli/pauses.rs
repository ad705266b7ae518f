//! Waiting that Ctrl-C ends.

use std::time::Duration;

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// Waiting that a signal ends: an action that was begun is told to its end.
pub struct Pauses {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Pauses {
    /// Takes Ctrl-C and SIGTERM from here on.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(guard);
        Ok(Pauses { runtime, interrupt, terminate })
    }

    /// Whether the time is over, and no signal came.
    pub fn pause(&mut self, time: Duration) -> bool {
        let Pauses { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                () = tokio::time::sleep(time) => true,
            }
        })
    }
}
