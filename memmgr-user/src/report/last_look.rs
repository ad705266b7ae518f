//! The figures of the target and the host at the end of a capture.

use crate::source::{
    cgroup::read_cgroup,
    host::read_host,
    mappings::{MappingFigures, read_mapping_figures},
    process::{StackPointers, add_costly_figures, read_figures, read_stack_pointers},
    process_dir::ProcessDir,
    roots::Roots,
};

use super::{Cgroup, Host, Process};

/// What is read once, the costly files included. A target that is gone has none.
#[derive(Clone, Debug, Default)]
pub struct LastLook {
    /// The target's own figures.
    pub process: Process,
    /// Its memory cgroup.
    pub cgroup: Option<Cgroup>,
    /// The host.
    pub host: Host,
    /// Every mapping with its figures.
    pub mappings: Vec<MappingFigures>,
    /// Where the threads' stacks are.
    pub stack_pointers: StackPointers,
}

impl LastLook {
    /// What is cheap to read, for every interval.
    pub fn brief(roots: &Roots, dir: &ProcessDir) -> Self {
        LastLook {
            process: read_figures(dir).unwrap_or_default(),
            cgroup: read_cgroup(roots, dir.pid()),
            host: read_host(roots).unwrap_or_default(),
            ..LastLook::default()
        }
    }

    /// Reads all of it. What cannot be read is absent: the target may have ended.
    pub fn take(roots: &Roots, dir: &ProcessDir) -> Self {
        let mut look = Self::brief(roots, dir);
        if let Err(error) = add_costly_figures(dir, &mut look.process) {
            tracing::debug!("{error}");
        }
        LastLook {
            mappings: read_mapping_figures(dir).unwrap_or_default(),
            stack_pointers: read_stack_pointers(dir).unwrap_or_default(),
            ..look
        }
    }
}
