//! `trim`: a debugger that is on the host calls the allocator's own function in the process.
//!
//! gdb stops the process, and one of its threads makes the call while the others run, so that a lock that another thread holds is
//! given back. A lock that the calling thread itself holds never is: only a thread that waits in a system call which no allocator
//! makes may call, and that is looked at once more when the process stands still.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};

use super::{ActError, check_running};
use crate::{
    allocator::elf::Elf,
    escape::Safe,
    pools::HEAP,
    source::{
        identity::identity,
        mappings::{Kind, Mapping, read_mappings},
        process_dir::ProcessDir,
    },
};

/// How long gdb may take to read symbols and to stop the process.
const ATTACH: Duration = Duration::from_mins(1);
/// How long the call may take, while the process stands still or waits for the allocator's locks.
const CALL: Duration = Duration::from_mins(1);
/// How long gdb may take to let the process go.
const DETACH: Duration = Duration::from_secs(20);

/// Functions that give free memory back, the allocators that replace libc's first: libc is always there.
const FUNCTIONS: [Purge; 6] = [
    Purge { symbol: "mallctl", allocator: "jemalloc", kind: Call::Mallctl },
    Purge { symbol: "je_mallctl", allocator: "jemalloc", kind: Call::Mallctl },
    Purge { symbol: "_rjem_mallctl", allocator: "jemalloc", kind: Call::Mallctl },
    Purge { symbol: "MallocExtension_ReleaseFreeMemory", allocator: "tcmalloc", kind: Call::Plain },
    Purge { symbol: "mi_collect", allocator: "mimalloc", kind: Call::One(1) },
    Purge { symbol: "malloc_trim", allocator: "glibc", kind: Call::One(0) },
];

struct Purge {
    symbol: &'static str,
    allocator: &'static str,
    kind: Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Without an argument.
    Plain,
    /// With one number.
    One(u64),
    /// jemalloc's `mallctl("arena.4096.purge", …)`: 4096 stands for all arenas (`MALLCTL_ARENAS_ALL`).
    Mallctl,
}

/// What is to be called where.
#[derive(Debug)]
pub struct Trim {
    gdb: PathBuf,
    pid: u32,
    allocator: &'static str,
    symbol: &'static str,
    expression: String,
    /// The thread that calls.
    tid: u32,
}

/// Finds out whether it can be done, without doing it.
///
/// # Errors
/// Without gdb, for an allocator that has no such function, and while no thread can make the call.
pub fn prepare(dir: &ProcessDir) -> Result<Trim, ActError> {
    let pid = dir.pid().0;
    let who = identity(dir)?;
    if let Some(tracer) = who.tracer {
        return Err(ActError::Refused(format!(
            "process {pid} is being traced by process {tracer}, and a process has one debugger at a time: nothing was done; end that one first"
        )));
    }
    check_running(&who)?;
    let mappings = read_mappings(dir)?;
    let (purge, address) = find(dir, &mappings).ok_or_else(|| {
        ActError::Cannot(format!(
            "process {pid} has no function that gives free memory back (malloc_trim of glibc, mallctl of jemalloc, those of tcmalloc and \
             mimalloc; musl has none): `memmgr optimize pageout -p {pid}` moves what is cold to swap"
        ))
    })?;
    let gdb = which::which("gdb").map_err(|_| {
        ActError::Cannot(format!(
            "there is no gdb on this host, by which {} of {} would be called: install it, or see to it at the program's next start: {}",
            purge.symbol,
            purge.allocator,
            setting(purge.allocator)
        ))
    })?;
    let tid = caller(dir)?.ok_or_else(|| {
        ActError::Refused(format!(
            "no thread of process {pid} waits in a system call in which it can hold no lock of its allocator: nothing was done; \
             try again when it is less busy, or see to it at its next start: {}",
            setting(purge.allocator)
        ))
    })?;
    let expression = match purge.kind {
        Call::Plain => format!("((void(*)(void)){address:#x})(),0"),
        Call::One(value) => format!("((int(*)(unsigned long)){address:#x})({value})"),
        Call::Mallctl => format!(
            "((int(*)(const char*,void*,unsigned long*,void*,unsigned long)){address:#x})(\"arena.4096.purge\",0,0,0,0)"
        ),
    };
    Ok(Trim { gdb, pid, allocator: purge.allocator, symbol: purge.symbol, expression, tid })
}

