//! A headless Chromium, driven by the DevTools protocol.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, client::client};

use crate::lines::Lines;

/// Longest wait for an answer or a condition. Only a hang reaches it: no verdict depends on it.
const PATIENCE: Duration = Duration::from_mins(2);

/// One browser with one page. Ends when it is dropped.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    /// Where the page may load from.
    origin: String,
    problems: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with a window of this size and an empty page.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("no temporary directory");
        let mut child = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-port=0",
                "about:blank",
            ])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium cannot be started");
        let said = Lines::of(child.stderr.take().expect("piped"));
        let address = std::iter::from_fn(|| said.next())
            .find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned))
            .expect("chromium ended before it listened");
        let host = address.trim_start_matches("ws://").split('/').next().expect("a host");
        let stream = TcpStream::connect(host).expect("chromium does not answer");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let (socket, _) = client(&address, stream).expect("chromium speaks another protocol");
        let mut browser = Browser {
            child,
            socket,
            session: None,
            calls: 0,
            origin: "file://".to_owned(),
            problems: Vec::new(),
            _profile: profile,
        };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = self.call(
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        );
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Makes the page see a light or a dark system.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Opens a file.
    pub fn open(&mut self, file: &Path) {
        let answer =
            self.call("Page.navigate", &json!({ "url": format!("file://{}", file.display()) }));
        assert_eq!(answer.get("errorText"), None, "{answer}");
    }

    /// Opens the page of a server, which may load from there.
    pub fn open_at(&mut self, address: SocketAddr) {
        self.origin = format!("http://{address}/");
        let answer = self.call("Page.navigate", &json!({ "url": self.origin }));
        assert_eq!(answer.get("errorText"), None, "{answer}");
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            &json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].clone()
    }

    /// The text of the first element that a selector finds.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let value = self.value(&format!("document.querySelector({selector:?})?.innerText ?? null"));
        value.as_str().unwrap_or_else(|| panic!("nothing is {selector}")).to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_until(&mut self, expression: &str) {
        let begin = Instant::now();
        while self.value(expression) != json!(true) {
            assert!(begin.elapsed() < PATIENCE, "never true: {expression}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Clicks into an element, so many pixels from its upper left corner; into its middle without.
    #[track_caller]
    pub fn click(&mut self, selector: &str, place: Option<(f64, f64)>) {
        let offset =
            place.map_or("[r.width / 2, r.height / 2]".to_owned(), |(x, y)| format!("[{x}, {y}]"));
        let at = self.value(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'start' }});
               const r = e.getBoundingClientRect(); const o = {offset}; return [r.x + o[0], r.y + o[1]]; }})()"
        ));
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Presses a key by its name in the DOM: `Enter`, `Escape`, `ArrowDown`, `/`.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.call("Input.dispatchKeyEvent", &json!({ "type": kind, "key": key, "text": text }));
        }
    }

    /// Types a text into what has the focus.
    pub fn insert(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Everything that went wrong in the page so far: exceptions, errors in the console, what its
    /// policy refused, dialogs, requests to anywhere else.
    pub fn problems(&mut self) -> &[String] {
        self.value("1"); // what happened before was reported before the answer
        &self.problems
    }

    #[track_caller]
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).expect("chromium is gone");
        loop {
            let answer = match self.socket.read() {
                Ok(Message::Text(text)) => serde_json::from_str::<Value>(&text).expect("JSON"),
                Ok(_) => continue,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("{method}: no answer in {PATIENCE:?}")
                }
                Err(error) => panic!("{method}: {error}"),
            };
            if answer["id"] == json!(self.calls) {
                assert_eq!(answer.get("error"), None, "{method}");
                return answer["result"].clone();
            }
            self.notice(&answer);
        }
    }

    fn notice(&mut self, event: &Value) {
        let parameters = &event["params"];
        let wrong = match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Page.javascriptDialogOpening") => true,
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str();
                !url.is_some_and(|url| url.starts_with(&self.origin))
            }
            Some("Runtime.consoleAPICalled") => parameters["type"] == "error",
            Some("Log.entryAdded") => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if wrong {
            self.problems.push(event.to_string());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
