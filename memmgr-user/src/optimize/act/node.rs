//! Node.js's own way in: the inspector, which a program opens on loopback when it gets SIGUSR1, and by which a debugger asks for a
//! collection (the Chrome DevTools protocol).

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client};

use super::{ActError, POLL, Pause, advise::Held, catches, check_running};
use crate::{
    escape::Safe,
    optimize::figures::Heap,
    source::{identity::Identity, process_dir::ProcessDir},
};

/// How long the inspector may take to open.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a full collection may take.
const COLLECTION: Duration = Duration::from_mins(2);
/// Where the inspector listens when nobody says.
const USUAL_PORT: u16 = 9229;
/// `127.0.0.1` and the state "listening" in `/proc/net/tcp` (Documentation/networking/proc_net_tcp.rst).
const LOOPBACK: &str = "0100007F";
const LISTENING: &str = "0A";

/// A session with the inspector of a process.
pub struct Node {
    socket: WebSocket<TcpStream>,
    calls: u64,
    /// The inspector was not open before.
    opened: bool,
}

impl Node {
    /// Whether a session can be opened, as far as shows without doing anything.
    ///
    /// # Errors
    /// When the process stands still, is in another network, or would be ended by the signal.
    pub fn check(dir: &ProcessDir, identity: &Identity) -> Result<(), ActError> {
        check_running(identity)?;
        let net = |path: &str| fs::read_link(path).ok();
        if net(&format!("{}/ns/net", dir.path().display())) != net("/proc/self/ns/net") {
            return Err(ActError::Cannot(format!(
                "the inspector of process {0} listens in its own network namespace: nothing was done; run memmgr there: \
                 nsenter -t {0} -n memmgr optimize gc -p {0} --apply",
                dir.pid()
            )));
        }
        if !listening(dir).contains(&USUAL_PORT) && !catches(dir, libc::SIGUSR1)? {
            return Err(ActError::Cannot(
                "this program does not take SIGUSR1 (--disable-sigusr1), by which Node.js opens its inspector, and would be ended by it: nothing \
                 was done; start it with --inspect, or `memmgr optimize reclaim` takes what is cold".to_owned(),
            ));
        }
        Ok(())
    }

    /// Opens a session, and the inspector if it is not open yet.
    ///
    /// # Errors
    /// As [`Node::check`], or when the program opens no inspector.
    pub fn attach(
        held: &Held,
        dir: &ProcessDir,
        identity: &Identity,
        pause: Pause<'_>,
    ) -> Result<Self, ActError> {
        Self::check(dir, identity)?;
        let before = listening(dir);
        let (port, opened) = if before.contains(&USUAL_PORT) {
            (USUAL_PORT, false)
        } else {
            (open_inspector(held, dir, &before, pause)?, true)
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = target(address)?;
        let failed = |error: String| {
            ActError::Refused(format!("the inspector at {address} does not answer: {error}"))
        };
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| failed(error.to_string()))?;
        let (socket, _) = client(&target, stream).map_err(|error| failed(error.to_string()))?;
        // From here on it is waited for in `call`.
        let unblocked = socket.get_ref().set_nonblocking(true);
        unblocked.map_err(|error| failed(error.to_string()))?;
        Ok(Node { socket, calls: 0, opened })
    }

    /// Collects garbage.
    ///
    /// # Errors
    /// When the inspector refuses, breaks off or takes too long, or the wait is interrupted.
    pub fn collect(&mut self, pause: Pause<'_>) -> Result<(), ActError> {
        self.call("HeapProfiler.collectGarbage", &json!({}), COLLECTION, pause).map(drop)
    }

    /// The heap as V8 tells it.
    ///
    /// # Errors
    /// As [`Node::collect`].
    pub fn heap(&mut self, pause: Pause<'_>) -> Result<Heap, ActError> {
        let usage = self.call("Runtime.getHeapUsage", &json!({}), COLLECTION, pause)?;
        // JavaScript has one kind of number.
        let bytes = |name: &str| usage[name].as_f64().map_or(0, |bytes| bytes as u64);
        Ok(Heap { used_bytes: bytes("usedSize"), committed_bytes: bytes("totalSize") })
    }