/// What makes an allocator give memory back by itself.
fn setting(allocator: &str) -> &'static str {
    match allocator {
        "jemalloc" => "MALLOC_CONF=background_thread:true,dirty_decay_ms:1000",
        "tcmalloc" => "TCMALLOC_RELEASE_RATE=10",
        "mimalloc" => "MIMALLOC_PURGE_DELAY=0",
        _ => "MALLOC_ARENA_MAX=2 and MALLOC_TRIM_THRESHOLD_=65536",
    }
}

/// The first of the functions that is mapped, and its address in the process.
fn find(dir: &ProcessDir, mappings: &[Mapping]) -> Option<(&'static Purge, u64)> {
    let mut found: Vec<(usize, u64)> = Vec::new();
    let mut seen = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.permissions.execute) {
        let Kind::File { .. } = &mapping.kind else { continue };
        let file = (mapping.device, mapping.inode);
        if seen.contains(&file) {
            continue;
        }
        seen.push(file);
        let link = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        let Ok(elf) = fs::File::open(dir.path().join(link))
            .map_err(drop)
            .and_then(|file| Elf::open(file).map_err(drop))
        else {
            continue;
        };
        let rank = |name: &str| FUNCTIONS.iter().position(|purge| purge.symbol == name);
        let symbols = elf.functions(|name, _, _| rank(name).is_some()).unwrap_or_default();
        for symbol in symbols {
            let (Some(rank), Ok(place)) = (rank(&symbol.name), symbol.place) else { continue };
            let address = mappings.iter().find_map(|part| {
                let is_there = (part.device, part.inode) == file
                    && part.permissions.execute
                    && (part.offset..part.offset + part.size()).contains(&place.0);
                is_there.then(|| part.start + (place.0 - part.offset))
            });
            found.extend(address.map(|address| (rank, address)));
        }
    }
    let (rank, address) = found.into_iter().min()?;
    Some((&FUNCTIONS[rank], address))
}

/// A thread that can make the call, the main one first.
fn caller(dir: &ProcessDir) -> Result<Option<u32>, ActError> {
    let mut tids = dir.thread_ids()?;
    tids.sort_by_key(|tid| (*tid != dir.pid().0, *tid));
    for tid in tids {
        if waits_outside(dir, tid)? {
            return Ok(Some(tid));
        }
    }
    Ok(None)
}

/// Whether a thread waits in a system call which no allocator makes.
fn waits_outside(dir: &ProcessDir, tid: u32) -> Result<bool, ActError> {
    let line = dir.read_optional(&format!("task/{tid}/syscall"))?.unwrap_or_default();
    Ok(is_outside(&String::from_utf8_lossy(&line)))
}

/// A line of `/proc/PID/syscall`: the number and six arguments in hexadecimal digits, or `running`, or `-1`.
fn is_outside(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let Some(number) = words.next().and_then(|word| word.parse::<libc::c_long>().ok()) else {
        return false;
    };
    let second =
        words.nth(1).and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    match number {
        // Condition variables and semaphores wait for a bitset, locks do not (sysdeps/nptl/futex-internal.c, lowlevellock.h).
        libc::SYS_futex => second.is_some_and(|operation| {
            operation & !(FUTEX_PRIVATE | FUTEX_REALTIME) == FUTEX_WAIT_BITSET
        }),
        libc::SYS_poll
        | libc::SYS_ppoll
        | libc::SYS_select
        | libc::SYS_pselect6
        | libc::SYS_epoll_wait
        | libc::SYS_epoll_pwait
        | libc::SYS_epoll_pwait2
        | libc::SYS_nanosleep
        | libc::SYS_clock_nanosleep
        | libc::SYS_pause
        | libc::SYS_rt_sigsuspend
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_accept
        | libc::SYS_accept4
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_read
        | libc::SYS_wait4
        | libc::SYS_waitid
        | libc::SYS_io_getevents
        | libc::SYS_io_uring_enter => true,
        _ => false,
    }
}

