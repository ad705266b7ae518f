//! A JVM's own way in: the attach socket, by which `jcmd` asks for a collection.
//!
//! Its protocol is that of HotSpot's `attachListener_posix.cpp`: a file `.attach_pidN` and SIGQUIT have it listen at
//! `/tmp/.java_pidN`; a request is the version, a command and three arguments, each ended by a zero byte; the answer is a code, a
//! newline and text.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid},
    process::Signal,
};

use super::{ActError, POLL, Pause, advise::Held, catches, check_running};
use crate::{
    escape::Safe,
    optimize::figures::Heap,
    source::{identity::Identity, process_dir::ProcessDir},
};

/// How long a JVM may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to tell its heap, which it does at a safepoint.
const TELLING: Duration = Duration::from_mins(1);
/// How long a full collection may take: minutes on a heap of hundreds of gigabytes.
const COLLECTION: Duration = Duration::from_mins(10);
/// An answer is a page of text.
const MOST_ANSWER: usize = 1 << 20;
/// Without it a JVM listens when it is asked to.
const DISABLED: &str = "-XX:+DisableAttachMechanism";
const ENABLED: &str = "-XX:-DisableAttachMechanism";

/// A JVM that listens.
#[derive(Debug)]
pub struct Jvm {
    /// `/tmp` as the JVM sees it.
    tmp: OwnedFd,
    /// Its number as it knows itself.
    number: u32,
    uid: u32,
}

