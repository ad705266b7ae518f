//! What could be done about what jemalloc, tcmalloc and mimalloc hold, with numbers. Pure.

use super::{Bin, Jemalloc, JemallocArena, Pools};
use crate::units::human_bytes;

/// Below this nobody would notice.
const NOTABLE: u64 = 16 << 20;
/// Room in slabs is much when it is this share of what is in use and free there.
const MUCH: f64 = 0.5;
/// What threads may keep is much when it is this share of what is written.
const CACHED: f64 = 0.25;
/// Sizes of blocks that are named.
const NAMED: usize = 3;

/// In the order in which they matter.
pub(super) fn advice(pools: &Pools) -> Vec<String> {
    let mut all = match &pools.jemalloc {
        Some(jemalloc) => of_arenas(pools, jemalloc),
        None => Vec::new(),
    };
    all.extend(of_settings(pools));
    let sum = |of: fn(&super::Held) -> u64| pools.held.iter().map(of).sum::<u64>();
    let (lazy, resident) = (sum(|held| held.lazily_freed_bytes), sum(|held| held.resident_bytes));
    if lazy >= NOTABLE {
        all.push(format!(
            "{} of the {} that are resident were given back already (MADV_FREE): the kernel takes them when memory is short, so that RSS \
             says that much more than is in use",
            human_bytes(lazy),
            human_bytes(resident),
        ));
    }
    let huge = sum(|held| held.huge_bytes);
    if huge >= NOTABLE && huge as f64 >= MUCH * resident as f64 {
        all.push(format!(
            "{} of the {} that are resident are in huge pages: one block in use keeps 2 MiB of them; where memory matters more than speed, \
             turn them off for this process (prctl PR_SET_THP_DISABLE{})",
            human_bytes(huge),
            human_bytes(resident),
            if pools.allocator == "jemalloc" { ", or thp:never in MALLOC_CONF" } else { "" },
        ));
    }
    all
}

fn of_arenas(pools: &Pools, jemalloc: &Jemalloc) -> Vec<String> {
    let arenas = &jemalloc.arenas;
    let sum = |of: fn(&JemallocArena) -> u64| arenas.iter().map(of).sum::<u64>();
    let mut all = Vec::new();
    let (dirty, active) = (sum(|arena| arena.dirty_bytes), sum(|arena| arena.active_bytes));
    let longest = arenas.iter().map(|arena| arena.dirty_decay_ms).max_by_key(|ms| decay_order(*ms));
    if dirty >= NOTABLE {
        let when = match longest {
            Some(ms) if ms < 0 => "dirty_decay_ms is -1, so that they never go back".to_owned(),
            Some(ms) => format!(
                "they go back over dirty_decay_ms = {ms}{}",
                if pools.settings.value("background_thread") == Some("true") {
                    ""
                } else {
                    ", and without background_thread only while the program allocates"
                }
            ),
            None => String::new(),
        };
        all.push(format!(
            "{} of free pages are kept beside {} in use: {when}; a lower dirty_decay_ms, and background_thread:true, in MALLOC_CONF give \
             them back sooner, at the cost of more page faults; `memmgr optimize trim -p {}` does it now",
            human_bytes(dirty),
            human_bytes(active),
            pools.pid,
        ));
    }
    let bins = jemalloc.sizes();
    let free: u64 = bins.iter().map(Bin::free_bytes).sum();
    let small: u64 = free + bins.iter().map(Bin::in_use_bytes).sum::<u64>();
    if free >= NOTABLE && free as f64 >= MUCH * small as f64 {
        all.push(format!(
            "{} of the {} of its slabs are room that no block uses (fragmentation), most of it for blocks of {}: no decay gives back a slab \
             with one block in it",
            human_bytes(free),
            human_bytes(small),
            largest(bins),
        ));
    }
    let idle: u64 = arenas
        .iter()
        .filter(|arena| arena.threads == 0)
        .map(|arena| arena.dirty_bytes + arena.free_bytes())
        .sum();
    if idle >= NOTABLE {
        all.push(format!(
            "{} are free in arenas without any thread ({} of {}; the process has {} threads): fewer arenas (narenas in MALLOC_CONF) share \
             what is free, at some cost where many allocate at once",
            human_bytes(idle),
            arenas.iter().filter(|arena| arena.threads == 0).count(),
            arenas.len(),
            pools.threads,
        ));
    }
    all
}

