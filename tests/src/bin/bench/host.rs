//! `host`: what it takes to look at a host with many processes, against a bare loop and against smem.

use std::{
    fmt::Write as _,
    fs::File,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use memmgr::{
    source::{processes::Processes, roots::Roots},
    units::Pid,
};
use memmgr_tests::{capture::binary, servers::Ends};

use crate::{
    statistics::{Rounds, marked},
    target::processor_ns,
    usage::resident_bytes,
};

/// Processes beside those of the host.
const PROCESSES: usize = 1000;
const ROUNDS: usize = 11;
/// smem takes long.
const ROUNDS_OF_SMEM: usize = 3;
/// For so long each verb is measured, after it has settled.
const SPAN: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(5);

/// Measures and returns the tables.
pub fn run() -> Result<String> {
    let sleepers: Vec<Ends> = (0..PROCESSES)
        .map(|_| Ok(Ends(Command::new("sleep").arg("1000000").spawn()?)))
        .collect::<Result<_>>()?;
    let pids: Vec<u32> = sleepers.iter().map(|sleeper| sleeper.0.id()).collect();
    // They have become `sleep` before they are looked at.
    sleep(Duration::from_secs(1));
    let mut text = String::new();
    reading(&mut text, &pids)?;
    watching(&mut text)?;
    Ok(text)
}

fn reading(text: &mut String, pids: &[u32]) -> Result<()> {
    let mut processes = Processes::open(&Roots::default())?;
    let (mut bare, mut own, mut ratio) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut buffer = Vec::with_capacity(8192);
        for pid in pids {
            buffer.clear();
            File::open(format!("/proc/{pid}/smaps_rollup"))?.read_to_end(&mut buffer)?;
        }
        let loop_ms = begin.elapsed().as_secs_f64() * 1e3;
        let begin = Instant::now();
        for pid in pids {
            let sets = processes.sets(Pid(*pid))?.context("a process without memory")?;
            ensure!(sets.rss_bytes > 0 && sets.uss_bytes <= sets.pss_bytes, "{sets:?}");
        }
        let own_ms = begin.elapsed().as_secs_f64() * 1e3;
        bare.0.push(loop_ms);
        own.0.push(own_ms);
        ratio.0.push(own_ms / loop_ms);
    }
    let mut smem = Rounds::default();
    for _ in 0..ROUNDS_OF_SMEM {
        let begin = Instant::now();
        let run = Command::new("smem")
            .args(["-H", "-c", "pid rss pss uss"])
            .stdout(Stdio::null())
            .status();
        match run {
            Ok(status) => ensure!(status.success(), "smem: {status}"),
            Err(_) => break,
        }
        smem.0.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    writeln!(text, "### RSS, PSS and USS of {} processes\n", pids.len())?;
    writeln!(text, "| | ms | of the bare loop | of smem |\n|---|---:|---:|---:|")?;
    writeln!(text, "| a bare loop that opens and reads `smaps_rollup` | {bare:.1} | | |")?;
    let of_smem = own.median() / smem.median();
    let shares = [
        marked(&format!("{ratio:.2}"), ratio.median() <= 1.2),
        // Without smem nothing is said of it.
        if smem.0.is_empty() {
            String::new()
        } else {
            marked(&format!("{of_smem:.3}"), of_smem <= 0.2)
        },
    ];
    writeln!(text, "| memmgr, with the figures | {own:.1} | {} | {} |", shares[0], shares[1])?;
    if !smem.0.is_empty() {
        writeln!(text, "| smem | {smem:.1} | | |")?;
    }
    Ok(())
}

fn watching(text: &mut String) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let history = directory.path().join("history.db").display().to_string();
    let rules = ["process:* grows > 1GiB/s", "cgroup:* usage > 99%", "host available < 1%"];
    let mut watch = vec!["watch", "--keep", &history];
    watch.extend(rules.iter().flat_map(|rule| ["--when", rule]));
    let serve = vec!["serve", "--listen", "127.0.0.1:19464"];
    writeln!(
        text,
        "\n### At an interval of 1 s, with {PROCESSES} processes more than the host has\n"
    )?;
    writeln!(text, "| | share of a core | resident |\n|---|---:|---:|")?;
    for (name, arguments) in [("`watch`, three rules, with a history", watch), ("`serve`", serve)] {
        let memmgr = Ends(start(&arguments, directory.path())?);
        sleep(SETTLE);
        let pid = memmgr.0.id();
        let (began, before) = (Instant::now(), processor_ns(pid)?);
        sleep(SPAN);
        let share = 100.0 * (processor_ns(pid)? - before) / began.elapsed().as_nanos() as f64;
        let mib = resident_bytes(pid, "VmRSS:")? as f64 / 1_048_576.0;
        writeln!(
            text,
            "| {name} | {} | {} |",
            marked(&format!("{share:.2} %"), share <= 2.0),
            marked(&format!("{mib:.1} MiB"), mib <= 64.0)
        )?;
    }
    Ok(())
}

fn start(arguments: &[&str], directory: &Path) -> Result<Child> {
    Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start memmgr")
}
