//! Reports for the tests of every sink, written by hand.

mod allocator;
mod growing;
mod judged;

use std::sync::Arc;

use crate::report::{
    Accounting, Action, Age, Allocator, Capture, Cgroup, Collector, Finding, Frame, Function, Host,
    Loss, NotCovered, Overhead, Pressure, PressureLine, ProbedFunction, Process, Reconciliation,
    Report, SCHEMA, Stack, StackChoice, StackFile, Target, TimelinePoint, Totals,
};

pub(crate) use growing::growing;
pub(super) use judged::judged;

const REDIS: &str = "/usr/bin/redis-server";
const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

/// A frame with a name and nothing else.
pub(super) fn frame(function: &str) -> Frame {
    Frame { function: Some(function.to_owned()), ..Frame::default() }
}

fn redis_frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        module: Some(REDIS.to_owned()),
        file: Some(format!("/build/redis/src/{file}")),
        line: Some(line),
        address: 0x4_0000 + u64::from(line),
        ..Frame::default()
    }
}

fn inlined(frame: Frame) -> Frame {
    Frame { inlined: true, ..frame }
}

fn libc_frame(function: &str) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        module: Some(LIBC.to_owned()),
        address: 0x9_a0b0,
        ..Frame::default()
    }
}

/// The event loop under every command.
fn from_main(leaf: Vec<Frame>) -> Vec<Frame> {
    let mut frames = leaf;
    frames.extend([
        redis_frame("call", "server.c", 3575),
        redis_frame("processCommand", "server.c", 4206),
        inlined(redis_frame("processCommandAndResetClient", "networking.c", 2505)),
        redis_frame("processInputBuffer", "networking.c", 2613),
        redis_frame("readQueryFromClient", "networking.c", 2759),
        inlined(redis_frame("callHandler", "connhelpers.h", 79)),
        redis_frame("connSocketEventHandler", "socket.c", 298),
        redis_frame("aeProcessEvents", "ae.c", 417),
        inlined(redis_frame("aeMain", "ae.c", 477)),
        redis_frame("main", "server.c", 7197),
        libc_frame("__libc_start_call_main"),
        libc_frame("__libc_start_main_impl"),
        Frame {
            module: Some(REDIS.to_owned()),
            address: 0x4_2a85,
            reason: Some("no symbol covers it".to_owned()),
            ..Frame::default()
        },
    ]);
    frames
}

/// The standard error of so many blocks and bytes, of which at most nine were sampled, one per 512 KiB on average.
fn error((count, bytes): (u64, u64)) -> u64 {
    let size = bytes as f64 / count.max(1) as f64;
    (bytes as f64 * ((-size / f64::from(512 << 10)).exp() / count.clamp(1, 9) as f64).sqrt()) as u64
}

fn stack(id: u32, class: &str, live: (u64, u64), alloc: (u64, u64), frames: Vec<Frame>) -> Stack {
    Stack {
        id,
        class: class.to_owned(),
        live_count: live.0,
        live_samples: live.0.min(9),
        live_bytes: live.1,
        alloc_count: alloc.0,
        alloc_bytes: alloc.1,
        live_bytes_error: if matches!(class, "heap" | "resident") { error(live) } else { 0 },
        age_s: (live.0 > 0).then_some(Age { min: 0.02, median: 14.5, max: 29.75 }),
        frames: frames.into_iter().map(Arc::new).collect(),
        ..Stack::default()
    }
}

