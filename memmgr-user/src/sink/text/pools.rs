//! What an allocator holds, for a terminal.

mod glibc;
mod held;
mod jemalloc;

use super::{
    fragmentation,
    page::{Page, Style},
    served, words,
};
use crate::{
    pools::{Course, Pools, View},
    units::human_bytes,
};

/// The whole view: at most `top` rows of each table, in at most `width` columns.
pub fn pools(pools: &Pools, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    let version = if pools.view == View::Nothing { "its allocator" } else { &pools.version };
    page.paragraph(0, Style::Bold, format!("{} ({}), {version}", pools.comm, pools.pid));
    if pools.view != View::Nothing {
        looked(&mut page, pools);
    }
    if let Some(why) = &pools.why {
        let what = if pools.view == View::Nothing { "nothing" } else { "its mappings only" };
        page.styled_field("known", Style::Warn, format!("{what}: {why}"));
    }
    for other in &pools.beside {
        let (style, what) = if other.is_shown {
            (Style::Plain, "serves what does not call the one above: its arenas are below")
        } else {
            (Style::Warn, "is mapped too: what it serves is not in these figures")
        };
        page.styled_field("beside it", style, format!("{} {what}", other.library));
    }
    if let Some(rss) = pools.rss_bytes {
        page.field("RSS", human_bytes(rss));
    }
    if let Some(found) = &pools.jemalloc {
        jemalloc::jemalloc(&mut page, found, top);
    }
    if pools.allocator != "glibc" && pools.view != View::Nothing {
        held::held(&mut page, pools, top);
        held::settings(&mut page, pools, top);
    }
    if let Some(parameters) = &pools.parameters {
        glibc::glibc(&mut page, pools, parameters, top);
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

/// When, and how it is known.
fn looked(page: &mut Page, pools: &Pools) {
    let read = match pools.is_quiet {
        Some(true) => "read twice, and the same both times",
        Some(false) => "the process allocated meanwhile: figures are a moment apart",
        None => "of its mappings, from outside",
    };
    page.field("a snapshot", read);
    if let Some(why) = &pools.outdated {
        page.styled_field(
            "",
            Style::Warn,
            format!("from before the capture, since afterwards {why}"),
        );
    }
    page.field("found", format!("{}: {}", pools.library, pools.found));
}

/// What a capture saw of it.
fn over_time(page: &mut Page, course: &Course) {
    let Course { duration_s, windows_s, estimated, capture, .. } = course;
    if let Some(served) = &course.served {
        served::section(page, served, *duration_s, windows_s, *estimated);
    } else {
        page.heading("Hit and miss");
        let text = format!("Nothing was allocated in {}.", words::span(*duration_s));
        page.paragraph(2, Style::Dim, text);
    }
    page.field("captured", format!("{}{}", words::span(*duration_s), words::ended(&course.ended)));
    if capture.is_sampled() {
        let interval = human_bytes(capture.sample_interval_bytes);
        let text = format!(
            "samples, one per up to {interval} on average: the number of allocations is an estimate"
        );
        page.field("mode", text);
    }
    if let Some(windows) = &capture.observed {
        let text = format!(
            "allocations were counted for {} of the time, in {}, and scaled up: their number is an estimate",
            windows.percent(),
            words::counted(windows.windows, "window"),
        );
        page.styled_field("watched", Style::Warn, text);
    }
    if let Some(found) = &course.fragmentation {
        fragmentation::section(page, found);
    }
    if !course.complete {
        let text = "Not all calls were seen: `memmgr report -p PID` says what was lost.";
        page.paragraph(2, Style::Warn, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::{
        Beside, Bin, Counted, Held, Jemalloc, JemallocArena, Origin, Setting, Settings, View,
        fixture,
    };
    use crate::report::{Capture, Observed};

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
    fn each_allocator_beside_it_is_told_by_itself() {
        let beside = |library: &str, is_shown| Beside { library: library.to_owned(), is_shown };
        check(
            &Pools {
                beside: vec![beside("/libc.so.6", true), beside("/libmimalloc.so", false)],
                ..fixture::pools("jemalloc")
            },
            &[
                "/libc.so.6 serves what does not call the one above: its arenas are below",
                "/libmimalloc.so is mapped too: what it serves is not in these figures",
            ],
            &[],
        );
    }

    #[test]
    fn what_a_capture_saw_says_how_sure_it_is() {
        let course = |observed, interval, ended: &str| Course {
            duration_s: 3.0,
            ended: ended.to_owned(),
            capture: Capture {
                mode: "auto".to_owned(),
                sample_interval_bytes: interval,
                observed,
                ..Capture::default()
            },
            ..Course::default()
        };
        let with = |course| Pools { course: Some(course), ..fixture::pools("glibc") };
        let windows = Some(Observed { share: 0.5, windows: 7 });
        check(&with(course(None, 0, "duration")), &["captured      3.0s\n"], &["an estimate"]);
        check(
            &with(course(windows, 0, "exited")),
            &["3.0s, until the target exited", "for 50 % of the time, in 7 windows", "an estimate"],
            &["samples"],
        );
        check(
            &with(course(None, 4096, "duration")),
            &["samples, one per up to 4.0 KiB"],
            &["windows"],
        );
        check(
            &Pools {
                outdated: Some("the process ended".to_owned()),
                ..with(course(None, 0, "exited"))
            },
            &["from before the capture, since afterwards the process ended"],
            &[],
        );
        check(
            &Pools {
                view: View::Nothing,
                why: Some("it has no glibc".to_owned()),
                ..with(course(None, 0, ""))
            },
            &["its allocator", "nothing: it has no glibc", "Hit and miss"],
            &["a snapshot", "found", "Mappings"],
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