/// Never is the longest.
fn decay_order(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// The sizes with the most room, with it.
fn largest(mut bins: Vec<Bin>) -> String {
    bins.sort_by_key(|bin| std::cmp::Reverse((bin.free_bytes(), bin.size_bytes)));
    let named = bins.iter().take(NAMED).filter(|bin| bin.free_bytes() > 0);
    let named =
        named.map(|bin| format!("{} bytes ({})", bin.size_bytes, human_bytes(bin.free_bytes())));
    named.collect::<Vec<_>>().join(", ")
}

/// What the settings alone tell.
fn of_settings(pools: &Pools) -> Vec<String> {
    let settings = &pools.settings;
    let held: u64 = pools.held.iter().map(|held| held.private_dirty_bytes).sum();
    let mut all = Vec::new();
    if held < NOTABLE || pools.settings_assumed {
        return all;
    }
    let mut say = |text: String| all.push(text);
    let (held, shown) = (held as f64, human_bytes(held));
    match pools.allocator.as_str() {
        "jemalloc" if pools.jemalloc.is_none() => {
            if settings.number("dirty_decay_ms").is_some_and(|ms| ms < 0.0) {
                say(format!(
                    "dirty_decay_ms is -1: of {shown} that are written nothing that the program frees goes back to the kernel; \
                     dirty_decay_ms:10000 in MALLOC_CONF is the default"
                ));
            } else if settings.value("background_thread") == Some("false") {
                say(format!(
                    "without background_thread free pages go back only while the program allocates: an idle process keeps what it freed last \
                     of its {shown}; background_thread:true in MALLOC_CONF gives it back within dirty_decay_ms = {}",
                    settings.value("dirty_decay_ms").unwrap_or("10000"),
                ));
            }
        }
        "tcmalloc" => {
            if settings.number("TCMALLOC_RELEASE_RATE") == Some(0.0) {
                say(format!(
                    "TCMALLOC_RELEASE_RATE is 0: of {shown} that are written nothing that the program frees goes back to the kernel; 1 is the \
                     default, 10 gives back fast"
                ));
            }
            let most = settings.number("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES");
            // What one thread alone keeps it takes next, and no other lacks it; and what is not there nobody keeps.
            if let Some(most) = most.filter(|most| *most >= CACHED * held && pools.threads > 1) {
                let most = most.min(held);
                say(format!(
                    "threads ({} now) may keep {} for themselves together: of {shown} that are written so much may be free; \
                     TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES at the next start sets it",
                    pools.threads,
                    human_bytes(most as u64),
                ));
            }
        }
        "mimalloc" => {
            let delay = ["MIMALLOC_PURGE_DELAY", "MIMALLOC_DECOMMIT_DELAY", "MIMALLOC_RESET_DELAY"]
                .into_iter()
                .find_map(|name| Some((name, settings.number(name)?)));
            if let Some((name, ms)) = delay.filter(|(_, ms)| *ms < 0.0 || *ms > 1000.0) {
                let what = if ms < 0.0 {
                    "nothing that the program frees goes back to the kernel".to_owned()
                } else {
                    format!(
                        "what the program frees goes back to the kernel after {ms} ms at the earliest"
                    )
                };
                say(format!("{name} is {ms}: of {shown} that are written {what}"));
            }
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::{Counted, Held, Origin, Setting, Settings, fixture};

    const MIB: u64 = 1 << 20;

    fn pools(
        allocator: &str,
        dirty: u64,
        lazy: u64,
        huge: u64,
        settings: &[(&str, &str)],
    ) -> Pools {
        let settings = settings.iter().map(|(name, value)| Setting {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            origin: Origin::Environment,
        });
        let held = Held {
            name: "[anon]".to_owned(),
            resident_bytes: 100 * MIB,
            private_dirty_bytes: dirty * MIB,
            lazily_freed_bytes: lazy * MIB,
            huge_bytes: huge * MIB,
            ..Held::default()
        };
        Pools {
            held: vec![held],
            settings: Settings(settings.collect()),
            ..fixture::pools(allocator)
        }
    }

    fn arena(threads: u64, dirty: u64, decay_ms: i64, room: u64) -> JemallocArena {
        // Slabs of 64 KiB for blocks of 4 KiB, one block in each but those with room.
        let bin = Bin {
            size_bytes: 4096,
            slab_bytes: 64 << 10,
            slab_regions: 16,
            slabs: room * 16 + 16,
            regions: 256,
        };
        JemallocArena {
            threads,
            active_bytes: 50 * MIB,
            dirty_bytes: dirty * MIB,
            dirty_decay_ms: decay_ms,
            counted: Some(Counted { bins: vec![bin], ..Counted::default() }),
            ..JemallocArena::default()
        }
    }

    #[track_caller]
    fn check(pools: &Pools, expected: &[&str]) {
        let found = advice(pools);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (text, part) in found.iter().zip(expected) {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn settings_and_mappings_tell_what_could_be_done() {
        check(&pools("jemalloc", 8, 0, 0, &[("background_thread", "false")]), &[]);
        check(
            &pools(
                "jemalloc",
                80,
                20,
                0,
                &[("background_thread", "false"), ("dirty_decay_ms", "500")],
            ),
            &[
                "what it freed last of its 80.0 MiB; background_thread:true in MALLOC_CONF gives it back within dirty_decay_ms = 500",
                "20.0 MiB of the 100.0 MiB that are resident were given back already (MADV_FREE)",
            ],
        );
        check(
            &pools("jemalloc", 80, 0, 60, &[("dirty_decay_ms", "-1")]),
            &[
                "dirty_decay_ms is -1: of 80.0 MiB",
                "60.0 MiB of the 100.0 MiB that are resident are in huge pages",
            ],
        );
        check(
            &pools(
                "tcmalloc",
                80,
                0,
                0,
                &[
                    ("TCMALLOC_RELEASE_RATE", "0"),
                    ("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", "33554432"),
                ],
            ),
            &["TCMALLOC_RELEASE_RATE is 0: of 80.0 MiB", "threads (40 now) may keep 32.0 MiB"],
        );
        let cache = [("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", "33554432")];
        check(
            &pools("tcmalloc", 18, 0, 0, &cache),
            &["may keep 18.0 MiB for themselves together: of 18.0 MiB"],
        );
        check(&Pools { threads: 1, ..pools("tcmalloc", 80, 0, 0, &cache) }, &[]);
        check(
            &pools("mimalloc", 80, 0, 0, &[("MIMALLOC_PURGE_DELAY", "-1")]),
            &["MIMALLOC_PURGE_DELAY is -1: of 80.0 MiB"],
        );
        check(&pools("mimalloc", 80, 0, 0, &[("MIMALLOC_PURGE_DELAY", "10")]), &[]);
        check(&pools("musl", 80, 0, 0, &[]), &[]);
    }

    #[test]
    fn arenas_tell_what_could_be_done() {
        let with = |arenas: &[JemallocArena]| Pools {
            jemalloc: Some(Jemalloc {
                arenas: arenas.to_vec(),
                most_arenas: None,
                has_statistics: true,
            }),
            ..pools("jemalloc", 80, 0, 0, &[("background_thread", "false")])
        };
        check(&with(&[arena(1, 8, 10_000, 0)]), &[]);
        check(
            &with(&[arena(1, 20, 10_000, 0), arena(1, 20, 10_000, 0)]),
            &[
                "40.0 MiB of free pages are kept beside 100.0 MiB in use: they go back over dirty_decay_ms = 10000, and without background_thread",
            ],
        );
        check(&with(&[arena(1, 20, -1, 0)]), &["dirty_decay_ms is -1, so that they never go back"]);
        check(
            &with(&[arena(1, 0, 0, 30)]),
            &[
                "30.0 MiB of the 31.0 MiB of its slabs are room that no block uses (fragmentation), most of it for blocks of 4096 bytes (30.0 MiB)",
            ],
        );
        check(
            &with(&[arena(9, 0, 0, 0), arena(0, 15, 0, 2)]),
            &[
                "17.0 MiB are free in arenas without any thread (1 of 2; the process has 40 threads)",
            ],
        );
    }
}
