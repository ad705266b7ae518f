//! Whether an action can be done here, found out before anything is: what it would do, step by step.

use std::path::PathBuf;

use super::{
    OptimizeError,
    act::{
        ActError, Pause,
        advise::{Advice, Held},
        debugger::{self, Trim},
        jvm::Jvm,
        kernel::{self, Reclaim},
        node::Node,
    },
    action::{Action, Caches, Only, Selection, Touched},
    choose::{choose, touched},
    figures::Heap,
    report::Chosen,
    runtime::{Runtime, advice},
    subject::{Member, Subject},
};
use crate::{
    go::GoProgram,
    source::{
        cgroup::{MemoryCgroup, read_cgroup},
        host::read_host,
        mappings::{MappingFigures, read_mapping_figures, read_mappings},
        process::{read_figures, read_stack_pointers},
        roots::Roots,
    },
    units::human_bytes,
};

/// An action that can be done.
pub(super) enum Prepared {
    Reclaim(Reclaim),
    Advise(Advice, Selection),
    Compact(PathBuf),
    DropCaches(Caches),
    Merge(PathBuf, String),
    Trim(Trim),
    Gc(Runtime),
}

/// The heap of a runtime that answers.
pub(super) enum Heaps {
    Jvm(Jvm),
    Node(Box<Node>),
}

impl Heaps {
    pub(super) fn read(&mut self, pause: Pause<'_>) -> Result<Heap, ActError> {
        match self {
            Heaps::Jvm(jvm) => jvm.heap(pause),
            Heaps::Node(node) => node.heap(pause),
        }
    }

    /// Ends the talk, and says what that took.
    pub(super) fn close(&mut self) -> Option<String> {
        match self {
            Heaps::Jvm(_) => None,
            Heaps::Node(node) => node.close(),
        }
    }
}

impl Prepared {
    /// Finds the way.
    ///
    /// # Errors
    /// When there is none, with what comes nearest.
    pub(super) fn of(
        roots: &Roots,
        action: &Action,
        subject: &Subject,
    ) -> Result<Self, OptimizeError> {
        Ok(match action {
            Action::Reclaim { amount, swappiness } => {
                let group = subject.group.as_ref().ok_or_else(|| {
                    ActError::Cannot(
                        "no cgroup of it accounts memory here: `memmgr optimize pageout -p PID` works on a process, `memmgr doctor` tells what is missing".to_owned(),
                    )
                })?;
                Prepared::Reclaim(kernel::prepare_reclaim(group, *amount, *swappiness)?)
            }
            Action::PageOut(selection) => {
                needs_swap(roots, subject, selection)?;
                Prepared::Advise(Advice::PageOut, selection.clone())
            }
            Action::Cold(selection) => Prepared::Advise(Advice::Cold, selection.clone()),
            Action::Collapse(selection) => {
                if !roots.sys.join("kernel/mm/transparent_hugepage").exists() {
                    return Err(ActError::Cannot(
                        "this kernel has no transparent huge pages (CONFIG_TRANSPARENT_HUGEPAGE): `memmgr optimize compact` makes large blocks free \
                         for programs that ask for huge pages by hugetlbfs".to_owned(),
                    )
                    .into());
                }
                Prepared::Advise(Advice::Collapse, selection.clone())
            }
            Action::Compact { node } => Prepared::Compact(kernel::prepare_compact(roots, *node)?),
            Action::DropCaches(caches) => Prepared::DropCaches(*caches),
            Action::Merge => {
                let (file, run) = kernel::prepare_merge(roots)?;
                Prepared::Merge(file, run)
            }
            Action::Trim => Prepared::Trim(debugger::prepare(&only(subject).dir)?),
            Action::Gc => Prepared::Gc(collected(roots, subject)?),
        })
    }

