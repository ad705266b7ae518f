//! `diff`: two reports compared.

use std::path::Path;

use memmgr::{
    diff::diff,
    report::Report,
    sink::{DIFF_FORMATS, Format, Widths, render_diff},
};

use super::{args::Comparison, capture, render::Destinations};

/// Loads both, compares, and renders.
pub fn run(comparison: &Comparison) -> anyhow::Result<()> {
    let flags = &comparison.render;
    let destinations = Destinations::open(flags, Format::Text, None)?;
    destinations.expect(flags, &DIFF_FORMATS)?;
    let (before, after) = (load(&comparison.before)?, load(&comparison.after)?);
    let kept = if comparison.kept {
        Some(load_kept(&comparison.before, &comparison.after)?)
    } else {
        None
    };
    let diff = diff(&before, &after, kept.as_ref());
    let widths = if comparison.gone { Widths::Before } else { Widths::After };
    destinations.write(
        flags,
        |format, options| render_diff(format, &diff, options, widths),
        |options| render_diff(Format::Text, &diff, options, widths),
    )
}

/// The report that an argument names.
fn load(argument: &str) -> anyhow::Result<Report> {
    capture::load(Path::new(argument))
}

/// What was allocated after the first moment and is outstanding at the second. A report does not know
/// its blocks one by one, so that only a recording can tell.
fn load_kept(before: &str, after: &str) -> anyhow::Result<Report> {
    anyhow::bail!(
        "--kept needs two moments of one recording; {} and {} are reports",
        memmgr::escape::Safe::text(before),
        memmgr::escape::Safe::text(after)
    )
}
