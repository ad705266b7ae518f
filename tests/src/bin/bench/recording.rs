//! `recording`: the size of an hour's recording and the time that rendering takes, by number of stacks.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use memmgr::{
    aggregate::Ledger,
    recording::{Documents, Ending, Entry, Location, ModuleRecord, Node, Recording},
    report::{Frame, TimelinePoint},
    stacks::StackHandle,
    track::{Class, Delta, Direction},
    units::{Address, KernelTime},
};

const SECOND: u64 = 1_000_000_000;
/// Frames of a stack: as many as a busy server has.
const DEPTH: u32 = 30;
/// Distinct call sites that allocate or lead to it: as many as a large program has.
const CALL_SITES: u32 = 20_000;
const ROUNDS: usize = 3;

/// Runs the bench and returns its table.
pub fn run() -> Result<String> {
    let directory = tempfile::tempdir()?;
    let mut text = String::from(
        "| recording | size | HTML | SVG | folded | pprof | JSON |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, stacks, intervals, busy) in [
        ("1 minute, 10,000 stacks, a tenth changes every second", 10_000, 60, 10),
        ("1 hour, 10,000 stacks, a tenth changes every second", 10_000, 3_600, 10),
        ("1 hour, 10,000 stacks, all change every second", 10_000, 3_600, 1),
    ] {
        let path = directory.path().join("r.db");
        write(&path, stacks, intervals, busy).with_context(|| name.to_owned())?;
        let size = std::fs::metadata(&path)?.len();
        write!(text, "| {name} | {} MiB |", size >> 20)?;
        for format in ["html", "svg", "folded", "pprof", "json"] {
            write!(text, " {:.2} s |", render(&path, format)?)?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// A recording in which of every `busy` stacks one allocates and frees in every interval; one in a hundred leaks.
fn write(path: &Path, stacks: u32, intervals: u32, busy: u32) -> Result<()> {
    let mut recording = Recording::create(path, 1, true)?;
    let mut ledger = Ledger::new(0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for interval in 0..intervals {
        let began = KernelTime(u64::from(interval) * SECOND + 1);
        for stack in (0..stacks).filter(|stack| (stack + interval) % busy == 0) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let size = 16 + (random >> 40) % 5_000;
            let blocks = 1 + (random >> 33) % 50;
            let mut delta = Delta {
                class: Class::Heap,
                stack: StackHandle(3 + (stack + 1) * DEPTH),
                direction: Direction::Allocated,
                bytes: (size * blocks) as f64,
                count: blocks as f64,
                variance: 0.0,
                size,
                born: began,
            };
            ledger.apply(&delta);
            if stack % 100 == 0 {
                delta.bytes -= size as f64;
                delta.count -= 1.0;
            }
            delta.direction = Direction::Freed;
            ledger.apply(&delta);
        }
        let nodes = if interval == 0 { nodes(stacks) } else { Vec::new() };
        let locations = nodes.iter().map(|node| Location {
            address: node.address,
            module: Some(0),
            stated: node.address.0,
            reason: None,
        });
        let entry = Entry {
            point: TimelinePoint {
                t_s: f64::from(interval + 1),
                live_bytes: ledger.heap().live_bytes() as u64,
                rss_bytes: 100 << 20,
                ..TimelinePoint::default()
            },
            locations: locations.collect(),
            nodes,
            modules: if interval == 0 { vec![module()] } else { Vec::new() },
            interval: ledger.cut(KernelTime(u64::from(interval + 1) * SECOND), 1.0),
            documents: Documents {
                captured_at: "2026-01-01T00:00:00Z".into(),
                ..Documents::default()
            },
        };
        recording.write(&entry)?;
    }
    let frames = nodes(stacks).into_iter().map(|node| {
        let frame = Frame {
            function: Some(format!("service::handlers::function_{:x}", node.address.0)),
            module: Some(module().path),
            file: Some("/build/service/src/handlers/requests.cpp".into()),
            line: Some(node.address.0 as u32 % 5_000),
            address: node.address.0,
            ..Frame::default()
        };
        (node.address, vec![frame.into()])
    });
    recording.finish(&Ending { frames: frames.collect(), documents: Documents::default() })?;
    Ok(())
}

fn module() -> ModuleRecord {
    let path = "/usr/local/bin/service".to_owned();
    ModuleRecord { path, build_id: "00".repeat(20), end: 1 << 40, ..ModuleRecord::default() }
}

/// Chains of frames from 4 on, of which the outer third is shared by all of them.
fn nodes(stacks: u32) -> Vec<Node> {
    let shared = DEPTH / 3;
    (0..stacks * DEPTH)
        .map(|i| {
            let (stack, depth) = (i / DEPTH, i % DEPTH);
            let handle = StackHandle(4 + i);
            let parent = StackHandle(if depth == 0 { 0 } else { 3 + i });
            let name = if depth < shared { depth } else { (stack * 31 + depth * 977) % CALL_SITES };
            Node { handle, parent, address: Address(0x1000 + u64::from(name)) }
        })
        .collect()
}

/// Seconds that a rendering takes, from the start of the process to its end: the median of a few.
fn render(recording: &Path, format: &str) -> Result<f64> {
    let memmgr = std::env::var_os("MEMMGR_TEST_BIN").context("MEMMGR_TEST_BIN is not set")?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let status = Command::new(&memmgr)
            .arg("report")
            .arg(recording)
            .args(["--format", format, "-o", "-"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "{format}: {status}");
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}
