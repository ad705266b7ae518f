//! What is done about an alert beside telling it: a command, a webhook, a capture.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal,
};
use tokio::{
    process::Command,
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    alert::{Alert, Captured},
    config::Severity,
};
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
    command_time: Duration,
    commands: Arc<Semaphore>,
    webhooks: Arc<Semaphore>,
    captures: Arc<Semaphore>,
    captures_of: Arc<Mutex<HashMap<u32, Awaited>>>,
}

/// A capture that runs; its result comes.
type Awaited = watch::Receiver<Option<Captured>>;

impl Actions {
    /// Reports of captures go to `directory`, made by the program `memmgr`.
    pub fn new(directory: &Path, memmgr: &Path) -> Self {
        Actions {
            directory: directory.to_owned(),
            memmgr: memmgr.to_owned(),
            command_time: COMMAND_TIME,
            commands: Arc::new(Semaphore::new(MOST_COMMANDS)),
            webhooks: Arc::new(Semaphore::new(MOST_WEBHOOKS)),
            captures: Arc::new(Semaphore::new(MOST_CAPTURES)),
            captures_of: Arc::default(),
        }
    }

    /// Runs a command with the facts of an alert in its environment; says what went wrong.
    pub async fn command(&self, command: &str, alert: &Alert) -> Result<(), String> {
        let _turn = self.commands.acquire().await;
        // Its output is memmgr's diagnostics: stdout is for alerts.
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .envs(alert.environment())
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .process_group(0);
        dies_with_us(&mut shell, Signal::TERM);
        let child = shell.spawn();
        let mut child = child.map_err(|error| format!("the command cannot be started: {error}"))?;
        let mut group = Group(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
        match timeout(self.command_time, child.wait()).await {
            Ok(waited) => {
                // It has ended by itself; what it left behind on purpose goes on.
                group.0 = None;
                match waited {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(format!("the command failed: {status}")),
                    Err(error) => Err(format!("the command cannot be waited for: {error}")),
                }
            }
            Err(_) => Err(format!(
                "the command took more than {} and was ended",
                humantime::format_duration(self.command_time)
            )),
        }
    }

    /// Posts an alert as JSON; says what went wrong the last time that it was tried.
    pub async fn webhook(&self, address: &str, alert: &Alert) -> Result<(), String> {
        let _turn = self.webhooks.acquire().await;
        let json = serde_json::to_vec(alert).map_err(|error| error.to_string())?;
        let mut tried = 0;
        loop {
            let (whole, json) = (address.to_owned(), json.clone());
            let posted = tokio::task::spawn_blocking(move || post(&whole, &json)).await;
            tried += 1;
            match posted.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(()) => return Ok(()),
                Err(error) if tried == WEBHOOK_TRIES => {
                    let host = host(address);
                    return Err(format!(
                        "the webhook at {host} failed {tried} times, at last: {error}"
                    ));
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1 << (2 * (tried - 1)))).await,
            }
        }
    }

    /// Captures a process. One that is captured already is not captured twice: the capture that runs is the answer, and
    /// whether it is that of others too is told.
    pub async fn capture(
        &self,
        pid: u32,
        comm: &str,
        at: &str,
        time: Duration,
        end: watch::Receiver<bool>,
    ) -> (Captured, bool) {
        let (sender, turn) = match Turn::take(&self.captures_of, pid) {
            Ok(turn) => turn,
            Err(mut runs) => {
                let captured = runs.wait_for(Option::is_some).await;
                let captured = captured.ok().and_then(|captured| captured.clone());
                let given_up = || failed(pid, comm, "its capture was given up".to_owned());
                return (captured.unwrap_or_else(given_up), true);
            }
        };
        let captured = self.capture_now(pid, comm, at, time, end).await;
        drop(turn);
        let is_shared = sender.receiver_count() > 0;
        sender.send_replace(Some(captured.clone()));
        (captured, is_shared)
    }

    /// Captures a process with a memmgr of its own: whatever happens to that one, the watch goes on. It ends after `time`, or
    /// at `end`.
    async fn capture_now(
        &self,
        pid: u32,
        comm: &str,
        at: &str,
        time: Duration,
        mut end: watch::Receiver<bool>,
    ) -> Captured {
        let failed = |said| failed(pid, comm, said);
        let Ok(_slot) = self.captures.try_acquire() else {
            return failed(format!("{MOST_CAPTURES} captures run already"));
        };
        if let Err(error) = std::fs::create_dir_all(&self.directory) {
            return failed(format!("cannot make {}: {error}", self.directory.display()));
        }
        // Another watch may capture it too.
        let stem = format!("memmgr-{}-{pid}-{}", at.replace(':', ""), std::process::id());
        let [html, json] =
            ["html", "json"].map(|ending| self.directory.join(format!("{stem}.{ending}")));
        let mut capture = Command::new(&self.memmgr);
        capture
            .args(["report", "-p", &pid.to_string(), "-d", &format!("{}ms", time.as_millis())])
            .arg("-o")
            .arg(&html)
            .arg("-o")
            .arg(&json)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        // Interrupted it writes its report.
        dies_with_us(&mut capture, Signal::INT);
        let child = match capture.spawn() {
            Ok(child) => child,
            Err(error) => return failed(format!("memmgr cannot be started: {error}")),
        };
        let itself = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let output = async {
            let output = child.wait_with_output();
            tokio::pin!(output);
            tokio::select! {
                output = &mut output => return output,
                _ = end.wait_for(|end| *end) => {}
            }
            if let Some(itself) = itself {
                // It may have ended this very moment.
                let _ = kill_process(itself, Signal::INT);
            }
            output.await
        };
        match timeout(time + CAPTURE_SLACK, output).await {
            Ok(Ok(output)) if output.status.success() => match verdict(&json) {
                Ok((said, severity)) => Captured {
                    html: Some(html.display().to_string()),
                    json: Some(json.display().to_string()),
                    severity,
                    ..failed(said)
                },
                Err(error) => failed(format!("the report cannot be read: {error}")),
            },
            Ok(Ok(output)) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let last = text.lines().last().unwrap_or("it failed without a word");
                failed(last.trim_start_matches("memmgr: ").to_owned())
            }
            Ok(Err(error)) => failed(format!("memmgr cannot be waited for: {error}")),
            Err(_) => failed("it took too long and was ended".to_owned()),
        }
    }
}

