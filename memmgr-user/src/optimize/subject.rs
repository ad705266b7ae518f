//! What an action is about, found once and held: whatever happens to its number or its path, it is this or nothing.

use super::{act::ActError, action::Scope, report};
use crate::{
    escape::Safe,
    source::{
        cgroup::MemoryCgroup,
        cgroup_tree::NoCgroup,
        identity::{Identity, State, identity},
        process_dir::{ProcessDir, ProcessError},
        roots::Roots,
    },
};

/// Two moments are the same when they are less than a clock tick apart: people type what a plan printed, rounded.
const SAME_START_S: f64 = 0.011;

/// What an action is about.
#[derive(Debug)]
pub(super) struct Subject {
    /// The process, or those of the cgroup; none for the host.
    pub(super) members: Vec<Member>,
    /// The cgroup, or that of the process.
    pub(super) group: Option<MemoryCgroup>,
    /// For the report.
    pub(super) facts: report::Subject,
}

/// A process, held.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) dir: ProcessDir,
    pub(super) identity: Identity,
}

impl Subject {
    /// Finds it.
    ///
    /// # Errors
    /// When it is not there, is not what was meant, or has no memory of its own.
    pub(super) fn find(roots: &Roots, scope: &Scope) -> Result<Self, super::OptimizeError> {
        match scope {
            Scope::Process(pid, started) => {
                let member = Member::find(ProcessDir::open(roots, *pid).map_err(ActError::from)?)?;
                let found = member.identity.start_time_s;
                if let Some(expected) = *started
                    && (found - expected).abs() > SAME_START_S
                {
                    return Err(ActError::Reused { pid: pid.0, found, expected }.into());
                }
                let facts = report::Subject {
                    kind: "process".to_owned(),
                    pid: Some(pid.0),
                    comm: Some(member.identity.comm.clone()),
                    start_time_s: Some(found),
                    cgroup: None,
                };
                let group = MemoryCgroup::find(roots, *pid);
                Ok(Subject { members: vec![member], group, facts })
            }
            Scope::Cgroup(path) => {
                let group = MemoryCgroup::named(roots, path).ok_or_else(|| {
                    NoCgroup(String::from_utf8_lossy(path.as_os_str().as_encoded_bytes()).into())
                })?;
                // Those that end meanwhile, or are threads of the kernel, are not meant.
                let members = group
                    .pids()
                    .into_iter()
                    .filter_map(|pid| Member::find(ProcessDir::open(roots, pid).ok()?).ok())
                    .collect();
                let facts = report::Subject {
                    kind: "cgroup".to_owned(),
                    cgroup: Some(group.shown()),
                    ..report::Subject::default()
                };
                Ok(Subject { members, group: Some(group), facts })
            }
            Scope::Host => {
                let facts =
                    report::Subject { kind: "host".to_owned(), ..report::Subject::default() };
                Ok(Subject { members: Vec::new(), group: None, facts })
            }
        }
    }

    /// Fails when the process that it is about has ended, and its number perhaps gone to another.
    pub(super) fn check_same(&self) -> Result<(), ProcessError> {
        match self.members.as_slice() {
            [one] if !self.is_crowd() => match identity(&one.dir)?.state {
                State::Zombie | State::Dead => {
                    Err(ProcessError::NoSuchProcess { pid: one.identity.pid })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether it is about whatever processes a cgroup has, of which some may end meanwhile, or it may have none.
    pub(super) fn is_crowd(&self) -> bool {
        self.facts.pid.is_none()
    }
}

impl Member {
    fn find(dir: ProcessDir) -> Result<Self, ActError> {
        let identity = identity(&dir)?;
        let pid = dir.pid();
        if identity.kernel_thread {
            return Err(ActError::Cannot(format!(
                "{pid} is a thread of the kernel ({}), which has no memory of its own; `memmgr optimize plan --host` is about the host",
                Safe::text(&identity.comm)
            )));
        }
        if matches!(identity.state, State::Zombie | State::Dead) {
            return Err(ProcessError::Ended { pid }.into());
        }
        Ok(Member { dir, identity })
    }
}
