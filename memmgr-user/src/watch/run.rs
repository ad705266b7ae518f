//! The loop: looks at their time, kills and the kernel's triggers between them, and what follows from an alert.

use std::{
    collections::HashSet,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    act::Actions,
    alert::{Alert, Status},
    config::Config,
    engine::{Engine, Raised},
    flight::Flight,
    history::{History, HistoryError},
    kernel_log::{KernelLog, Kill},
    pressure::Trigger,
    records::Records,
    rule::{Condition, Subject},
};
use crate::{
    escape::Safe,
    monitor::{Monitor, MonitorError},
    source::{
        cgroup_tree::{Groups, read_cgroup_stat},
        host::oom_kills,
    },
    units::Pid,
};

/// Kills are looked for this often, whatever the interval: a person is to know within a second.
const KILLS_EVERY: Duration = Duration::from_millis(250);
/// What is said in a row about something that fails again and again.
const MOST_COMPLAINTS: u32 = 10;

/// The watch cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The host cannot be looked at.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// What is seen cannot be kept.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Nobody hears the alerts.
    #[error("alerts cannot be written: {0}")]
    Output(io::Error),
}

/// What wakes the loop.
enum Wake {
    Look,
    Kills,
    Pressure(usize),
    Killed(Box<Kill>),
    Done(Box<Raised>),
    Complaint(String),
    End,
}

/// Watches until `ended`, and writes each alert to `out` by `write`. `memmgr` is the program that captures.
///
/// # Errors
/// When the host cannot be looked at, or `out` takes nothing any more.
pub async fn run(
    mut monitor: Monitor,
    config: Config,
    memmgr: &Path,
    out: &mut dyn Write,
    write: impl Fn(&mut dyn Write, &Alert) -> io::Result<()>,
    ended: impl Future<Output = ()>,
) -> Result<(), WatchError> {
    let (news, mut come) = mpsc::unbounded_channel();
    let mut history =
        config.keep.as_ref().map(|path| History::open(path, config.retention)).transpose()?;
    set_triggers(&monitor, &config, &news);
    // Where the kernel's log is for others its counters tell of kills, though not of whom.
    let log = listen(&news);
    let kills = !log && config.rules.iter().any(|rule| rule.when.condition == Condition::OomKill);
    let groups_kills = config.rules.iter().any(|rule| {
        rule.when.condition == Condition::OomKill && matches!(rule.when.subject, Subject::Cgroup(_))
    });
    let groups = Groups::find(monitor.roots());
    let actions = Actions::new(&config.directory, memmgr);
    let mut records = Records::new(config.directory);
    let mut looks = interval(config.interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut kill_looks = interval(KILLS_EVERY);
    kill_looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut engine, mut flight) = (Engine::new(config.rules), Flight::default());
    let (began, mut complaints) = (Instant::now(), 0);
    tokio::pin!(ended);
    loop {
        let wake = tokio::select! {
            () = &mut ended => Wake::End,
            Some(wake) = come.recv() => wake,
            _ = looks.tick() => Wake::Look,
            _ = kill_looks.tick(), if kills => Wake::Kills,
        };
        let raised = match wake {
            Wake::Look => match monitor.look() {
                Ok(look) => {
                    flight.take(&look);
                    if let Some(Err(error)) = history.as_mut().map(|history| history.look(&look)) {
                        let _ = news.send(Wake::Complaint(error.to_string()));
                    }
                    if !engine.has_looked() {
                        for rule in engine.without_subject(&look) {
                            let text = format!("{rule}: nothing is there now that it is about");
                            let _ = news.send(Wake::Complaint(text));
                        }
                    }
                    engine.look(look)
                }
                // Out of descriptors, perhaps: the next look may succeed.
                Err(error) if engine.has_looked() => {
                    let _ = news.send(Wake::Complaint(error.to_string()));
                    Vec::new()
                }
                Err(error) => return Err(error.into()),
            },
            Wake::Killed(kill) => {
                let kept = records.keep(&flight, &kill, Instant::now());
                let _ = match kept.map(|path| path.map(|path| path.display().to_string())) {
                    Ok(None) => Ok(()),
                    Ok(Some(path)) => news.send(Wake::Complaint(format!(
                        "the kernel killed {} ({}): the last minute is in {path}",
                        kill.comm, kill.pid
                    ))),
                    Err(error) => news.send(Wake::Complaint(format!(
                        "what was seen before a kill cannot be written: {error:#}"
                    ))),
                };
                engine.killed(&kill, monitor.elapsed())
            }
            Wake::Kills => {
                let roots = monitor.roots();
                engine.kills(monitor.elapsed(), |last| {
                    last.oom_kills = oom_kills(roots);
                    if groups_kills {
                        last.groups = groups.read();
                    }
                })
            }
            Wake::Pressure(rule) => engine.pressure(rule, monitor.elapsed()),
            Wake::Done(raised) => vec![*raised],
            Wake::Complaint(text) => {
                complaints += 1;
                complain(&text, complaints, began);
                Vec::new()
            }
            Wake::End => return Ok(()),
        };
        for raised in raised {
            write(out, &raised.alert).and_then(|()| out.flush()).map_err(WatchError::Output)?;
            let kept =
                history.as_mut().map(|history| history.alert(&raised.alert, SystemTime::now()));
            if let Some(Err(error)) = kept {
                let _ = news.send(Wake::Complaint(error.to_string()));
            }
            follow(&engine, &monitor, &actions, raised, &news);
        }
    }
}

