//! The two text formats that Prometheus reads: OpenMetrics 1.0 and its own 0.0.4.
//!
//! No crate writes both, and both are needed: Prometheus asks for the first, `promtool check metrics` and most other
//! readers know only the second. They differ in how a counter is named, in units, and in the end.

use std::fmt::{self, Write as _};

use crate::escape::Safe;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Text,
}

impl Format {
    /// The media type of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a client prefers, by its `Accept` (RFC 9110, section 12.5.1). Prometheus' own format for one that has no
    /// preference, because it can be read without knowing of either.
    pub fn accepted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            accept
                .split(',')
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    parts.next()?.eq_ignore_ascii_case(wanted).then_some(())?;
                    let quality = parts.find_map(|parameter| {
                        parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))
                    });
                    quality.map_or(Some(1.0), |quality| quality.parse::<f64>().ok())
                })
                .fold(0.0, f64::max)
        };
        let open_metrics = weight("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= weight("text/plain") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }
}

/// What a family of figures is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until its source begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// A count, or bytes.
    Whole(u64),
    /// Seconds, or a share.
    Real(f64),
}

impl From<u64> for Figure {
    fn from(value: u64) -> Self {
        Figure::Whole(value)
    }
}

impl From<usize> for Figure {
    fn from(value: usize) -> Self {
        Figure::Whole(value as u64)
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Figure::Real(value)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Whole(value) => value.fmt(f),
            Figure::Real(value) => value.fmt(f),
        }
    }
}

/// The text of an answer, while it is written.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Exposition { format, text: String::with_capacity(32 << 10) }
    }

    /// Begins a family. One without samples is not there at all. A counter is named with `_total`.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        Family { exposition: self, kind, name, help, begun: false }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Units that a name may end with; OpenMetrics wants them said.
const UNITS: [&str; 3] = ["bytes", "seconds", "ratio"];

/// A family of figures.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    kind: Kind,
    name: &'static str,
    help: &'static str,
    begun: bool,
}

impl Family<'_> {
    /// Adds a figure that these labels tell from the others of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Figure>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.head();
        }
        let text = &mut self.exposition.text;
        text.push_str(self.name);
        for (at, (label, value)) in labels.iter().enumerate() {
            text.push_str(if at == 0 { "{" } else { "," });
            text.push_str(label);
            text.push_str("=\"");
            push_label(text, value);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, " {}", value.into());
    }

    /// Adds a figure, if there is one.
    pub fn maybe(&mut self, labels: &[(&str, &str)], value: Option<impl Into<Figure>>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }

    fn head(&mut self) {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let base = self.name.strip_suffix("_total").unwrap_or(self.name);
        let (help, format) = (self.help, self.exposition.format);
        let name = if format == Format::OpenMetrics { base } else { self.name };
        let text = &mut self.exposition.text;
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let unit = UNITS.into_iter().find(|unit| base.ends_with(unit));
        if let (Format::OpenMetrics, Some(unit)) = (format, unit) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
    }
}

/// Appends the value of a label: visible, without line breaks, and with what would end it escaped.
fn push_label(text: &mut String, value: &str) {
    for c in Safe::text(value).as_str().chars() {
        if matches!(c, '\\' | '"') {
            text.push('\\');
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_preferred() {
        let check = |accept: &str, expected: Format| {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        };
        // Prometheus 2 and 3.
        check(
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        );
        check("application/openmetrics-text", Format::OpenMetrics);
        check("Application/OpenMetrics-Text; charset=utf-8; q=0.1", Format::OpenMetrics);
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text);
        check("text/plain;version=0.0.4, application/openmetrics-text;q=0.5", Format::Text);
        check("application/openmetrics-text;q=0", Format::Text);
        check("application/openmetrics-text;q=none", Format::Text);
    }

    fn example(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition
            .family(Kind::Counter, "memmgr_stalled_seconds_total", "Time lost.")
            .sample(&[("share", "some")], 1.25);
        exposition.family(Kind::Gauge, "memmgr_absent_bytes", "Nothing.").maybe(&[], None::<u64>);
        let mut family = exposition.family(Kind::Gauge, "memmgr_processes", "Processes.");
        family.sample(&[], 3_u64);
        family.sample(&[("pid", "7"), ("comm", "a\"b\\c\nd\u{202e}")], 1_u64);
        exposition.finish()
    }

    #[test]
    fn each_format_has_its_own_names_and_end() {
        let samples = "memmgr_processes 3\n\
                       memmgr_processes{pid=\"7\",comm=\"a\\\"b\\\\c\\\\u{a}d\\\\u{202e}\"} 1\n";
        let processes =
            format!("# HELP memmgr_processes Processes.\n# TYPE memmgr_processes gauge\n{samples}");
        assert_eq!(
            example(Format::OpenMetrics),
            format!(
                "# HELP memmgr_stalled_seconds Time lost.\n# TYPE memmgr_stalled_seconds counter\n\
                 # UNIT memmgr_stalled_seconds seconds\nmemmgr_stalled_seconds_total{{share=\"some\"}} 1.25\n\
                 {processes}# EOF\n"
            )
        );
        assert_eq!(
            example(Format::Text),
            format!(
                "# HELP memmgr_stalled_seconds_total Time lost.\n# TYPE memmgr_stalled_seconds_total counter\n\
                 memmgr_stalled_seconds_total{{share=\"some\"}} 1.25\n{processes}"
            )
        );
    }
}
