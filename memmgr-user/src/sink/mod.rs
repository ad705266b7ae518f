//! `Report` to bytes, one file a format. Pure: where the bytes go is [`crate::output`]'s business.

mod about;
mod diff;
#[cfg(test)]
pub(crate) mod fixture;
mod folded;
mod frames;
mod heaptrack;
mod html;
mod json;
mod loss;
mod massif;
mod moments;
mod parts;
mod pprof;
mod speedscope;
mod svg;
mod text;
mod words;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use crate::{
    report::{Report, Stack},
    track,
};

pub use diff::{DIFF_FORMATS, Widths, render_diff};
pub(crate) use frames::name as frame_name;
pub use html::optimize::page as optimize_page;
pub(crate) use text::{cut_end, verdict_text};
pub use text::{
    go::go, leaks_table, optimize::optimize, past::past, pools::pools, stat::stat,
    verdict::verdict_line,
};
pub(crate) use words::span;

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, in a terminal.
    Text,
    /// The whole report, `memmgr.report/1`.
    Json,
    /// A flame graph for a browser.
    Svg,
    /// One line a stack, `root;...;leaf N`.
    Folded,
    /// The whole report as one page for a browser.
    Html,
    /// A gzipped `profile.proto`, for pprof and everything that reads its profiles.
    Pprof,
    /// A file for speedscope.
    Speedscope,
    /// A data file for heaptrack_print and heaptrack_gui.
    Heaptrack,
    /// Snapshots for ms_print and massif-visualizer.
    Massif,
}

impl Format {
    /// Every format, in the order in which help lists them.
    pub const ALL: [Format; 9] = [
        Format::Text,
        Format::Json,
        Format::Svg,
        Format::Folded,
        Format::Pprof,
        Format::Speedscope,
        Format::Heaptrack,
        Format::Massif,
        Format::Html,
    ];

    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Svg => "svg",
            Format::Folded => "folded",
            Format::Html => "html",
            Format::Pprof => "pprof",
            Format::Speedscope => "speedscope",
            Format::Heaptrack => "heaptrack",
            Format::Massif => "massif",
        }
    }

    /// The format that a file's name asks for, mostly by its extension, if it is one that memmgr knows.
    pub fn from_extension(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        if name.ends_with(".pb.gz") {
            return Some(Format::Pprof);
        }
        if name.ends_with(".speedscope.json") {
            return Some(Format::Speedscope);
        }
        // Valgrind names its files massif.out.PID.
        if name.starts_with("massif.out") {
            return Some(Format::Massif);
        }
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "txt" | "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            "svg" => Some(Format::Svg),
            "folded" | "collapsed" => Some(Format::Folded),
            "html" | "htm" => Some(Format::Html),
            "pprof" => Some(Format::Pprof),
            "heaptrack" => Some(Format::Heaptrack),
            "massif" => Some(Format::Massif),
            _ => None,
        }
    }
}

/// Which figure of a stack is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// Bytes outstanding.
    #[default]
    InuseSpace,
    /// Blocks outstanding.
    InuseObjects,
    /// Bytes allocated over the capture, freed or not.
    AllocSpace,
    /// Allocations over the capture.
    AllocObjects,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 4] =
        [Metric::InuseSpace, Metric::InuseObjects, Metric::AllocSpace, Metric::AllocObjects];

    /// The name that users type, the same as in pprof.
    pub fn name(self) -> &'static str {
        match self {
            Metric::InuseSpace => "inuse_space",
            Metric::InuseObjects => "inuse_objects",
            Metric::AllocSpace => "alloc_space",
            Metric::AllocObjects => "alloc_objects",
        }
    }

    /// What one unit of the value is: `bytes` or `objects`.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::InuseSpace | Metric::AllocSpace => "bytes",
            Metric::InuseObjects | Metric::AllocObjects => "objects",
        }
    }

    /// The figure of one stack.
    pub fn of(self, stack: &Stack) -> u64 {
        match self {
            Metric::InuseSpace => stack.live_bytes,
            Metric::InuseObjects => stack.live_count,
            Metric::AllocSpace => stack.alloc_bytes,
            Metric::AllocObjects => stack.alloc_count,
        }
    }

    /// What is counted, in words that follow a number or stand in a title.
    fn words(self) -> &'static str {
        match self {
            Metric::InuseSpace => "outstanding bytes",
            Metric::InuseObjects => "outstanding blocks",
            Metric::AllocSpace => "allocated bytes",
            Metric::AllocObjects => "allocations",
        }
    }

    /// A figure of this metric for people, with its unit.
    fn amount(self, value: u64) -> String {
        match self {
            Metric::InuseSpace | Metric::AllocSpace => crate::units::human_bytes(value),
            Metric::InuseObjects => words::counted(value, "block"),
            Metric::AllocObjects => words::counted(value, "allocation"),
        }
    }
}

/// The kind of memory that a rendering of stacks is about; kinds are never added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Blocks of an allocator.
    #[default]
    Heap,
    /// Private pages, by the stack that touched them first.
    Resident,
    /// Anonymous mappings and the program break.
    Mapping,
    /// Mappings of files.
    FileMapping,
}

impl Class {
    /// Every class, in the order in which they are shown.
    pub const ALL: [Class; 4] = [Class::Heap, Class::Resident, Class::Mapping, Class::FileMapping];

    /// What a report is about first, and is shown where nobody chose.
    pub fn main_of(report: &Report) -> Self {
        match report.main_class() {
            track::Class::Heap => Class::Heap,
            track::Class::Resident => Class::Resident,
            track::Class::Mapping => Class::Mapping,
            track::Class::FileMapping => Class::FileMapping,
        }
    }

