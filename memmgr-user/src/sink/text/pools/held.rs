//! What an allocator may hold by the mappings of its process, and what governs it.

use super::super::{
    page::{Page, Style},
    stat::table,
    words,
};
use crate::{
    pools::{Held, Pools},
    units::human_bytes,
};

/// The mappings that may be the allocator's.
pub(super) fn held(page: &mut Page, pools: &Pools, top: usize) {
    page.heading("Mappings that may be its own".to_owned());
    let rows: Vec<([String; 7], String)> = pools
        .held
        .iter()
        .map(|held| {
            let cells = [
                human_bytes(held.size_bytes),
                human_bytes(held.resident_bytes),
                human_bytes(held.private_dirty_bytes),
                human_bytes(held.lazily_freed_bytes),
                human_bytes(held.huge_bytes),
                human_bytes(held.swap_bytes),
                words::count(held.mappings),
            ];
            (cells, described(held))
        })
        .collect();
    let head = ["size", "resident", "dirty", "lazily freed", "huge", "swap", "mappings"];
    table(page, head, "memory", &rows, top);
    if let Some(stacks) = pools.unplaced_stacks {
        let text = format!(
            "{} ran while this was read: where their stacks are is not known, and they may be among these",
            words::counted(stacks, "thread")
        );
        page.paragraph(2, Style::Dim, text);
    }
}

fn described(held: &Held) -> String {
    let what = match held.name.as_str() {
        "[anon]" => ": the allocator's, mappings of the program's own, .bss",
        "[heap]" => ": by brk",
        "[hugetlb]" => ": pages of hugetlbfs",
        _ => ": the name that the process gave",
    };
    format!("{}{what}", held.name)
}

/// What governs it.
pub(super) fn settings(page: &mut Page, pools: &Pools, top: usize) {
    if pools.settings.0.is_empty() {
        return;
    }
    page.heading("Settings".to_owned());
    if pools.settings_assumed {
        let text = "the process has written over its environment (setproctitle): what was set there is not known, and defaults may not be in force";
        page.paragraph(2, Style::Warn, text.to_owned());
    }
    let all = &pools.settings.0;
    for setting in all.iter().take(top) {
        let text = format!("{}: {} ({})", setting.name, setting.value, setting.origin.words());
        page.paragraph(2, Style::Plain, text);
    }
    if all.len() > top {
        let more = words::counted((all.len() - top) as u64, "setting");
        page.paragraph(2, Style::Dim, format!("and {more} more: --top {}", all.len()));
    }
}