/// include/uapi/linux/futex.h
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_PRIVATE: u64 = 128;
const FUTEX_REALTIME: u64 = 256;

impl Trim {
    /// Whether it is glibc's, whose arenas can be read.
    pub fn is_of_glibc(&self) -> bool {
        self.allocator == "glibc"
    }

    /// Whether a mapping may be of the allocator, and so hold what is free.
    pub fn may_hold(&self, mapping: &Mapping) -> bool {
        let is_arena = mapping.start.is_multiple_of(HEAP) && mapping.size() <= HEAP;
        match mapping.kind {
            Kind::Heap => true,
            Kind::Anonymous { .. } if mapping.is_private_anonymous() => {
                self.allocator != "glibc" || is_arena
            }
            _ => false,
        }
    }

    /// What will be done.
    pub fn step(&self) -> String {
        format!(
            "gdb calls {} of {} in thread {} of process {}",
            self.symbol, self.allocator, self.tid, self.pid
        )
    }

    /// Does it.
    ///
    /// # Errors
    /// When gdb cannot attach, the thread has gone on meanwhile, or the call fails. The process goes on in any case.
    pub fn run(&self, dir: &ProcessDir) -> Result<Vec<String>, ActError> {
        let begin = Instant::now();
        let mut gdb = Gdb::start(&self.gdb)?;
        gdb.say(&format!("attach {}", self.pid))?;
        // Its own Python knows threads by the kernel's numbers; without Python there is the main thread, which it starts with.
        if self.tid != self.pid {
            gdb.say(&format!(
                "python [thread.switch() for thread in gdb.selected_inferior().threads() if thread.ptid[1] == {}]",
                self.tid
            ))?;
        }
        gdb.say("python print('memmgr-thread %d' % gdb.selected_thread().ptid[1])")?;
        gdb.say("echo memmgr-ready\\n")?;
        let said = gdb.until("memmgr-ready", ATTACH);
        let thread = said.lines.iter().find_map(|line| line.strip_prefix("memmgr-thread "));
        let is_the_one = match thread {
            Some(tid) => tid.trim() == self.tid.to_string(),
            // Without Python it stands at the main thread.
            None => self.tid == self.pid && said.done,
        };
        if !is_the_one {
            gdb.end();
            return Err(ActError::Refused(format!(
                "gdb cannot attach to process {}, so that nothing was done: {}",
                self.pid,
                said.last_words()
            )));
        }
        // Now that it stands still, what was seen before is certain or gone.
        if !waits_outside(dir, self.tid)? {
            gdb.end();
            return Err(ActError::Refused(format!(
                "thread {} of process {} had gone on when the process was stopped: nothing was called; try again",
                self.tid, self.pid
            )));
        }
        gdb.say(&format!("printf \"memmgr-result %d\\n\", (int)({})", self.expression))?;
        gdb.say("echo memmgr-called\\n")?;
        let mut said = gdb.until("memmgr-called", CALL);
        if !said.done {
            // gdb takes the call back (unwindonsignal).
            gdb.interrupt();
            said.merge(gdb.until("memmgr-called", DETACH));
        }
        let ended = gdb.end();
        let result = said
            .lines
            .iter()
            .find_map(|line| line.split_once("memmgr-result ")?.1.trim().parse::<i64>().ok());
        let Some(result) = result else {
            return Err(ActError::Refused(format!(
                "the call of {} in process {} failed: {}{}",
                self.symbol,
                self.pid,
                said.last_words(),
                if ended {
                    ""
                } else {
                    "; gdb did not end by itself: look whether the process runs"
                }
            )));
        };
        let mut steps = vec![format!("{}: it returned {result}", self.step())];
        steps.push(format!(
            "the process was held for at most {:.1} s",
            begin.elapsed().as_secs_f64()
        ));
        Ok(steps)
    }
}

