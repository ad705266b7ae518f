//! What an allocator holds, for a terminal.

use super::{
    page::{Page, Style},
    stat::table,
    words,
};
use crate::{
    pools::{Arena, Parameters, Pools},
    units::human_bytes,
};

/// The whole view: at most `top` rows of the table, in at most `width` columns.
pub fn pools(pools: &Pools, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    page.paragraph(0, Style::Bold, format!("{} ({}), {}", pools.comm, pools.pid, pools.version));
    page.field(
        "a snapshot",
        if pools.is_quiet {
            "read twice, and the same both times"
        } else {
            "the process allocated meanwhile: figures are a moment apart"
        },
    );
    page.field("found", format!("{}: {}", pools.library, pools.found));
    if let Some(other) = &pools.beside {
        let text = format!("{other} is mapped too: what it serves is not in these figures");
        page.styled_field("beside it", Style::Warn, text);
    }
    if let Some(rss) = pools.rss_bytes {
        page.field("RSS", human_bytes(rss));
    }
    let sum = |of: fn(&Arena) -> u64| pools.arenas.iter().map(of).sum::<u64>();
    let (system, free) = (sum(|arena| arena.system_bytes), sum(Arena::free_bytes));
    page.heading("Heap".to_owned());
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
    mapped(&mut page, &pools.parameters);
    arenas(&mut page, pools, top);
    settings(&mut page, pools);
    if !pools.advice.is_empty() {
        page.heading("What could be done".to_owned());
        for text in &pools.advice {
            page.paragraph(2, Style::Plain, format!("→ {text}"));
        }
    }
    page.finish()
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
    page.heading("Arenas".to_owned());
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

fn settings(page: &mut Page, pools: &Pools) {
    let parameters = &pools.parameters;
    page.heading("Settings".to_owned());
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
