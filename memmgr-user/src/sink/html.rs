//! One page that holds the whole report and needs nothing else: no server, no network.
//!
//! The sink writes data, the page's own script draws it. The script and the style are the only code that
//! the page's policy lets run, by their hashes; the data cannot become either.

mod columns;
mod data;
mod json;
pub(super) mod optimize;
mod strings;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::RenderOptions;
use crate::report::Report;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
/// One module: the files share its scope, and the last one starts.
const SCRIPT: &str = concat!(
    include_str!("html/words.js"),
    include_str!("html/dom.js"),
    include_str!("html/data.js"),
    include_str!("html/tree.js"),
    include_str!("html/charts.js"),
    include_str!("html/header.js"),
    include_str!("html/verdict.js"),
    include_str!("html/layout.js"),
    include_str!("html/flame.js"),
    include_str!("html/flame_controls.js"),
    include_str!("html/table.js"),
    include_str!("html/stacks.js"),
    include_str!("html/tables.js"),
    include_str!("html/timeline.js"),
    include_str!("html/lifetimes.js"),
    include_str!("html/processes.js"),
    include_str!("html/resident.js"),
    include_str!("html/allocator.js"),
    include_str!("html/figures.js"),
    include_str!("html/capture.js"),
    include_str!("html/main.js"),
);

/// The page.
///
/// # Errors
/// When a figure cannot be written as JSON.
pub(super) fn render(report: &Report, options: &RenderOptions) -> anyhow::Result<Vec<u8>> {
    let data = json::for_script(&data::Data::of(report, options))?;
    Ok(fill(PAGE, STYLE, SCRIPT, &data))
}

/// Puts a page together: its places `{{policy}}`, `{{style}}`, `{{data}}` and `{{script}}`, in this order.
fn fill(page: &str, style: &str, script: &str, data: &[u8]) -> Vec<u8> {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'",
        source(script),
        source(style)
    );
    let parts = [
        ("policy", policy.as_bytes()),
        ("style", style.as_bytes()),
        ("data", data),
        ("script", script.as_bytes()),
    ];
    let mut filled =
        Vec::with_capacity(page.len() + parts.iter().map(|(_, part)| part.len()).sum::<usize>());
    let mut rest = page;
    for (name, part) in parts {
        let place = format!("{{{{{name}}}}}");
        let (before, after) =
            rest.split_once(&place).expect("a page has each place once, in this order");
        filled.extend_from_slice(before.as_bytes());
        filled.extend_from_slice(part);
        rest = after;
    }
    filled.extend_from_slice(rest.as_bytes());
    filled
}

/// What a content security policy calls an inline script or style (CSP level 3, section 2.3.1).
fn source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests;
