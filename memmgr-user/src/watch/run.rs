//! The loop: looks at their time, kills and the kernel's triggers between them, and what follows from an alert.

use std::{
    collections::HashSet,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    act::{Actions, forget},
    alert::{Alert, Status},
    config::Config,
    engine::Engine,
    errands::{Errands, News},
    flight::Flight,
    history::{History, HistoryError},
    kept::Kept,
    kernel_log::Kill,
    records::Records,
    rule::Condition,
    standing::Raised,
    voice::{Voice, tell},
    wakers::{self, Wakers},
};
use crate::{
    monitor::{Monitor, MonitorError},
    source::{cgroup_tree::read_cgroup_stat, host::oom_kills},
    units::Pid,
};

/// Counters that the kernel says nothing of are looked at this often, whatever the interval: a person is to know of a kill
/// within a second.
const COUNTERS_EVERY: Duration = Duration::from_millis(250);
/// How long a process is captured to look for findings, where the rule does not say.
const CHECK_TIME: Duration = Duration::from_mins(1);
/// When the watch ends, what is under way has this long: captures to write their reports, commands and webhooks to finish.
const GRACE: Duration = Duration::from_secs(15);

/// The watch cannot begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The host cannot be looked at.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// What is seen cannot be kept.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What wakes the loop.
enum Wake {
    Look,
    Counters,
    Kernel(wakers::Wake),
    Errand(News),
    End,
}

/// Watches until `ended`, which is waited for once more when what is under way then takes long, and writes each alert to
/// `out` by `write`. `memmgr` is the program that captures; `ready` is called when everything is open.
///
/// # Errors
/// When the host cannot be looked at, or the history not be opened.
pub async fn run(
    monitor: Monitor,
    config: Config,
    memmgr: &Path,
    out: &mut dyn Write,
    write: impl Fn(&mut dyn Write, &Alert) -> io::Result<()>,
    ready: impl FnOnce(),
    mut ended: impl AsyncFnMut(),
) -> Result<(), WatchError> {
    let history = config.keep.as_ref().map(|path| History::open(path, config.retention));
    let (news, mut come) = mpsc::unbounded_channel();
    let rules = config.rules.iter().map(|rule| (rule.name.clone(), rule.when.clone())).collect();
    let wakers = Wakers::start(monitor.roots(), rules, news);
    let of_kills = config.rules.iter().any(|rule| rule.when.condition == Condition::OomKill);
    let [mut looks, mut counters] = [config.interval, COUNTERS_EVERY].map(interval);
    for ticks in [&mut looks, &mut counters] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    }
    let mut watching = Watching {
        monitor,
        flight: Flight::default(),
        records: of_kills.then(|| Records::new(config.directory.clone())),
        kept: Kept::new(history.transpose()?),
        errands: Errands::new(Actions::new(&config.directory, memmgr)),
        engine: Engine::new(config.rules, wakers.are_kills_named()),
        wakers,
        voice: Voice::new(),
        unwritten: 0,
        out,
        write,
    };
    ready();
    let mut over = Box::pin(ended());
    // What the kernel says before the first look would be about nothing that is known, and untold.
    looks.tick().await;
    let mut wake = Wake::Look;
    loop {
        let raised = match wake {
            Wake::End => break,
            Wake::Look => watching.look()?,
            Wake::Counters => watching.count(),
            Wake::Kernel(wake) => watching.kernel(wake),
            Wake::Errand(news) => watching.errand(news),
        };
        if watching.tell(raised) == Heard::Nowhere {
            break;
        }
        wake = tokio::select! {
            () = &mut over => Wake::End,
            Some(wake) = come.recv() => Wake::Kernel(wake),
            news = watching.errands.next() => Wake::Errand(news),
            _ = looks.tick() => Wake::Look,
            _ = counters.tick(), if watching.must_count() => Wake::Counters,
        };
    }
    drop(over);
    watching.end(ended()).await;
    Ok(())
}

/// Whether anybody hears of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Somewhere,
    Nowhere,
}

