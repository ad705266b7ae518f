//! Tests of `pprof`, which read the file back as any reader does.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::proto::{Location, Mapping};
use super::*;
use crate::escape::is_hostile;
use crate::report::Frame;
use crate::sink::{Class, fixture};

fn read(report: &Report, options: &RenderOptions) -> Profile {
    let mut bytes = Vec::new();
    let file = render(report, options).unwrap();
    GzDecoder::new(file.as_slice()).read_to_end(&mut bytes).unwrap();
    let profile = Profile::decode(bytes.as_slice()).unwrap();
    check_valid(&profile);
    profile
}

/// What every reader of profiles insists on.
#[track_caller]
fn check_valid(profile: &Profile) {
    assert_eq!(profile.string_table[0], "");
    let unique: BTreeSet<_> = profile.string_table.iter().collect();
    assert_eq!(unique.len(), profile.string_table.len());
    let ids = |ids: Vec<u64>| assert!(ids.iter().copied().eq(1..=ids.len() as u64), "{ids:?}");
    ids(profile.mapping.iter().map(|mapping| mapping.id).collect());
    ids(profile.location.iter().map(|location| location.id).collect());
    ids(profile.function.iter().map(|function| function.id).collect());
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), profile.sample_type.len());
        assert!(!sample.location_id.is_empty());
        for id in &sample.location_id {
            assert!((1..=profile.location.len() as u64).contains(id));
        }
    }
    for location in &profile.location {
        assert!(location.mapping_id <= profile.mapping.len() as u64);
        for line in &location.line {
            assert!((1..=profile.function.len() as u64).contains(&line.function_id));
        }
        if let Some(mapping) = mapping(profile, location) {
            assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
        }
    }
}

fn mapping<'a>(profile: &'a Profile, location: &Location) -> Option<&'a Mapping> {
    profile.mapping.iter().find(|mapping| mapping.id == location.mapping_id)
}

fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).unwrap()]
}

/// The functions of a sample, leaf first; those of one location are joined by `<`.
fn names(profile: &Profile, sample: &Sample) -> Vec<String> {
    let location = |id: &u64| &profile.location[*id as usize - 1];
    let name = |id: u64| text(profile, profile.function[id as usize - 1].name);
    let joined = |location: &Location| {
        location.line.iter().map(|line| name(line.function_id)).collect::<Vec<_>>().join("<")
    };
    sample.location_id.iter().map(location).map(joined).collect()
}

