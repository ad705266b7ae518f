//! Tests of `speedscope`, which read the file as speedscope does.

use serde_json::Value;

use super::*;
use crate::escape::is_hostile;
use crate::sink::{Class, fixture};

fn read(report: &Report, options: &RenderOptions) -> Value {
    let json = String::from_utf8(super::render(report, options).unwrap()).unwrap();
    assert!(!json.contains(|c: char| is_hostile(c) && c != '\n'), "{json}");
    let file: Value = serde_json::from_str(&json).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap().len() as u64;
    for profile in file["profiles"].as_array().unwrap() {
        let (samples, weights) = (profile["samples"].as_array(), profile["weights"].as_array());
        assert_eq!(samples.unwrap().len(), weights.unwrap().len());
        let sum: u64 = weights.unwrap().iter().map(|weight| weight.as_u64().unwrap()).sum();
        assert_eq!(profile["startValue"], 0);
        assert_eq!(profile["endValue"], sum);
        for path in samples.unwrap() {
            assert!(path.as_array().unwrap().iter().all(|i| i.as_u64().unwrap() < frames));
        }
    }
    file
}

/// The paths of a profile, root first, with their weights.
fn paths(file: &Value, profile: usize) -> Vec<(Vec<String>, u64)> {
    let name = |index: &Value| {
        let frame = &file["shared"]["frames"][index.as_u64().unwrap() as usize];
        frame["name"].as_str().unwrap().to_owned()
    };
    let profile = &file["profiles"][profile];
    let samples = profile["samples"].as_array().unwrap().iter();
    samples
        .zip(profile["weights"].as_array().unwrap())
        .map(|(path, weight)| {
            (path.as_array().unwrap().iter().map(name).collect(), weight.as_u64().unwrap())
        })
        .collect()
}

#[test]
fn the_chosen_figure_is_the_first_and_active() {
    let names = |metric, class| {
        let options = RenderOptions { metric, class, ..RenderOptions::default() };
        let file = read(&fixture::redis(), &options);
        assert_eq!(file["$schema"], SCHEMA);
        assert_eq!(file["activeProfileIndex"], 0);
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let profiles = file["profiles"].as_array().unwrap().iter();
        profiles
            .map(|p| {
                let end = p["endValue"].as_u64().unwrap();
                assert_eq!(p["type"], "sampled");
                (word(&p["name"]), word(&p["unit"]), end)
            })
            .collect::<Vec<_>>()
    };
    let all = |rows: [(&str, &str, u64); 4]| {
        rows.map(|(name, unit, end)| (name.to_owned(), unit.to_owned(), end)).to_vec()
    };
    assert_eq!(
        names(Metric::InuseSpace, Class::Heap),
        all([
            ("outstanding bytes", "bytes", 34_733_952 + 128),
            ("outstanding blocks", "none", 40_968),
            ("allocated bytes", "bytes", 54_108_160),
            ("allocations", "none", 131_408),
        ])
    );
    assert_eq!(
        names(Metric::AllocObjects, Class::Mapping),
        all([
            ("allocations", "none", 2),
            ("outstanding bytes", "bytes", 67_108_864),
            ("outstanding blocks", "none", 1),
            ("allocated bytes", "bytes", 134_217_728),
        ])
    );
}

#[test]
fn samples_are_root_first_and_neighbours_share_their_path() {
    let stack = |id: u32, live_bytes: u64, leaf_first: &[&str]| Stack {
        id,
        class: "heap".to_owned(),
        live_bytes,
        frames: leaf_first.iter().map(|name| fixture::frame(name).into()).collect(),
        ..Stack::default()
    };
    let stacks = vec![
        stack(1, 10, &["a", "main"]),
        stack(2, 30, &["b", "main"]),
        stack(3, 0, &["nothing", "main"]),
        stack(4, 5, &["thread"]),
        stack(5, 20, &["a", "main"]),
        Stack { cut: Some("truncated".to_owned()), ..stack(6, 1, &["b"]) },
    ];
    let file = read(&Report { stacks, ..Report::default() }, &RenderOptions::default());
    let path = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        paths(&file, 0),
        [
            (path(&["main", "b"]), 30),
            (path(&["main", "a"]), 10),
            (path(&["main", "a"]), 20),
            (path(&["thread"]), 5),
            (path(&["[truncated]", "b"]), 1),
        ]
    );
}

#[test]
fn lines_do_not_make_another_function() {
    let at = |line: u32| Frame { line: Some(line), ..fixture::frame("main") };
    let other = Frame { file: Some("other.c".to_owned()), ..fixture::frame("main") };
    let stack = Stack {
        class: "heap".to_owned(),
        live_bytes: 1,
        frames: vec![at(1).into(), at(2).into(), other.into()],
        ..Stack::default()
    };
    let file =
        read(&Report { stacks: vec![stack], ..Report::default() }, &RenderOptions::default());
    assert_eq!(file["shared"]["frames"].as_array().unwrap().len(), 2);
}

#[test]
fn hostile_names_read_back_as_they_were() {
    let report = fixture::hostile();
    let file = read(&report, &RenderOptions::default());
    let shown: Vec<String> = paths(&file, 0).into_iter().flat_map(|(path, _)| path).collect();
    for frame in report.stacks[..2].iter().flat_map(|stack| &stack.frames) {
        if let Some(function) = &frame.function {
            assert!(shown.contains(function), "{function:?} is not in {shown:?}");
        }
    }
}

#[test]
fn an_empty_report_is_still_a_file() {
    let file = read(&Report::default(), &RenderOptions::default());
    assert_eq!(file["profiles"].as_array().unwrap().len(), 4);
}