fn stacks() -> Vec<Stack> {
    let zmalloc = || inlined(redis_frame("zmalloc", "zmalloc.c", 142));
    let zmalloc_usable = || redis_frame("zmalloc_usable", "zmalloc.c", 165);
    let mut stacks = vec![
        stack(
            1,
            "heap",
            (24_576, 25_165_824),
            (24_600, 25_190_400),
            from_main(vec![
                libc_frame("malloc"),
                zmalloc(),
                redis_frame("createObject", "object.c", 43),
                redis_frame("setKey", "db.c", 264),
                redis_frame("setCommand", "t_string.c", 86),
            ]),
        ),
        stack(
            2,
            "heap",
            (16_384, 8_388_608),
            (16_384, 8_388_608),
            from_main(vec![
                libc_frame("malloc"),
                zmalloc_usable(),
                inlined(redis_frame("_sdsnewlen", "sds.c", 103)),
                redis_frame("sdsnewlen", "sds.c", 147),
                redis_frame("dbAdd", "db.c", 190),
                redis_frame("setKey", "db.c", 262),
                redis_frame("setCommand", "t_string.c", 86),
            ]),
        ),
        stack(
            3,
            "heap",
            (1, 1_048_576),
            (20, 2_097_152),
            vec![
                libc_frame("calloc"),
                redis_frame("zcalloc", "zmalloc.c", 180),
                redis_frame("_dictExpand", "dict.c", 176),
                redis_frame("dictExpand", "dict.c", 220),
                redis_frame("serverCron", "server.c", 1302),
            ],
        ),
        stack(
            4,
            "heap",
            (1, 65_536),
            (1, 65_536),
            vec![],
        ),
        stack(
            5,
            "heap",
            (3, 49_152),
            (400, 6_553_600),
            vec![
                libc_frame("malloc"),
                Frame {
                    function: Some(
                        "std::__detail::_Map_base<std::__cxx11::basic_string<char, std::char_traits<char>, \
                         std::allocator<char> >, std::pair<std::__cxx11::basic_string<char> const, Session>, \
                         std::allocator<std::pair<std::__cxx11::basic_string<char> const, Session> > >::operator[]"
                            .to_owned(),
                    ),
                    module: Some("/opt/redis/modules/libsession-store.so.1.2.3".to_owned()),
                    file: Some("/usr/include/c++/12/bits/hashtable_policy.h".to_owned()),
                    line: Some(709),
                    address: 0x1_1111,
                    ..Frame::default()
                },
                Frame {
                    module: Some("/opt/redis/modules/libsession-store.so.1.2.3".to_owned()),
                    address: 0x1_f2e4,
                    reason: Some("the file is stripped".to_owned()),
                    ..Frame::default()
                },
                Frame {
                    address: 0x7f12_3456_789a,
                    reason: Some("code without a file".to_owned()),
                    ..Frame::default()
                },
            ],
        ),
        stack(
            6,
            "heap",
            (2, 16_000),
            (2, 16_000),
            vec![libc_frame("malloc"), redis_frame("luaM_realloc_", "lmem.c", 79)],
        ),
        stack(
            7,
            "heap",
            (1, 384),
            (1, 384),
            vec![redis_frame("bioInit", "bio.c", 120), redis_frame("main", "server.c", 7100)],
        ),
        stack(
            8,
            "heap",
            (0, 0),
            (90_000, 11_796_480),
            from_main(vec![libc_frame("malloc"), zmalloc(), redis_frame("addReply", "networking.c", 401)]),
        ),
        stack(
            9,
            "mapping",
            (1, 67_108_864),
            (2, 134_217_728),
            vec![
                libc_frame("mmap"),
                libc_frame("new_heap"),
                libc_frame("arena_get2"),
                libc_frame("malloc"),
                redis_frame("bioProcessBackgroundJobs", "bio.c", 206),
                libc_frame("start_thread"),
            ],
        ),
    ];
    stacks[0].finding = Some(0);
    stacks[3].cut = Some("missing".to_owned());
    stacks[4].cut = Some("truncated".to_owned());
    stacks
}

fn probed(symbol: &str, role: &str, site: &str, hits: u64) -> ProbedFunction {
    ProbedFunction {
        symbol: symbol.to_owned(),
        role: role.to_owned(),
        offset: 0x9_a0a0,
        site: site.to_owned(),
        hits,
    }
}

fn target() -> Target {
    Target {
        pid: 1234,
        comm: "redis-server".to_owned(),
        exe: REDIS.to_owned(),
        cmdline: vec![REDIS.to_owned(), "*:6379".to_owned()],
        start_time_s: 812.25,
        cgroup: "/system.slice/redis-server.service".to_owned(),
        container_id: None,
        threads: 5,
        ended: "duration".to_owned(),
        allocators: vec![Allocator {
            kind: "glibc".to_owned(),
            path: LIBC.to_owned(),
            build_id: "3f1c6a0b9d".to_owned(),
            functions: vec![
                probed("malloc=__libc_malloc", "malloc", "entry+4 push (emulated)", 131_005),
                probed("calloc", "calloc", "entry+4 push (emulated)", 20),
                probed("free=cfree", "free", "entry+3 je (emulated)", 90_412),
            ],
        }],
        not_covered: vec![NotCovered {
            what: "pvalloc".to_owned(),
            why: "no boundary before its first branch is safe to probe".to_owned(),
        }],
    }
}

