//! Plans over figures that are made up.

use super::*;
use crate::stat::fragmentation::Zone;

const MIB: u64 = 1 << 20;

/// Each suggestion as `action gain risk`, `!` behind those that cannot be done.
fn shown(facts: &Facts) -> Vec<String> {
    let suggestions = suggest(facts);
    let gain = |one: &Suggestion| match one.gain_bytes {
        Some(bytes) => format!("{}{}", if one.at_most { "<=" } else { "" }, bytes / MIB),
        None => "-".to_owned(),
    };
    suggestions
        .iter()
        .map(|one| {
            let cannot = if one.cannot.is_some() { " !" } else { "" };
            format!("{} {} {}{cannot}", one.action, gain(one), one.risk.name())
        })
        .collect()
}

fn process() -> Facts {
    Facts {
        flags: "-p 7".to_owned(),
        memory: Some(Memory {
            anon_bytes: 500 * MIB,
            anon_idle_bytes: 300 * MIB,
            file_bytes: 20 * MIB,
            file_idle_bytes: 10 * MIB,
            huge_bytes: 0,
        }),
        idle: Some(Duration::from_secs(30)),
        swap_room_bytes: 200 * MIB,
        ..Facts::default()
    }
}

#[test]
fn cold_memory_goes_to_swap_as_far_as_there_is_room() {
    let expected = ["pageout 200 medium", "pageout 10 low", "cold - low", "collapse - medium"];
    assert_eq!(shown(&process()), expected);
    let command = &suggest(&process())[0].command;
    assert_eq!(command, "memmgr optimize pageout -p 7 --idle 30s");
    let no_swap = Facts { swap_room_bytes: 0, ..process() };
    let expected = ["pageout 10 low", "cold - low", "collapse - medium", "pageout 0 medium !"];
    assert_eq!(shown(&no_swap), expected);
}

#[test]
fn a_process_that_uses_all_of_it_has_nothing_to_give() {
    let memory = Memory { anon_bytes: 50 * MIB, ..Memory::default() };
    let facts = Facts { memory: Some(memory), ..process() };
    assert_eq!(shown(&facts), [""; 0]);
}

#[test]
fn runtimes_and_allocators_come_with_their_risk() {
    let trim = |mib| {
        Some(Ok(Trimmable { step: "gdb calls".to_owned(), most_bytes: mib * MIB, is_free: true }))
    };
    let jvm = || Facts { memory: None, runtime: Some(Runtime::Jvm), trim: trim(80), ..process() };
    assert_eq!(shown(&jvm()), ["trim <=80 high", "gc - medium"]);
    let no_collection = Some("attaching is disabled".to_owned());
    let facts = Facts { no_collection, trim: trim(0), ..jvm() };
    assert_eq!(shown(&facts), ["gc - medium !"]);
    let trim = Some(Err("there is no gdb".to_owned()));
    let facts = Facts { memory: None, runtime: Some(Runtime::Go), trim, ..process() };
    assert_eq!(shown(&facts), ["trim - high !"]);
    assert!(facts.notes().iter().any(|note| note.contains("optimize gc -p 7")));
}

#[test]
fn a_cgroup_gives_what_it_did_not_use_lately() {
    let group = GroupFacts {
        path: "/web".to_owned(),
        way: Ok(()),
        takes_amount: true,
        inactive_file_bytes: 100 * MIB,
        inactive_anon_bytes: 900 * MIB,
        others: 0,
        stalled: Some(12.0),
    };
    let shared = GroupFacts { others: 2, ..group.clone() };
    let facts =
        Facts { flags: "--cgroup /web".to_owned(), memory: None, group: Some(group), ..process() };
    assert_eq!(shown(&facts), ["reclaim <=300 low"]);
    assert_eq!(suggest(&facts)[0].command, "memmgr optimize reclaim --cgroup /web --amount 300MiB");
    assert!(facts.notes().iter().any(|note| note.contains("12.0 % of the last 10 s")));
    let facts = Facts { group: Some(shared), ..facts };
    assert_eq!(shown(&facts), ["reclaim <=300 medium"]);
    assert!(suggest(&facts)[0].why.contains("with 2 other processes, which are hit too"));
}

#[test]
fn the_host_is_compacted_when_it_is_in_pieces() {
    let zone = Zone {
        free_bytes: 1000 * MIB,
        unusable_for_huge_pages: 0.9,
        fragmentation_index: Some(0.8),
        ..Zone::default()
    };
    let host = HostFacts {
        stat: HostStat { zones: vec![zone], ..HostStat::default() },
        cache_bytes: 400 * MIB,
        compact: Ok(()),
        merge: Err("this kernel cannot".to_owned()),
        largest: vec![(7, "java".to_owned(), 900 * MIB)],
    };
    let facts = Facts { host: Some(host), ..Facts::default() };
    assert_eq!(shown(&facts), ["drop-caches <=400 high", "compact - low", "merge - medium !"]);
    assert!(facts.notes().iter().any(|note| note.contains("java (7) 900.0 MiB")));
}
