//! The figures of one process: `status` and `stat` each interval, `smaps_rollup` rarely.

use super::{
    process_dir::{ProcessDir, ProcessError},
    roots::Roots,
    text,
};
use crate::{report::Process, units::Pid};

/// Every figure of a process, those that are expensive to make included.
///
/// For a zombie or a kernel thread the figures of its memory are absent.
pub fn read_process(roots: &Roots, pid: Pid) -> Result<Process, ProcessError> {
    let dir = ProcessDir::open(roots, pid)?;
    let mut process = read_figures(&dir)?;
    add_costly_figures(&dir, &mut process)?;
    Ok(process)
}

/// The figures that the kernel keeps anyway: two small files, no walk over page tables. For every interval.
pub fn read_figures(dir: &ProcessDir) -> Result<Process, ProcessError> {
    let stat = Stat::read(dir)?;
    let mut process = Process {
        minor_faults: Some(stat.minor_faults),
        major_faults: Some(stat.major_faults),
        ..Process::default()
    };
    for (key, value) in text::fields(&dir.read("status")?) {
        let figure = match key {
            b"VmRSS" => &mut process.rss_bytes,
            b"VmHWM" => &mut process.rss_peak_bytes,
            b"VmSize" => &mut process.virtual_bytes,
            b"RssAnon" => &mut process.anon_bytes,
            b"RssFile" => &mut process.file_bytes,
            b"RssShmem" => &mut process.shmem_bytes,
            b"VmSwap" => &mut process.swap_bytes,
            b"VmPTE" => &mut process.page_tables_bytes,
            b"VmLck" => &mut process.locked_bytes,
            b"HugetlbPages" => &mut process.hugetlb_bytes,
            b"Threads" => {
                process.threads = text::decimal(value);
                continue;
            }
            _ => continue,
        };
        *figure = text::kilobytes(value);
    }
    Ok(process)
}

/// Adds what the kernel must walk the target's page tables and mappings for, under its mmap lock: the
/// proportional and unique sets and the number of mappings. Once a report, never each interval.
pub fn add_costly_figures(dir: &ProcessDir, process: &mut Process) -> Result<(), ProcessError> {
    let sets = Sets::parse(&dir.read_optional("smaps_rollup")?.unwrap_or_default());
    process.pss_bytes = sets.map(|sets| sets.pss_bytes);
    process.uss_bytes = sets.map(|sets| sets.uss_bytes);
    // A zombie's list of mappings is empty because it has no memory any more, which is not "0 mappings".
    if process.virtual_bytes.is_some() {
        process.mappings = dir
            .read_optional("maps")?
            .map(|maps| maps.split_inclusive(|&byte| byte == b'\n').count() as u64);
    }
    Ok(())
}

/// What the kernel adds up over all mappings in `/proc/PID/smaps_rollup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// Resident set.
    pub rss_bytes: u64,
    /// Proportional set: shared pages divided by who shares them.
    pub pss_bytes: u64,
    /// Unique set: pages that nobody else has mapped.
    pub uss_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

impl Sets {
    /// Reads the file's content; absent where it is not all there.
    pub fn parse(rollup: &[u8]) -> Option<Self> {
        let mut sets = Sets::default();
        let mut found = 0;
        for (key, value) in text::fields(rollup) {
            let figure = match key {
                b"Rss" => &mut sets.rss_bytes,
                b"Pss" => &mut sets.pss_bytes,
                b"Private_Clean" | b"Private_Dirty" => &mut sets.uss_bytes,
                b"Swap" => {
                    sets.swap_bytes = text::kilobytes(value)?;
                    break;
                }
                _ => continue,
            };
            *figure += text::kilobytes(value)?;
            found += 1;
        }
        (found == 4).then_some(sets)
    }
}

/// Open descriptors of the process: since 6.2 the kernel tells their number as the size of the
/// directory (fs/proc/fd.c, f1f1f2569901); before, the entries are counted.
pub fn count_descriptors(dir: &ProcessDir) -> Option<u64> {
    let path = dir.path().join("fd");
    match std::fs::metadata(&path).ok()?.len() {
        0 => Some(std::fs::read_dir(&path).ok()?.count() as u64),
        count => Some(count),
    }
}

