//! What could be done about what glibc holds, with numbers. Pure.

use super::{Arena, Parameters};
use crate::units::human_bytes;

/// Below this nobody would notice.
const NOTABLE: u64 = 16 << 20;
/// Free memory is much when it is this share of an arena.
const MUCH: f64 = 0.5;
/// Where the thresholds begin (`DEFAULT_MMAP_THRESHOLD`).
const USUAL_THRESHOLD: u64 = 128 << 10;

/// In the order in which they matter.
pub(super) fn advice(
    pid: u32,
    threads: u64,
    arenas: &[Arena],
    parameters: &Parameters,
) -> Vec<String> {
    let sum = |of: fn(&Arena) -> u64| arenas.iter().map(of).sum::<u64>();
    // Of an arena whose lists are not known, only the end is.
    let free_of = |arena: &Arena| arena.top_bytes + between(arena);
    let (free, system) = (sum(free_of), sum(|arena| arena.system_bytes));
    let is_all = arenas.iter().all(|arena| arena.between().is_some());
    let least = if is_all { "" } else { "at least " };
    let mut all = Vec::new();
    if free >= NOTABLE && free as f64 >= MUCH * system as f64 {
        all.push(format!(
            "{least}{} of the {} of its arenas are free: {} between blocks in use, {} at the ends; `memmgr optimize trim -p {pid}` gives back the pages of \
             it that are wholly free, also between blocks",
            human_bytes(free),
            human_bytes(system),
            human_bytes(sum(between)),
            human_bytes(sum(|arena| arena.top_bytes)),
        ));
    }
    let others: Vec<&Arena> = arenas.iter().filter(|arena| !arena.is_main).collect();
    let idle: u64 =
        others.iter().filter(|arena| arena.threads == 0).map(|arena| free_of(arena)).sum();
    let free_of_others: u64 = others.iter().map(|arena| free_of(arena)).sum();
    if others.len() > 1 && free_of_others >= NOTABLE {
        all.push(format!(
            "{} arenas for {threads} threads hold {least}{} free that other threads cannot use{}; MALLOC_ARENA_MAX=2 at the next start (or the tunable \
             glibc.malloc.arena_max) makes threads share, at some cost where many allocate at once",
            arenas.len(),
            human_bytes(free_of_others),
            if idle > 0 { format!(", {} of it in arenas without any thread", human_bytes(idle)) } else { String::new() },
        ));
    }
    if parameters.thresholds_rise
        && parameters.mmap_threshold_bytes > USUAL_THRESHOLD
        && free >= NOTABLE
    {
        all.push(format!(
            "blocks below {} come from the arenas, because a block of about that size was freed, and the end of the heap goes back only from {} on; \
             MALLOC_MMAP_THRESHOLD_={USUAL_THRESHOLD} at the next start keeps both where they begin, so that large blocks go back when they are freed",
            human_bytes(parameters.mmap_threshold_bytes),
            human_bytes(parameters.trim_threshold_bytes),
        ));
    }
    all
}

/// What is known to be free between blocks.
fn between(arena: &Arena) -> u64 {
    arena.between().map_or(0, |free| free.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Free;

    const MIB: u64 = 1 << 20;

    fn arena(is_main: bool, threads: u64, system: u64, top: u64, bins: u64) -> Arena {
        Arena {
            is_main,
            threads,
            system_bytes: system * MIB,
            top_bytes: top * MIB,
            bins: Some(Free { chunks: bins, bytes: bins * MIB }),
            fast_bins: Some(Free::default()),
            ..Arena::default()
        }
    }

    #[track_caller]
    fn check(arenas: &[Arena], threshold: u64, expected: &[&str]) {
        let parameters = Parameters {
            mmap_threshold_bytes: threshold,
            trim_threshold_bytes: 2 * threshold,
            thresholds_rise: true,
            ..Parameters::default()
        };
        let found = advice(7, 40, arenas, &parameters);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (text, part) in found.iter().zip(expected) {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn numbers_tell_what_could_be_done() {
        check(&[arena(true, 1, 100, 1, 2)], USUAL_THRESHOLD, &[]);
        check(
            &[arena(true, 1, 100, 20, 40)],
            USUAL_THRESHOLD,
            &[
                "60.0 MiB of the 100.0 MiB of its arenas are free: 40.0 MiB between blocks in use, 20.0 MiB at the ends",
            ],
        );
        check(
            &[arena(true, 1, 100, 1, 2), arena(false, 20, 60, 10, 10), arena(false, 0, 60, 5, 0)],
            USUAL_THRESHOLD,
            &[
                "3 arenas for 40 threads hold 25.0 MiB free that other threads cannot use, 5.0 MiB of it in arenas without any thread",
            ],
        );
        check(
            &[arena(true, 1, 100, 20, 10)],
            8 * MIB,
            &["blocks below 8.0 MiB come from the arenas"],
        );
        // The lists of one changed all the time.
        let busy = Arena { bins: None, fast_bins: None, ..arena(false, 9, 60, 30, 0) };
        check(
            &[arena(true, 1, 40, 20, 10), busy, arena(false, 1, 1, 0, 0)],
            USUAL_THRESHOLD,
            &[
                "at least 60.0 MiB of the 101.0 MiB of its arenas are free: 10.0 MiB between",
                "hold at least 30.0 MiB free",
            ],
        );
    }
}
