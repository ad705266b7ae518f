//! A script of events → the text of the report: the whole core, from the bytes of the ring buffer on,
//! without a kernel.

use std::collections::BTreeMap;

use memmgr::{
    aggregate::Filter,
    bpf::Books,
    capture::{CapturePlan, Selection, StackOption, facts::Facts, stack_choice::Choice},
    collect::{Caps, Collector, Course},
    govern::{Budget, Costs, Governor, Terms},
    modules::Modules,
    pipeline::Ended,
    recording::{Ending, Feed, Query, Recording},
    report::{
        Frame, Report, TimelinePoint, account::Standing, build::build, ending, last_look::LastLook,
    },
    source::{
        identity::{Identity, State},
        pagemap::Page,
    },
    symbolize::Symbols,
    units::{Address, KernelTime, Pid},
};
use memmgr_common::{
    Counter, StackKind,
    events::{self, Kind, flags},
    limits::MAX_FRAMES,
};

const SECOND: u64 = 1_000_000_000;

/// Bytes of a wire struct, as the kernel part writes it.
fn bytes<T: Copy>(value: &T) -> Vec<u8> {
    // SAFETY: the event bodies are integers without padding; memmgr-common asserts their sizes.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
        .to_vec()
}

/// One line of a script → one record. Stacks are named by a number and sent by `stack ID FRAMES…`.
///
/// ```text
/// stack 1 10 20        the frames 0x10 (leaf) and 0x20
/// T1 alloc a0 100 @1   thread 1 is given 100 bytes at 0xa0, by stack 1
/// T1 free a0
/// T1 resize a0         …then `resized c0 200 @1`, `failed` or `gone`
/// T1 map 1000 8192 @1, T1 unmap 1000 4096, T1 unmapped, T1 fork, T1 exec
/// T1 fault 1000 @1, T1 copy 1000 @1
/// ```
fn record(line: &str, time: u64, interval: u64) -> Vec<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let hex = |i: usize| u64::from_str_radix(words[i], 16).expect("hexadecimal");
    let number = |i: usize| words[i].parse::<u64>().expect("a number");
    let stack_id =
        words.last().and_then(|w| w.strip_prefix('@')).map_or(0, |id| id.parse().expect("an id"));
    let tid = words[0].strip_prefix('T').map_or(0, |tid| tid.parse().expect("a thread"));
    let header = |kind: Kind, flags: u16| events::Header {
        kind: kind as u16,
        flags,
        tgid: 7,
        tid,
        stack_len: 0,
        time,
    };
    let block = |kind, flags, address, size| {
        bytes(&events::Block {
            header: header(kind, flags),
            address,
            size,
            stack_id,
            ip: 0,
            sp: 0,
            bp: 0,
            interval,
        })
    };
    let free = |kind, address| bytes(&events::Free { header: header(kind, 0), address });
    let range = |kind, address, length| {
        bytes(&events::Range { header: header(kind, 0), address, length, result: 0 })
    };
    match words.get(1).copied().unwrap_or_default() {
        _ if words[0] == "stack" => {
            let mut frames = [0; MAX_FRAMES];
            for (i, frame) in frames.iter_mut().take(words.len() - 2).enumerate() {
                *frame = hex(i + 2);
            }
            let count = words.len() as u64 - 2;
            bytes(&events::FrameStack {
                header: header(Kind::Stack, 0),
                stack_id: number(1),
                count,
                frames,
            })
        }
        "alloc" => block(Kind::Alloc, flags::NEW_TRACKED, hex(2), number(3)),
        "free" => free(Kind::Free, hex(2)),
        "resize" => free(Kind::ResizeBegin, hex(2)),
        "resized" => block(Kind::ResizeEnd, flags::NEW_TRACKED, hex(2), number(3)),
        "failed" => block(Kind::ResizeEnd, 0, 0, 1),
        "gone" => block(Kind::ResizeEnd, 0, 0, 0),
        "map" => block(Kind::Map, 0, hex(2), number(3)),
        "unmap" => range(Kind::UnmapBegin, hex(2), number(3)),
        "unmapped" => range(Kind::UnmapEnd, 0, 0),
        "fault" => block(Kind::Fault, 0, hex(2), 4096),
        "copy" => block(Kind::Fault, flags::COPIED, hex(2), 4096),
        "fork" => bytes(&header(Kind::Fork, 0)),
        "exec" => bytes(&header(Kind::Exec, 0)),
        other => panic!("no such event: {other}"),
    }
}