fn failed(pid: u32, comm: &str, said: String) -> Captured {
    Captured { pid, comm: comm.to_owned(), html: None, json: None, said, severity: None }
}

/// The right to capture a process, until this is dropped.
struct Turn {
    captures_of: Arc<Mutex<HashMap<u32, Awaited>>>,
    pid: u32,
}

impl Turn {
    /// With the place for the result; what has to be waited for instead where another has it.
    fn take(
        captures_of: &Arc<Mutex<HashMap<u32, Awaited>>>,
        pid: u32,
    ) -> Result<(watch::Sender<Option<Captured>>, Self), Awaited> {
        let mut running = captures_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runs) = running.get(&pid) {
            return Err(runs.clone());
        }
        let (sender, awaited) = watch::channel(None);
        running.insert(pid, awaited);
        Ok((sender, Turn { captures_of: Arc::clone(captures_of), pid }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.captures_of.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.pid);
    }
}

/// Has the kernel send this signal to a child when the watch is killed: nobody would end the child after its time then. It
/// is sent when the thread ends that started the child, prctl(2): here the only one, the runtime's.
fn dies_with_us(command: &mut Command, signal: Signal) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, and this is one system call, prctl(2).
    unsafe {
        command.pre_exec(move || Ok(set_parent_process_death_signal(Some(signal))?));
    }
}

/// What may be said of an address: its path may hold a secret.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
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

/// A shell and what it has started. Unless it has ended by then, all of it ends with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended this very moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Removes the reports of a capture that found nothing to keep them for.
pub fn forget(captured: &mut Captured) {
    for path in captured.html.take().into_iter().chain(captured.json.take()) {
        // A file that stays is no harm.
        let _ = std::fs::remove_file(path);
    }
}

/// The verdict of a report, and the severity of its worst finding.
fn verdict(json: &Path) -> anyhow::Result<(String, Option<Severity>)> {
    let report: Report = serde_json::from_slice(&std::fs::read(json)?)?;
    let severities = report.findings.iter();
    let worst = severities.filter_map(|finding| Severity::named(&finding.severity)).max();
    Ok((verdict_line(&report).trim_end_matches('.').to_owned(), worst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{
        alert::{SCHEMA, Status, Subject},
        reading::Key,
    };

    fn run(command: &str, time: Duration) -> Result<(), String> {
        let mut actions = Actions::new(Path::new("."), Path::new("memmgr"));
        actions.command_time = time;
        let alert = Alert {
            schema: SCHEMA.to_owned(),
            at: String::new(),
            state: Status::Raised,
            rule: "it's \"quoted\"".to_owned(),
            severity: Severity::Info,
            subject: Subject::new(&Key::Host, "host"),
            what: String::new(),
            value: None,
            untold: 0,
            capture: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(actions.command(command, &alert))
    }

    #[test]
    fn commands_say_how_they_ended() {
        let long = Duration::from_mins(1);
        assert_eq!(run("test \"$MEMMGR_RULE\" = \"it's \\\"quoted\\\"\"", long), Ok(()));
        assert_eq!(run("exit 3", long), Err("the command failed: exit status: 3".to_owned()));
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let command = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = run(&command, Duration::from_secs(2)).unwrap_err();
        assert!(error.contains("took more than 2s"), "{error}");
        let pid = std::fs::read_to_string(file).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        // Nobody may be there to wait for it: then it stays a zombie.
        while state().is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
