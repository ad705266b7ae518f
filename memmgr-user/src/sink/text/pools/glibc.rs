//! glibc's arenas, and what governs them.

use super::super::{
    page::{Page, Style},
    stat::table,
    words,
};
use crate::{
    pools::{Arena, Free, Parameters, Pools},
    units::human_bytes,
};

/// Its sums, its arenas, and the parameters.
pub(super) fn glibc(page: &mut Page, pools: &Pools, parameters: &Parameters, top: usize) {
    let sum = |of: fn(&Arena) -> u64| pools.arenas.iter().map(of).sum::<u64>();
    let system = sum(|arena| arena.system_bytes);
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
    let ends = sum(|arena| arena.top_bytes);
    let in_use = pools.arenas.iter().map(|arena| arena.in_use_bytes).sum::<Option<u64>>();
    let between = pools.arenas.iter().map(Arena::between).collect::<Option<Vec<Free>>>();
    if let Some((in_use, between)) = in_use.zip(between) {
        page.field("in use", used(in_use, parameters.mapped_bytes));
        let bytes: u64 = between.iter().map(|free| free.bytes).sum();
        page.field(
            "free",
            format!(
                "{} ({}): {} at the ends, {} between blocks in {}",
                human_bytes(ends + bytes),
                words::share(ends + bytes, system),
                human_bytes(ends),
                human_bytes(bytes),
                words::counted(between.iter().map(|free| free.chunks).sum(), "chunk"),
            ),
        );
    } else {
        let text = "not known: the process changed its lists of free chunks each time that they were read; try again when it is less busy";
        page.styled_field("in use", Style::Warn, text);
        let text = format!("{} at the ends; between blocks not known", human_bytes(ends));
        page.field("free", text);
    }
    mapped(page, parameters);
    page.heading(format!("Arenas{of}"));
    arenas(page, pools, top);
    page.heading(format!("Settings{of}"));
    settings(page, pools, parameters);
}

/// What of it is in the arenas, and what beside them.
fn used(in_arenas: u64, mapped: u64) -> String {
    let arenas = format!(
        "{} in the arenas, with the blocks that threads keep for themselves",
        human_bytes(in_arenas)
    );
    match mapped {
        0 => arenas,
        mapped => format!(
            "{}: {arenas}, and {} in mappings of their own",
            human_bytes(in_arenas + mapped),
            human_bytes(mapped)
        ),
    }
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
                known(arena.resident_bytes, human_bytes),
                known(arena.in_use_bytes, human_bytes),
                human_bytes(arena.top_bytes),
                known(arena.between().map(|free| free.bytes), human_bytes),
                known(arena.between().map(|free| free.chunks), words::count),
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

fn known(figure: Option<u64>, shown: impl Fn(u64) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), shown)
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
        format!("at most {most}, for {}", words::counted(pools.threads, "thread")),
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
    use crate::pools::fixture;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(mapped: u64, bins: &[Option<u64>], present: &[&str], absent: &[&str]) {
        let arena = |bins: &Option<u64>| Arena {
            system_bytes: 9 * MIB,
            top_bytes: MIB,
            in_use_bytes: bins.map(|bins| (8 - bins) * MIB),
            bins: bins.map(|bins| Free { chunks: 5, bytes: bins * MIB }),
            fast_bins: bins.map(|_| Free::default()),
            ..Arena::default()
        };
        let parameters = Parameters { mapped_bytes: mapped * MIB, ..Parameters::default() };
        let shown = Pools { arenas: bins.iter().map(arena).collect(), ..fixture::pools("glibc") };
        let mut page = Page::new(false, None);
        glibc(&mut page, &shown, &parameters, 9);
        let text = page.finish();
        assert!(present.iter().all(|part| text.contains(part)), "{text}");
        assert!(!absent.iter().any(|part| text.contains(part)), "{text}");
    }

    #[test]
    fn in_use_says_what_it_has() {
        check(
            5,
            &[Some(2), Some(4)],
            &[
                "15.0 MiB: 10.0 MiB in the arenas",
                "5.0 MiB in mappings of their own",
                "8.0 MiB (44.4%)",
                "10 chunks",
            ],
            &["not known"],
        );
        check(0, &[Some(2)], &["6.0 MiB in the arenas"], &["in mappings of their own"]);
    }

    #[test]
    fn lists_that_changed_all_the_time_are_left_out() {
        check(
            0,
            &[Some(2), None],
            &[
                "18.0 MiB in 2 arenas",
                "not known: the process changed its lists",
                "2.0 MiB at the ends; between",
                "6.0 MiB",
            ],
            &["in the arenas", "10 chunks"],
        );
    }
}