impl Jvm {
    /// Finds where its socket is or will be. Nothing is done to it.
    ///
    /// # Errors
    /// When it stands still, may not be attached to, or would be ended by being asked to listen.
    pub fn find(dir: &ProcessDir, identity: &Identity) -> Result<Self, ActError> {
        check_running(identity)?;
        let number = identity.namespace_pids.last().copied().unwrap_or(identity.pid.0);
        let root = rustix::fs::open(
            dir.path().join("root"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| ActError::io("cannot open the root of the process", error))?;
        // A link that the process put there must not lead out of its root.
        let tmp = rustix::fs::openat2(
            &root,
            "tmp",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
        .map_err(|error| ActError::io("cannot open /tmp of the process", error))?;
        let jvm = Jvm { tmp, number, uid: identity.effective_uid };
        if !jvm.listens()? {
            check_wakeable(dir, identity)?;
        }
        Ok(jvm)
    }

    /// Finds its socket, and has it listen if it does not yet.
    ///
    /// # Errors
    /// As [`Jvm::find`], or when it does not begin to listen.
    pub fn attach(
        held: &Held,
        dir: &ProcessDir,
        identity: &Identity,
        pause: Pause<'_>,
    ) -> Result<Self, ActError> {
        let jvm = Self::find(dir, identity)?;
        if !jvm.listens()? {
            jvm.wake(held, pause)?;
        }
        Ok(jvm)
    }

    /// Collects garbage.
    ///
    /// # Errors
    /// When the JVM refuses, breaks off or takes too long, or the wait is interrupted.
    pub fn collect(&self, pause: Pause<'_>) -> Result<(), ActError> {
        self.jcmd("GC.run", COLLECTION, pause).map(drop)
    }

    /// Runs a command of `jcmd`; its output.
    fn jcmd(
        &self,
        command: &str,
        patience: Duration,
        pause: Pause<'_>,
    ) -> Result<String, ActError> {
        let failed = |error| ActError::io(format!("the JVM does not answer {command}"), error);
        let late = |why: String| {
            ActError::Refused(format!(
                "{why}: {command} is not answered, and the JVM may still do it when it gets to it"
            ))
        };
        let path = format!("/proc/self/fd/{}/{}", self.tmp.as_raw_fd(), self.socket());
        let mut stream = UnixStream::connect(path).map_err(failed)?;
        stream.write_all(format!("1\0jcmd\0{command}\0\0\0").as_bytes()).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let begin = Instant::now();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while answer.len() < MOST_ANSWER {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => answer.extend(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
                Err(_) if begin.elapsed() > patience => {
                    return Err(late(format!("{} s are over", patience.as_secs())));
                }
                Err(_) if !pause(POLL) => return Err(late("interrupted".to_owned())),
                Err(_) => {}
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        match answer.split_once('\n') {
            Some(("0", text)) => Ok(text.to_owned()),
            _ => Err(ActError::Refused(format!(
                "the JVM refuses {command}: {}",
                Safe::text(answer.trim())
            ))),
        }
    }

    /// The heap as it tells it.
    ///
    /// # Errors
    /// As [`Jvm::collect`], or when the collector's words are not known.
    pub fn heap(&self, pause: Pause<'_>) -> Result<Heap, ActError> {
        let text = self.jcmd("GC.heap_info", TELLING, pause)?;
        parse_heap(&text).ok_or_else(|| {
            ActError::Refused(format!(
                "the JVM tells its heap in words that memmgr does not know: {}",
                Safe::text(&text)
            ))
        })
    }

    fn socket(&self) -> String {
        format!(".java_pid{}", self.number)
    }

    /// Whether its socket is there. Anything else under that name was put there by somebody else.
    fn listens(&self) -> Result<bool, ActError> {
        match rustix::fs::statat(&self.tmp, self.socket(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(ActError::io("cannot look for the JVM's socket", error)),
            Ok(stat) => {
                let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
                if is_socket && stat.st_uid == self.uid {
                    return Ok(true);
                }
                Err(ActError::Refused(format!(
                    "/tmp/{} of the process is not a socket of the JVM's: nothing was done; remove it if nobody needs it",
                    self.socket()
                )))
            }
        }
    }

    /// Has it listen.
    fn wake(&self, held: &Held, pause: Pause<'_>) -> Result<(), ActError> {
        let _mark = Mark::make(self)?;
        held.signal(Signal::QUIT)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.listens()? {
                return Ok(());
            }
            if !pause(POLL) {
                return Err(ActError::Refused(
                    "interrupted while the JVM was asked to listen (SIGQUIT): no garbage was collected".to_owned(),
                ));
            }
        }
        Err(ActError::Cannot(format!(
            "the JVM did not listen within {} s after it got SIGQUIT: no garbage was collected; if attaching to it is disabled ({DISABLED}) it \
             has printed what its threads do to its standard output instead; `jcmd` cannot attach then either, and `memmgr optimize reclaim` \
             takes what is cold",
            PATIENCE.as_secs()
        )))
    }
}

/// Whether a JVM that does not listen can be asked to.
fn check_wakeable(dir: &ProcessDir, identity: &Identity) -> Result<(), ActError> {
    let instead = "`jcmd` cannot attach either, and `memmgr optimize reclaim` takes what is cold";
    let environment = dir.read("environ").unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment);
    if is_disabled(&environment, &identity.cmdline) {
        return Err(ActError::Cannot(format!(
            "attaching to this JVM is disabled ({DISABLED}): nothing was done; {instead}"
        )));
    }
    // SIGQUIT ends a process that does not take it.
    if !catches(dir, libc::SIGQUIT)? {
        return Err(ActError::Cannot(format!(
            "this JVM does not take SIGQUIT (-Xrs), by which it is asked to listen: nothing was done; {instead}"
        )));
    }
    Ok(())
}

/// Whether a JVM was started with attaching disabled: the last word counts, and the sources are read in this order
/// (`Arguments::parse` in HotSpot's arguments.cpp, "JDK_JAVA_OPTIONS" in the manual of `java`).
fn is_disabled(environment: &str, arguments: &[String]) -> bool {
    let of = |name: &str| {
        let value = environment
            .split('\0')
            .find_map(|pair| pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')));
        value.unwrap_or_default().split_whitespace()
    };
    let mut words = of("JAVA_TOOL_OPTIONS")
        .chain(of("JDK_JAVA_OPTIONS"))
        .chain(arguments.iter().map(String::as_str))
        .chain(of("_JAVA_OPTIONS"));
    words.rfind(|word| [DISABLED, ENABLED].contains(word)) == Some(DISABLED)
}

/// The file that tells the JVM what the signal means. Removed with this.
struct Mark<'a> {
    jvm: &'a Jvm,
    name: String,
}

impl<'a> Mark<'a> {
    fn make(jvm: &'a Jvm) -> Result<Self, ActError> {
        let name = format!(".attach_pid{}", jvm.number);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&jvm.tmp, &*name, flags, Mode::RUSR | Mode::WUSR);
        let file: File = match file {
            Ok(file) => file.into(),
            Err(error) => {
                return Err(ActError::io(format!("cannot make /tmp/{name} for the JVM"), error));
            }
        };
        let mark = Mark { jvm, name };
        // Java 8 takes only a file of its own user.
        rustix::fs::fchown(&file, Some(Uid::from_raw(jvm.uid)), None::<Gid>).map_err(|error| {
            ActError::io(format!("cannot give /tmp/{} to the JVM's user", mark.name), error)
        })?;
        Ok(mark)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        // It may have been removed by somebody else.
        let _ = rustix::fs::unlinkat(&self.jvm.tmp, &*self.name, AtFlags::empty());
    }
}

/// Adds up what `GC.heap_info` tells of each part of the heap, whichever collector it is. What holds classes is not heap.
fn parse_heap(text: &str) -> Option<Heap> {
    let mut heap = Heap::default();
    let mut found = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("Metaspace") || line.starts_with("class space") {
            continue;
        }
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let behind = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied().and_then(size)
        };
        let before = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            at.checked_sub(1).and_then(|at| size(words[at]))
        };
        // Serial, Parallel and G1: `total 1K, used 1K`; ZGC: `used 1M, capacity 1M`; Shenandoah: `1K committed, 1K used`.
        let part = (behind("total").zip(behind("used")))
            .or_else(|| behind("capacity").zip(behind("used")))
            .or_else(|| before("committed").zip(before("used")));
        if let Some((committed, used)) = part {
            heap.committed_bytes += committed;
            heap.used_bytes += used;
            found = true;
        }
    }
    found.then_some(heap)
}