    /// What will be done.
    pub(super) fn step(&self) -> String {
        match self {
            Prepared::Reclaim(reclaim) => reclaim.step(),
            Prepared::Advise(advice, _) => format!("process_madvise(2) with {}", advice.name()),
            Prepared::Compact(file) => format!("write \"1\" to {}", file.display()),
            Prepared::DropCaches(caches) => {
                format!("write {:?} to /proc/sys/vm/drop_caches", caches.code())
            }
            Prepared::Merge(file, run) => {
                format!("write \"1\" to {} (it is {run})", file.display())
            }
            Prepared::Trim(trim) => trim.step(),
            Prepared::Gc(Runtime::Jvm) => {
                "GC.run by the JVM's attach socket, as jcmd does, woken by SIGQUIT where it does not listen yet".to_owned()
            }
            Prepared::Gc(_) => {
                "HeapProfiler.collectGarbage by the inspector of Node.js, opened by SIGUSR1 where it is not open (a program with a \
                 handler of its own for SIGUSR1 runs that instead), and closed again".to_owned()
            }
        }
    }

    /// The mappings that are meant, of each process; nothing for actions that are not about mappings.
    pub(super) fn mappings(&self, subject: &Subject) -> Result<Vec<Chosen>, ActError> {
        let Prepared::Advise(_, selection) = self else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for member in &subject.members {
            match chosen(member, selection) {
                Ok(chosen) => all.extend(chosen),
                // One of many may end meanwhile.
                Err(error) if error.is_gone() && subject.is_crowd() => {}
                Err(error) => return Err(error),
            }
        }
        if all.is_empty() {
            return Err(ActError::Refused(
                "no mapping is meant that has anything in memory: nothing was done; `memmgr stat -p PID` shows what there is, --only and \
                 --name choose".to_owned(),
            ));
        }
        Ok(all)
    }

