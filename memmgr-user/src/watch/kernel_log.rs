//! The kernel's own words when it kills a process for lack of memory: they come at once, with the victim's name.
//!
//! `/dev/kmsg` gives one record a read, `PRIORITY,SEQUENCE,TIME,FLAGS;TEXT`, see Documentation/ABI/testing/dev-kmsg. The
//! texts are those of `dump_global_header` and `__oom_kill_process` in mm/oom_kill.c.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};
use tokio::io::{Interest, unix::AsyncFd};

use crate::units::human_bytes;

/// A process that was killed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    /// The victim.
    pub pid: u32,
    /// Its name. Hostile.
    pub comm: String,
    /// Its resident anonymous memory.
    pub anon_bytes: u64,
    /// The cgroup whose limit was reached; none when the host was out of memory.
    pub limited: Option<String>,
    /// The cgroup that the victim was in.
    pub cgroup: Option<String>,
}

impl Kill {
    /// The group at its limit, that of the victim, and those that it is in.
    pub fn groups(&self) -> Vec<&str> {
        let own = self.cgroup.as_deref().unwrap_or("/");
        let above = Path::new(own).ancestors().filter_map(Path::to_str);
        self.limited.as_deref().into_iter().chain(above).collect()
    }

    /// What happened, for people.
    pub fn what(&self) -> String {
        let whose = match &self.limited {
            Some(group) => format!("cgroup {group} was at its limit"),
            None => "the host had no memory left".to_owned(),
        };
        let held = human_bytes(self.anon_bytes);
        format!("the kernel killed {} ({}), which held {held}: {whose}", self.comm, self.pid)
    }
}

/// Finds kills in lines that come one after the other.
#[derive(Debug, Default)]
struct Finder {
    /// From lines before the victims': their numbers, the limited groups, and their own. Kills in several groups at a time
    /// are announced before the first is made.
    announced: VecDeque<(u32, Option<String>, Option<String>)>,
}

/// Announcements that are remembered: the kernel kills in as many groups at a time as it has processors.
const MOST_ANNOUNCED: usize = 64;

impl Finder {
    fn line(&mut self, record: &str) -> Option<Kill> {
        // Only the kernel's own facility (0): others may write anything here.
        let (head, text) = record.split_once(';')?;
        let priority: u32 = head.split(',').next()?.parse().ok()?;
        if priority >> 3 != 0 {
            return None;
        }
        let text = unescaped(text.lines().next()?);
        if let Some(facts) = text.strip_prefix("oom-kill:") {
            // The victim's name stands between two facts and may hold commas: these come before it, and the number last.
            let fact = |name: &str| facts.split(',').find_map(|fact| fact.strip_prefix(name));
            let pid = facts.rsplit(',').find_map(|fact| fact.strip_prefix("pid="))?.parse().ok()?;
            let limited = fact("oom_memcg=").map(str::to_owned);
            self.announced.push_back((pid, limited, fact("task_memcg=").map(str::to_owned)));
            while self.announced.len() > MOST_ANNOUNCED {
                self.announced.pop_front();
            }
            return None;
        }
        let (_, victim) = text.split_once("Killed process ")?;
        let (pid, rest) = victim.split_once(" (")?;
        let (comm, figures) = rest.rsplit_once(") total-vm:")?;
        let pid = pid.parse().ok()?;
        let anon = figures.split(", ").find_map(|figure| figure.strip_prefix("anon-rss:"))?;
        let place = self.announced.iter().rposition(|(announced, ..)| *announced == pid);
        let (limited, cgroup) = place
            .and_then(|place| self.announced.remove(place))
            .map_or((None, None), |(_, limited, cgroup)| (limited, cgroup));
        Some(Kill {
            pid,
            comm: comm.to_owned(),
            anon_bytes: anon.strip_suffix("kB")?.parse::<u64>().ok()?.saturating_mul(1024),
            limited,
            cgroup,
        })
    }
}