fn capture() -> Capture {
    Capture {
        filter: crate::report::Filter::default(),
        mode: "sample".to_owned(),
        sample_interval_bytes: 512 << 10,
        stack: StackChoice {
            kind: "dwarf".to_owned(),
            bytes: 8192,
            why: "libc.so.6 was built without frame pointers".to_owned(),
            files: [(LIBC, "unwind tables"), ("/opt/redis/modules/libold.so", "none")]
                .map(|(path, unwind)| StackFile { path: path.into(), unwind: unwind.into() })
                .to_vec(),
        },
        attach: "multi".to_owned(),
        complete: false,
        observed: None,
        probes_per_s: 7381.2,
        overhead: Overhead {
            budget_percent: Some(2.0),
            achieved_percent: Some(1.3),
            speed_in_windows_percent: None,
            actions: vec![Action {
                t_s: 0.3,
                what: "events cost too much: a sample is taken every 512 KiB".to_owned(),
                achieved_percent: 2.6,
            }],
        },
        loss: Loss { stack_missing: 1, stack_truncated: 1, unknown_free: 412, ..Loss::default() },
        accounting: Accounting {
            seen: 221_437,
            filtered: 12,
            sampled_out: 180_000,
            submitted: 41_425,
            stack_records: 0,
            lost: 0,
            received: 41_425,
            decoded: 41_425,
            residual: 0,
        },
    }
}

fn pressure() -> Pressure {
    Pressure {
        some: PressureLine { avg10: 1.5, avg60: 0.75, avg300: 0.25, total_s: 12.5 },
        full: PressureLine { avg10: 0.5, avg60: 0.25, avg300: 0.0, total_s: 4.25 },
    }
}

/// A busy redis-server under a sampling capture of 30 s: inlined, unknown and cut frames, two classes
/// of memory, a finding, small losses.
pub(crate) fn redis() -> Report {
    let mib = |n: u64| n << 20;
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: "0.1.0".to_owned(),
        captured_at: "2026-03-04T05:06:07Z".to_owned(),
        duration_s: 30.0,
        target: target(),
        capture: capture(),
        totals: Totals {
            alloc_count: 131_408,
            alloc_bytes: 54_108_160,
            free_count: 90_440,
            free_bytes: 19_374_080,
            live_count: 40_968,
            live_bytes: 34_734_080,
            peak_live_bytes: 35_651_584,
            live_bytes_error: 4_263_000,
            alloc_bytes_error: 5_321_000,
        },
        file_mapped: Totals::default(),
        mapped: Totals {
            alloc_count: 2,
            alloc_bytes: mib(128),
            free_count: 1,
            free_bytes: mib(64),
            live_count: 1,
            live_bytes: mib(64),
            peak_live_bytes: mib(128),
            ..Totals::default()
        },
        stacks: stacks(),
        functions: vec![
            Function {
                function: "malloc".to_owned(),
                module: LIBC.to_owned(),
                self_live_bytes: 33_619_584,
                total_live_bytes: 33_619_584,
                self_alloc_bytes: 51_945_088,
                total_alloc_bytes: 51_945_088,
                total_live_bytes_error: 4_190_000,
                total_alloc_bytes_error: 5_219_000,
            },
            Function {
                function: "setCommand".to_owned(),
                module: REDIS.to_owned(),
                self_live_bytes: 0,
                total_live_bytes: 33_554_432,
                self_alloc_bytes: 0,
                total_alloc_bytes: 33_579_008,
                total_live_bytes_error: 4_186_000,
                total_alloc_bytes_error: 4_188_000,
            },
            Function {
                function: "main".to_owned(),
                module: REDIS.to_owned(),
                self_live_bytes: 0,
                total_live_bytes: 33_554_816,
                self_alloc_bytes: 0,
                total_alloc_bytes: 45_375_872,
                total_live_bytes_error: 4_187_000,
                total_alloc_bytes_error: 4_876_000,
            },
        ],
        findings: vec![Finding {
            kind: "leak".to_owned(),
            stack_id: Some(1),
            subject: Some("createObject".to_owned()),
            shape: "linear".to_owned(),
            severity: "warning".to_owned(),
            score: 71.0,
            confidence: 0.85,
            growth_bytes_per_s: 838_860.75,
            time_to_limit_s: Some(4210.0),
            evidence: vec!["24,576 of 24,600 blocks are still live; the oldest is as old as the capture.".to_owned()],
            recommendation: "Look at the expiry of keys set by setCommand.".to_owned(),
        }],
        timeline: vec![
            TimelinePoint { t_s: 0.0, live_bytes: 0, rss_bytes: mib(90), cgroup_bytes: Some(mib(95)), ..TimelinePoint::default() },
            TimelinePoint { t_s: 30.0, live_bytes: 34_734_080, rss_bytes: mib(125), cgroup_bytes: Some(mib(131)), ..TimelinePoint::default() },
        ],
        process: Process {
            rss_bytes: Some(mib(125)),
            rss_peak_bytes: Some(mib(126)),
            swap_bytes: Some(mib(3)),
            threads: Some(5),
            ..Process::default()
        },
        cgroup: Some(Cgroup {
            version: "v2".to_owned(),
            path: "/system.slice/redis-server.service".to_owned(),
            usage_bytes: Some(mib(131)),
            limit_bytes: Some(mib(512)),
            stat: [("anon".to_owned(), mib(120)), ("file".to_owned(), mib(8))].into(),
            events: [("high".to_owned(), 1_204), ("oom_kill".to_owned(), 0)].into(),
            pressure: Some(pressure()),
        }),
        host: Host {
            total_bytes: mib(16_000),
            available_bytes: Some(mib(9_000)),
            free_bytes: mib(1_000),
            used_bytes: mib(7_000),
            swap_total_bytes: mib(2_048),
            swap_free_bytes: mib(2_000),
            max_mappings: Some(65_530),
            pressure: Some(pressure()),
        },
        reconciliation: Reconciliation {
            rss_bytes: mib(125),
            tracked_live_bytes: 34_734_080,
            allocator_retained_bytes: 79_691_776,
            runtime_heap: None,
            own_mappings_bytes: 0,
            thread_stacks_bytes: 155_648,
            file_bytes: mib(8),
            shmem_bytes: 0,
            untracked_bytes: 8_101_888,
            explanation: vec![
                "76.0 MiB of the allocator's resident pages are older than the attach, kept after a free, or lost to fragmentation.".to_owned(),
            ],
        },
        collector: Collector {
            rss_peak_bytes: mib(48),
            cpu_s: 1.25,
            attach_s: 0.21,
            detach_s: 0.08,
            first_event_s: Some(0.013),
        },
        ..Report::default()
    }
}