/// Where the threads' stacks are, as far as the kernel tells without disturbing them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackPointers {
    /// The stack pointer of every thread that was blocked.
    pub known: Vec<u64>,
    /// Threads that were running, had just exited, or whose state was refused.
    pub unknown: u64,
}

/// Reads the stack pointers of blocked threads from `/proc/PID/task/TID/syscall`, which stops nothing.
pub fn read_stack_pointers(dir: &ProcessDir) -> Result<StackPointers, ProcessError> {
    let mut pointers = StackPointers::default();
    for tid in dir.thread_ids()? {
        let content = dir.read_optional(&format!("task/{tid}/syscall"))?;
        match content.as_deref().and_then(stack_pointer) {
            Some(pointer) => pointers.known.push(pointer),
            None => pointers.unknown += 1,
        }
    }
    Ok(pointers)
}

/// The last two words are the stack pointer and the program counter, with the system call's arguments
/// before them or, outside of one, with only `-1`; a thread on a processor is just `running`.
fn stack_pointer(line: &[u8]) -> Option<u64> {
    let mut words = line.trim_ascii().rsplit(|&byte| byte == b' ');
    let _program_counter = text::hex(words.next()?)?;
    let pointer = text::hex(words.next()?)?;
    // Something stands before them, and a kernel thread has no user stack.
    words.next().filter(|_| pointer != 0).map(|_| pointer)
}

/// The fields of `/proc/PID/stat` that memmgr needs, see proc_pid_stat(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: Vec<u8>,
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) flags: u64,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

impl Stat {
    /// Whether it is a thread of the kernel: `PF_KTHREAD` of `include/linux/sched.h`.
    pub(super) fn is_kernel_thread(&self) -> bool {
        self.flags & 0x0020_0000 != 0
    }

    pub(super) fn read(dir: &ProcessDir) -> Result<Self, ProcessError> {
        let content = dir.read("stat")?;
        Self::parse(&content).ok_or_else(|| {
            dir.malformed(
                "stat",
                content.escape_ascii().take(400).map(char::from).collect::<String>(),
            )
        })
    }

