//! A process's resident memory, explained by its mappings.

use std::{collections::HashMap, path::Path};

use serde::{Deserialize, Serialize};

use super::Line;
use crate::{
    report::{
        Cgroup, Process,
        reconcile::{is_shared_memory, is_thread_stack},
    },
    source::mappings::{Kind, MappingFigures},
};

/// A process at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStat {
    /// Its number.
    pub pid: u32,
    /// The kernel's short name.
    pub comm: String,
    /// The executable; absent for a kernel thread, a zombie, or where it is refused.
    pub exe: Option<String>,
    /// Its arguments.
    pub cmdline: Vec<String>,
    /// Seconds from boot to its start.
    pub start_time_s: f64,
    /// The figures that every report has.
    #[serde(flatten)]
    pub figures: Process,
    /// They add up to `rss_bytes`; empty where the mappings could not be read.
    pub lines: Vec<Line>,
    /// Its mappings by what they are, the most resident first.
    pub groups: Vec<MappingGroup>,
    /// The cgroup that its memory is charged to.
    pub cgroup: Option<Cgroup>,
    /// Why something is absent.
    pub notes: Vec<String>,
}

/// What a mapping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// `[heap]`: what brk(2) gave, which glibc's main arena is made of.
    Heap,
    /// Private memory of no file: arenas of allocators, buffers, `.bss`.
    Anonymous,
    /// The same, executable: code that the process generated.
    GeneratedCode,
    /// `[stack]`: of the main thread.
    MainStack,
    /// Of the other threads, as far as they can be told.
    ThreadStack,
    /// The executable itself.
    Program,
    /// Another file with code in it.
    Library,
    /// Any other file.
    File,
    /// memfd, System V, `/dev/shm`, shared anonymous memory.
    SharedMemory,
    /// A device.
    Device,
    /// `[vdso]`, `[vvar]` and what else the kernel puts in.
    Special,
}

impl Use {
    /// All of them, in the order in which they are explained.
    pub const ALL: [Use; 11] = [
        Use::Heap,
        Use::Anonymous,
        Use::GeneratedCode,
        Use::MainStack,
        Use::ThreadStack,
        Use::Program,
        Use::Library,
        Use::File,
        Use::SharedMemory,
        Use::Device,
        Use::Special,
    ];

    /// As the JSON form has it.
    pub fn key(self) -> &'static str {
        match self {
            Use::Heap => "heap",
            Use::Anonymous => "anonymous",
            Use::GeneratedCode => "generated_code",
            Use::MainStack => "main_stack",
            Use::ThreadStack => "thread_stack",
            Use::Program => "program",
            Use::Library => "library",
            Use::File => "file",
            Use::SharedMemory => "shared_memory",
            Use::Device => "device",
            Use::Special => "special",
        }
    }

    /// For people.
    pub fn what(self) -> &'static str {
        match self {
            Use::Heap => "heap by brk: what the allocator holds, in use or kept",
            Use::Anonymous => "anonymous memory: other arenas of the allocator, own mappings, .bss",
            Use::GeneratedCode => "code that the process generated",
            Use::MainStack => "stack of the main thread",
            Use::ThreadStack => "stacks of the other threads",
            Use::Program => "the executable",
            Use::Library => "libraries",
            Use::File => "mapped files",
            Use::SharedMemory => "shared memory, which other processes may hold too",
            Use::Device => "devices",
            Use::Special => "special mappings of the kernel",
        }
    }
}

/// Mappings that are the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingGroup {
    /// What they are.
    pub kind: Use,
    /// The file, or the name that the process gave; empty where there is none.
    pub name: String,
    /// How many there are.
    pub mappings: u64,
    /// Address space.
    pub size_bytes: u64,
    /// Resident.
    pub rss_bytes: u64,
    /// Resident, shared pages divided by who shares them.
    pub pss_bytes: u64,
    /// Resident and mapped by nobody else: what ends with the process.
    pub private_bytes: u64,
    /// Written by the process, or of no file: only swap can take it.
    pub anon_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
    /// Locked in memory.
    pub locked_bytes: u64,
    /// In transparent huge pages.
    pub huge_bytes: u64,
}