/// Every string that a target chooses tries to get out of its place.
pub(crate) fn hostile() -> Report {
    let evil = "evil\x1b[2J 7";
    let clipboard = "\u{9d}52;c;ZXZpbA==\u{9c}\u{202e}\u{200b}\r\n";
    let mut report = redis();
    report.target.comm = evil.to_owned();
    report.target.cmdline = vec![clipboard.to_owned(), "<script>".to_owned()];
    report.target.exe = clipboard.to_owned();
    report.target.ended = evil.to_owned();
    report.target.container_id = Some(clipboard.to_owned());
    report.target.allocators[0].path = clipboard.to_owned();
    report.target.allocators[0].functions[0].symbol = evil.to_owned();
    report.target.allocators[0].functions[0].site = evil.to_owned();
    report.target.not_covered[0].what = clipboard.to_owned();
    report.capture.mode = evil.to_owned();
    report.capture.stack.files[1].path = evil.to_owned();
    report.capture.stack.why = evil.to_owned();
    report.capture.overhead.actions[0].what = evil.to_owned();
    report.captured_at = evil.to_owned();
    report.findings[0].evidence = vec![clipboard.to_owned()];
    report.findings[0].severity = evil.to_owned();
    report.findings[0].recommendation = clipboard.to_owned();
    report.reconciliation.explanation = vec![clipboard.to_owned()];
    report.functions[0].function = clipboard.to_owned();
    report.functions[0].module = evil.to_owned();
    if let Some(cgroup) = &mut report.cgroup {
        cgroup.path = clipboard.to_owned();
        cgroup.version = evil.to_owned();
        cgroup.events.insert(clipboard.to_owned(), 1);
    }
    let hostile_frame = |name: &str| Frame {
        function: Some(name.to_owned()),
        module: Some(clipboard.to_owned()),
        file: Some(evil.to_owned()),
        line: Some(1),
        ..Frame::default()
    };
    let nameless = Frame { reason: Some(evil.to_owned()), ..hostile_frame("") };
    let nameless = Frame { function: None, ..nameless };
    report.stacks = vec![
        stack(1, "heap", (1, 2048), (1, 2048), vec![hostile_frame(evil), hostile_frame(clipboard)]),
        stack(
            2,
            "heap",
            (1, 1024),
            (1, 1024),
            vec![nameless, hostile_frame("</text><script>alert(1)</script>")],
        ),
        stack(3, "mapping", (1, 4096), (1, 4096), vec![hostile_frame(clipboard)]),
    ];
    report.stacks[0].finding = Some(0);
    report.stacks[1].cut = Some(clipboard.to_owned());
    report
}
