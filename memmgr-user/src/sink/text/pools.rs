//! What an allocator holds, for a terminal.

mod held;
mod jemalloc;

use super::{
    fragmentation,
    page::{Page, Style},
    served,
    stat::table,
    words,
};
use crate::{
    pools::{Arena, Course, Parameters, Pools},
    units::human_bytes,
};

/// The whole view: at most `top` rows of each table, in at most `width` columns.
pub fn pools(pools: &Pools, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    page.paragraph(0, Style::Bold, format!("{} ({}), {}", pools.comm, pools.pid, pools.version));
    let read = match pools.is_quiet {
        Some(true) => "read twice, and the same both times",
        Some(false) => "the process allocated meanwhile: figures are a moment apart",
        None => "of its mappings, from outside",
    };
    page.field("a snapshot", read);
    page.field("found", format!("{}: {}", pools.library, pools.found));
    if let Some(why) = &pools.why {
        let text = format!("its mappings only: {why}");
        page.styled_field("known", Style::Warn, text);
    }
    if let Some(other) = &pools.beside {
        let is_glibc = pools.parameters.is_some() && pools.allocator != "glibc";
        let (style, what) = if is_glibc {
            (Style::Plain, "serves what does not call the one above: its arenas are below")
        } else {
            (Style::Warn, "is mapped too: what it serves is not in these figures")
        };
        page.styled_field("beside it", style, format!("{other} {what}"));
    }
    if let Some(rss) = pools.rss_bytes {
        page.field("RSS", human_bytes(rss));
    }
    if let Some(found) = &pools.jemalloc {
        jemalloc::jemalloc(&mut page, found, top);
    }
    if pools.allocator != "glibc" {
        held::held(&mut page, pools, top);
        held::settings(&mut page, pools, top);
    }
    if let Some(parameters) = &pools.parameters {
        glibc(&mut page, pools, parameters, top);
    }
    if let Some(course) = &pools.course {
        over_time(&mut page, course);
    }
    if !pools.advice.is_empty() {
        page.heading("What could be done".to_owned());
        for text in &pools.advice {
            page.paragraph(2, Style::Plain, format!("→ {text}"));
        }
    }
    page.finish()
}

/// What a capture saw of it.
fn over_time(page: &mut Page, course: &Course) {
    let Course { duration_s, windows_s, estimated, .. } = course;
    if let Some(served) = &course.served {
        served::section(page, served, *duration_s, windows_s, *estimated);
    } else {
        page.heading("Hit and miss");
        let text = format!("Nothing was allocated in {}.", words::span(*duration_s));
        page.paragraph(2, Style::Dim, text);
    }
    if let Some(found) = &course.fragmentation {
        fragmentation::section(page, found);
    }
    if !course.complete {
        let text = "Not all calls were seen: `memmgr report -p PID` says what was lost.";
        page.paragraph(2, Style::Warn, text);
    }
}

/// glibc's arenas, and what governs them.
fn glibc(page: &mut Page, pools: &Pools, parameters: &Parameters, top: usize) {
    let sum = |of: fn(&Arena) -> u64| pools.arenas.iter().map(of).sum::<u64>();
    let (system, free) = (sum(|arena| arena.system_bytes), sum(Arena::free_bytes));
    let of = if pools.allocator == "glibc" { "" } else { " of glibc" };
    page.heading(format!("Heap{of}"));
    page.field(
        "of the kernel",
        format!(
            "{} in {}",
            human_bytes(system),
            words::counted(pools.arenas.len() as u64, "arena")
        ),
    );
    page.field(
        "in use",
        format!(
            "{}, with the blocks that threads keep for themselves",
            human_bytes(sum(|arena| arena.in_use_bytes))
        ),
    );
    let between = sum(|arena| arena.bins.bytes + arena.fast_bins.bytes);
    let chunks = sum(|arena| arena.bins.chunks + arena.fast_bins.chunks);
    page.field(
        "free",
        format!(
            "{} ({}): {} at the ends, {} between blocks in {}",
            human_bytes(free),
            words::share(free, system),
            human_bytes(sum(|arena| arena.top_bytes)),
            human_bytes(between),
            words::counted(chunks, "chunk"),
        ),
    );
    mapped(page, parameters);
    page.heading(format!("Arenas{of}"));
    arenas(page, pools, top);
    page.heading(format!("Settings{of}"));
    settings(page, pools, parameters);
}

fn mapped(page: &mut Page, parameters: &Parameters) {
    page.field(
        "mapped",
        format!(
            "{} in {} with a mapping of their own, {} at most",
            human_bytes(parameters.mapped_bytes),
            words::counted(parameters.mapped_count, "block"),
            human_bytes(parameters.most_mapped_bytes),
        ),
    );
}

fn arenas(page: &mut Page, pools: &Pools, top: usize) {
    let mut sorted: Vec<&Arena> = pools.arenas.iter().collect();
    sorted.sort_by_key(|arena| std::cmp::Reverse(arena.system_bytes));
    let rows: Vec<([String; 7], String)> = sorted
        .iter()
        .map(|arena| {
            let cells = [
                human_bytes(arena.system_bytes),
                arena.resident_bytes.map_or_else(|| "-".to_owned(), human_bytes),
                human_bytes(arena.in_use_bytes),
                human_bytes(arena.top_bytes),
                human_bytes(arena.bins.bytes + arena.fast_bins.bytes),
                words::count(arena.bins.chunks + arena.fast_bins.chunks),
                words::count(arena.threads),
            ];
            let name =
                if arena.is_main { "main".to_owned() } else { format!("{:#x}", arena.address) };
            (cells, name)
        })
        .collect();
    let head =
        ["of kernel", "resident", "in use", "free at end", "free between", "chunks", "threads"];
    table(page, head, "arena", &rows, top);
}