/// Groups the mappings of a process, in the order of their addresses. `exe` is its executable, `stack_pointers` are those
/// of its blocked threads.
pub fn groups(
    mappings: &[MappingFigures],
    exe: Option<&Path>,
    stack_pointers: &[u64],
) -> Vec<MappingGroup> {
    let mut pointers = stack_pointers.to_vec();
    pointers.sort_unstable();
    let code: Vec<&Path> = mappings
        .iter()
        .filter(|figures| figures.mapping.permissions.execute)
        .filter_map(|figures| file(figures).map(|(path, _)| path))
        .collect();
    let mut groups: HashMap<(Use, String), MappingGroup> = HashMap::new();
    let mut below = None;
    for figures in mappings {
        let kind = if is_thread_stack(figures, below, &pointers) {
            Use::ThreadStack
        } else {
            use_of(figures, exe, &code)
        };
        below = Some(&figures.mapping);
        let name = name_of(figures);
        let group = groups.entry((kind, name.clone())).or_insert_with(|| MappingGroup {
            kind,
            name,
            mappings: 0,
            size_bytes: 0,
            rss_bytes: 0,
            pss_bytes: 0,
            private_bytes: 0,
            anon_bytes: 0,
            swap_bytes: 0,
            locked_bytes: 0,
            huge_bytes: 0,
        });
        group.mappings += 1;
        group.size_bytes += figures.mapping.size();
        group.rss_bytes += figures.rss;
        group.pss_bytes += figures.pss;
        group.private_bytes += figures.private_clean + figures.private_dirty;
        group.anon_bytes += figures.anonymous;
        group.swap_bytes += figures.swap;
        group.locked_bytes += figures.locked;
        group.huge_bytes += figures.anon_huge;
    }
    let mut groups: Vec<MappingGroup> = groups.into_values().collect();
    groups.sort_by(|a, b| {
        let order = (b.rss_bytes, b.size_bytes).cmp(&(a.rss_bytes, a.size_bytes));
        order.then_with(|| (a.kind, &a.name).cmp(&(b.kind, &b.name)))
    });
    groups
}

/// Lines that add up to the resident bytes of `status`, one for each use that has any.
pub fn lines(groups: &[MappingGroup], rss: Option<u64>) -> Vec<Line> {
    let resident = |kind: Use| {
        let bytes = groups.iter().filter(|group| group.kind == kind).map(|group| group.rss_bytes);
        Some(bytes.sum::<u64>()).filter(|bytes| *bytes > 0)
    };
    let parts = Use::ALL.map(|kind| (kind.key(), resident(kind), kind.what()));
    match rss {
        Some(rss) if !groups.is_empty() => {
            super::lines(rss, &parts, "unexplained: it is counted roughly, and changes meanwhile")
        }
        _ => Vec::new(),
    }
}

fn file(figures: &MappingFigures) -> Option<(&Path, bool)> {
    match &figures.mapping.kind {
        Kind::File { path, deleted } => Some((path, *deleted)),
        _ => None,
    }
}

fn use_of(figures: &MappingFigures, exe: Option<&Path>, code: &[&Path]) -> Use {
    let mapping = &figures.mapping;
    match &mapping.kind {
        Kind::Heap => Use::Heap,
        Kind::Stack => Use::MainStack,
        Kind::File { path, .. } if is_shared_memory(path) => Use::SharedMemory,
        Kind::File { path, .. } if path.starts_with("/dev") => Use::Device,
        Kind::File { path, .. } if Some(path.as_path()) == exe => Use::Program,
        Kind::File { path, .. } if code.contains(&path.as_path()) => Use::Library,
        Kind::File { .. } => Use::File,
        Kind::Anonymous { .. } if mapping.permissions.shared => Use::SharedMemory,
        Kind::Anonymous { .. } if mapping.permissions.execute => Use::GeneratedCode,
        Kind::Anonymous { .. } => Use::Anonymous,
        Kind::Vdso | Kind::Vsyscall | Kind::Other(_) => Use::Special,
    }
}

