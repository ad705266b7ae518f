//! Who a process is: names, start time, state, cgroups, and what stands in the way of observing it.

use std::path::PathBuf;

use super::{
    cgroup_path::{Membership, container_id, parse_memberships},
    process::Stat,
    process_dir::{ProcessDir, ProcessError},
    roots::Roots,
    text,
};
use crate::{escape::Safe, units::Pid};

/// A process, apart from its memory. Names are as the kernel has them and hostile.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The process.
    pub pid: Pid,
    /// The kernel's short name; bytes that are no UTF-8 are replaced.
    pub comm: String,
    /// The executable; absent for kernel threads and zombies, and where it is refused.
    pub exe: Option<PathBuf>,
    /// The arguments; empty for kernel threads and zombies.
    pub cmdline: Vec<String>,
    /// Start in clock ticks since boot: with `pid` the identity of the process.
    pub start_time_ticks: u64,
    /// The same in seconds.
    pub start_time_s: f64,
    /// What it does now.
    pub state: State,
    /// True for a thread of the kernel, which has no memory of its own.
    pub kernel_thread: bool,
    /// Threads.
    pub threads: u64,
    /// Its cgroup in every hierarchy.
    pub cgroups: Vec<Membership>,
    /// The container that it runs in, from its cgroup paths.
    pub container_id: Option<String>,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub effective_uid: u32,
    /// Who traces it: a debugger, `strace`.
    pub tracer: Option<Pid>,
    /// Its seccomp mode; absent when the kernel has no seccomp.
    pub seccomp: Option<Seccomp>,
    /// Its number in every PID namespace, the reader's first and its own last.
    pub namespace_pids: Vec<u32>,
}

impl Identity {
    /// Fails for what has no memory: a thread of the kernel, or a process that has ended.
    pub fn expect_memory(&self) -> Result<(), ProcessError> {
        let pid = self.pid;
        if self.kernel_thread {
            return Err(ProcessError::KernelThread { pid, comm: Safe::text(&self.comm) });
        }
        if matches!(self.state, State::Zombie | State::Dead) {
            return Err(ProcessError::Ended { pid });
        }
        Ok(())
    }
}

/// The state of a process, see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `R`
    Running,
    /// `S`
    Sleeping,
    /// `D`
    DiskSleep,
    /// `T`
    Stopped,
    /// `t`
    Traced,
    /// `Z`: it has exited and waits for its parent; its memory is gone.
    Zombie,
    /// `X`
    Dead,
    /// `I`
    Idle,
    /// A letter that only other kernels have.
    Other(char),
}

impl State {
    fn from_letter(letter: char) -> Self {
        match letter {
            'R' => Self::Running,
            'S' => Self::Sleeping,
            'D' => Self::DiskSleep,
            'T' => Self::Stopped,
            't' => Self::Traced,
            'Z' => Self::Zombie,
            'X' | 'x' => Self::Dead,
            'I' => Self::Idle,
            other => Self::Other(other),
        }
    }
}

/// The seccomp mode of a process, see seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// None.
    Disabled,
    /// Only read, write, exit and sigreturn.
    Strict,
    /// A filter program.
    Filter,
    /// A mode that only other kernels have.
    Other(u64),
}

/// Reads who a process is. A thread's number is an error that names its process.
pub fn read_identity(roots: &Roots, pid: Pid) -> Result<Identity, ProcessError> {
    identity(&ProcessDir::open(roots, pid)?)
}

/// Like [`read_identity`], for a process that is held open.
pub fn identity(dir: &ProcessDir) -> Result<Identity, ProcessError> {
    let stat = Stat::read(dir)?;
    let status = dir.read("status")?;
    let value = |name: &str| {
        text::fields(&status).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    };
    let numbers = |name: &str| -> Vec<u64> {
        let words = value(name).unwrap_or_default().split(u8::is_ascii_whitespace);
        words.filter_map(text::decimal).collect()
    };

    match numbers("Tgid").first() {
        Some(&process) if process != u64::from(dir.pid().0) => {
            return Err(ProcessError::Thread { pid: dir.pid(), process: Pid(process as u32) });
        }
        _ => {}
    }
    let &[uid, effective_uid, ..] = numbers("Uid").as_slice() else {
        return Err(dir.malformed("status", "it has no line `Uid:` with numbers"));
    };
    let cgroups = parse_memberships(&dir.read_optional("cgroup")?.unwrap_or_default());
    Ok(Identity {
        pid: dir.pid(),
        comm: String::from_utf8_lossy(&stat.comm).into_owned(),
        exe: dir.read_link("exe")?,
        cmdline: arguments(&dir.read_optional("cmdline")?.unwrap_or_default()),
        start_time_ticks: stat.start_ticks,
        start_time_s: stat.start_ticks as f64 / procfs::ticks_per_second() as f64,
        state: State::from_letter(stat.state),
        kernel_thread: stat.is_kernel_thread(),
        threads: stat.threads,
        container_id: cgroups.iter().find_map(|membership| container_id(&membership.path)),
        cgroups,
        uid: uid as u32,
        effective_uid: effective_uid as u32,
        tracer: numbers("TracerPid").first().filter(|&&pid| pid != 0).map(|&pid| Pid(pid as u32)),
        seccomp: numbers("Seccomp").first().map(|&mode| match mode {
            0 => Seccomp::Disabled,
            1 => Seccomp::Strict,
            2 => Seccomp::Filter,
            other => Seccomp::Other(other),
        }),
        namespace_pids: numbers("NSpid").into_iter().map(|pid| pid as u32).collect(),
    })
}