struct Watching<'a, W> {
    monitor: Monitor,
    engine: Engine,
    wakers: Wakers,
    flight: Flight,
    /// If a rule is about kills.
    records: Option<Records>,
    kept: Kept,
    errands: Errands,
    voice: Voice,
    /// Alerts that could not be written.
    unwritten: u64,
    out: &'a mut dyn Write,
    write: W,
}

impl<W: Fn(&mut dyn Write, &Alert) -> io::Result<()>> Watching<'_, W> {
    fn look(&mut self) -> Result<Vec<Raised>, MonitorError> {
        let look = match self.monitor.look() {
            Ok(look) => look,
            // Out of descriptors, perhaps: the next look may succeed.
            Err(error) if self.engine.has_looked() => {
                self.voice.say(&error.to_string());
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        if !self.engine.has_looked() {
            for rule in self.engine.without_subject(&look) {
                self.voice.say(&format!("{rule}: nothing is there now that it is about"));
            }
        }
        self.wakers.follow(self.monitor.groups(), &look);
        self.flight.take(&look);
        let trouble = self.kept.look(&look);
        self.say(trouble);
        let alerts = self.engine.look(look);
        self.count_untold(self.monitor.elapsed());
        self.check_next();
        Ok(alerts)
    }

    /// Begins to look for findings in the process whose turn it is.
    fn check_next(&mut self) {
        if self.errands.checks() {
            return;
        }
        let own = std::process::id();
        let next = self.engine.next_check(self.monitor.elapsed(), |pid| pid.0 != own);
        let Some((rule, process, comm)) = next else { return };
        let watched = self.engine.rule(rule);
        if let Condition::Finding { severity, .. } = watched.when.condition {
            let time = watched.capture.unwrap_or(CHECK_TIME);
            self.errands.check(rule, process, comm, time, severity);
        }
    }

    /// Says what no alert will say any more at this moment.
    fn count_untold(&mut self, at: Duration) {
        for (rule, count) in self.engine.untold(at) {
            tell(&format!("{rule}: it came true {count} times more than was told"));
        }
    }

    fn must_count(&self) -> bool {
        self.wakers.must_count(self.monitor.groups())
    }

    fn count(&mut self) -> Vec<Raised> {
        let monitor = &self.monitor;
        self.engine.count(monitor.elapsed(), |last| {
            last.oom_kills = oom_kills(monitor.roots());
            last.groups = monitor.groups().read();
        })
    }

    fn kernel(&mut self, wake: wakers::Wake) -> Vec<Raised> {
        match wake {
            wakers::Wake::Counted => self.count(),
            wakers::Wake::Killed(kill) => self.killed(&kill),
            wakers::Wake::Pressure { rule, group } => {
                let at = self.monitor.elapsed();
                self.engine.pressure(rule, group.as_deref(), at)
            }
            wakers::Wake::Unnamed => {
                self.voice.say("the kernel's log cannot be read any more: kills have no names");
                self.wakers.unnamed();
                self.engine.unnamed();
                Vec::new()
            }
            wakers::Wake::Trouble(text) => {
                self.voice.say(&text);
                Vec::new()
            }
        }
    }

    fn killed(&mut self, kill: &Kill) -> Vec<Raised> {
        let records = self.records.as_mut();
        match records.map(|records| records.keep(&self.flight, kill, Instant::now())) {
            Some(Ok(Some(path))) => {
                let text = format!(
                    "the kernel killed {} ({}): the last minute is in {}",
                    kill.comm,
                    kill.pid,
                    path.display()
                );
                self.voice.say(&text);
            }
            Some(Err(error)) => {
                self.voice.say(&format!("what was seen before a kill is not kept: {error:#}"));
            }
            Some(Ok(None)) | None => {}
        }
        self.engine.killed(kill, self.monitor.elapsed())
    }

    fn errand(&mut self, news: News) -> Vec<Raised> {
        match news {
            News::Done => Vec::new(),
            News::Failed(text) => {
                self.voice.say(&text);
                Vec::new()
            }
            News::Captured(raised) => vec![*raised],
            News::Checked { rule, process, mut found, is_shared } => {
                // One report of a finding that stands is enough.
                let stands = self.engine.has_finding(rule, process);
                match &mut found {
                    Ok(found) if (stands || !found.over) && !is_shared => {
                        forget(&mut found.captured);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let name = &self.engine.rule(rule).name;
                        let text = format!("{name}: {} was not looked at: {error}", process.pid);
                        self.voice.say(&text);
                    }
                }
                let at = self.monitor.elapsed();
                self.engine.checked(rule, process, found.ok(), at).into_iter().collect()
            }
        }
    }

    /// Keeps alerts, does what their rules ask for, and writes them: last, because that is what can fail.
    fn tell(&mut self, alerts: Vec<Raised>) -> Heard {
        for raised in alerts {
            let trouble = self.kept.alert(&raised.alert);
            self.say(trouble);
            let alert = raised.alert.clone();
            self.follow(raised);
            let written = (self.write)(self.out, &alert).and_then(|()| self.out.flush());
            if let Err(error) = written {
                let acts = self.kept.is_there() || self.engine.acts();
                if error.kind() == io::ErrorKind::BrokenPipe && !acts {
                    return Heard::Nowhere;
                }
                if self.unwritten == 0 {
                    tell(&format!(
                        "an alert could not be written to standard output: {error}; the watch goes on"
                    ));
                }
                self.unwritten += 1;
            }
        }
        Heard::Somewhere
    }

    /// Sends out what the rule of an alert asks for.
    fn follow(&mut self, raised: Raised) {
        let watched = self.engine.rule(raised.rule);
        if let Some(command) = watched.command.clone() {
            self.errands.command(command, raised.alert.clone());
        }
        if let Some(address) = watched.webhook.clone() {
            self.errands.webhook(address, raised.alert.clone());
        }
        let is_new = raised.alert.state == Status::Raised && raised.alert.capture.is_none();
        let Some(time) = watched.capture.filter(|_| is_new) else { return };
        if let Some((pid, comm)) = self.culprit(&raised) {
            self.errands.capture(pid, comm, time, raised);
        } else {
            let rule = &raised.alert.rule;
            self.voice.say(&format!("{rule}: nothing is captured: no process of it grows"));
        }
    }

    /// The process to capture: the subject itself, or who grew most in the group or on the host.
    fn culprit(&self, raised: &Raised) -> Option<(u32, String)> {
        let subject = &raised.alert.subject;
        let members: Option<HashSet<u32>> = (subject.kind == "cgroup").then(|| {
            let stat = read_cgroup_stat(self.monitor.roots(), Path::new(&subject.name));
            stat.map(|stat| stat.processes.iter().map(|member| member.pid).collect())
                .unwrap_or_default()
        });
        let wanted = |pid: Pid| {
            pid.0 != std::process::id()
                && members.as_ref().is_none_or(|members| members.contains(&pid.0))
        };
        let row = self.engine.culprit(subject, wanted)?;
        Some((row.pid.0, row.comm.clone()))
    }

    /// Waits for what is under way, which has a while but not if a person is impatient, and says what is not finished then.
    async fn end(mut self, impatient: impl Future<Output = ()>) {
        self.count_untold(Duration::MAX);
        self.errands.end_captures();
        let too_late = async {
            tokio::select! {
                () = sleep(GRACE) => "they took too long",
                () = impatient => "the watch was told again to end",
            }
        };
        tokio::pin!(too_late);
        while self.errands.count() > 0 {
            tokio::select! {
                news = self.errands.next() => {
                    let alerts = self.errand(news);
                    self.tell(alerts);
                }
                why = &mut too_late => {
                    let left = self.errands.count();
                    tell(&format!(
                        "commands, webhooks or captures that are given up, because {why}: {left}"
                    ));
                    break;
                }
            }
        }
        if let Some(text) = self.kept.end() {
            tell(&text);
        }
        if self.unwritten > 0 {
            let text = format!("{} alerts could not be written to standard output", self.unwritten);
            tell(&text);
        }
    }

    fn say(&mut self, text: Option<String>) {
        if let Some(text) = text {
            self.voice.say(&text);
        }
    }
}
