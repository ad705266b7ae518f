//! `/`: a page that shows the last look, and loads nothing from elsewhere.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{Shared, answer::text};
use crate::escape::hostile_ranges;

const DOCUMENT: &str = include_str!("page/page.html");
/// The look of reports, and what this page has beside it.
const STYLE: &str = concat!(include_str!("../sink/html/style.css"), include_str!("page/style.css"));
/// One module: the files share its scope, and the last one starts. The first two are those of reports.
const SCRIPT: &str = concat!(
    include_str!("../sink/html/words.js"),
    include_str!("../sink/html/dom.js"),
    include_str!("page/live_table.js"),
    include_str!("page/host.js"),
    include_str!("page/detail.js"),
    include_str!("page/reports.js"),
    include_str!("page/main.js"),
);

/// The script with what it takes from this program: the characters that it must not show.
pub(super) fn whole_script() -> String {
    format!("const data = {};\n{SCRIPT}", json!({ "hostile": hostile_ranges() }))
}

/// `/`.
pub(super) async fn document() -> Response {
    text("text/html; charset=utf-8", DOCUMENT)
}

/// `/page.css`.
pub(super) async fn style() -> Response {
    text("text/css; charset=utf-8", STYLE)
}

/// `/page.js`.
pub(super) async fn script(State(shared): State<Arc<Shared>>) -> Response {
    text("text/javascript; charset=utf-8", shared.script.to_string())
}