/// `look 1000=own 2000=huge`: what is at the pages whose turn it is; at those that are not named there is nothing.
fn look(line: &str, collector: &mut Collector, time: u64) {
    let named: BTreeMap<u64, Page> = line
        .split_whitespace()
        .skip(1)
        .map(|word| {
            let (address, page) = word.split_once('=').expect("ADDRESS=PAGE");
            let page = match page {
                "own" => Page::Private,
                "huge" => Page::Huge,
                "swapped" => Page::Swapped,
                "file" => Page::NotOwn,
                other => panic!("no such page: {other}"),
            };
            (u64::from_str_radix(address, 16).expect("hexadecimal"), page)
        })
        .collect();
    let due = collector.resident.due(usize::MAX).into_iter();
    let page = |address: Address| (address, named.get(&address.0).copied().unwrap_or(Page::Gone));
    collector.looked(&due.map(page).collect::<Vec<_>>(), KernelTime(time));
}

/// Runs a script, one event a second; what the kernel lost comes from `lost`.
fn run(script: &str, interval: u64, lost: &[(Counter, u64)]) -> (Report, bool) {
    let began = KernelTime(100 * SECOND);
    let mut collector = Collector::new(began, Modules::default(), None, Caps::default());
    let (mut time, mut hits, mut stacks, mut exec) = (began.0, 0, 0, false);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        time += SECOND;
        if line.starts_with("look") {
            look(line, &mut collector, time);
            continue;
        }
        exec |= collector.take(&record(line, time, interval)) == Course::Exec;
        if line.starts_with("stack") { stacks += 1 } else { hits += 1 }
    }
    let total_lost: u64 = lost.iter().map(|(_, lost)| lost).sum();
    let mut figures = vec![
        (Counter::Seen, hits + total_lost),
        (Counter::Submitted, hits),
        (Counter::StackSubmitted, stacks),
    ];
    figures.extend_from_slice(lost);
    let selection = if interval == 0 { Selection::Exact } else { Selection::Sample { interval } };
    let end = KernelTime(time);
    let plan = plan(selection);
    let (facts, books) = (facts(), Books::with(&figures));
    let ended = if exec { Ended::Exec } else { Ended::Duration };
    let governor = Governor::new(Terms {
        budget: Budget::Off,
        finest: interval,
        finest_faults: 0,
        growth_first: false,
        costs: Costs::USUAL,
        functions: Vec::new(),
    });
    let standing = Standing {
        plan: &plan,
        facts: &facts,
        collector: &collector,
        books: &books,
        governor: &governor,
        span: (began, end),
        ended: Some(ended),
    };
    let documents = ending::running(&standing, "2026-01-01T00:00:00Z".into(), LastLook::default());
    let symbols = collector.stacks.addresses().into_iter().map(|address| {
        let function = Some(format!("f{:x}", address.0));
        (address, vec![Frame { function, module: Some("prog".into()), ..Frame::default() }.into()])
    });
    let frames: Vec<_> = symbols.collect();
    let point = TimelinePoint { t_s: end.seconds_since(began), ..TimelinePoint::default() };
    let mut recording = Recording::in_memory(plan.count_scale()).expect("a recording in memory");
    let entry = Feed::default().entry(&mut collector, end, 1.0, point, documents.clone());
    recording.write(&entry).expect("an interval");
    recording.finish(&Ending { documents, frames }).expect("an end");
    let recorded = recording.read(&Query::default()).expect("what was written");
    let report = build(&recorded, &Symbols::new(), Filter::default());
    (report, exec)
}

