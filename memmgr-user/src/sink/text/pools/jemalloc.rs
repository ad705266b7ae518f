//! What a jemalloc holds.

use super::super::{
    page::{Page, Style},
    stat::table,
    words,
};
use crate::{
    pools::{Bin, Jemalloc, JemallocArena},
    units::human_bytes,
};

/// Its sums, its arenas, and its small blocks by size.
pub(super) fn jemalloc(page: &mut Page, found: &Jemalloc, top: usize) {
    let sum = |of: fn(&JemallocArena) -> u64| found.arenas.iter().map(of).sum::<u64>();
    page.heading("Heap".to_owned());
    let arenas = words::counted(found.arenas.len() as u64, "arena");
    let most = found.most_arenas.map_or_else(String::new, |most| format!(" of {most}"));
    page.field(
        "pages in use",
        format!("{} in {arenas}{most}", human_bytes(sum(|arena| arena.active_bytes))),
    );
    let free = [
        (sum(|arena| arena.dirty_bytes), "dirty"),
        (sum(|arena| arena.muzzy_bytes), "given back lazily (muzzy)"),
        (sum(|arena| arena.retained_bytes), "of address space kept"),
    ];
    let free = free.map(|(bytes, what)| format!("{} {what}", human_bytes(bytes)));
    page.field("pages free", free.join(", "));
    if found.has_statistics {
        in_use(page, found);
    } else {
        let text = "not known: it was built without statistics (--disable-stats; of tikv-jemallocator without the feature `stats`)";
        page.styled_field("blocks", Style::Warn, text.to_owned());
    }
    table_of_arenas(page, &found.arenas, top);
    if found.has_statistics {
        table_of_sizes(page, found.sizes(), top);
    }
}

fn in_use(page: &mut Page, found: &Jemalloc) {
    let counted = || found.arenas.iter().filter_map(|arena| arena.counted.as_ref());
    let bins: Vec<Bin> = found.sizes();
    let large: u64 = counted().map(|counted| counted.large_bytes).sum();
    let count: u64 = counted().map(|counted| counted.large_count).sum();
    let small: u64 = bins.iter().map(Bin::in_use_bytes).sum();
    let cached: Option<u64> = found.arenas.iter().map(|arena| arena.cached_bytes).sum();
    let kept = cached.map_or_else(
        || "with those that threads keep for themselves (tcache)".to_owned(),
        |cached| {
            format!("{} of it kept free by threads for themselves (tcache)", human_bytes(cached))
        },
    );
    page.field(
        "blocks",
        format!(
            "{} in use, {kept}: {} small, {} in {}",
            human_bytes(small + large),
            human_bytes(small),
            human_bytes(large),
            words::counted(count, "large one"),
        ),
    );
    let (free, all): (u64, u64) =
        (bins.iter().map(Bin::free_bytes).sum(), bins.iter().map(Bin::all_bytes).sum());
    let slabs: u64 = bins.iter().map(|bin| bin.slabs).sum();
    page.field(
        "room in slabs",
        format!(
            "{} ({}) of {} in {}: fragmentation",
            human_bytes(free),
            words::share(free, all),
            human_bytes(all),
            words::counted(slabs, "slab"),
        ),
    );
    page.field(
        "by itself",
        format!(
            "{} resident, {} mapped, {} of it its own data",
            human_bytes(counted().map(|counted| counted.resident_bytes).sum()),
            human_bytes(counted().map(|counted| counted.mapped_bytes).sum()),
            human_bytes(counted().map(|counted| counted.base_bytes).sum()),
        ),
    );
}

fn table_of_arenas(page: &mut Page, arenas: &[JemallocArena], top: usize) {
    page.heading("Arenas".to_owned());
    let mut sorted: Vec<&JemallocArena> = arenas.iter().collect();
    sorted.sort_by_key(|arena| std::cmp::Reverse(arena.active_bytes + arena.dirty_bytes));
    let rows: Vec<([String; 7], String)> = sorted
        .into_iter()
        .map(|arena| {
            let cells = [
                human_bytes(arena.active_bytes),
                arena.in_use_bytes().map_or_else(|| "-".to_owned(), human_bytes),
                arena
                    .counted
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |_| human_bytes(arena.free_bytes())),
                human_bytes(arena.dirty_bytes),
                human_bytes(arena.muzzy_bytes),
                decay(arena),
                words::count(arena.threads),
            ];
            (cells, arena.index.to_string())
        })
        .collect();
    let head = ["active", "in use", "room", "dirty", "muzzy", "decay", "threads"];
    table(page, head, "arena", &rows, top);
}

/// Of dirty pages, and of muzzy ones.
fn decay(arena: &JemallocArena) -> String {
    let of = |ms: i64| match u64::try_from(ms) {
        Ok(ms) => words::span(ms as f64 / 1e3),
        Err(_) => "never".to_owned(),
    };
    format!("{}/{}", of(arena.dirty_decay_ms), of(arena.muzzy_decay_ms))
}

fn table_of_sizes(page: &mut Page, mut bins: Vec<Bin>, top: usize) {
    page.heading("Small blocks".to_owned());
    bins.sort_by_key(|bin| std::cmp::Reverse((bin.all_bytes(), bin.size_bytes)));
    let rows: Vec<([String; 5], String)> = bins
        .iter()
        .map(|bin| {
            let room = bin.free_bytes();
            let cells = [
                human_bytes(bin.in_use_bytes()),
                human_bytes(room),
                words::share(room, bin.all_bytes()),
                words::count(bin.slabs),
                words::count(bin.regions),
            ];
            (cells, format!("{} bytes", bin.size_bytes))
        })
        .collect();
    table(page, ["in use", "room", "share", "slabs", "blocks"], "size", &rows, top);
}