/// A running gdb. When this is gone it has let go of the process: it ends with its input, also if memmgr is killed.
struct Gdb {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// What gdb said.
struct Said {
    lines: Vec<String>,
    /// The line that was waited for came.
    done: bool,
}

impl Said {
    fn merge(&mut self, more: Said) {
        self.lines.extend(more.lines);
        self.done |= more.done;
    }

    /// Its last words that say something.
    fn last_words(&self) -> Safe {
        let line = self
            .lines
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty() && !line.contains("memmgr-"));
        Safe::text(line.map_or("gdb said nothing in time", |line| line.trim()))
    }
}

impl Gdb {
    fn start(program: &std::path::Path) -> Result<Self, ActError> {
        let settings = [
            "set pagination off",
            "set confirm off",
            "set width 0",
            "set auto-load off",
            "set debuginfod enabled off",
            "set unwindonsignal on",
            "set print thread-events off",
        ];
        let mut command = Command::new(program);
        command.args(["-nx", "-q"]);
        for setting in settings {
            command.args(["-iex", setting]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at the terminal is memmgr's: gdb has to let go first.
            .process_group(0)
            .spawn()
            .map_err(|error| ActError::io("cannot start gdb", error))?;
        let (sender, lines) = channel();
        let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Gdb { input: child.stdin.take(), child, lines })
    }

    fn say(&mut self, line: &str) -> Result<(), ActError> {
        let input = self.input.as_mut().expect("its input is open until it ends");
        writeln!(input, "{line}").map_err(|error| ActError::io("gdb is gone", error))
    }

    /// What it says until a line with this word comes, or no time is left.
    fn until(&mut self, word: &str, limit: Duration) -> Said {
        let begin = Instant::now();
        let mut said = Said { lines: Vec::new(), done: false };
        loop {
            match self.lines.recv_timeout(limit.saturating_sub(begin.elapsed())) {
                Ok(line) => {
                    said.done = line.contains(word);
                    said.lines.push(line);
                    if said.done {
                        return said;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return said,
            }
        }
    }

    fn interrupt(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended this very moment.
            let _ = kill_process(pid, Signal::INT);
        }
    }

    /// Has it let go and end. Whether it did.
    fn end(&mut self) -> bool {
        let Some(mut input) = self.input.take() else { return true };
        // A gdb that is gone has let go.
        let _ = input.write_all(b"detach\nquit\n");
        drop(input);
        let begin = Instant::now();
        while begin.elapsed() < DETACH {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        if !self.end() {
            // The kernel lets go of what a debugger held when the debugger is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_hold_no_lock() {
        let check = |line: &str, expected: bool| assert_eq!(is_outside(line), expected, "{line}");
        check("232 0x4 0x7f 0x10 0xffffffff 0x0 0x8 0x7ffd 0x7f01", true);
        check("230 0x0 0x0 0x7ffd 0x7ffd 0x0 0x0 0x7ffd 0x7f01", true);
        // pthread_cond_wait, and a lock.
        check("202 0x7f 0x189 0x0 0x0 0x0 0xffffffff 0x7ffd 0x7f01", true);
        check("202 0x7f 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f01", false);
        // brk and madvise are what allocators call.
        check("12 0x0 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f01", false);
        check("28 0x0 0x0 0x4 0x0 0x0 0x0 0x7ffd 0x7f01", false);
        check("running", false);
        check("-1 0x7ffd 0x7f01", false);
        check("", false);
    }
}