    /// The name is anything, parentheses and newlines included, and no field after it holds a parenthesis.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        let open = content.iter().position(|&byte| byte == b'(')?;
        let close = content.iter().rposition(|&byte| byte == b')')?;
        let fields: Vec<&[u8]> =
            content[close + 1..].trim_ascii().split(|&byte| byte == b' ').collect();
        // The manual counts from 1, and the first field here is its third.
        let number = |field: usize| text::decimal(fields.get(field - 3)?);
        Some(Self {
            comm: content.get(open + 1..close)?.to_vec(),
            state: char::from(*fields.first()?.first()?),
            parent: number(4)?.try_into().ok()?,
            flags: number(9)?,
            minor_faults: number(10)?,
            major_faults: number(12)?,
            threads: number(20)?,
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::source::roots::fake::FakeTree;

    pub(crate) const STAT: &[u8] =
        b"7 (a) (b\n\xff) S 1 7 7 0 -1 4194304 101 5 3 6 1 2 0 0 20 0 4 0 101265 3133440 414 1844\n";
    pub(crate) const STATUS: &str = "\
Name:\tserver
State:\tS (sleeping)
Tgid:\t7
TracerPid:\t0
Uid:\t1000\t1001\t1000\t1000
NSpid:\t7\t1
VmPeak:\t    9000 kB
VmSize:\t    8000 kB
VmLck:\t       0 kB
VmHWM:\t     600 kB
VmRSS:\t     500 kB
RssAnon:\t     300 kB
RssFile:\t     190 kB
RssShmem:\t      10 kB
VmPTE:\t      40 kB
VmSwap:\t       8 kB
HugetlbPages:\t    2048 kB
Threads:\t4
Seccomp:\t2
";

    #[test]
    fn figures_of_a_whole_tree() {
        let tree = FakeTree::new(&[
            ("proc/7/status", STATUS),
            (
                "proc/7/smaps_rollup",
                "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss: 500 kB\nPss: 320 kB\n\
                 Pss_Dirty: 116 kB\nPrivate_Clean: 20 kB\nPrivate_Dirty: 280 kB\n",
            ),
            ("proc/7/maps", "first\nsecond\n"),
        ]);
        tree.write("proc/7/stat", STAT);
        let expected = Process {
            rss_bytes: Some(500 << 10),
            rss_peak_bytes: Some(600 << 10),
            virtual_bytes: Some(8000 << 10),
            pss_bytes: Some(320 << 10),
            uss_bytes: Some(300 << 10),
            anon_bytes: Some(300 << 10),
            file_bytes: Some(190 << 10),
            shmem_bytes: Some(10 << 10),
            swap_bytes: Some(8 << 10),
            page_tables_bytes: Some(40 << 10),
            locked_bytes: Some(0),
            hugetlb_bytes: Some(2 << 20),
            threads: Some(4),
            mappings: Some(2),
            minor_faults: Some(101),
            major_faults: Some(3),
        };
        assert_eq!(read_process(&tree.roots(), Pid(7)).unwrap(), expected);
    }

    #[test]
    fn zombie_has_no_memory_figures() {
        let tree = FakeTree::new(&[
            ("proc/7/status", "State:\tZ (zombie)\nThreads:\t1\n"),
            ("proc/7/maps", ""),
        ]);
        tree.write("proc/7/stat", STAT);
        let expected = Process {
            threads: Some(1),
            minor_faults: Some(101),
            major_faults: Some(3),
            ..Process::default()
        };
        assert_eq!(read_process(&tree.roots(), Pid(7)).unwrap(), expected);
    }

    #[test]
    fn stat_with_a_hostile_name() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(stat.comm, b"a) (b\n\xff");
        assert_eq!((stat.state, stat.threads, stat.start_ticks), ('S', 4, 101_265));
        assert_eq!((stat.parent, stat.virtual_bytes, stat.resident_pages), (1, 3_133_440, 414));
    }

    #[test]
    fn broken_stat_is_an_error_not_a_panic() {
        for content in [
            "",
            "(",
            ")(",
            "7 (x)",
            "7 (x) S 1 2",
            "7 (x) S a b c d e f g h i j k l m n o p q r s t",
        ] {
            let tree = FakeTree::new(&[("proc/7/stat", content), ("proc/7/status", STATUS)]);
            let error = read_process(&tree.roots(), Pid(7)).unwrap_err();
            assert!(matches!(error, ProcessError::Malformed { .. }), "{content}: {error}");
        }
    }

    #[test]
    fn stack_pointers_of_blocked_threads() {
        for (line, pointer) in [
            (
                "0 0x3 0x7f0 0x200 0x0 0xffffffff 0x0 0x7fffa948cfa8 0x7f718ccca2ad\n",
                Some(0x7fff_a948_cfa8),
            ),
            ("-1 0x7ffd11223344 0x55f27ce41000\n", Some(0x7ffd_1122_3344)),
            ("running\n", None),
            ("-1 0x0 0x0\n", None),
            ("0x1 0x2", None),
            ("", None),
        ] {
            assert_eq!(stack_pointer(line.as_bytes()), pointer, "{line}");
        }
    }

    #[test]
    fn own_figures_agree_with_each_other() {
        let process = read_process(&Roots::default(), Pid(std::process::id())).unwrap();
        let rss = process.rss_bytes.unwrap();
        assert_eq!(
            rss,
            process.anon_bytes.unwrap()
                + process.file_bytes.unwrap()
                + process.shmem_bytes.unwrap()
        );
        assert!(
            rss < process.virtual_bytes.unwrap() && process.pss_bytes.unwrap() > 0,
            "{process:?}"
        );
        assert!(process.mappings.unwrap() > 10 && process.minor_faults.unwrap() > 0, "{process:?}");
    }
}