/// Waits for kills in the kernel's log, in a task of its own; `false` where it cannot be read.
fn listen(news: &mpsc::UnboundedSender<Wake>) -> bool {
    let Ok(mut log) = KernelLog::open(Path::new("/dev/kmsg")) else { return false };
    let news = news.clone();
    tokio::spawn(async move {
        while let Ok(kill) = log.kill().await {
            if news.send(Wake::Killed(Box::new(kill))).is_err() {
                return;
            }
        }
        let _ = news.send(Wake::Complaint("the kernel's log cannot be read any more".to_owned()));
    });
    true
}

/// Waits for each trigger in a task of its own. Where the kernel allows none the figures are looked at.
fn set_triggers(monitor: &Monitor, config: &Config, news: &mpsc::UnboundedSender<Wake>) {
    for (number, watched) in config.rules.iter().enumerate() {
        match Trigger::set(monitor.roots(), &watched.when) {
            None => {}
            Some(Err(error)) => {
                let text = format!(
                    "{}: the kernel sets no trigger ({error}): its pressure is looked at every {}",
                    watched.name,
                    humantime::format_duration(config.interval)
                );
                let _ = news.send(Wake::Complaint(text));
            }
            Some(Ok(trigger)) => {
                let news = news.clone();
                tokio::spawn(async move {
                    while trigger.reached().await.is_ok()
                        && news.send(Wake::Pressure(number)).is_ok()
                    {}
                });
            }
        }
    }
}

/// Does what the rule of an alert asks for, beside the loop.
fn follow(
    engine: &Engine,
    monitor: &Monitor,
    actions: &Actions,
    raised: Raised,
    news: &mpsc::UnboundedSender<Wake>,
) {
    let watched = engine.rule(raised.rule);
    if let Some(command) = watched.command.clone() {
        let (actions, news, alert) = (actions.clone(), news.clone(), raised.alert.clone());
        tokio::spawn(async move {
            if let Err(error) = actions.command(&command, &alert).await {
                let _ = news.send(Wake::Complaint(format!("{}: {error}", alert.rule)));
            }
        });
    }
    if let Some(address) = watched.webhook.clone() {
        let (actions, news, alert) = (actions.clone(), news.clone(), raised.alert.clone());
        tokio::spawn(async move {
            if let Err(error) = actions.webhook(&address, &alert).await {
                let _ = news.send(Wake::Complaint(format!("{}: {error}", alert.rule)));
            }
        });
    }
    let Some(time) = watched.capture.filter(|_| raised.alert.state == Status::Raised) else {
        return;
    };
    let members: Option<HashSet<u32>> = (raised.alert.subject.kind == "cgroup").then(|| {
        let stat = read_cgroup_stat(monitor.roots(), Path::new(&raised.alert.subject.name));
        stat.map(|stat| stat.processes.iter().map(|member| member.pid).collect())
            .unwrap_or_default()
    });
    let wanted = |pid: Pid| {
        pid.0 != std::process::id()
            && members.as_ref().is_none_or(|members| members.contains(&pid.0))
    };
    let Some(row) = engine.culprit(&raised.alert.subject, wanted) else {
        let text = format!("{}: nothing is captured: no process of it grows", raised.alert.rule);
        let _ = news.send(Wake::Complaint(text));
        return;
    };
    let (pid, comm) = (row.pid.0, row.comm.clone());
    let (actions, news, mut raised) = (actions.clone(), news.clone(), raised);
    tokio::spawn(async move {
        let captured = actions.capture(pid, &comm, &raised.alert.at, time).await;
        raised.alert.at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        raised.alert.state = Status::Captured;
        raised.alert.untold = 0;
        raised.alert.capture = Some(captured);
        let _ = news.send(Wake::Done(Box::new(raised)));
    });
}

/// What fails is said, and when it goes on failing, less and less often.
fn complain(text: &str, number: u32, began: Instant) {
    if number <= MOST_COMPLAINTS || number.is_power_of_two() {
        eprintln!("memmgr: {}", Safe::text(text));
    }
    if number == MOST_COMPLAINTS {
        let minutes = began.elapsed().as_secs() / 60;
        eprintln!("memmgr: {number} complaints in {minutes} min: only some of the next are said");
    }
}