/// The arguments end with a zero byte each; a process that rewrote its title may leave none.
fn arguments(content: &[u8]) -> Vec<String> {
    let content = content.strip_suffix(b"\0").unwrap_or(content);
    if content.is_empty() {
        return Vec::new();
    }
    content
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{
        process::tests::{STAT, STATUS},
        roots::fake::FakeTree,
    };

    #[test]
    fn identity_of_a_whole_tree() {
        let id = "0123456789abcdef".repeat(4);
        let tree = FakeTree::new(&[
            ("proc/7/status", STATUS),
            ("proc/7/cmdline", "server\0--port\0\u{0}"),
            ("proc/7/cgroup", &format!("0::/system.slice/docker-{id}.scope\n")),
        ]);
        tree.write("proc/7/stat", STAT);
        std::os::unix::fs::symlink("/opt/server (deleted)", tree.path().join("proc/7/exe"))
            .unwrap();
        let expected = Identity {
            pid: Pid(7),
            comm: "a) (b\n\u{fffd}".into(),
            exe: Some("/opt/server (deleted)".into()),
            cmdline: vec!["server".into(), "--port".into(), String::new()],
            start_time_ticks: 101_265,
            start_time_s: 101_265.0 / procfs::ticks_per_second() as f64,
            state: State::Sleeping,
            kernel_thread: false,
            threads: 4,
            cgroups: vec![Membership {
                hierarchy: 0,
                controllers: vec![],
                path: format!("/system.slice/docker-{id}.scope").into(),
            }],
            container_id: Some(id),
            uid: 1000,
            effective_uid: 1001,
            tracer: None,
            seccomp: Some(Seccomp::Filter),
            namespace_pids: vec![7, 1],
        };
        assert_eq!(read_identity(&tree.roots(), Pid(7)).unwrap(), expected);
    }

    #[test]
    fn kernel_threads_zombies_and_tracers_are_seen() {
        let tree = FakeTree::new(&[
            ("proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"),
            ("proc/2/status", "Tgid:\t2\nTracerPid:\t0\nUid:\t0\t0\t0\t0\n"),
            ("proc/3/stat", "3 (gone) Z 1 3 3 0 -1 4227084 0 0 0 0 0 0 0 0 20 0 1 0 9 0 0\n"),
            ("proc/3/status", "Tgid:\t3\nTracerPid:\t99\nUid:\t0\t0\t0\t0\nSeccomp:\t0\n"),
        ]);
        let kernel = read_identity(&tree.roots(), Pid(2)).unwrap();
        assert_eq!((kernel.kernel_thread, kernel.exe, kernel.cmdline.len()), (true, None, 0));
        let zombie = read_identity(&tree.roots(), Pid(3)).unwrap();
        assert_eq!((zombie.kernel_thread, zombie.state), (false, State::Zombie));
        assert_eq!((zombie.tracer, zombie.seccomp), (Some(Pid(99)), Some(Seccomp::Disabled)));
    }

    #[test]
    fn thread_is_sent_to_its_process() {
        let tree = FakeTree::new(&[("proc/8/status", STATUS)]);
        tree.write("proc/8/stat", STAT);
        let error = read_identity(&tree.roots(), Pid(8)).unwrap_err().to_string();
        assert_eq!(error, "8 is a thread of process 7: use `-p 7`");
    }

    #[test]
    fn own_identity() {
        let own = read_identity(&Roots::default(), Pid(std::process::id())).unwrap();
        assert_eq!(own.exe, std::env::current_exe().ok());
        assert_eq!(own.cmdline, std::env::args().collect::<Vec<_>>());
        assert_eq!(own.namespace_pids.last(), Some(&std::process::id()));
        assert!(own.start_time_s > 0.0 && own.threads > 1 && !own.kernel_thread, "{own:?}");
    }
}