fn plan(selection: Selection) -> CapturePlan {
    CapturePlan {
        pid: Pid(7),
        selection,
        stack: StackOption::Auto,
        stack_bytes: 4096,
        ring_bytes: 65536,
        duration: None,
        interval: std::time::Duration::from_secs(1),
        filter: Filter::default(),
        allocators: Vec::new(),
        probes: Vec::new(),
        allow_traced: false,
        budget: Budget::Off,
        in_group: false,
    }
}

fn facts() -> Facts {
    Facts {
        identity: Identity {
            pid: Pid(7),
            comm: "script".into(),
            exe: None,
            cmdline: Vec::new(),
            start_time_ticks: 1,
            start_time_s: 0.01,
            state: State::Running,
            kernel_thread: false,
            threads: 1,
            cgroups: Vec::new(),
            container_id: None,
            uid: 0,
            effective_uid: 0,
            tracer: None,
            seccomp: None,
            namespace_pids: Vec::new(),
        },
        allocators: Vec::new(),
        not_covered: Vec::new(),
        attach: "session",
        stack: Choice { kind: StackKind::FramePointers, why: String::new() },
        launched: false,
        attach_s: 0.0,
    }
}

/// Rows as `class stack: live bytes/blocks of allocated bytes`, then the totals, the loss, and whether it is complete.
fn text(report: &Report) -> String {
    let mut lines: BTreeMap<usize, String> = BTreeMap::new();
    for (i, stack) in report.stacks.iter().enumerate() {
        let names: Vec<&str> =
            stack.frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
        let stack_text = stack.cut.clone().unwrap_or_default() + &names.join("<");
        lines.insert(
            i,
            format!(
                "{} {stack_text}: {}/{} of {}",
                stack.class, stack.live_bytes, stack.live_count, stack.alloc_bytes
            ),
        );
    }
    let t = &report.totals;
    let l = &report.capture.loss;
    lines.insert(
        usize::MAX - 1,
        format!(
            "total {}/{} allocated {} freed {}",
            t.live_bytes, t.live_count, t.alloc_bytes, t.free_bytes
        ),
    );
    lines.insert(
        usize::MAX,
        format!(
            "unknown {} implied {} missing {} ring {} complete {}",
            l.unknown_free, l.implied_free, l.stack_missing, l.ring_full, report.capture.complete
        ),
    );
    lines.into_values().collect::<Vec<_>>().join("\n")
}

fn check(script: &str, expected: &str) {
    let (report, _) = run(script, 0, &[]);
    let expected: Vec<&str> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(text(&report).lines().collect::<Vec<_>>(), expected, "{script}");
}

#[test]
fn allocations_and_frees_by_stack() {
    check(
        "stack 1 10 30
         stack 2 20 30
         T1 alloc a0 100 @1
         T1 alloc b0 50 @2
         T2 alloc c0 25 @2
         T2 free a0",
        "heap f20<f30: 75/2 of 75
         heap f10<f30: 0/0 of 100
         total 75/2 allocated 175 freed 100
         unknown 0 implied 0 missing 0 ring 0 complete true",
    );
}

#[test]
fn a_realloc_race_is_not_mistaken_for_a_reused_block() {
    check(
        "stack 1 10
         stack 2 20
         T1 alloc a0 100 @1
         T1 resize a0
         T2 alloc a0 7 @2
         T1 resized c0 200 @1
         T2 free a0",
        "heap f10: 200/1 of 300
         heap f20: 0/0 of 7
         total 200/1 allocated 307 freed 107
         unknown 0 implied 0 missing 0 ring 0 complete true",
    );
}