/// `1024K`, `14M`, `1G`.
fn size(word: &str) -> Option<u64> {
    let unit = match word.chars().last()? {
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        'B' => 1,
        _ => return None,
    };
    word[..word.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_attaching_is_seen() {
        let check = |environment: &str, arguments: &[&str], expected| {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(
                is_disabled(environment, &arguments),
                expected,
                "{environment} {arguments:?}"
            );
        };
        check("", &["java", "-Xmx1g", "Main"], false);
        check("A=b\0", &["java", DISABLED, "Main"], true);
        check("", &["java", DISABLED, ENABLED, "Main"], false);
        check("JAVA_TOOL_OPTIONS=-Xmx1g -XX:+DisableAttachMechanism\0", &["java", "Main"], true);
        check("JAVA_TOOL_OPTIONS=-XX:+DisableAttachMechanism\0", &["java", ENABLED], false);
        check("X=\0_JAVA_OPTIONS=-XX:+DisableAttachMechanism\0", &["java", ENABLED], true);
        check("NOT_JAVA_TOOL_OPTIONS=-XX:+DisableAttachMechanism\0", &["java"], false);
    }

    #[track_caller]
    fn check(text: &str, expected: Option<(u64, u64)>) {
        let heap = parse_heap(text).map(|heap| (heap.used_bytes >> 10, heap.committed_bytes >> 10));
        assert_eq!(heap, expected);
    }

    #[test]
    fn every_collector_is_understood() {
        check(
            " garbage-first heap   total 260096K, used 4219K [0x0000000704c00000, 0x0000000800000000)\n  \
             region size 2048K, 2 young (4096K), 1 survivors (2048K)\n \
             Metaspace       used 174K, committed 384K, reserved 1114112K\n  class space    used 6K, committed 128K, reserved 1048576K\n",
            Some((4219, 260_096)),
        );
        check(
            " def new generation   total 78656K, used 5599K [0x1, 0x2, 0x3)\n  eden space 69952K,   8% used [0x1, 0x2, 0x3)\n  \
             from space 8704K,   0% used [0x1, 0x2, 0x3)\n tenured generation   total 174784K, used 100K [0x1, 0x2, 0x3)\n   \
             the space 174784K,   0% used [0x1, 0x2, 0x3, 0x4)\n",
            Some((5699, 253_440)),
        );
        check(
            " PSYoungGen      total 76288K, used 3932K [0x1, 0x2, 0x3)\n ParOldGen       total 175104K, used 8K [0x1, 0x2, 0x3)\n  \
             object space 175104K, 0% used [0x1,0x2,0x3)\n",
            Some((3940, 251_392)),
        );
        check(
            " ZHeap           used 14M, capacity 256M, max capacity 4096M\n",
            Some((14 << 10, 256 << 10)),
        );
        check(
            "Shenandoah Heap\n 4096M max, 4096M soft max, 256M committed, 1024K used\n 2048 x 2048K regions\n",
            Some((1024, 256 << 10)),
        );
        check("Epsilon Heap\nnothing\n", None);
    }
}
