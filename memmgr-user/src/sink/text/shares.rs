//! The same bytes seen another way: by function, by file and by size of the block.

use std::cmp::Reverse;

use super::page::{Columns, Page, Style, cut_middle, cut_start};
use crate::escape::Safe;
use crate::report::{Function, Module, Report, SizeClass};
use crate::sink::{RenderOptions, words};
use crate::units::human_bytes;

/// Self and total, outstanding and allocated, of something that has a name.
struct Share<'a> {
    /// Self live, total live, self allocated, total allocated.
    bytes: [u64; 4],
    /// Standard error of total live, where it is known.
    error: u64,
    name: &'a str,
    /// What the name belongs to.
    place: &'a str,
}

impl<'a> From<&'a Function> for Share<'a> {
    fn from(function: &'a Function) -> Self {
        Share {
            bytes: [
                function.self_live_bytes,
                function.total_live_bytes,
                function.self_alloc_bytes,
                function.total_alloc_bytes,
            ],
            error: function.total_live_bytes_error,
            name: &function.function,
            place: words::base_name(&function.module),
        }
    }
}

impl<'a> From<&'a Module> for Share<'a> {
    fn from(module: &'a Module) -> Self {
        Share {
            bytes: [
                module.self_live_bytes,
                module.total_live_bytes,
                module.self_alloc_bytes,
                module.total_alloc_bytes,
            ],
            error: 0,
            name: &module.path,
            place: "",
        }
    }
}

/// The functions in which most bytes are held.
pub(super) fn functions(page: &mut Page, report: &Report, options: &RenderOptions) {
    let shares = report.functions.iter().map(Share::from).collect();
    table(page, options, shares, ["Functions", "function"], cut_middle);
}

/// The files whose code holds most bytes.
pub(super) fn modules(page: &mut Page, report: &Report, options: &RenderOptions) {
    let used = |module: &&Module| module.total_live_bytes > 0 || module.total_alloc_bytes > 0;
    let shares = report.modules.iter().filter(used).map(Share::from).collect();
    table(page, options, shares, ["By module", "module"], cut_start);
}

/// Most total bytes first. `cut` shortens a name that is too long.
fn table(
    page: &mut Page,
    options: &RenderOptions,
    mut shares: Vec<Share<'_>>,
    [heading, noun]: [&str; 2],
    cut: fn(&Safe, usize) -> Safe,
) {
    if shares.is_empty() {
        return;
    }
    shares.sort_by_key(|share| {
        let [self_live, total_live, _, total_alloc] = share.bytes;
        (Reverse((total_live, total_alloc, self_live)), share.name, share.place)
    });
    page.heading(heading);
    let shown = &shares[..shares.len().min(options.top)];
    let mut rows =
        vec![["self live", "total live", "self alloc", "total alloc"].map(str::to_owned)];
    let totals: Vec<(u64, u64)> = shown.iter().map(|share| (share.bytes[1], share.error)).collect();
    rows.extend(shown.iter().zip(words::estimates(&totals)).map(|(share, total)| {
        let [self_live, _, self_alloc, total_alloc] = share.bytes.map(human_bytes);
        [self_live, total, self_alloc, total_alloc]
    }));
    let columns = Columns::of(&rows);
    page.row(&[(Style::Dim, format!("{}  {noun}", columns.line(&rows[0])).into())]);
    for (row, share) in rows[1..].iter().zip(shown) {
        let numbers = columns.line(row) + "  ";
        let name = Safe::text(share.name);
        let name = match page.room(numbers.chars().count()) {
            Some(room) => cut(&name, room),
            None => name,
        };
        let place = format!("  {}", share.place);
        page.row(&[
            (Style::Plain, numbers.into()),
            (Style::Plain, name),
            (Style::Dim, place.into()),
        ]);
    }
    if shares.len() > shown.len() {
        let more = words::counted((shares.len() - shown.len()) as u64, &format!("more {noun}"));
        page.paragraph(2, Style::Dim, format!("… {more}"));
    }
}

/// Blocks by size, smallest first: there are few classes.
pub(super) fn sizes(page: &mut Page, report: &Report) {
    let used = |class: &&SizeClass| class.live_count > 0 || class.alloc_count > 0;
    let classes: Vec<&SizeClass> = report.sizes.iter().filter(used).collect();
    if classes.is_empty() {
        return;
    }
    page.heading("By size");
    let all = classes.iter().fold(0, |sum: u64, class| sum.saturating_add(class.live_bytes));
    let mut rows =
        vec![["blocks from", "live", "share", "blocks", "allocated", "allocs"].map(str::to_owned)];
    rows.extend(classes.iter().map(|class| {
        [
            human_bytes(class.min_bytes),
            human_bytes(class.live_bytes),
            words::share(class.live_bytes, all),
            words::count(class.live_count),
            human_bytes(class.alloc_bytes),
            words::count(class.alloc_count),
        ]
    }));
    let columns = Columns::of(&rows);
    for (i, row) in rows.iter().enumerate() {
        let style = if i == 0 { Style::Dim } else { Style::Plain };
        page.row(&[(style, columns.line(row).into())]);
    }
}
