//! Whole recordings, written and read: the same figures at every moment and at every level of detail.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    aggregate::{Filter, Ledger},
    track::{Delta, Direction},
    units::KernelTime,
};

const MS: u64 = 1_000_000;

/// One block's life: stack, size, the intervals in which it is allocated and freed.
#[derive(Clone, Copy, Debug)]
struct Life {
    stack: u32,
    size: u64,
    born: u32,
    dies: Option<u32>,
}

/// Writes a recording of intervals of one second in which these blocks live.
fn recorded(recording: &mut Recording, lives: &[Life], intervals: u32) {
    let mut ledger = Ledger::new(0);
    let time = |interval: u32| KernelTime(u64::from(interval) * 1_000 * MS);
    for interval in 0..intervals {
        let delta = |life: &Life, direction| Delta {
            class: Class::Heap,
            stack: StackHandle(4 + life.stack),
            direction,
            bytes: life.size as f64,
            count: 1.0,
            variance: 0.0,
            size: life.size,
            born: KernelTime(time(life.born).0 + MS),
        };
        for life in lives.iter().filter(|life| life.born == interval) {
            ledger.apply(&delta(life, Direction::Allocated));
        }
        for life in lives.iter().filter(|life| life.dies == Some(interval)) {
            ledger.apply(&delta(life, Direction::Freed));
        }
        let nodes = if interval == 0 { 8 } else { 0 };
        let entry = Entry {
            point: TimelinePoint {
                t_s: f64::from(interval + 1),
                live_bytes: ledger.heap().live_bytes() as u64,
                ..TimelinePoint::default()
            },
            interval: ledger.cut(time(interval + 1), 1.0),
            nodes: (0..nodes)
                .map(|i| Node {
                    handle: StackHandle(4 + i),
                    parent: StackHandle(0),
                    address: Address(u64::from(i) + 0x10),
                })
                .collect(),
            ..Entry::default()
        };
        recording.write(&entry).unwrap();
    }
}

/// Outstanding bytes by stack at the end of interval `until`, of blocks born after interval `since`.
fn truth(lives: &[Life], since: u32, until: u32) -> BTreeMap<u64, u64> {
    let mut live = BTreeMap::new();
    for life in lives {
        let alive = life.born < until && life.dies.is_none_or(|dies| dies >= until);
        if alive && life.born >= since {
            *live.entry(u64::from(life.stack) + 0x10).or_insert(0) += life.size;
        }
    }
    live
}

fn shown(recorded: &Recorded) -> BTreeMap<u64, u64> {
    recorded
        .stacks()
        .iter()
        .filter(|stack| stack.live.bytes > 0.0)
        .map(|stack| (stack.addresses[0].0, stack.live.bytes as u64))
        .collect()
}

