//! A `memmgr watch` that a test runs.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{capture::binary, lines::Lines};

/// A running watch. Ends when it is dropped.
pub struct Watch {
    /// Its process.
    pub child: Child,
    alerts: Lines,
    /// What it says on stderr.
    pub said: Lines,
}

impl Watch {
    /// Starts it, and returns once it watches.
    pub fn start(directory: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(["watch", "--json"])
            .args(flags)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("memmgr runs");
        let said = Lines::of(child.stderr.take().expect("piped"));
        let alerts = Lines::of(child.stdout.take().expect("piped"));
        let first = said.next().unwrap_or_default();
        assert!(first.contains("watching by"), "{first}");
        Watch { child, alerts, said }
    }

    /// The next alert.
    pub fn alert(&self, within: Duration) -> Value {
        let line = self.alerts.within(within);
        let line = line.expect("an alert in time").expect("the watch goes on");
        serde_json::from_str(&line).expect("JSON of memmgr.alert/1")
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, Signal::INT).expect("it is there");
    }

    /// Ends it as a person does, and expects that it says nothing more.
    pub fn end(mut self) {
        self.interrupt();
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
        assert_eq!(self.alerts.rest(), Vec::<String>::new());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
