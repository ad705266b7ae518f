//! An action of `optimize`, or a plan, for a terminal.

use super::{
    page::{Columns, Page, Style},
    words,
};
use crate::{
    escape::Safe,
    optimize::{
        plan::Suggestion,
        report::{Changed, Report},
        rows::{Table, Unit, rates, tables},
        run::largest,
        verdict::Verdict,
    },
    units::human_bytes,
};

/// The whole report: at most `top` rows of the table of mappings, in at most `width` columns.
pub fn optimize(report: &Report, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    let subject = report.subject.words();
    page.paragraph(0, Style::Bold, format!("{} of {subject}", report.action));
    if report.action == "plan" {
        plan(&mut page, report);
        return page.finish();
    }
    match &report.changed {
        Some(changed) => verdict(&mut page, changed),
        None => page.styled_field("dry run", Style::Warn, "nothing was done; --apply does it"),
    }
    page.field("does", report.does.as_str());
    page.field("can cost", report.costs.as_str());
    page.field("undone", report.undo.as_str());
    let name = if report.applied { "done" } else { "would" };
    for step in &report.steps {
        page.field(name, step.as_str());
    }
    notes(&mut page, report);
    if let Some(logged) = &report.logged {
        page.field("logged", format!("in {logged}"));
    }
    for table in tables(report) {
        figures(&mut page, &table, &["before", "after", "settled"]);
    }
    if let Some(rates) = rates(report) {
        figures(&mut page, &rates, &["before", "settling"]);
    }
    if !report.mappings.is_empty() {
        mappings(&mut page, report, top);
    }
    page.finish()
}

fn verdict(page: &mut Page, changed: &Changed) {
    let effect = &changed.effect;
    let style = match effect.verdict {
        Verdict::Helped => Style::Good,
        Verdict::Harmed => Style::Bad,
        Verdict::NoEffect | Verdict::Unknown => Style::Warn,
    };
    page.styled_field("verdict", style, effect.words());
    for why in &effect.why {
        page.styled_field("because", style, why.as_str());
    }
    page.field(
        "took",
        format!(
            "{}, and settled for {}",
            words::span(changed.took_s),
            words::span(changed.settled.at_s - changed.after.at_s)
        ),
    );
}

fn notes(page: &mut Page, report: &Report) {
    for note in &report.notes {
        page.field("note", note.as_str());
    }
}

fn plan(page: &mut Page, report: &Report) {
    notes(page, report);
    if report.suggestions.is_empty() {
        page.field("plan", "nothing that memmgr knows would give back memory here");
    }
    for suggestion in &report.suggestions {
        suggest(page, suggestion);
    }
    for table in tables(report) {
        figures(page, &table, &["now"]);
    }
}

fn suggest(page: &mut Page, suggestion: &Suggestion) {
    let gain = match suggestion.gain_bytes {
        Some(bytes) if suggestion.at_most => format!("at most {}", human_bytes(bytes)),
        Some(bytes) => format!("about {}", human_bytes(bytes)),
        None => "no figure".to_owned(),
    };
    page.heading(format!("{}: {gain}, risk {}", suggestion.action, suggestion.risk.name()));
    page.field("why", suggestion.why.as_str());
    match &suggestion.cannot {
        Some(cannot) => page.styled_field("not here", Style::Warn, cannot.as_str()),
        None => page.field("try", format!("{} (a dry run; --apply does it)", suggestion.command)),
    }
}

/// A table of figures, with the change from the first to the last moment.
fn figures(page: &mut Page, table: &Table, moments: &[&str]) {
    page.heading(table.title.as_str());
    let columns = table.rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
    let mut cells: Vec<[String; 4]> = vec![Default::default()];
    for (at, moment) in moments.iter().take(columns).enumerate() {
        (*moment).clone_into(&mut cells[0][at]);
    }
    if columns > 1 {
        "change".clone_into(&mut cells[0][columns]);
    }
    for row in &table.rows {
        let mut line: [String; 4] = Default::default();
        for (at, value) in row.values.iter().enumerate() {
            line[at] = value.map_or_else(|| "-".to_owned(), |value| written(row.unit, value));
        }
        if columns > 1 {
            let ends =
                row.values.first().copied().flatten().zip(row.values.last().copied().flatten());
            line[columns] =
                ends.map_or_else(|| "-".to_owned(), |(first, last)| change(row.unit, last - first));
        }
        cells.push(line);
    }
    let set = Columns::of(&cells);
    page.row(&[(Style::Dim, format!("  {}", set.line(&cells[0]).trim_end()).into())]);
    for (row, line) in table.rows.iter().zip(&cells[1..]) {
        let text = format!("  {}  {}", set.line(line).trim_end(), row.what);
        page.row(&[(Style::Plain, Safe::from(text))]);
    }
}

fn written(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Bytes => human_bytes(value as u64),
        Unit::Count => words::count(value as u64),
        Unit::Index => format!("{value:.3}"),
        Unit::BytesPerSecond => format!("{}/s", human_bytes(value as u64)),
        Unit::PerSecond => format!("{value:.1}/s"),
        Unit::Percent => format!("{value:.1}%"),
    }
}

fn change(unit: Unit, change: f64) -> String {
    let size = written(unit, change.abs());
    // What rounds to nothing has no sign.
    if size == written(unit, 0.0) {
        return "=".to_owned();
    }
    format!("{}{size}", if change < 0.0 { "-" } else { "+" })
}

fn mappings(page: &mut Page, report: &Report, top: usize) {
    page.heading("Mappings that are meant");
    let sorted = largest(&report.mappings);
    let rows: Vec<([String; 3], String)> = sorted
        .iter()
        .map(|chosen| {
            let cells = [
                human_bytes(chosen.rss_bytes),
                chosen.pid.to_string(),
                format!("{:x}-{:x}", chosen.start, chosen.end),
            ];
            (cells, chosen.name.clone())
        })
        .collect();
    super::stat::table(page, ["in memory", "pid", "addresses"], "name", &rows, top);
}

#[cfg(test)]
mod tests;
