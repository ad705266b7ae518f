//! Which mappings of a process an action is about.

use super::{
    action::{Only, Selection, Touched},
    report::Chosen,
};
use crate::source::mappings::{Kind, MappingFigures};

/// Size of a transparent huge page.
pub const HUGE_PAGE: u64 = 2 << 20;

/// A mapping is hardly touched when at most this share of what is resident was: allocators touch the odd page.
const HARDLY: f64 = 0.05;
/// And mostly when at least this share was.
const MOSTLY: f64 = 0.5;

/// The mappings that are meant, in the order of their addresses. `stack_pointers` are those of its threads: a stack is
/// never meant.
pub fn choose(
    pid: u32,
    mappings: &[MappingFigures],
    selection: &Selection,
    stack_pointers: &[u64],
) -> Vec<Chosen> {
    let is_stack = |figures: &MappingFigures| {
        stack_pointers.iter().any(|pointer| figures.mapping.contains(*pointer))
    };
    mappings
        .iter()
        .filter(|figures| figures.rss > 0 && figures.locked == 0 && figures.hugetlb == 0)
        .filter(|figures| is_of(&figures.mapping.kind, figures, selection.only))
        .filter(|figures| !is_stack(figures))
        .map(|figures| Chosen {
            pid,
            start: figures.mapping.start,
            end: figures.mapping.end,
            name: name(&figures.mapping.kind),
            rss_bytes: figures.rss,
        })
        .filter(|chosen| selection.name.as_ref().is_none_or(|name| name.matches(&chosen.name)))
        .collect()
}

/// Of the chosen, those that are touched so, by figures that were taken after the referenced bits had been cleared for a while.
pub fn touched(chosen: &[Chosen], mappings: &[MappingFigures], how: Touched) -> Vec<Chosen> {
    let is_so = |chosen: &&Chosen| {
        mappings.iter().any(|figures| {
            let is_same =
                (figures.mapping.start, figures.mapping.end) == (chosen.start, chosen.end);
            let share = figures.referenced as f64 / figures.rss.max(1) as f64;
            is_same
                && match how {
                    Touched::Hardly(_) => share <= HARDLY,
                    Touched::Mostly(_) => share >= MOSTLY,
                }
        })
    };
    chosen.iter().filter(is_so).cloned().collect()
}

fn is_of(kind: &Kind, figures: &MappingFigures, only: Only) -> bool {
    let is_anonymous = match kind {
        Kind::Heap => true,
        Kind::Anonymous { .. } => !figures.mapping.permissions.shared,
        _ => false,
    };
    let is_file = match kind {
        // Drivers' memory cannot be advised; shared memory has no file to go to.
        Kind::File { path, .. } => {
            !path.starts_with("/dev") && !path.starts_with("/SYSV") && !is_memory_file(path)
        }
        _ => false,
    };
    let is_shared_memory = match kind {
        Kind::File { path, .. } => is_memory_file(path),
        Kind::Anonymous { .. } => figures.mapping.permissions.shared,
        _ => false,
    };
    match only {
        Only::Anonymous => is_anonymous,
        Only::File => is_file,
        Only::All => is_anonymous || is_file || is_shared_memory,
    }
}

fn is_memory_file(path: &std::path::Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.starts_with(b"/memfd:") || bytes.starts_with(b"/dev/shm/")
}

fn name(kind: &Kind) -> String {
    match kind {
        Kind::File { path, .. } => {
            String::from_utf8_lossy(path.as_os_str().as_encoded_bytes()).into_owned()
        }
        Kind::Heap => "heap".to_owned(),
        Kind::Anonymous { name } => name.clone().unwrap_or_default(),
        Kind::Stack | Kind::Vdso | Kind::Vsyscall | Kind::Other(_) => String::new(),
    }
}

/// The aligned huge pages that lie whole inside of a mapping: their first addresses.
pub fn huge_extents(chosen: &Chosen) -> impl Iterator<Item = u64> + use<> {
    let first = chosen.start.next_multiple_of(HUGE_PAGE);
    let end = chosen.end / HUGE_PAGE * HUGE_PAGE;
    (first..end.max(first)).step_by(HUGE_PAGE as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pattern::Pattern, source::mappings::parse_smaps};

    const SMAPS: &str = "\
1000-2000 r-xp 00000000 08:01 7    /usr/bin/server
Rss: 4 kB
Referenced: 4 kB
4000-8000 rw-p 00000000 00:00 0    [heap]
Rss: 16 kB
Referenced: 0 kB
10000-20000 rw-p 00000000 00:00 0
Rss: 40 kB
Referenced: 4 kB
20000-21000 rw-p 00000000 00:00 0
Rss: 4 kB
Locked: 4 kB
22000-23000 rw-p 00000000 00:00 0
Rss: 0 kB
31000-40000 rw-p 00000000 00:00 0
Rss: 8 kB
50000-51000 rw-p 00000000 00:00 0    [anon:cache]
Rss: 4 kB
Referenced: 4 kB
60000-61000 r--s 00000000 08:01 9    /var/lib/index
Rss: 4 kB
70000-71000 rw-s 00000000 00:01 10   /memfd:buffers (deleted)
Rss: 4 kB
71000-72000 rw-s 00000000 00:05 11   /dev/nvidia0
Rss: 4 kB
90000-91000 rw-p 00000000 00:00 0    [stack]
Rss: 4 kB
";

    fn chosen(selection: &Selection) -> Vec<Chosen> {
        let mappings = parse_smaps(SMAPS.as_bytes()).unwrap();
        choose(7, &mappings, selection, &[0x3f000])
    }

    #[track_caller]
    fn check(only: Only, name: Option<&str>, starts: &[u64]) {
        let name = name.and_then(Pattern::new);
        let chosen = chosen(&Selection { only, name, touched: None });
        assert_eq!(chosen.iter().map(|chosen| chosen.start).collect::<Vec<_>>(), starts);
    }

    #[test]
    fn mappings_are_chosen_by_what_they_are() {
        check(Only::Anonymous, None, &[0x4000, 0x10000, 0x50000]);
        check(Only::File, None, &[0x1000, 0x60000]);
        check(Only::All, None, &[0x1000, 0x4000, 0x10000, 0x50000, 0x60000, 0x70000]);
        check(Only::Anonymous, Some("cache"), &[0x50000]);
        check(Only::Anonymous, Some("heap"), &[0x4000]);
        check(Only::All, Some("/var/*"), &[0x60000]);
        check(Only::File, Some("*.jar"), &[]);
    }

    #[test]
    fn mappings_are_chosen_by_what_is_touched() {
        let mappings = parse_smaps(SMAPS.as_bytes()).unwrap();
        let all = chosen(&Selection::default());
        let starts = |how| -> Vec<u64> {
            touched(&all, &mappings, how).iter().map(|chosen| chosen.start).collect()
        };
        let time = std::time::Duration::from_secs(1);
        assert_eq!(starts(Touched::Hardly(time)), [0x4000]);
        assert_eq!(starts(Touched::Mostly(time)), [0x50000]);
    }

    #[test]
    fn huge_pages_lie_inside() {
        let check = |start: u64, end: u64, extents: &[u64]| {
            let chosen = Chosen { start, end, ..Chosen::default() };
            assert_eq!(huge_extents(&chosen).collect::<Vec<_>>(), extents);
        };
        check(0x20_0000, 0x60_0000, &[0x20_0000, 0x40_0000]);
        check(0x20_1000, 0x60_0000, &[0x40_0000]);
        check(0x20_1000, 0x3f_f000, &[]);
        check(0x1000, 0x2000, &[]);
    }
}