/// Text as it was before the kernel wrote `\xNN` for what cannot be printed, is beyond ASCII, or is a backslash
/// (`msg_add_ext_text` in kernel/printk/printk.c).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let [first, rest @ ..] = left {
        let escaped = match left {
            [b'\\', b'x', high, low, rest @ ..] => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                digit(*high).zip(digit(*low)).map(|(high, low)| ((high * 16 + low) as u8, rest))
            }
            _ => None,
        };
        let (byte, rest) = escaped.unwrap_or((*first, rest));
        bytes.push(byte);
        left = rest;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The kernel's log from now on.
#[derive(Debug)]
pub struct KernelLog {
    file: AsyncFd<File>,
    finder: Finder,
}

impl KernelLog {
    /// Opens it.
    ///
    /// # Errors
    /// Where it is not there, or only for others (`kernel.dmesg_restrict`, containers).
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(path)?;
        file.seek(SeekFrom::End(0))?;
        // SAFETY: a `File` has one descriptor, which is open until the `AsyncFd` is dropped.
        let file = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?;
        Ok(KernelLog { file, finder: Finder::default() })
    }

    /// Waits for the next kill.
    ///
    /// # Errors
    /// When the log cannot be read any more.
    pub async fn kill(&mut self) -> io::Result<Kill> {
        // Longer records do not exist (CONSOLE_EXT_LOG_MAX).
        let mut record = [0; 8192];
        loop {
            let mut ready = self.file.readable_mut().await?;
            match ready.try_io(|file| file.get_mut().read(&mut record)) {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(length)) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    if let Some(kill) = self.finder.line(&text) {
                        return Ok(kill);
                    }
                }
                // Records that were overwritten before they were read: the next read goes on behind them.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(records: &[&str], expected: &[Kill]) {
        let mut finder = Finder::default();
        let found: Vec<Kill> = records.iter().filter_map(|record| finder.line(record)).collect();
        assert_eq!(found, expected, "{records:?}");
    }

    const OF_A_GROUP: &str = "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                              oom_memcg=/limited,task_memcg=/limited/web,task=a,pid=1,b,pid=4711,uid=0\n";
    const VICTIM: &str = "3,2,3,-;Memory cgroup out of memory: Killed process 4711 (a,pid=1,b) total-vm:9000kB, \
                          anon-rss:8000kB, file-rss:12kB, shmem-rss:0kB, UID:0 pgtables:60kB oom_score_adj:0\n";

    fn kill() -> Kill {
        Kill {
            pid: 4711,
            comm: "a,pid=1,b".to_owned(),
            anon_bytes: 8000 << 10,
            limited: None,
            cgroup: None,
        }
    }

    #[test]
    fn kills_are_found() {
        let limited = Kill {
            limited: Some("/limited".to_owned()),
            cgroup: Some("/limited/web".to_owned()),
            ..kill()
        };
        check(&[OF_A_GROUP, "6,9,9,-;other words\n", VICTIM], std::slice::from_ref(&limited));
        // Kills in two groups at a time.
        let other = OF_A_GROUP.replace("4711", "4712").replace("/limited", "/other");
        let of_other = VICTIM.replace("4711", "4712");
        let second = Kill {
            pid: 4712,
            limited: Some("/other".to_owned()),
            cgroup: Some("/other/web".to_owned()),
            ..kill()
        };
        check(&[OF_A_GROUP, &other, VICTIM, &of_other], &[limited.clone(), second]);
        // The announcement of another victim says nothing of this one.
        check(&[&OF_A_GROUP.replace("4711", "4712"), VICTIM], &[kill()]);
        let global =
            VICTIM.replace("Memory cgroup out", "Out").replace("(a,pid=1,b)", "(x) total-vm:1kB)");
        check(&[&global], &[Kill { comm: "x) total-vm:1kB".to_owned(), ..kill() }]);
        let escaped = VICTIM.replace("a,pid=1,b", r"\xc3\xa9\x1b\x5cx41\x4");
        check(&[&escaped], &[Kill { comm: "é\u{1b}\\x41\\x4".to_owned(), ..kill() }]);
    }

    #[test]
    fn only_the_kernel_is_believed() {
        check(&[&VICTIM.replace("3,2,3", "11,2,3")], &[]);
        check(&["", ";", "x;Killed process", "3,2,3,-;Killed process 7 (x) total-vm:1kB"], &[]);
    }
}