#[test]
fn a_failed_realloc_keeps_its_block() {
    check(
        "stack 1 10
         T1 alloc a0 100 @1
         T1 resize a0
         T1 failed",
        "heap f10: 100/1 of 100
         total 100/1 allocated 100 freed 0
         unknown 0 implied 0 missing 0 ring 0 complete true",
    );
}

#[test]
fn a_reused_address_without_a_free_is_a_loss() {
    check(
        "stack 1 10
         stack 2 20
         T1 alloc a0 100 @1
         T1 alloc a0 60 @2
         T1 free ff",
        "heap f20: 60/1 of 60
         heap f10: 0/0 of 100
         total 60/1 allocated 160 freed 100
         unknown 1 implied 1 missing 0 ring 0 complete false",
    );
}

#[test]
fn mappings_are_a_class_of_their_own() {
    check(
        "stack 1 10
         T1 alloc a0 100 @1
         T1 map 1000 8192 @1
         T1 unmap 1000 4096
         T1 unmapped",
        "mapping f10: 4096/1 of 8192
         heap f10: 100/1 of 100
         total 100/1 allocated 100 freed 0
         unknown 0 implied 0 missing 0 ring 0 complete true",
    );
}

#[test]
fn pages_are_a_class_of_their_own() {
    check(
        "stack 1 10
         stack 2 20
         T1 alloc 1000 100 @1
         T1 fault 1000 @1
         T1 fault 2000 @2
         T1 fault 3000 @2
         T1 fault 4000 @2
         look 1000=own 2000=own 3000=file
         T1 copy 2000 @1
         T1 fault 402000 @2
         look 1000=own 402000=huge",
        "resident f20: 2097152/1 of 2105344
         resident f10: 4096/1 of 4096
         heap f10: 100/1 of 100
         total 100/1 allocated 100 freed 0
         unknown 0 implied 0 missing 0 ring 0 complete true",
    );
}

#[test]
fn faults_that_have_no_stack_are_said() {
    let (report, _) = run(
        "stack 1 10\nT1 fault 1000 @1\nT1 fault 2000 @1\nlook 2000=file\nT1 fault 3000 @1",
        0,
        &[],
    );
    let said: Vec<&str> = report.target.not_covered.iter().map(|gap| gap.what.as_str()).collect();
    assert_eq!(
        said,
        ["page faults on files, shared memory and hugetlbfs (1)", "the last page faults (1)"]
    );
    assert_eq!((report.resident.alloc_bytes, report.resident.free_bytes), (4096, 4096));
}

#[test]
fn a_stack_that_never_came_keeps_its_bytes() {
    check(
        "T1 alloc a0 100 @9",
        "heap missing: 100/1 of 100
         total 100/1 allocated 100 freed 0
         unknown 0 implied 0 missing 1 ring 0 complete true",
    );
}

#[test]
fn forks_are_said_and_exec_ends_the_capture() {
    let (report, exec) = run("T1 fork\nT1 exec", 0, &[]);
    assert!(exec);
    assert_eq!(report.target.ended, "exec");
    assert!(
        report.target.not_covered.iter().any(|n| n.what.contains("1 child process")),
        "{:?}",
        report.target.not_covered
    );
}

#[test]
fn what_the_kernel_lost_makes_the_report_incomplete() {
    let (report, _) = run("stack 1 10\nT1 alloc a0 100 @1", 0, &[(Counter::LostFreeRing, 3)]);
    assert!(!report.capture.complete);
    assert_eq!((report.capture.loss.ring_full, report.capture.accounting.lost), (3, 3));
    assert_eq!(report.capture.accounting.residual, 0);
}

#[test]
fn samples_stand_for_what_they_were_drawn_from() {
    let (report, _) =
        run("stack 1 10\nT1 alloc a0 1024 @1\nT1 alloc b0 1024 @1\nT1 free b0", 1024, &[]);
    // 1024 / (1 - 1/e) = 1619.97…
    assert_eq!((report.totals.live_bytes, report.totals.live_count), (1620, 2));
    assert_eq!(report.totals.alloc_bytes, 3240);
}
