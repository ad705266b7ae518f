//! `diff`: two reports compared.

use anyhow::{Context, ensure};

use memmgr::{
    diff::diff,
    report::Report,
    sink::{Class, DIFF_FORMATS, Format, Widths, render_diff},
};

use super::{
    args::Comparison,
    input::{Input, Reading},
    render::Destinations,
};

/// Loads both, compares, and renders.
pub fn run(comparison: &Comparison) -> anyhow::Result<()> {
    let flags = &comparison.render;
    let destinations = Destinations::open(flags, Format::Text, None)?;
    destinations.expect(flags, &DIFF_FORMATS)?;
    let reading = Reading { debug_directories: comparison.debug_dir.clone(), ..Reading::default() };
    let (before, after) = (&comparison.before, &comparison.after);
    let kept = if comparison.kept { Some(kept(before, after, &reading)?) } else { None };
    let (before, after) = (before.load(&reading)?, after.load(&reading)?);
    let diff = diff(&before, &after, kept.as_ref());
    let widths = if comparison.gone { Widths::Before } else { Widths::After };
    destinations.write(
        flags,
        Class::main_of(&after),
        |format, options, out| Ok(out.write_all(&render_diff(format, &diff, options, widths)?)?),
        |options| render_diff(Format::Text, &diff, options, widths),
    )
}

/// What was allocated after the first moment and is outstanding at the second, which only a recording tells.
fn kept(before: &Input, after: &Input, reading: &Reading) -> anyhow::Result<Report> {
    ensure!(
        before.path == after.path,
        "--kept needs two moments of one recording: FILE@30s FILE@90s"
    );
    let since = before.moment.context("--kept needs the first moment: FILE@30s")?;
    after.load_since(since, reading)
}