    /// Of the chosen mappings, those that were touched so since the referenced bits were cleared.
    pub(super) fn touched(
        subject: &Subject,
        all: &[Chosen],
        how: Touched,
    ) -> Result<Vec<Chosen>, ActError> {
        let mut left = Vec::new();
        for member in &subject.members {
            let own: Vec<Chosen> =
                all.iter().filter(|chosen| chosen.pid == member.identity.pid.0).cloned().collect();
            match figures(member) {
                Ok(figures) => left.extend(touched(&own, &figures, how)),
                Err(error) if error.is_gone() && subject.is_crowd() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    /// Does it.
    pub(super) fn run(
        &self,
        roots: &Roots,
        subject: &Subject,
        chosen: &[Chosen],
        heaps: &mut Option<Heaps>,
        pause: Pause<'_>,
    ) -> Result<Vec<String>, ActError> {
        match self {
            Prepared::Reclaim(reclaim) => reclaim.run(),
            Prepared::Advise(advice, _) => advise(roots, subject, chosen, *advice),
            Prepared::Compact(file) => kernel::compact(file),
            Prepared::DropCaches(caches) => kernel::drop_caches(roots, *caches),
            Prepared::Merge(file, run) => kernel::merge(file, run),
            Prepared::Trim(trim) => trim.run(&only(subject).dir),
            Prepared::Gc(_) => match heaps {
                Some(Heaps::Jvm(jvm)) => {
                    jvm.collect(pause)?;
                    Ok(vec!["the JVM ran GC.run".to_owned()])
                }
                Some(Heaps::Node(node)) => {
                    node.collect(pause)?;
                    Ok(vec!["Node.js ran HeapProfiler.collectGarbage".to_owned()])
                }
                None => Ok(Vec::new()),
            },
        }
    }

    /// Opens the runtime's own interface, for `gc`.
    pub(super) fn heaps(
        &self,
        subject: &Subject,
        pause: Pause<'_>,
    ) -> Result<Option<Heaps>, ActError> {
        let Prepared::Gc(runtime) = self else { return Ok(None) };
        let Member { dir, identity } = only(subject);
        let held = Held::of(dir)?;
        Ok(Some(match runtime {
            Runtime::Node => Heaps::Node(Box::new(Node::attach(&held, dir, identity, pause)?)),
            _ => Heaps::Jvm(Jvm::attach(&held, dir, identity, pause)?),
        }))
    }
}

/// The one process of actions that are about one.
fn only(subject: &Subject) -> &Member {
    subject.members.first().expect("such actions are over a process")
}

fn figures(member: &Member) -> Result<Vec<MappingFigures>, ActError> {
    Ok(read_mapping_figures(&member.dir)?)
}

fn chosen(member: &Member, selection: &Selection) -> Result<Vec<Chosen>, ActError> {
    let mappings = figures(member)?;
    let pointers = read_stack_pointers(&member.dir)?.known;
    Ok(choose(member.identity.pid.0, &mappings, selection, &pointers))
}

fn advise(
    roots: &Roots,
    subject: &Subject,
    chosen: &[Chosen],
    advice: Advice,
) -> Result<Vec<String>, ActError> {
    let mut steps = Vec::new();
    for member in &subject.members {
        let pid = member.identity.pid.0;
        let own: Vec<Chosen> = chosen.iter().filter(|chosen| chosen.pid == pid).cloned().collect();
        if own.is_empty() {
            continue;
        }
        let done = Held::of(&member.dir).and_then(|held| match advice {
            Advice::Collapse => held.collapse(roots, &member.dir, &own),
            Advice::Cold | Advice::PageOut => held.advise(&own, advice),
        });
        match done {
            Ok(done) => steps.extend(done),
            // What was done to the others is done: the rest is told.
            Err(error) if subject.is_crowd() && !matches!(error, ActError::Cannot(_)) => {
                steps.push(format!("process {pid}: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(steps)
}

/// Anonymous memory can go to swap only.
fn needs_swap(
    roots: &Roots,
    subject: &Subject,
    selection: &Selection,
) -> Result<(), OptimizeError> {
    if selection.only == Only::File {
        return Ok(());
    }
    let host = read_host(roots)?;
    let limit = subject.group.as_ref().and_then(MemoryCgroup::swap_room_bytes);
    let why = if host.swap_total_bytes == 0 {
        "this host has no swap"
    } else if host.swap_free_bytes == 0 {
        "this host's swap is full"
    } else if limit == Some(0) {
        "its cgroup may have no (more) swap (memory.swap.max)"
    } else {
        return Ok(());
    };
    Err(ActError::Cannot(format!(
        "{why}, and anonymous memory can go nowhere else: --only file takes pages of files; a swap file is made by \
         fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile, and `memmgr optimize cold` works without"
    ))
    .into())
}

/// The runtime that can be asked to collect garbage.
fn collected(roots: &Roots, subject: &Subject) -> Result<Runtime, OptimizeError> {
    let Member { dir, identity } = only(subject);
    let mappings = read_mappings(dir).map_err(ActError::from)?;
    match Runtime::of(dir, identity.exe.as_deref(), &mappings) {
        Some(runtime @ (Runtime::Jvm | Runtime::Node)) => {
            check_collectable(runtime, only(subject))?;
            Ok(runtime)
        }
        other => {
            let process = read_figures(dir).map_err(ActError::from)?;
            let cgroup = read_cgroup(roots, identity.pid);
            let own = matches!(other, Some(Runtime::Go))
                .then(|| {
                    GoProgram::open(roots, identity.pid).and_then(|program| program.look()).ok()
                })
                .flatten();
            let text = advice(other, identity.pid.0, &process, cgroup.as_ref(), own.as_ref());
            Err(ActError::Cannot(text).into())
        }
    }
}

/// Whether a runtime with an interface for it can be asked for a collection, as far as shows without asking it.
pub(super) fn check_collectable(runtime: Runtime, member: &Member) -> Result<(), ActError> {
    let Member { dir, identity } = member;
    match runtime {
        Runtime::Jvm => Jvm::find(dir, identity).map(drop),
        Runtime::Node => Node::check(dir, identity),
        Runtime::Go | Runtime::Python(_) | Runtime::DotNet => Ok(()),
    }
}

/// What is meant, in a line.
pub(super) fn summary(chosen: &[Chosen]) -> String {
    let bytes = chosen.iter().map(|chosen| chosen.rss_bytes).sum::<u64>();
    format!(
        "{} mapping{} with {} in memory",
        chosen.len(),
        if chosen.len() == 1 { "" } else { "s" },
        human_bytes(bytes)
    )
}