fn lives() -> impl Strategy<Value = (Vec<Life>, u32)> {
    (1..300_u32).prop_flat_map(|intervals| {
        let life = (0..4_u32, 1..5_000_u64, 0..intervals, prop::option::of(0..60_u32)).prop_map(
            move |(stack, size, born, lasts)| Life {
                stack,
                size,
                born,
                dies: lasts.map(|lasts| born + lasts),
            },
        );
        (prop::collection::vec(life, 0..60), Just(intervals))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_moment_reads_back_as_it_was((lives, intervals) in lives(), at in any::<prop::sample::Index>()) {
        let mut recording = Recording::in_memory(1).unwrap();
        recorded(&mut recording, &lives, intervals);
        let whole = recording.read(&Query::default()).unwrap();
        prop_assert_eq!(shown(&whole), truth(&lives, 0, intervals));
        let until = at.index(intervals as usize) as u32 + 1;
        let query = Query { until_s: Some(f64::from(until)), ..Query::default() };
        let then = recording.read(&query).unwrap();
        prop_assert_eq!(shown(&then), truth(&lives, 0, until));
        prop_assert_eq!(then.duration_s, f64::from(until));
        let since = until / 2;
        let between = recording.read(&Query { since_s: Some(f64::from(since)), ..query }).unwrap();
        prop_assert_eq!(shown(&between), truth(&lives, since, until));
        prop_assert_eq!(between.totals[0].live_bytes, truth(&lives, since, until).values().sum::<u64>());
        let old = Filter { min_age_s: f64::from(until - since), min_size: 0 };
        // Whoever is asked for old blocks of the whole recording gets none that is younger.
        let old = shown(&recording.read(&Query { filter: old, ..query }).unwrap());
        let mut born_by_then: Vec<Life> = lives.clone();
        born_by_then.retain(|life| life.born < since);
        let most = truth(&born_by_then, 0, until);
        prop_assert!(old.iter().all(|(stack, bytes)| most.get(stack).is_some_and(|most| bytes <= most)));
        if until <= 64 {
            prop_assert_eq!(old, most);
        }
    }

    #[test]
    fn histories_add_up((lives, intervals) in lives()) {
        let mut recording = Recording::in_memory(1).unwrap();
        recorded(&mut recording, &lives, intervals);
        let whole = recording.read(&Query::default()).unwrap();
        prop_assert!(whole.windows.len() <= 64);
        for stack in whole.stacks() {
            let history = whole.history(stack);
            let sum = |figures: &[f64]| figures.iter().sum::<f64>();
            prop_assert_eq!(sum(&history.alloc_bytes), stack.allocated.bytes);
            prop_assert_eq!(sum(&history.kept_bytes), stack.live.bytes);
            prop_assert_eq!(sum(&history.kept_count), stack.live.count);
            prop_assert_eq!(sum(&history.alloc_bytes) - sum(&history.free_bytes), stack.live.bytes);
            prop_assert_eq!(sum(&history.freed_at_age), sum(&history.free_count));
            // The low of a window is what was outstanding at the worst moment: never above either end.
            let mut live = 0.0;
            for window in 0..whole.windows.len() {
                let end = live + history.alloc_bytes[window] - history.free_bytes[window];
                prop_assert!(history.low_bytes[window] <= f64::min(live, end));
                prop_assert!(history.low_bytes[window] >= 0.0);
                live = end;
            }
        }
    }
}

fn some_lives() -> Vec<Life> {
    (0..200)
        .map(|i| Life {
            stack: i % 3,
            size: 100 + u64::from(i),
            born: i % 40,
            dies: (i % 4 != 0).then_some(i % 40 + i % 7),
        })
        .collect()
}

fn message(result: Result<Recorded, RecordingError>) -> String {
    match result {
        Ok(recorded) => panic!("it was read: {} s", recorded.duration_s),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_holds_what_was_written_and_is_one_file_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.db");
    let mut recording = Recording::create(&path, 1, false).unwrap();
    recorded(&mut recording, &some_lives(), 40);
    // While it is written another process reads what was written so far.
    let reader = Recording::open(&path).unwrap();
    let running = reader.read(&Query::default()).unwrap();
    assert_eq!(shown(&running), truth(&some_lives(), 0, 40));
    assert!(!running.ended);
    drop(reader);
    let frame = Frame { function: Some("main".into()), ..Frame::default() };
    let ending =
        Ending { frames: vec![(Address(0x10), vec![frame.clone().into()])], ..Ending::default() };
    recording.finish(&ending).unwrap();
    drop(recording);
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["r.db"]);
    let whole = Recording::open(&path).unwrap().read(&Query::default()).unwrap();
    assert!(whole.ended);
    assert_eq!(whole.frames[&Address(0x10)], [frame.into()]);
    // The tables for people say the same.
    let recording = Recording::open(&path).unwrap();
    let live: f64 = recording
        .connection
        .query_row("SELECT sum(live_bytes) FROM stack", [], |row| row.get(0))
        .unwrap();
    assert_eq!(live as u64, truth(&some_lives(), 0, 40).values().sum::<u64>());
    let name: String = recording
        .connection
        .query_row("SELECT frames FROM stack WHERE id = 0", [], |row| row.get(0))
        .unwrap();
    assert_eq!(name, "main");
}

/// What is left when memmgr ends in the middle: the connection goes without being closed.
#[test]
fn an_unfinished_recording_is_whole_up_to_its_last_interval() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.db");
    let mut recording = Recording::create(&path, 1, false).unwrap();
    recorded(&mut recording, &some_lives(), 23);
    let copies = directory.path().join("copy");
    std::fs::create_dir(&copies).unwrap();
    for name in ["r.db", "r.db-wal"] {
        std::fs::copy(directory.path().join(name), copies.join(name)).unwrap();
    }
    let left = Recording::open(&copies.join("r.db")).unwrap().read(&Query::default()).unwrap();
    assert_eq!(shown(&left), truth(&some_lives(), 0, 23));
    assert_eq!((left.duration_s, left.ended), (23.0, false));
}

#[test]
fn sizes_within_a_class_are_refused() {
    let mut recording = Recording::in_memory(1).unwrap();
    recorded(&mut recording, &some_lives(), 10);
    let at_least = |min_size| {
        recording.read(&Query { filter: Filter { min_age_s: 0.0, min_size }, ..Query::default() })
    };
    // The sizes are 100 to 299.
    assert!(message(at_least(200)).contains("give --min-size 128 or 256"));
    let large: u64 =
        at_least(256).unwrap().stacks().iter().map(|stack| stack.live.bytes as u64).sum();
    let mut lives = some_lives();
    lives.retain(|life| life.size >= 256);
    assert_eq!(large, truth(&lives, 0, 10).values().sum::<u64>());
}

/// What a program frees as it ends is not what it held.
#[test]
fn the_end_of_a_target_is_not_its_last_interval() {
    let ends = |freed_at_the_end: bool, ended: &str| {
        let mut recording = Recording::in_memory(1).unwrap();
        let mut lives = some_lives();
        for life in &mut lives {
            life.born %= 9;
            life.dies = freed_at_the_end.then_some(9);
        }
        recorded(&mut recording, &lives, 10);
        let mut ending = Ending::default();
        ended.clone_into(&mut ending.documents.target.ended);
        recording.finish(&ending).unwrap();
        let recorded = recording.read(&Query::default()).unwrap();
        (recorded.before_exit, recorded.duration_s, recorded.recorded_s)
    };
    assert_eq!(ends(true, "exited"), (true, 9.0, 10.0));
    assert_eq!(ends(true, "duration"), (false, 10.0, 10.0));
    assert_eq!(ends(false, "exited"), (false, 10.0, 10.0));
}

#[test]
fn moments_outside_are_refused() {
    let mut recording = Recording::in_memory(1).unwrap();
    assert!(message(recording.read(&Query::default())).contains("holds no interval yet"));
    recorded(&mut recording, &some_lives(), 10);
    let at = |until_s| recording.read(&Query { until_s: Some(until_s), ..Query::default() });
    assert!(message(at(12.0)).contains("ends at 10.0 s: there is nothing at 12.0 s"));
    assert!(message(at(-1.0)).contains("there is nothing at -1.0 s"));
    assert_eq!(at(3.4).unwrap().duration_s, 3.0);
    assert_eq!(at(10.4).unwrap().duration_s, 10.0);
}

#[test]
fn what_is_no_recording_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.db");
    let open =
        || match Recording::open(&path).and_then(|recording| recording.read(&Query::default())) {
            Ok(_) => "read".to_owned(),
            Err(error) => error.to_string(),
        };
    std::fs::write(&path, b"not a database at all, but long enough to have a header of a hundred bytes......................................").unwrap();
    assert!(open().contains("is no recording of memmgr"), "{}", open());
    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(open().contains("is no recording of memmgr"), "{}", open());
    std::fs::remove_file(&path).unwrap();

    let mut recording = Recording::create(&path, 1, false).unwrap();
    recorded(&mut recording, &some_lives(), 40);
    recording.finish(&Ending::default()).unwrap();
    drop(recording);
    assert_eq!(open(), "read");
    assert!(
        matches!(Recording::create(&path, 1, false), Err(error) if error.to_string().contains("use -f"))
    );

    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(open().contains("is locked by another program"), "{}", open());
    connection.execute_batch("ROLLBACK; PRAGMA user_version = 9").unwrap();
    assert!(open().contains("was written by a newer memmgr (recording version 9"), "{}", open());
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(connection);
    assert!(open().contains("was written by an older memmgr (recording version 1"), "{}", open());

    let bytes = std::fs::read(&path).unwrap();
    for length in (100..bytes.len()).step_by(bytes.len() / 13) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_ne!(open(), "read", "{length} of {} bytes", bytes.len());
    }
}