    /// Closes the inspector if it was not open before; what was done about it, the first time.
    pub fn close(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.opened) {
            return None;
        }
        // It answers, or has closed the connection by then: both mean that it is closed.
        let end = json!({ "expression": "process._debugEnd()" });
        let closed = self.call("Runtime.evaluate", &end, PATIENCE, &mut |time| {
            sleep(time);
            true
        });
        Some(match closed {
            Ok(answer) if answer["exceptionDetails"].is_object() => {
                format!("the inspector STAYS OPEN on loopback: {}", Safe::text(&answer.to_string()))
            }
            _ => "the inspector was opened for it on loopback, and is closed again".to_owned(),
        })
    }

    fn call(
        &mut self,
        method: &str,
        parameters: &Value,
        patience: Duration,
        pause: Pause<'_>,
    ) -> Result<Value, ActError> {
        let failed =
            |error: String| ActError::Refused(format!("the inspector fails at {method}: {error}"));
        self.calls += 1;
        let request = json!({ "id": self.calls, "method": method, "params": parameters });
        let sent = self.socket.send(Message::text(request.to_string()));
        sent.map_err(|error| failed(error.to_string()))?;
        let begin = Instant::now();
        let late = |why: String| {
            failed(format!("{why}, and the program may still do it when it gets to it"))
        };
        loop {
            let text = match self.socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(_) => continue,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    if begin.elapsed() > patience {
                        return Err(late(format!("no answer within {} s", patience.as_secs())));
                    }
                    if !pause(POLL) {
                        return Err(late("interrupted".to_owned()));
                    }
                    continue;
                }
                Err(error) => return Err(failed(error.to_string())),
            };
            let answer: Value =
                serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            if answer["id"] != json!(self.calls) {
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(failed(Safe::text(&error.to_string()).to_string())),
                None => Ok(answer["result"].clone()),
            };
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// Has the process open its inspector, and finds where.
fn open_inspector(
    held: &Held,
    dir: &ProcessDir,
    before: &BTreeSet<u16>,
    pause: Pause<'_>,
) -> Result<u16, ActError> {
    held.signal(Signal::USR1)?;
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(port) = listening(dir).difference(before).next() {
            return Ok(*port);
        }
        if !pause(POLL) {
            return Err(ActError::Refused(
                "interrupted while the inspector opened (SIGUSR1): no garbage was collected, and it may STAY OPEN on loopback".to_owned(),
            ));
        }
    }
    Err(ActError::Cannot(format!(
        "no inspector opened within {} s (another program may have port {USUAL_PORT}): no garbage was collected; start the program \
         with --inspect=0, or `memmgr optimize reclaim` takes what is cold",
        PATIENCE.as_secs()
    )))
}

/// Where the inspector is to be talked to.
fn target(address: SocketAddr) -> Result<String, ActError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let failed = |error: String| {
        ActError::Refused(format!("what listens at {address} is no inspector: {error}"))
    };
    let mut answer = agent
        .get(format!("http://{address}/json/list"))
        .call()
        .map_err(|error| failed(error.to_string()))?;
    let text = answer.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
    let list: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let target = list[0]["webSocketDebuggerUrl"].as_str();
    // It says where; that must be where it is.
    match target.filter(|target| target.starts_with(&format!("ws://{address}/"))) {
        Some(target) => Ok(target.to_owned()),
        None => Err(failed(Safe::text(&text).to_string())),
    }
}

/// The ports on loopback at which the process listens.
fn listening(dir: &ProcessDir) -> BTreeSet<u16> {
    let links = fs::read_dir(dir.path().join("fd")).into_iter().flatten().filter_map(Result::ok);
    let sockets: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = dir.read("net/tcp").unwrap_or_default();
    ports(&String::from_utf8_lossy(&table), &sockets)
}

/// Of a table as `/proc/net/tcp` has it.
fn ports(table: &str, sockets: &[String]) -> BTreeSet<u16> {
    let port = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        let is_ours = sockets.iter().any(|inode| Some(&inode.as_str()) == words.get(9));
        (address == LOOPBACK && *words.get(3)? == LISTENING && is_ours)
            .then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_process() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:240D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3171 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3172 1 0 100 0 0 10 0
   2: 0100007F:1F91 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 3173 1 0 100 0 0 10 0
   3: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3174 1 0 100 0 0 10 0
";
        let sockets: Vec<String> = ["3171", "3172", "3173"].map(str::to_owned).to_vec();
        assert_eq!(ports(table, &sockets), BTreeSet::from([9229]));
        assert_eq!(ports(table, &[]), BTreeSet::new());
    }
}