#[test]
fn the_four_types_of_a_heap_in_the_order_that_pprof_knows() {
    let profile = read(&fixture::redis(), &RenderOptions::default());
    let pair =
        |of: &ValueType| format!("{}/{}", text(&profile, of.r#type), text(&profile, of.unit));
    assert_eq!(
        profile.sample_type.iter().map(pair).collect::<Vec<_>>(),
        ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"]
    );
    assert_eq!(text(&profile, profile.default_sample_type), "inuse_space");
    assert_eq!(profile.period_type.as_ref().map(pair).unwrap(), "space/bytes");
    assert_eq!(profile.period, 512 << 10);
    // 2026-03-04T05:06:07Z, by `date -d`.
    assert_eq!(profile.time_nanos, 1_772_600_767_000_000_000);
    assert_eq!(profile.duration_nanos, 30_000_000_000);
    let comments: Vec<_> = profile.comment.iter().map(|index| text(&profile, *index)).collect();
    assert!(comments.contains(&"incomplete: 2 stacks lost or cut"), "{comments:?}");
}

#[test]
fn stacks_are_samples_leaf_first_with_inlined_functions_in_one_location() {
    let report = fixture::redis();
    let profile = read(&report, &RenderOptions::default());
    let first = &profile.sample[0];
    assert_eq!(first.value, [24_600, 25_190_400, 24_576, 25_165_824]);
    assert!(first.label.is_empty(), "a stack without sizes has no label");
    let expected = ["malloc", "zmalloc<createObject", "setKey", "setCommand", "call"];
    assert_eq!(names(&profile, first)[..5], expected);
    let cut = |n: usize| names(&profile, &profile.sample[n]).last().cloned().unwrap();
    assert_eq!((cut(3), cut(4)), ("[stack lost]".to_owned(), "[truncated]".to_owned()));
    assert_eq!(profile.sample.len(), Class::Heap.stacks(&report).count());

    let options = RenderOptions { class: Class::Mapping, ..RenderOptions::default() };
    let mapped = read(&report, &options);
    assert_eq!(mapped.sample.len(), 1);
    assert_eq!(mapped.sample[0].value, [2, 134_217_728, 1, 67_108_864]);

    let options = RenderOptions { class: Class::Resident, ..RenderOptions::default() };
    let touched = read(&fixture::growing(), &options);
    assert_eq!(touched.sample[1].value, [400, 1_638_400, 200, 819_200]);
    assert_eq!(names(&touched, &touched.sample[1])[..2], ["memcpy", "setCommand"]);
}

#[test]
fn sizes_are_samples_with_the_mean_size_as_a_label() {
    let profile = read(&fixture::judged(), &RenderOptions::default());
    let [label] = profile.sample[0].label[..] else { panic!("{:?}", profile.sample[0]) };
    assert_eq!((text(&profile, label.key), text(&profile, label.num_unit)), ("bytes", "bytes"));
    assert_eq!(label.num, 1024);
}

#[test]
fn mappings_begin_with_the_main_binary_and_hold_their_locations() {
    let mut report = fixture::judged();
    let profile = read(&report, &RenderOptions::default());
    let main = &profile.mapping[0];
    assert_eq!(text(&profile, main.filename), "/usr/bin/redis-server");
    assert_eq!(text(&profile, main.build_id), report.modules[1].build_id);
    // The frame without a name stands in the main binary; of libc's none has a file.
    let flags =
        |m: &Mapping| [m.has_functions, m.has_filenames, m.has_line_numbers, m.has_inline_frames];
    assert_eq!(flags(main), [false, false, false, true]);
    assert_eq!(flags(&profile.mapping[1]), [true, false, false, false]);
    let inside = profile.location.iter().filter(|l| mapping(&profile, l).is_some()).count();
    assert!(inside > 10, "{inside} locations are in a mapping");

    // Without modules the main binary is still named, and nothing claims to be inside of it.
    report.modules.clear();
    let profile = read(&report, &RenderOptions::default());
    assert_eq!(profile.mapping.len(), 1);
    assert_eq!(text(&profile, profile.mapping[0].filename), "/usr/bin/redis-server");
    assert!(profile.location.iter().all(|location| location.mapping_id == 0));
    assert_eq!(flags(&profile.mapping[0]), [false; 4]);
}

#[test]
fn an_address_outside_of_its_module_has_no_mapping() {
    let mut report = fixture::judged();
    let module = report.modules[1].clone();
    let frame = |address: u64| Frame {
        module: Some(module.path.clone()),
        address: address.wrapping_sub(module.bias),
        ..fixture::frame("f")
    };
    let frames = [module.start - 1, module.start, module.end - 1, module.end].map(frame);
    report.stacks.truncate(1);
    report.stacks[0].frames = frames.map(Arc::new).into();
    let profile = read(&report, &RenderOptions::default());
    let placed: Vec<_> = profile.location.iter().map(|l| (l.mapping_id, l.address)).collect();
    assert_eq!(placed, [(0, 0), (1, module.start), (1, module.end - 1), (0, 0)]);
}

#[test]
fn nothing_hostile_is_in_any_text() {
    let mut report = fixture::hostile();
    report.modules = fixture::judged().modules;
    report.modules[0].path = "\u{9b}31m".to_owned();
    report.modules[0].build_id = "\u{202e}".to_owned();
    let profile = read(&report, &RenderOptions::default());
    for text in &profile.string_table {
        assert!(!text.contains(is_hostile), "{text:?}");
    }
    assert_eq!(profile.time_nanos, 0, "a time that is none is not known");
    assert!(profile.string_table.contains(&"</text><script>alert(1)</script>".to_owned()));
}

#[test]
fn odd_figures_stay_in_bounds() {
    let mut report = Report { duration_s: f64::NAN, ..fixture::redis() };
    report.stacks[0].live_bytes = u64::MAX;
    let profile = read(&report, &RenderOptions::default());
    assert_eq!(profile.sample[0].value[3], i64::MAX);
    assert_eq!(profile.duration_nanos, 0);
    let empty = read(&Report::default(), &RenderOptions::default());
    assert!(empty.sample.is_empty() && empty.mapping.is_empty());
    assert_eq!(empty.period, 1);
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let options = RenderOptions::default();
    let file = || render(&fixture::judged(), &options).unwrap();
    assert_eq!(file(), file());
    assert_eq!(file()[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff], "no time in the header");
}
