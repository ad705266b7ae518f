//! What wakes the watch between looks: the kernel's log, its triggers on pressure, and counters of cgroups that change.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    event_files::EventFiles,
    kernel_log::{KernelLog, Kill},
    pressure::Trigger,
    rule::{Condition, Rule, Subject},
};
use crate::{
    monitor::Look,
    source::{groups::Groups, roots::Roots},
};

/// What the kernel says.
pub enum Wake {
    /// The pressure of a rule was reached, on the host or in a group.
    Pressure {
        /// The number of the rule.
        rule: usize,
        /// The group's path.
        group: Option<String>,
    },
    /// It killed a process.
    Killed(Box<Kill>),
    /// Counters of groups have changed.
    Counted,
    /// It will not name whom it kills any more.
    Unnamed,
    /// It will not say something.
    Trouble(String),
}

/// Tasks that wait for the kernel.
pub struct Wakers {
    news: mpsc::UnboundedSender<Wake>,
    rules: Vec<(String, Rule)>,
    files: Option<EventFiles>,
    triggers: HashMap<(usize, String), AbortHandle>,
    /// Rules whose trouble was told.
    told: HashSet<usize>,
    are_kills_named: bool,
}

impl Wakers {
    /// Waits for the host; for groups from [`Self::follow`] on.
    pub fn start(
        roots: &Roots,
        rules: Vec<(String, Rule)>,
        news: mpsc::UnboundedSender<Wake>,
    ) -> Self {
        let is = |condition: fn(&Condition) -> bool| {
            rules.iter().any(|(_, rule)| condition(&rule.condition))
        };
        let of_kills = is(|condition| *condition == Condition::OomKill);
        let of_events = is(|condition| matches!(condition, Condition::Event(_)));
        let files = of_events.then(|| listen_to_files(&news)).flatten();
        let mut wakers = Wakers {
            are_kills_named: of_kills && listen_to_log(&news),
            news,
            rules,
            files,
            triggers: HashMap::new(),
            told: HashSet::new(),
        };
        for number in 0..wakers.rules.len() {
            if wakers.rules[number].1.subject == Subject::Host {
                let path = roots.proc.join("pressure/memory");
                wakers.trigger(number, None, &path);
            }
        }
        wakers
    }

    /// Whether the kernel names whom it kills.
    pub fn are_kills_named(&self) -> bool {
        self.are_kills_named
    }

    /// The kernel will not name whom it kills any more.
    pub fn unnamed(&mut self) {
        self.are_kills_named = false;
    }

    /// Whether a rule is about counters that the kernel says nothing of when they change: then they have to be looked at.
    pub fn must_count(&self, groups: &Groups) -> bool {
        self.rules.iter().any(|(_, rule)| match rule.condition {
            Condition::OomKill => !self.are_kills_named,
            Condition::Event(_) => self.files.is_none() || !groups.has_event_files(),
            _ => false,
        })
    }

    /// Waits for the groups of a look too, and no longer for those that are gone.
    pub fn follow(&mut self, groups: &Groups, look: &Look) {
        let mut gone: HashSet<(usize, String)> = self.triggers.keys().cloned().collect();
        for number in 0..self.rules.len() {
            let rule = &self.rules[number].1;
            let Subject::Cgroup(pattern) = &rule.subject else { continue };
            let matching = look.groups.iter().filter(|group| pattern.matches(&group.path));
            let paths: Vec<String> = matching.map(|group| group.path.clone()).collect();
            match rule.condition {
                Condition::Event(_) => {
                    for file in paths.iter().filter_map(|path| groups.events_file(path)) {
                        let Some(Err(error)) = self.files.as_ref().map(|files| files.add(&file))
                        else {
                            continue;
                        };
                        self.trouble(number, &format!("the kernel does not say when events happen ({error}): they are looked at"));
                    }
                }
                Condition::Pressure { .. } => {
                    for path in paths {
                        let key = (number, path);
                        gone.remove(&key);
                        // One that has ended was of a group that is gone, and is there again.
                        if self.triggers.get(&key).is_some_and(|task| !task.is_finished()) {
                            continue;
                        }
                        if let Some(file) = groups.pressure_file(&key.1) {
                            self.trigger(number, Some(key.1), &file);
                        }
                    }
                }
                _ => {}
            }
        }
        for key in gone {
            if let Some(task) = self.triggers.remove(&key) {
                task.abort();
            }
        }
    }

    fn trigger(&mut self, number: usize, group: Option<String>, file: &Path) {
        let Condition::Pressure { all, percent, window } = self.rules[number].1.condition else {
            return;
        };
        match Trigger::set(file, all, percent, window) {
            Err(error) => {
                self.trouble(
                    number,
                    &format!("the kernel sets no trigger ({error}): the pressure is looked at"),
                );
            }
            Ok(trigger) => {
                let (news, of) = (self.news.clone(), group.clone());
                let wake = move || Wake::Pressure { rule: number, group: of.clone() };
                let task = tokio::spawn(async move {
                    while trigger.reached().await.is_ok() && news.send(wake()).is_ok() {}
                });
                if let Some(group) = group {
                    self.triggers.insert((number, group), task.abort_handle());
                }
            }
        }
    }

    /// Says once a rule what does not work.
    fn trouble(&mut self, number: usize, text: &str) {
        if self.told.insert(number) {
            let text = format!("{}: {text}", self.rules[number].0);
            // The loop that listens ends last.
            let _ = self.news.send(Wake::Trouble(text));
        }
    }
}

/// Waits for kills in the kernel's log, in a task of its own; `false` where it cannot be read.
fn listen_to_log(news: &mpsc::UnboundedSender<Wake>) -> bool {
    let Ok(mut log) = KernelLog::open(Path::new("/dev/kmsg")) else { return false };
    let news = news.clone();
    tokio::spawn(async move {
        while let Ok(kill) = log.kill().await {
            if news.send(Wake::Killed(Box::new(kill))).is_err() {
                return;
            }
        }
        let _ = news.send(Wake::Unnamed);
    });
    true
}

fn listen_to_files(news: &mpsc::UnboundedSender<Wake>) -> Option<EventFiles> {
    let files = EventFiles::open().ok()?;
    let (news, changes) = (news.clone(), files.clone());
    tokio::spawn(async move {
        while changes.changed().await.is_ok() && news.send(Wake::Counted).is_ok() {}
    });
    Some(files)
}
