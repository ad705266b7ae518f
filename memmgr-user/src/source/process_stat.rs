//! A process, its mappings and its cgroup → what explains its resident memory.

use super::{
    cgroup::read_cgroup,
    identity::identity,
    mappings::read_mapping_figures,
    process::{add_costly_figures, read_figures, read_stack_pointers},
    process_dir::{ProcessDir, ProcessError},
    roots::Roots,
};
use crate::{
    stat::process::{ProcessStat, groups, lines},
    units::Pid,
};

/// Reads a process altogether. Where more rights would be needed than there are, the rest is there, and a note says so.
///
/// # Errors
/// When there is no such process, it ended meanwhile, or its basic figures cannot be read.
pub fn read_process_stat(roots: &Roots, pid: Pid) -> Result<ProcessStat, ProcessError> {
    let dir = ProcessDir::open(roots, pid)?;
    let identity = identity(&dir)?;
    let mut notes = Vec::new();
    let mappings = read_mapping_figures(&dir).or_else(|error| match error {
        ProcessError::Permission { .. } | ProcessError::Unsupported { .. } => {
            notes.push(format!("its mappings are not explained: {error}"));
            Ok(Vec::new())
        }
        error => Err(error),
    })?;
    // Right after the mappings, whose sum it is compared with.
    let mut figures = read_figures(&dir)?;
    if let Err(error) = add_costly_figures(&dir, &mut figures) {
        match error {
            ProcessError::Permission { .. } => notes.push(format!("no PSS and no USS: {error}")),
            error => return Err(error),
        }
    }
    if identity.kernel_thread {
        notes.push("it is a thread of the kernel, which has no memory of its own".to_owned());
    } else if figures.virtual_bytes.is_none() {
        notes.push("it has exited and waits for its parent: its memory is gone".to_owned());
    }
    // Without them no stack but the main thread's is told from other memory.
    let pointers = read_stack_pointers(&dir).map(|pointers| pointers.known).unwrap_or_default();
    let groups = groups(&mappings, identity.exe.as_deref(), &pointers);
    Ok(ProcessStat {
        pid: pid.0,
        lines: lines(&groups, figures.rss_bytes),
        groups,
        exe: identity
            .exe
            .map(|exe| String::from_utf8_lossy(exe.as_os_str().as_encoded_bytes()).into_owned()),
        comm: identity.comm,
        cmdline: identity.cmdline,
        start_time_s: identity.start_time_s,
        figures,
        cgroup: read_cgroup(roots, pid),
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_explained() {
        let stat = read_process_stat(&Roots::default(), Pid(std::process::id())).unwrap();
        let sum: i64 = stat.lines.iter().map(|line| line.bytes).sum();
        assert_eq!(sum, stat.figures.rss_bytes.unwrap() as i64);
        assert!(stat.lines.iter().any(|line| line.key == "program" && line.bytes > 1 << 20));
        assert!(stat.notes.is_empty(), "{:?}", stat.notes);
        // Other tests allocate in this process meanwhile: what is unexplained is small, not nothing.
        let unexplained = stat.lines.last().unwrap().bytes.unsigned_abs();
        assert!(unexplained < stat.figures.rss_bytes.unwrap() / 2, "{:?}", stat.lines);
    }
}
