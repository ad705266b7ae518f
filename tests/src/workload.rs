//! A running program that is told what to do on stdin and answers on stdout, a line each.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use crate::{Program, lines::Lines};

/// A running workload. Ends, by kill if need be, when it is dropped.
pub struct Workload {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Lines,
}

impl Workload {
    /// Compiles and starts a program, and waits for its line `ready`.
    pub fn start(program: &Program, arguments: &[&str]) -> Self {
        let mut command = Command::new(program.build());
        command.args(arguments);
        Self::start_command(command)
    }

    /// Starts any command and waits for its line `ready`. Panics when it says anything else.
    pub fn start_command(command: Command) -> Self {
        let workload = Self::spawn(command);
        let line = workload.line();
        assert_eq!(line, "ready", "{} does not get ready", workload.name);
        workload
    }

    /// Starts a command and waits for nothing.
    pub fn spawn(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let output = Lines::of(child.stdout.take().expect("piped"));
        Workload { name, input: child.stdin.take(), child, output }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a line.
    pub fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is closed");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} is gone: {error}", self.name));
    }

    /// Its next line.
    pub fn line(&self) -> String {
        self.output.next().unwrap_or_else(|| panic!("{} ended without a word", self.name))
    }

    /// What it says, for those who must not panic when it is gone.
    pub fn output(&self) -> &Lines {
        &self.output
    }

    /// Its next line, as JSON.
    pub fn answer<T: serde::de::DeserializeOwned>(&self) -> T {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))
    }

    /// Sends a line and reads the answer.
    pub fn ask<T: serde::de::DeserializeOwned>(&mut self, line: &str) -> T {
        self.send(line);
        self.answer()
    }

    /// Closes its input, which a workload takes as the word to end, and waits for it.
    pub fn finish(&mut self) -> ExitStatus {
        self.input = None;
        self.child.wait().unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
