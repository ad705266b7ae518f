//! What an allocator may hold, by the mappings of its process: all that can be told of one whose inside is not known.

use serde::{Deserialize, Serialize};

use super::HEAP;
use crate::{
    report::reconcile::is_thread_stack,
    source::{
        mappings::{Kind, Mapping, MappingFigures},
        memory::ProcessMemory,
    },
};

/// glibc's `heap_info`, which the first arena of a heap follows, is at most so large (malloc/arena.c; 48 bytes since 2.35).
const MOST_HEAP_INFO: u64 = 64;
/// What the kernel names anonymous memory of hugetlbfs (fs/hugetlbfs/inode.c, `HUGETLB_ANON_FILE`).
const HUGE_FILE: &str = "/anon_hugepage";

/// Mappings of one kind that an allocator may have: its own and others of the program are not told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// `[heap]`, `[anon:NAME]` with the name that the process gave, `[hugetlb]`, or `[anon]`. Hostile.
    pub name: String,
    /// How many there are.
    pub mappings: u64,
    /// Address space, in bytes.
    pub size_bytes: u64,
    /// Resident, with the pages of hugetlbfs.
    pub resident_bytes: u64,
    /// Resident and written by this process: only swap or the process can free it.
    pub private_dirty_bytes: u64,
    /// Resident and given back by MADV_FREE: the kernel takes it when it is short of memory.
    pub lazily_freed_bytes: u64,
    /// In huge pages, transparent ones or of hugetlbfs.
    pub huge_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

/// Groups a process's private writable memory of no file, the most resident first: without what is a stack, code, or a heap of
/// glibc's. `stack_pointers` are those of blocked threads; `brk_is_taken` says that what brk gave is glibc's main heap.
pub(super) fn held(
    mappings: &[MappingFigures],
    memory: &ProcessMemory,
    stack_pointers: &[u64],
    brk_is_taken: bool,
) -> Vec<Held> {
    let mut pointers = stack_pointers.to_vec();
    pointers.sort_unstable();
    let starts: Vec<u64> = mappings.iter().map(|figures| figures.mapping.start).collect();
    let mut groups: Vec<Held> = Vec::new();
    let mut below = None;
    for figures in mappings {
        let is_stack = is_thread_stack(figures, below, &pointers);
        let mapping = &figures.mapping;
        below = Some(mapping);
        let is_glibc = || {
            if mapping.kind == Kind::Heap {
                return brk_is_taken;
            }
            let owner = mapping.start.is_multiple_of(HEAP).then(|| memory.word(mapping.start));
            owner.is_some_and(|owner| owner.is_ok_and(|owner| is_heap_of_glibc(owner, &starts)))
        };
        let Some(name) = name_of(mapping).filter(|_| !is_stack && !is_glibc()) else { continue };
        let at = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            groups.push(Held { name, ..Held::default() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.mappings += 1;
        group.size_bytes += mapping.size();
        group.resident_bytes += figures.rss + figures.hugetlb;
        group.private_dirty_bytes += figures.private_dirty;
        group.lazily_freed_bytes += figures.lazily_freed;
        group.huge_bytes += figures.anon_huge + figures.hugetlb;
        group.swap_bytes += figures.swap;
    }
    groups.sort_by(|a, b| {
        let order = (b.resident_bytes, b.size_bytes).cmp(&(a.resident_bytes, a.size_bytes));
        order.then_with(|| a.name.cmp(&b.name))
    });
    groups
}

fn name_of(mapping: &Mapping) -> Option<String> {
    let is_own =
        mapping.permissions.write && !mapping.permissions.shared && !mapping.permissions.execute;
    match &mapping.kind {
        _ if !is_own => None,
        Kind::Heap => Some("[heap]".to_owned()),
        Kind::Anonymous { name: None } => Some("[anon]".to_owned()),
        Kind::Anonymous { name: Some(name) } => Some(format!("[anon:{name}]")),
        Kind::File { path, .. } if path.as_os_str() == HUGE_FILE => Some("[hugetlb]".to_owned()),
        _ => None,
    }
}

/// Whether the first word of a mapping that is aligned as glibc's heaps are leads to an arena: it is in the first heap of its own,
/// right behind the head (`ar_ptr` of `heap_info`).
fn is_heap_of_glibc(owner: u64, starts: &[u64]) -> bool {
    let inside = owner % HEAP;
    (1..=MOST_HEAP_INFO).contains(&inside)
        && inside.is_multiple_of(16)
        && starts.binary_search(&(owner - inside)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::source::mappings::parse_smaps;

    #[test]
    fn what_an_allocator_may_hold() {
        let text = "\
10000-20000 rw-p 00000000 08:01 7    /usr/bin/server
20000-40000 rw-p 00000000 00:00 0    [heap]
Rss: 64 kB
Private_Dirty: 60 kB
Swap: 4 kB
4000000-4020000 rw-p 00000000 00:00 0
Rss: 99 kB
4020000-8000000 ---p 00000000 00:00 0
8000000-8020000 rw-p 00000000 00:00 0
Rss: 128 kB
9000000-9100000 rw-p 00000000 00:00 0
Rss: 900 kB
Private_Dirty: 800 kB
LazyFree: 50 kB
AnonHugePages: 512 kB
a000000-a001000 ---p 00000000 00:00 0
a001000-a100000 rw-p 00000000 00:00 0
Rss: 8 kB
b000000-b100000 rw-p 00000000 00:00 0    [anon:pool]
Rss: 16 kB
c000000-c100000 rwxp 00000000 00:00 0
Rss: 32 kB
d000000-d200000 rw-p 00000000 00:0f 9    /anon_hugepage (deleted)
Private_Hugetlb: 2048 kB
e000000-e100000 rw-s 00000000 00:01 9    /dev/zero (deleted)
Rss: 32 kB
f000000-f100000 rw-p 00000000 00:00 0    [stack]
";
        // Of the mappings that are aligned as glibc's heaps are, the first belongs to an arena and the other does not.
        let mut file = tempfile::tempfile().unwrap();
        for (at, word) in [(0x400_0000, 0x400_0030_u64), (0x800_0000, 0x400_0008)] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&word.to_le_bytes()).unwrap();
        }
        let mappings = parse_smaps(text.as_bytes()).unwrap();
        let memory = ProcessMemory::new(file);
        let found = held(&mappings, &memory, &[0xa0f_f000], false);
        let shown: Vec<String> = found
            .iter()
            .map(|held| {
                let bytes = [
                    held.size_bytes,
                    held.resident_bytes,
                    held.private_dirty_bytes,
                    held.lazily_freed_bytes,
                    held.huge_bytes,
                    held.swap_bytes,
                ];
                format!("{} {} {:?}", held.name, held.mappings, bytes.map(|bytes| bytes >> 10))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "[hugetlb] 1 [2048, 2048, 0, 0, 2048, 0]",
                "[anon] 2 [1152, 1028, 800, 50, 512, 0]",
                "[heap] 1 [128, 64, 60, 0, 0, 4]",
                "[anon:pool] 1 [1024, 16, 0, 0, 0, 0]",
            ]
        );
        let without = held(&mappings, &memory, &[0xa0f_f000], true);
        assert!(without.len() == 3 && without.iter().all(|held| held.name != "[heap]"));
    }
}
