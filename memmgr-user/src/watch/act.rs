//! What is done about an alert beside telling it: a command, a webhook, a capture.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::{process::Command, sync::Semaphore, time::timeout};

use super::alert::{Alert, Captured};
use crate::{report::Report, sink::verdict_line};

/// How long a command may take.
const COMMAND_TIME: Duration = Duration::from_mins(1);
/// Commands at once; what comes meanwhile waits.
const MOST_COMMANDS: usize = 4;
/// How long a webhook may take, and how often it is tried: after 1 s and after 4 s once more.
const WEBHOOK_TIME: Duration = Duration::from_secs(10);
const WEBHOOK_TRIES: u32 = 3;
/// Webhooks at once; what comes meanwhile waits.
const MOST_WEBHOOKS: usize = 4;
/// Captures at once: each costs its target a share of its time, and memmgr memory.
const MOST_CAPTURES: usize = 2;
/// Beyond its time a capture needs time to attach, to detach and to render.
const CAPTURE_SLACK: Duration = Duration::from_mins(1);

/// Does what rules ask for, a bounded number of things at once.
#[derive(Clone, Debug)]
pub struct Actions {
    directory: PathBuf,
    memmgr: PathBuf,
    commands: Arc<Semaphore>,
    webhooks: Arc<Semaphore>,
    captures: Arc<Semaphore>,
}

impl Actions {
    /// Reports of captures go to `directory`, made by the program `memmgr`.
    pub fn new(directory: &Path, memmgr: &Path) -> Self {
        Actions {
            directory: directory.to_owned(),
            memmgr: memmgr.to_owned(),
            commands: Arc::new(Semaphore::new(MOST_COMMANDS)),
            webhooks: Arc::new(Semaphore::new(MOST_WEBHOOKS)),
            captures: Arc::new(Semaphore::new(MOST_CAPTURES)),
        }
    }

    /// Runs a command with the facts of an alert in its environment; says what went wrong.
    pub async fn command(&self, command: &str, alert: &Alert) -> Result<(), String> {
        let _turn = self.commands.acquire().await;
        // Its output is memmgr's diagnostics: stdout is for alerts.
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .envs(alert.environment())
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| format!("the command cannot be started: {error}"))?;
        match timeout(COMMAND_TIME, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the command failed: {status}")),
            Ok(Err(error)) => Err(format!("the command cannot be waited for: {error}")),
            Err(_) => Err(format!(
                "the command took more than {} s and was ended",
                COMMAND_TIME.as_secs()
            )),
        }
    }

    /// Posts an alert as JSON; says what went wrong the last time that it was tried.
    pub async fn webhook(&self, address: &str, alert: &Alert) -> Result<(), String> {
        let _turn = self.webhooks.acquire().await;
        let json = serde_json::to_vec(alert).map_err(|error| error.to_string())?;
        let mut tried = 0;
        loop {
            let (address, json) = (address.to_owned(), json.clone());
            let posted = tokio::task::spawn_blocking(move || post(&address, &json)).await;
            tried += 1;
            match posted.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(()) => return Ok(()),
                Err(error) if tried == WEBHOOK_TRIES => {
                    return Err(format!("the webhook failed {tried} times, at last: {error}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1 << (2 * (tried - 1)))).await,
            }
        }
    }

    /// Captures a process with a memmgr of its own: whatever happens to that one, the watch goes on.
    pub async fn capture(&self, pid: u32, comm: &str, at: &str, time: Duration) -> Captured {
        let failed =
            |said: String| Captured { pid, comm: comm.to_owned(), html: None, json: None, said };
        let Ok(_turn) = self.captures.try_acquire() else {
            return failed(format!("{MOST_CAPTURES} captures run already: not captured"));
        };
        if let Err(error) = std::fs::create_dir_all(&self.directory) {
            return failed(format!(
                "not captured: cannot make {}: {error}",
                self.directory.display()
            ));
        }
        let stem = format!("memmgr-{}-{pid}", at.replace(':', ""));
        let [html, json] =
            ["html", "json"].map(|ending| self.directory.join(format!("{stem}.{ending}")));
        let output = Command::new(&self.memmgr)
            .args(["report", "-p", &pid.to_string(), "-d", &format!("{}ms", time.as_millis())])
            .arg("-o")
            .arg(&html)
            .arg("-o")
            .arg(&json)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        match timeout(time + CAPTURE_SLACK, output).await {
            Ok(Ok(output)) if output.status.success() => match verdict(&json) {
                Ok(said) => Captured {
                    pid,
                    comm: comm.to_owned(),
                    html: Some(html.display().to_string()),
                    json: Some(json.display().to_string()),
                    said,
                },
                Err(error) => failed(format!("the report cannot be read: {error}")),
            },
            Ok(Ok(output)) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let last = text.lines().last().unwrap_or("no word");
                failed(format!("not captured: {}", last.trim_start_matches("memmgr: ")))
            }
            Ok(Err(error)) => failed(format!("not captured: memmgr cannot be started: {error}")),
            Err(_) => failed("not captured: it took too long and was ended".to_owned()),
        }
    }
}

fn post(address: &str, json: &[u8]) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(WEBHOOK_TIME))
        .max_redirects(0)
        .build()
        .into();
    let answer = agent.post(address).content_type("application/json").send(json);
    answer.map(drop).map_err(|error| error.to_string())
}

/// The verdict of a report.
fn verdict(json: &Path) -> anyhow::Result<String> {
    let report: Report = serde_json::from_slice(&std::fs::read(json)?)?;
    Ok(verdict_line(&report).trim_end_matches('.').to_owned())
}
