//! The flame graph, as an SVG that a browser can search and zoom.

pub(super) mod diff;

use std::collections::BTreeMap;

use anyhow::Context;
use inferno::flamegraph::color::{BasicPalette, PaletteMap, parse_hex_color};
use inferno::flamegraph::{self, Palette, TextTruncateDirection};

use super::{Class, Metric, RenderOptions, about, folded, frames, words};
use crate::report::Report;

/// Ends the name of a function that the compiler inlined.
const INLINED: &str = " (inlined)";
/// Sand: an inlined function stands out from the greens of called ones.
const INLINED_COLOR: &str = "#e4d9a6";
/// Grey: no function, but the place where a stack was cut.
const CUT_COLOR: &str = "#b8b8b8";
/// The title's characters at most; more would run over the edges.
const TITLE_CHARS_MAX: usize = 110;

/// A flame graph of the chosen class and metric; a page that says so when there is nothing to draw.
///
/// # Errors
/// When the values add up to more than 64 bits.
pub(super) fn render(report: &Report, options: &RenderOptions) -> anyhow::Result<Vec<u8>> {
    let stacks = folded::fold(report, options, INLINED);
    let total =
        stacks.values().try_fold(0_u64, |sum, value| sum.checked_add(*value)).with_context(
            || format!("the {} add up to more than 64 bits hold", options.metric.words()),
        )?;
    if total == 0 {
        return Ok(page(&title(report, options), &nothing(options)));
    }

    let mut palette = palette(&stacks);
    let mut graph = flamegraph::Options::default();
    graph.colors = Palette::Basic(BasicPalette::Mem);
    graph.deterministic = true;
    graph.palette_map = Some(&mut palette);
    graph.text_truncate_direction = TextTruncateDirection::Right;
    options.metric.unit().clone_into(&mut graph.count_name);
    graph.title = title(report, options);
    graph.subtitle = Some(subtitle(report, options, &stacks, total));
    let lines: Vec<String> =
        stacks.iter().map(|(stack, value)| format!("{stack} {value}")).collect();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut graph, lines.iter().map(String::as_str), &mut svg)
        .context("the flame graph could not be drawn")?;
    svg.push(b'\n');
    Ok(svg)
}

/// `redis-server (1234): outstanding bytes, 30.0s, sample 512.0 KiB, complete`
fn title(report: &Report, options: &RenderOptions) -> String {
    let title = format!(
        "{}: {}, {}",
        about::target(report),
        options.metric.words(),
        about::capture(report)
    );
    title.chars().take(TITLE_CHARS_MAX).collect()
}

/// What the widths add up to, and what the colours mean.
fn subtitle(
    report: &Report,
    options: &RenderOptions,
    stacks: &BTreeMap<String, u64>,
    total: u64,
) -> String {
    let mut text = format!(
        "{}: {} in {}",
        match options.class {
            Class::Heap if report.capture.is_of_runtime() => "Heap since the program's start",
            Class::Heap => "Heap since the attach",
            Class::Resident => "Resident by the stack that touched it first",
            Class::Mapping => "Mapped since the attach",
            Class::FileMapping => "Files mapped since the attach",
        },
        options.metric.amount(total),
        words::counted(stacks.len() as u64, "stack"),
    );
    if report.capture.is_sampled() {
        text.push_str(", estimated from samples");
    }
    if let Some(observed) = report.capture.observed {
        text.extend([", seen in ", &observed.percent(), " of the time"]);
    }
    let frames = || stacks.keys().flat_map(|stack| stack.split(';'));
    if frames().any(|frame| frame.ends_with(INLINED)) {
        text.push_str("; sand: inlined");
    }
    if frames().any(is_cut) {
        text.push_str("; grey: stack not whole");
    }
    text
}

fn is_cut(frame: &str) -> bool {
    frame == frames::TRUNCATED || frame == frames::STACK_LOST
}