fn name_of(figures: &MappingFigures) -> String {
    match &figures.mapping.kind {
        Kind::File { path, deleted } => {
            let path = String::from_utf8_lossy(path.as_os_str().as_encoded_bytes()).into_owned();
            if *deleted { format!("{path} (deleted)") } else { path }
        }
        Kind::Anonymous { name } => name.clone().unwrap_or_default(),
        Kind::Heap | Kind::Stack => String::new(),
        Kind::Vdso => "[vdso]".to_owned(),
        Kind::Vsyscall => "[vsyscall]".to_owned(),
        Kind::Other(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mappings::parse_smaps;

    /// Lines of maps, each with its resident kB.
    fn mappings(lines: &[(&str, u64)]) -> Vec<MappingFigures> {
        let smaps: String = lines
            .iter()
            .map(|(line, rss)| format!("{line}\nRss: {rss} kB\nPss: {rss} kB\n"))
            .collect();
        parse_smaps(smaps.as_bytes()).unwrap()
    }

    #[test]
    fn mappings_are_what_they_are() {
        let mappings = mappings(&[
            ("1000-2000 r-xp 00000000 08:01 7    /usr/bin/server", 4),
            ("2000-3000 rw-p 00001000 08:01 7    /usr/bin/server", 4),
            ("4000-8000 rw-p 00000000 00:00 0    [heap]", 12),
            ("10000-20000 rw-p 00000000 00:00 0 ", 40),
            ("20000-21000 r-xp 00000000 00:00 0 ", 4),
            ("30000-31000 ---p 00000000 00:00 0 ", 0),
            ("31000-40000 rw-p 00000000 00:00 0 ", 8),
            ("50000-51000 r-xp 00000000 08:01 8    /lib/libc.so.6", 4),
            ("51000-52000 rw-p 00001000 08:01 8    /lib/libc.so.6", 4),
            ("60000-61000 r--p 00000000 08:01 9    /usr/share/words", 4),
            ("70000-71000 rw-s 00000000 00:01 10   /memfd:buffers (deleted)", 4),
            ("71000-72000 rw-s 00000000 00:05 11   /dev/nvidia0", 0),
            ("80000-81000 rw-p 00000000 00:00 0    [anon:named]", 4),
            ("90000-91000 rw-p 00000000 00:00 0    [stack]", 4),
            ("a0000-a1000 r-xp 00000000 00:00 0    [vdso]", 4),
        ]);
        let groups = groups(&mappings, Some(Path::new("/usr/bin/server")), &[0x3f000]);
        let shown: Vec<(Use, &str, u64, u64)> = groups
            .iter()
            .map(|group| (group.kind, group.name.as_str(), group.mappings, group.rss_bytes >> 10))
            .collect();
        assert_eq!(
            shown,
            [
                (Use::Anonymous, "", 2, 40),
                (Use::Heap, "", 1, 12),
                (Use::ThreadStack, "", 1, 8),
                (Use::Program, "/usr/bin/server", 2, 8),
                (Use::Library, "/lib/libc.so.6", 2, 8),
                (Use::Anonymous, "named", 1, 4),
                (Use::GeneratedCode, "", 1, 4),
                (Use::MainStack, "", 1, 4),
                (Use::File, "/usr/share/words", 1, 4),
                (Use::SharedMemory, "/memfd:buffers (deleted)", 1, 4),
                (Use::Special, "[vdso]", 1, 4),
                (Use::Device, "/dev/nvidia0", 1, 0),
            ]
        );
        let lines = lines(&groups, Some(101 << 10));
        assert_eq!(lines.iter().map(|line| line.bytes).sum::<i64>(), 101 << 10);
        assert_eq!(lines.last().map(|line| line.bytes), Some(1 << 10));
    }

    #[test]
    fn without_mappings_nothing_is_explained() {
        assert!(lines(&[], Some(1)).is_empty() && lines(&groups(&[], None, &[]), None).is_empty());
    }
}
