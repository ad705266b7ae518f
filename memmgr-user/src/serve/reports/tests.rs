//! Reports in a directory, good and bad.

use super::*;
use crate::report::{Finding, Frame, Growth, Target};

fn frame(function: &str, module: &str, address: u64) -> Arc<Frame> {
    Arc::new(Frame {
        function: Some(function.to_owned()),
        module: Some(module.to_owned()),
        address,
        ..Frame::default()
    })
}

fn stack(live_bytes: u64, frames: Vec<Arc<Frame>>) -> Stack {
    let growth = Growth { bytes_per_s: 2.0, ..Growth::default() };
    Stack { class: "heap".to_owned(), live_bytes, frames, growth: Some(growth), ..Stack::default() }
}

fn report(pid: u32) -> Report {
    let frames = || vec![frame("fill", "/usr/bin/server", 7), frame("main", "/usr/bin/server", 9)];
    let finding = |severity: &str| Finding { severity: severity.to_owned(), ..Finding::default() };
    Report {
        captured_at: "2026-01-01T00:00:00Z".to_owned(),
        target: Target { pid, comm: "server".to_owned(), start_time_s: 2.5, ..Target::default() },
        stacks: vec![
            stack(100, frames()),
            Stack { class: "mapping".to_owned(), ..stack(90, frames()) },
        ],
        findings: vec![finding("warning"), finding("info")],
        ..Report::default()
    }
}

fn write(directory: &Path, name: &str, report: &Report) {
    fs::write(directory.join(name), serde_json::to_vec(report).unwrap()).unwrap();
}

#[test]
fn reports_are_told_in_short() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    write(place, "a.b.json", &report(7));
    fs::write(place.join("a.b.html"), "<page>").unwrap();
    fs::write(place.join("broken.json"), "{").unwrap();
    fs::write(place.join("memmgr-oom-x.json"), "{}").unwrap();
    std::os::unix::fs::symlink("a.b.json", place.join("link.json")).unwrap();
    let mut reader = Reader::default();
    let shelf = reader.read(place);
    let mut unread: Vec<&str> = shelf.unread.iter().map(|unread| unread.name.as_str()).collect();
    unread.sort_unstable();
    assert_eq!((shelf.reports.len(), unread), (1, vec!["broken", "link"]));
    let entry = &shelf.reports[0];
    assert_eq!((entry.name.as_str(), entry.has_page, entry.pid), ("a.b", true, 7));
    assert_eq!((entry.severity.as_deref(), entry.findings), (Some("warning"), [1, 1, 0]));
    let [top] = entry.stacks.as_slice() else { panic!("{entry:?}") };
    assert_eq!((top.function.as_str(), top.live_bytes), ("fill", 100));
    assert_eq!(top.growth_bytes_per_s, Some(2.0));
    assert_eq!(page(place, "a.b").unwrap(), b"<page>");
    assert!(page(place, "link").is_err() && page(place, "../a").is_err());
    // Only what is new is read again. A link is no page.
    fs::remove_file(place.join("a.b.html")).unwrap();
    std::os::unix::fs::symlink("a.b.json", place.join("a.b.html")).unwrap();
    assert!(!reader.read(place).reports[0].has_page);
    assert_eq!(reader.known.len(), 3);
    write(place, "a.b.json", &report(70));
    assert_eq!(reader.read(place).reports[0].pid, 70);
}

#[test]
fn the_newest_are_told() {
    let directory = tempfile::tempdir().unwrap();
    for pid in 0..30 {
        let name = format!("{pid}.json");
        let captured_at = format!("2026-01-01T00:{pid:02}:00Z");
        write(directory.path(), &name, &Report { captured_at, ..report(pid) });
        let file = File::options().write(true).open(directory.path().join(&name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(pid.into())).unwrap();
    }
    let shelf = Reader::default().read(directory.path());
    let pids: Vec<u32> = shelf.reports.iter().map(|entry| entry.pid).collect();
    assert_eq!(pids, (10..30).rev().collect::<Vec<u32>>());
}

#[test]
fn a_directory_that_is_not_there_has_none() {
    assert_eq!(Reader::default().read(Path::new("/nowhere")), Shelf::default());
}

#[test]
fn a_stack_keeps_its_id() {
    let check = |one: Vec<Arc<Frame>>, other: Vec<Arc<Frame>>, expected: bool| {
        let same = stable_id(&stack(1, one.clone())) == stable_id(&stack(2, other.clone()));
        assert_eq!(same, expected, "{one:?} {other:?}");
    };
    let a = || frame("a", "/usr/bin/x", 1);
    check(vec![a()], vec![frame("a", "/opt/x", 2)], true);
    check(vec![a()], vec![frame("a", "/usr/bin/y", 1)], false);
    check(vec![a()], vec![frame("b", "/usr/bin/x", 1)], false);
    check(vec![a()], vec![a(), a()], false);
    assert_eq!(stable_id(&stack(1, vec![a()])).len(), 16);
}