/// Colours for the frames that are not ordinary functions; the rest get theirs from their names.
fn palette(stacks: &BTreeMap<String, u64>) -> PaletteMap {
    let mut palette = PaletteMap::default();
    for frame in stacks.keys().flat_map(|stack| stack.split(';')) {
        let color = match frame {
            frame if frame.ends_with(INLINED) => INLINED_COLOR,
            frame if is_cut(frame) => CUT_COLOR,
            _ => continue,
        };
        if let Some(color) = parse_hex_color(color) {
            let _ = palette.insert(frame, color);
        }
    }
    palette
}

/// What is said about a profile without any value.
fn nothing(options: &RenderOptions) -> String {
    let what = match options.metric {
        Metric::InuseSpace | Metric::InuseObjects => "Nothing is outstanding",
        Metric::AllocSpace | Metric::AllocObjects => "Nothing was allocated",
    };
    format!("{what} (memory class: {}).", options.class)
}

/// A page with a sentence in place of a picture.
fn page(title: &str, sentence: &str) -> Vec<u8> {
    let (title, sentence) = (escape_xml(title), escape_xml(sentence));
    format!(
        r##"<?xml version="1.0" standalone="no"?>
<svg version="1.1" width="1200" height="120" viewBox="0 0 1200 120" xmlns="http://www.w3.org/2000/svg">
<rect width="100%" height="100%" fill="#eef2ee"/>
<text x="50%" y="40" text-anchor="middle" font-family="monospace" font-size="17">{title}</text>
<text x="50%" y="80" text-anchor="middle" font-family="monospace" font-size="12">{sentence}</text>
</svg>
"##
    )
    .into_bytes()
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Stack;
    use crate::sink::fixture;

    fn svg(report: &Report, options: &RenderOptions) -> String {
        String::from_utf8(render(report, options).unwrap()).unwrap()
    }

    /// The texts of all elements of a name, as a reader of XML sees them.
    fn texts(svg: &str, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}"), format!("</{element}>"));
        svg.split(&open)
            .skip(1)
            .filter_map(|rest| {
                let body = &rest[rest.find('>')? + 1..];
                let text = &body[..body.find(&close)?];
                assert!(!text.contains(['<', '>']), "markup in {text:?}");
                let mut plain = text.to_owned();
                for (entity, c) in [
                    ("&lt;", "<"),
                    ("&gt;", ">"),
                    ("&quot;", "\""),
                    ("&apos;", "'"),
                    ("&amp;", "&"),
                ] {
                    plain = plain.replace(entity, c);
                }
                Some(plain)
            })
            .collect()
    }

    #[track_caller]
    fn check_title(report: &Report, options: &RenderOptions, title: &str, subtitle: &str) {
        let svg = svg(report, options);
        let found = texts(&svg, "text");
        assert_eq!((found[0].as_str(), found[1].as_str()), (title, subtitle));
    }

    #[test]
    fn titles_say_what_is_drawn() {
        check_title(
            &fixture::redis(),
            &RenderOptions::default(),
            "redis-server (1234): outstanding bytes, 30.0s, sample 512.0 KiB, incomplete: 2 stacks lost or cut",
            "Heap since the attach: 33.1 MiB in 7 stacks, estimated from samples; sand: inlined; grey: stack not whole",
        );
        let mut exact = fixture::redis();
        exact.capture.mode = "exact".to_owned();
        exact.capture.sample_interval_bytes = 0;
        exact.capture.complete = true;
        check_title(
            &exact,
            &RenderOptions {
                metric: Metric::AllocObjects,
                class: Class::Mapping,
                ..RenderOptions::default()
            },
            "redis-server (1234): allocations, 30.0s, exact, complete",
            "Mapped since the attach: 2 allocations in 1 stack",
        );
        let mut own = fixture::redis();
        own.capture.stack.kind = "runtime".to_owned();
        own.capture.complete = true;
        check_title(
            &own,
            &RenderOptions::default(),
            "redis-server (1234): outstanding bytes, 30.0s, sample 512.0 KiB, complete",
            "Heap since the program's start: 33.1 MiB in 7 stacks, estimated from samples; sand: inlined; grey: stack not whole",
        );
        let growing = fixture::growing();
        let options = RenderOptions { class: Class::main_of(&growing), ..RenderOptions::default() };
        check_title(
            &growing,
            &options,
            "redis-server (1234): outstanding bytes, 30.0s, growth 512.0 KiB, incomplete: 2 stacks lost or cut",
            "Resident by the stack that touched it first: 34.4 MiB in 2 stacks, estimated from samples; sand: inlined",
        );
    }

    #[test]
    fn the_same_report_gives_the_same_bytes() {
        let options = RenderOptions::default();
        assert_eq!(svg(&fixture::redis(), &options), svg(&fixture::redis(), &options));
    }

    #[test]
    fn every_stack_is_drawn_with_its_bytes() {
        let svg = svg(&fixture::redis(), &RenderOptions::default());
        let titles = texts(&svg, "title");
        for expected in [
            "all (34,734,080 bytes, 100%)",
            "zmalloc (inlined) (25,165,824 bytes, 72.45%)",
            "[stack lost] (65,536 bytes, 0.19%)",
        ] {
            assert!(
                titles.iter().any(|title| title == expected),
                "{expected} is not in {titles:#?}"
            );
        }
        assert!(svg.contains("rgb(228,217,166)"), "inlined frames have their own colour");
    }

    #[test]
    fn an_empty_profile_says_so() {
        let empty = Report::default();
        let options = RenderOptions::default();
        assert_eq!(
            texts(&svg(&empty, &options), "text")[1],
            "Nothing is outstanding (memory class: heap)."
        );
        let options =
            RenderOptions { metric: Metric::AllocSpace, class: Class::Mapping, ..options };
        assert_eq!(
            texts(&svg(&empty, &options), "text")[1],
            "Nothing was allocated (memory class: mapping)."
        );
        let mut hostile = Report::default();
        hostile.target.comm = "<script>&\"]]>\x1b".to_owned();
        let shown = texts(&svg(&hostile, &options), "text")[0].clone();
        assert!(shown.starts_with("<script>&\"]]>\\u{1b} (0): "), "{shown}");
    }

    #[test]
    fn hostile_names_are_text_and_nothing_else() {
        for name in [
            "<script>alert(1)</script>",
            "]]><svg onload='x'>",
            "\"quoted\" & 'more' &amp;",
            "a--><!--",
            "${jndi}",
        ] {
            let report = Report {
                stacks: vec![Stack {
                    class: "heap".into(),
                    live_bytes: 5,
                    frames: vec![fixture::frame(name).into()],
                    ..Stack::default()
                }],
                ..Report::default()
            };
            let titles = texts(&svg(&report, &RenderOptions::default()), "title");
            let shown = format!("{} (5 bytes, 100.00%)", name.replace(';', ":"));
            assert!(titles.contains(&shown), "{titles:?}");
        }
        let svg = svg(&fixture::hostile(), &RenderOptions::default());
        assert!(!svg.contains(|c: char| crate::escape::is_hostile(c) && !c.is_ascii_whitespace()));
        assert!(
            texts(&svg, "title").contains(&"evil\\u{1b}[2J_7 (2,048 bytes, 66.67%)".to_owned())
        );
    }

    #[test]
    fn sums_beyond_64_bits_are_an_error_and_no_picture() {
        let stack = |name: &str| Stack {
            class: "heap".into(),
            live_bytes: u64::MAX,
            frames: vec![fixture::frame(name).into()],
            ..Stack::default()
        };
        let report = Report { stacks: vec![stack("a"), stack("b")], ..Report::default() };
        let error = render(&report, &RenderOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), "the outstanding bytes add up to more than 64 bits hold");
    }

    #[test]
    fn the_report_as_a_file() {
        // The fixed style and script come from the library; the picture is what is ours.
        let svg = svg(&fixture::redis(), &RenderOptions::default());
        let picture = svg.split("</script>").nth(1).unwrap().replace("><", ">\n<");
        insta::assert_snapshot!("redis.svg", picture);
    }
}