fn settings(page: &mut Page, pools: &Pools, parameters: &Parameters) {
    let rises = if parameters.thresholds_rise { "; rises with what is freed" } else { "; fixed" };
    page.field(
        "own mapping",
        format!("from {} on{rises}", human_bytes(parameters.mmap_threshold_bytes)),
    );
    page.field(
        "trimmed",
        format!(
            "when the end has more than {}{rises}",
            human_bytes(parameters.trim_threshold_bytes)
        ),
    );
    let most = match parameters.most_arenas {
        0 => "eight a processor".to_owned(),
        most => most.to_string(),
    };
    page.field(
        "arenas",
        format!("at most {most}; there are {}", words::counted(pools.threads, "thread")),
    );
    let cached = if parameters.cached_sizes == 0 || parameters.cached_per_size == 0 {
        "none".to_owned()
    } else {
        format!(
            "{} blocks of each of {} sizes up to {}",
            parameters.cached_per_size,
            parameters.cached_sizes,
            human_bytes(parameters.most_cached_bytes)
        )
    };
    page.field("of a thread", cached);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::{
        Bin, Counted, Held, Jemalloc, JemallocArena, Origin, Setting, Settings, View, fixture,
    };

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(shown: &Pools, present: &[&str], absent: &[&str]) {
        let text = pools(shown, 2, false, None);
        assert!(present.iter().all(|part| text.contains(part)), "{text}");
        assert!(!absent.iter().any(|part| text.contains(part)), "{text}");
    }

    #[test]
    fn of_mappings_it_says_why_no_more_is_known() {
        let held = |name: &str, lazily_freed_bytes| Held {
            name: name.to_owned(),
            mappings: 2,
            size_bytes: 9 * MIB,
            resident_bytes: 8 * MIB,
            lazily_freed_bytes,
            ..Held::default()
        };
        let setting = |name: &str, origin| Setting {
            name: name.to_owned(),
            value: "\u{1b}[2J".to_owned(),
            origin,
        };
        let shown = Pools {
            why: Some("it is stripped".to_owned()),
            held: vec![held("[anon]", 3 * MIB), held("[anon:\u{1b}x]", 0)],
            unplaced_stacks: Some(1),
            settings: Settings(vec![
                setting("narenas", Origin::Environment),
                setting("tcache", Origin::Default),
                setting("retain", Origin::Default),
            ]),
            ..fixture::pools("tcmalloc")
        };
        check(
            &shown,
            &[
                "of its mappings, from outside",
                "its mappings only: it is stripped",
                "9.0 MiB   8.0 MiB    0 B       3.0 MiB",
                "[anon]: the allocator's",
                "[anon:\\u{1b}x]: the name that the process gave",
                "narenas: \\u{1b}[2J (by its environment)",
                "and 1 setting more: --top 3",
                "1 thread ran",
            ],
            &["\u{1b}", "Heap", "What could be done"],
        );
    }

    #[test]
    fn of_jemalloc_it_says_what_is_in_use_and_what_is_not() {
        let bin = |size_bytes, slabs| Bin {
            size_bytes,
            slab_bytes: MIB,
            slab_regions: MIB / size_bytes,
            slabs,
            regions: MIB / size_bytes,
        };
        let arena = |index, bins| JemallocArena {
            index,
            threads: 3,
            active_bytes: 20 * MIB,
            dirty_bytes: MIB,
            dirty_decay_ms: 10_000,
            muzzy_decay_ms: -1,
            cached_bytes: Some(MIB / 2),
            counted: Some(Counted {
                large_count: 1,
                large_bytes: 2 * MIB,
                bins,
                ..Counted::default()
            }),
            ..JemallocArena::default()
        };
        let found = Jemalloc {
            arenas: vec![arena(0, vec![bin(4096, 4)]), arena(2, vec![bin(4096, 2), bin(512, 1)])],
            most_arenas: Some(8),
            has_statistics: true,
        };
        let with = |found| Pools {
            view: View::Arenas,
            is_quiet: Some(false),
            jemalloc: Some(found),
            ..fixture::pools("jemalloc")
        };
        check(
            &with(found.clone()),
            &[
                "figures are a moment apart",
                "40.0 MiB in 2 arenas of 8",
                "7.0 MiB in use, 1.0 MiB of it kept free by threads for themselves (tcache): 3.0 MiB small, 4.0 MiB in 2 large ones",
                "4.0 MiB (57.1%) of 7.0 MiB in 7 slabs",
                "10.0s/never",
                "4096 bytes",
            ],
            &["built without statistics", "its mappings only"],
        );
        let uncounted = Jemalloc {
            arenas: vec![JemallocArena { counted: None, ..arena(0, Vec::new()) }],
            has_statistics: false,
            ..found
        };
        check(&with(uncounted), &["built without statistics"], &["Small blocks", "in use, "]);
    }
}
