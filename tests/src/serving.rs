//! A running `memmgr serve`, and a client that sends exactly what a test wants.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{capture::binary, lines::Lines};

/// Longest wait for an answer. Only a hang reaches it: no verdict depends on it.
const PATIENCE: Duration = Duration::from_mins(2);

/// Killed when it is dropped.
pub struct Server {
    child: Child,
    errors: Lines,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The lines of the head, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: String,
}

impl Server {
    /// Starts it on a free port of the loopback, unless the flags say where. Returns when it listens.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("serve").args(flags).stdin(Stdio::null()).stderr(Stdio::piped());
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.spawn().expect("memmgr cannot be started");
        let errors = Lines::of(child.stderr.take().expect("piped"));
        let said = errors.next().expect("memmgr ended before it listened");
        let address = said
            .strip_prefix("memmgr: serving http://")
            .and_then(|rest| rest.split('/').next()?.parse().ok())
            .unwrap_or_else(|| panic!("memmgr does not serve: {said}"));
        Server { child, errors, address }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection on which something was sent.
    pub fn connect(&self, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("memmgr does not listen");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.write_all(sent.as_bytes()).expect("memmgr takes no request");
        stream
    }

    /// Sends a whole request, and reads the answer to the end of the connection.
    #[track_caller]
    pub fn send(&self, request: &str) -> Answer {
        let mut answer = Vec::new();
        self.connect(request).read_to_end(&mut answer).expect("the answer breaks off");
        Answer::parse(&String::from_utf8(answer).expect("the answer is text"))
    }

    /// Asks for a path, with these lines in the head besides the usual.
    #[track_caller]
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", self.address))
    }

    /// The JSON at a path.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Sends it a signal, and waits for its end: how it ended, and what it said.
    pub fn end(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has an id"), signal).expect("memmgr is gone");
        let status = self.child.wait().expect("memmgr cannot be waited for");
        (status, self.errors.rest())
    }
}

impl Answer {
    #[track_caller]
    fn parse(text: &str) -> Self {
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or_else(|| panic!("no status: {head}"));
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Answer { status, headers, body: body.to_owned() }
    }

    /// The value of a line of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The figure of a series in an exposition.
    #[track_caller]
    pub fn figure(&self, series: &str) -> f64 {
        self.body
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no {series} in\n{}", self.body))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
