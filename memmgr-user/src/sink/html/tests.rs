//! The page as a file: what it may load, what stands in it, and that the data reads back.

use serde_json::Value;

use super::*;
use crate::report::{Frame, Stack};
use crate::sink::fixture;

fn page(report: &Report) -> String {
    String::from_utf8(render(report, &RenderOptions::default()).unwrap()).unwrap()
}

fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
}

fn data(page: &str) -> Value {
    serde_json::from_str(between(page, "id=\"data\">", "</script>")).unwrap()
}

/// Every text in a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| std::iter::once(name.as_str()).chain(texts(value)))
            .collect(),
        _ => Vec::new(),
    }
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

/// The functions of each stack, leaf first, by its id: read back as the page's script reads them.
fn functions_by_id(data: &Value) -> Vec<(usize, Vec<Option<String>>)> {
    let stacks = &data["stacks"];
    let [ids, keep, add] = ["id", "keep", "add"].map(|column| numbers(&stacks[column]));
    let fresh = numbers(&stacks["path"]);
    let mut fresh = fresh.into_iter();
    let function = numbers(&stacks["frames"]["function"]);
    let mut path: Vec<usize> = Vec::new();
    let mut by_id = Vec::new();
    for (i, id) in ids.into_iter().enumerate() {
        path.truncate(keep[i]);
        path.extend(fresh.by_ref().take(add[i]));
        let name = |frame: &usize| match function[*frame] {
            0 => None,
            number => Some(data["strings"][number - 1].as_str().unwrap().to_owned()),
        };
        by_id.push((id, path.iter().rev().map(name).collect()));
    }
    by_id.sort();
    by_id
}

#[test]
fn only_its_own_script_and_style_may_run() {
    for report in [fixture::judged(), fixture::hostile(), Report::default()] {
        let page = page(&report);
        let script = between(&page, "<script type=\"module\">", "</script>");
        let style = between(&page, "<style>", "</style>");
        assert_eq!(
            between(&page, "Content-Security-Policy\" content=\"", "\""),
            format!(
                "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'",
                source(script),
                source(style)
            )
        );
    }
    // From another implementation: printf abc | openssl dgst -sha256 -binary | base64
    assert_eq!(source("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

#[test]
fn nothing_in_the_page_is_loaded_or_inline() {
    let page = page(&Report::default());
    // A name of a vocabulary, which is never fetched.
    let page = page.replace("\"http://www.w3.org/2000/svg\"", "");
    for forbidden in [
        "http:",
        "https:",
        "unsafe-",
        " style=",
        " onclick=",
        "innerHTML",
        "eval(",
        "url(",
        "@import",
        "<!--",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert_eq!(page.matches("{{").count(), 0, "a place was not filled");
}

#[test]
fn hostile_text_reads_back_and_cannot_leave_its_place() {
    let report = fixture::hostile();
    let page = page(&report);
    assert!(!page.contains(|c: char| crate::escape::is_hostile(c) && c != '\n'));
    assert_eq!(page.matches("<script").count(), 2);
    assert!(!page.contains("alert(1)</script"));
    let data = data(&page);
    let known = texts(&data);
    let frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    let expected = frames
        .flat_map(|frame| [&frame.function, &frame.module, &frame.file, &frame.reason])
        .flatten()
        .chain([&report.target.comm, &report.target.exe, &report.findings[0].recommendation])
        .chain([&report.functions[0].function, &report.target.not_covered[0].what]);
    for text in expected {
        assert!(known.contains(&text.as_str()), "{text:?}");
    }
}

#[test]
fn stacks_read_back_with_their_frames() {
    for report in [fixture::judged(), fixture::hostile()] {
        let mut expected: Vec<(usize, Vec<Option<String>>)> = report
            .stacks
            .iter()
            .map(|stack| {
                let mut names: Vec<_> =
                    stack.frames.iter().map(|frame| frame.function.clone()).collect();
                // What is missing at the root is a frame without a function.
                names.extend((stack.cut.is_some() || stack.frames.is_empty()).then_some(None));
                (stack.id as usize, names)
            })
            .collect();
        expected.sort();
        assert_eq!(functions_by_id(&data(&page(&report))), expected);
    }
}

#[test]
fn figures_stand_in_the_data_as_they_are_in_the_report() {
    let report = fixture::judged();
    let data = data(&page(&report));
    for (pointer, value) in [
        ("/report/target", serde_json::to_value(&report.target).unwrap()),
        ("/report/timeline", serde_json::to_value(&report.timeline).unwrap()),
        ("/report/findings", serde_json::to_value(&report.findings).unwrap()),
        ("/report/cgroup", serde_json::to_value(&report.cgroup).unwrap()),
        ("/completeness", "incomplete: 2 stacks lost or cut".into()),
        ("/metric", "inuse_space".into()),
    ] {
        assert_eq!(data.pointer(pointer), Some(&value), "{pointer}");
    }
    let at = numbers(&data["stacks"]["id"]).iter().position(|id| *id == 1).unwrap();
    let growth = &data["stacks"]["growth"][at];
    let shape = growth[0].as_u64().unwrap() as usize;
    assert_eq!(data["strings"][shape - 1], "linear");
    assert_eq!(growth[3], report.stacks[0].growth.as_ref().unwrap().grown_bytes);
    assert_eq!(data["stacks"]["skip"][at], 1, "malloc is the allocator's");
}

#[test]
fn stacks_that_begin_alike_cost_little() {
    let frame = |name: String| {
        let (function, module) = (Some(name), Some("/usr/bin/program".to_owned()));
        Frame { function, module, ..Frame::default() }.into()
    };
    let stacks = (0..2000_u32)
        .map(|i| Stack {
            id: i,
            class: "heap".to_owned(),
            live_bytes: 4096,
            frames: (0..30)
                .map(|depth| {
                    frame(format!("function_{depth}_{}", if depth < 5 { i % 50 } else { 0 }))
                })
                .collect(),
            ..Stack::default()
        })
        .collect();
    let report = Report { stacks, ..Report::default() };
    let fixed = page(&Report::default()).len();
    let each = (page(&report).len() - fixed) / report.stacks.len();
    assert!(each < 100, "{each} bytes a stack of 30 frames");
    assert!(fixed < 120 << 10, "{fixed} bytes of script and style");
}

#[test]
fn equal_reports_are_equal_pages() {
    assert_eq!(page(&fixture::judged()), page(&fixture::judged()));
}