    /// The name in the report and the one that users type.
    pub fn name(self) -> &'static str {
        match self {
            Class::Heap => "heap",
            Class::Resident => "resident",
            Class::Mapping => "mapping",
            Class::FileMapping => "file-mapping",
        }
    }

    /// The report's stacks of this class.
    fn stacks(self, report: &Report) -> impl Iterator<Item = &Stack> {
        report.stacks.iter().filter(move |stack| stack.class == self.name())
    }
}

/// A name that is none of those known.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{given:?} is not a {kind}; take one of: {known}")]
pub struct UnknownName {
    kind: &'static str,
    given: String,
    known: String,
}

/// Names and parsing are the same for each closed list of words.
macro_rules! named {
    ($type:ty, $kind:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(given: &str) -> Result<Self, UnknownName> {
                Self::ALL.into_iter().find(|one| one.name() == given).ok_or_else(|| UnknownName {
                    kind: $kind,
                    given: given.to_owned(),
                    known: Self::ALL.map(Self::name).join(", "),
                })
            }
        }
    };
}

named!(Format, "format");
named!(Metric, "metric");
named!(Class, "memory class");

/// What a user may choose about a rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// The figure that ranks stacks and gives a flame graph its widths.
    pub metric: Metric,
    /// The memory that a format of stacks shows; text shows each class by itself, and JSON holds all.
    pub class: Class,
    /// Rows of a table of the text at most; the other formats hold all of them.
    pub top: usize,
    /// Colour in text. The caller knows whether there is a terminal and no `NO_COLOR`.
    pub color: bool,
    /// Columns of the terminal; `None` leaves lines as long as they are.
    pub width: Option<usize>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            class: Class::default(),
            top: 20,
            color: false,
            width: None,
        }
    }
}

/// Writes a report in a format to a place.
///
/// # Errors
/// As those of [`render`], and when it cannot be written there.
pub fn write(
    format: Format,
    report: &Report,
    options: &RenderOptions,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match format {
        // It may not fit into memory twice.
        Format::Json => json::write(report, out),
        _ => Ok(out.write_all(&render(format, report, options)?)?),
    }
}

/// Writes a report in a format.
///
/// # Errors
/// When the report cannot be written in that format: for example figures that do not fit it.
pub fn render(format: Format, report: &Report, options: &RenderOptions) -> anyhow::Result<Vec<u8>> {
    match format {
        Format::Text => Ok(text::render(report, options).into_bytes()),
        Format::Json => json::render(report),
        Format::Svg => svg::render(report, options),
        Format::Folded => Ok(folded::render(report, options).into_bytes()),
        Format::Html => html::render(report, options),
        Format::Pprof => pprof::render(report, options),
        Format::Speedscope => speedscope::render(report, options),
        Format::Heaptrack => heaptrack::render(report, options),
        Format::Massif => Ok(massif::render(report, options).into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_reads_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        for class in Class::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_known() {
        let error = "pdf".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"pdf\" is not a format; take one of: text, json, svg, folded, pprof, speedscope, heaptrack, massif, html"
        );
        let error = "inuse".parse::<Metric>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"inuse\" is not a metric; take one of: inuse_space, inuse_objects, alloc_space, alloc_objects"
        );
    }

    #[test]
    fn classes_are_those_of_the_tracker() {
        let mut names = Class::ALL.map(Class::name);
        let mut tracked = track::Class::ALL.map(track::Class::name);
        names.sort_unstable();
        tracked.sort_unstable();
        assert_eq!(names, tracked);
        assert_eq!(Class::main_of(&fixture::redis()), Class::Heap);
        let mut growing = fixture::growing();
        assert_eq!(Class::main_of(&growing), Class::Resident);
        // The heap, where its blocks were seen too.
        growing.stacks.extend(fixture::redis().stacks);
        assert_eq!(Class::main_of(&growing), Class::Heap);
    }

    #[test]
    fn extensions_choose_a_format() {
        for (path, format) in [
            ("out.svg", Some(Format::Svg)),
            ("a/b.JSON", Some(Format::Json)),
            ("stacks.folded", Some(Format::Folded)),
            ("stacks.collapsed", Some(Format::Folded)),
            ("report.txt", Some(Format::Text)),
            ("page.html", Some(Format::Html)),
            ("PAGE.HTM", Some(Format::Html)),
            ("report", None),
            ("report.pdf", None),
            (".svg", None),
            ("heap.pb.gz", Some(Format::Pprof)),
            ("HEAP.PB.GZ", Some(Format::Pprof)),
            ("heap.pprof", Some(Format::Pprof)),
            ("heap.gz", None),
            ("heap.speedscope.json", Some(Format::Speedscope)),
            ("speedscope.json", Some(Format::Json)),
            ("redis.heaptrack", Some(Format::Heaptrack)),
            ("redis.massif", Some(Format::Massif)),
            ("dir/massif.out", Some(Format::Massif)),
            ("dir/massif.out.1234", Some(Format::Massif)),
        ] {
            assert_eq!(Format::from_extension(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn each_metric_is_another_figure() {
        let stack = Stack {
            live_bytes: 1,
            live_count: 2,
            alloc_bytes: 3,
            alloc_count: 4,
            ..Stack::default()
        };
        assert_eq!(Metric::ALL.map(|metric| metric.of(&stack)), [1, 2, 3, 4]);
    }
}
