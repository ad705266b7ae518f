//! `optimize` on live programs: what it gives is what the kernel and the programs say, and what is needed is told as harm.

use std::{fs, path::Path, process::Command};

use memmgr::{
    optimize::{report::Report, verdict::Verdict},
    source::{host::read_host, roots::Roots},
};
use memmgr_tests::{
    Workload,
    browser::Browser,
    capture::binary,
    cgroup::MemoryGroup,
    host::has_program,
    optimizing::{log_in, on_disk, pid, refused, report, rss, started},
    require_root,
    swap::Swap,
    take_turn,
};
use serde_json::Value;

const MIB: u64 = 1 << 20;

#[test]
fn a_dry_run_changes_nothing() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let workload = started(&["hold 64"]);
    let before = fs::read_to_string(format!("/proc/{}/statm", workload.pid())).unwrap();
    for action in ["cold", "collapse"] {
        let report = report(&log, &[action, "-p", &pid(&workload)]);
        assert!(!report.applied && report.changed.is_none(), "{report:?}");
        assert!(report.mappings.iter().any(|chosen| chosen.rss_bytes >= 64 * MIB), "{report:?}");
        assert!(!report.does.is_empty() && !report.costs.is_empty() && !report.undo.is_empty());
    }
    assert_eq!(fs::read_to_string(format!("/proc/{}/statm", workload.pid())).unwrap(), before);
    assert!(!log.exists());
}

#[test]
fn reclaim_gives_back_a_cold_cache() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let file = directory.path().join("file");
    let Some(group) = MemoryGroup::make("reclaim", 2 << 30) else { return };
    let is_v1 = group.directory().join("memory.force_empty").exists();
    fs::write(&file, vec![7; 512 << 20]).unwrap();
    let synced = Command::new("sync").arg(&file).status().expect("sync runs");
    assert!(synced.success());
    // Whoever reads a page first is charged for it.
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    let mut workload = started(&[]);
    group.take(workload.pid());
    workload.send(&format!("read {}", file.display()));
    assert_eq!(workload.line(), "done");
    let path = group.path();
    let how_much: &[&str] = if is_v1 { &["--all"] } else { &["--amount", "480MiB"] };
    let asked = if is_v1 { 512 * MIB } else { 480 * MIB };
    let flags = [&["reclaim", "--cgroup", &path, "--apply", "--settle", "1s"], how_much].concat();
    let report = report(&log, &flags);
    let changed = report.changed.as_ref().expect("it was applied");
    assert_eq!(changed.effect.verdict, Verdict::Helped, "{:?}", changed.effect);
    let gained = changed.effect.kept_bytes as u64;
    assert!(gained as f64 >= 0.95 * asked as f64, "{gained} of {asked}");
    // Nobody does anything in it since: the figures are the kernel's.
    let figures = changed.settled.cgroup.as_ref().expect("a cgroup");
    let usage = group.read(["memory.current", "memory.usage_in_bytes"]);
    assert_eq!(figures.cgroup.usage_bytes, usage.trim().parse().ok());
    for line in group.read(["memory.stat", "memory.stat"]).lines() {
        let (name, value) = line.split_once(' ').expect("a field");
        assert_eq!(figures.cgroup.stat.get(name), value.parse().ok().as_ref(), "{name}");
    }
    if is_v1 {
        let (code, text) =
            refused(&log, &["reclaim", "--cgroup", &path, "--amount", "1MiB", "--apply"]);
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("takes no amount: `memmgr optimize reclaim --all`"), "{text}");
    }
    let lines = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains(&format!("optimize reclaim of cgroup {path}, by uid 0")),
        "{lines:?}"
    );
    assert!(lines[1].contains("done: helped: "), "{lines:?}");
}

#[test]
fn what_is_paged_out_comes_back_as_it_was() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let mut workload = started(&["hold 256"]);
    let pid = pid(&workload);
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    if !has_swap {
        let (code, text) = refused(&log, &["pageout", "-p", &pid, "--apply"]);
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("this host has no swap") && text.contains("swapon"), "{text}");
    }
    let Some(_swap) = Swap::make(directory.path(), 600) else { return };
    let report =
        report(&log, &["pageout", "-p", &pid, "--idle", "1s", "--settle", "1s", "--apply"]);
    let changed = report.changed.as_ref().expect("it was applied");
    assert_eq!(changed.effect.verdict, Verdict::Helped, "{report:?}");
    let (before, after) = (rss(&report.before), rss(&changed.settled));
    assert!(after as f64 <= before as f64 * 0.1, "{before} {after}");
    let truth: Value = workload.ask("rss");
    let off = truth["rss_bytes"].as_u64().expect("RSS").abs_diff(after);
    assert!(off < MIB, "{truth} {after}");
    // What is in the swap cache is in memory all the same, and that is said.
    let cached = changed.settled.swap_cached_bytes() - report.before.swap_cached_bytes();
    let is_said = changed.effect.why.iter().any(|why| why.contains("in the swap cache"));
    assert_eq!(is_said, cached >= (before - after) / 4, "{cached} {:?}", changed.effect);
    let sum: Value = workload.ask("sum");
    assert_eq!(sum["wrong"], 0, "{sum}");
}

#[test]
fn a_hot_working_set_is_harmed() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let Some(_swap) = Swap::make(directory.path(), 600) else { return };
    let workload = started(&["hold 128", "hot"]);
    let pid = pid(&workload);
    let report = report(&log, &["pageout", "-p", &pid, "--settle", "4s", "--apply"]);
    let effect = &report.changed.as_ref().expect("it was applied").effect;
    assert_eq!(effect.verdict, Verdict::Harmed, "{report:?}");
    assert!(
        effect.why.iter().any(|why| why.contains("came back") || why.contains("wanted again")),
        "{effect:?}"
    );
    // Looked at first, it is left alone.
    let (code, text) =
        refused(&log, &["pageout", "-p", &pid, "--idle", "1s", "--name", "", "--apply"]);
    assert_eq!(code, 2, "{text}");
    let (code, text) = refused(&log, &["pageout", "-p", &pid, "--idle", "2s", "--apply"]);
    let left_alone = text.contains("every mapping that is meant was touched");
    assert!((code == 1 && left_alone) || code == 0, "{code}: {text}");
}

#[test]
fn what_is_reclaimed_for_nothing_is_harm() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let Some(group) = MemoryGroup::make("warm", 1 << 30) else { return };
    let Some(_swap) = Swap::make(directory.path(), 600) else { return };
    let mut workload = started(&[]);
    group.take(workload.pid());
    for order in ["hold 128", "warm 400"] {
        workload.send(order);
        assert_eq!(workload.line(), "done");
    }
    let flags = ["reclaim", "--cgroup", &group.path(), "--all", "--settle", "2s", "--apply"];
    let report = report(&log_in(&directory), &flags);
    let effect = &report.changed.as_ref().expect("it was applied").effect;
    assert_eq!(effect.verdict, Verdict::Harmed, "{report:?}");
}

#[test]
fn an_action_whose_report_is_lost_is_told() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let workload = started(&["hold 16"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(binary())
        .args(["optimize", "cold", "-p", &pid(&workload), "--settle", "200ms", "--apply", "--log"])
        .arg(log_in(&directory))
        .stdout(full)
        .output()
        .expect("memmgr runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("was applied (") && stderr.contains("its report is lost"), "{stderr}");
}

#[test]
fn mappings_are_advised() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let workload = started(&["hold 64"]);
    let pid = pid(&workload);
    let cold = report(&log, &["cold", "-p", &pid, "--settle", "1s", "--apply"]);
    let changed = cold.changed.as_ref().expect("it was applied");
    assert!(rss(&changed.settled) >= 64 * MIB, "{changed:?}");
    assert!(cold.steps[0].contains("MADV_COLD) took 6"), "{:?}", cold.steps);
    assert_ne!(changed.effect.verdict, Verdict::Harmed, "{changed:?}");
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    let collapse = report(&log, &["collapse", "-p", &pid, "--settle", "1s", "--apply"]);
    let changed = collapse.changed.as_ref().expect("it was applied");
    let huge = |figures: &memmgr::optimize::figures::Figures| {
        figures.processes.as_ref().and_then(|processes| processes.huge_bytes).expect("huge pages")
    };
    let (before, after) = (huge(&collapse.before), huge(&changed.settled));
    // Two ends of the mapping may lie in no aligned huge page.
    assert!(after >= 60 * MIB && after > before, "{before} {after} {:?}", collapse.steps);
    assert_eq!(changed.effect.verdict, Verdict::Helped, "{changed:?}");
}

#[test]
fn equal_pages_are_merged() {
    let run = Path::new("/sys/kernel/mm/ksm/run");
    if !require_root() || !run.exists() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let before = fs::read_to_string(run).unwrap();
    let _workload = started(&["same 16"]);
    let report = report(&log_in(&directory), &["merge", "--settle", "6s", "--apply"]);
    fs::write(run, "2").unwrap();
    fs::write(run, before.trim()).unwrap();
    let changed = report.changed.as_ref().expect("it was applied");
    assert_eq!(
        changed.effect.verdict,
        Verdict::Helped,
        "{:?} {:?}",
        changed.effect,
        changed.settled.merging
    );
    assert!(changed.effect.kept_bytes >= 8 * MIB as i64, "{:?}", changed.effect);
    assert_eq!(report.undo, "echo 2 > /sys/kernel/mm/ksm/run");
}

/// Whether large blocks become free is chance on a host that goes on meanwhile: the kernel's two scanners may meet before they reach
/// what is in pieces. In guests that were just booted they do each time, and `cargo xtask vm` asks for that; here what is told is right,
/// whatever becomes of it.
#[test]
fn compaction_is_judged_by_the_large_blocks_that_became_free() {
    if !require_root() || !Path::new("/proc/sys/vm/compact_memory").exists() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let host = read_host(&Roots::default()).expect("the host's memory");
    let most = host.available_bytes.expect("what is available") / MIB * 2 / 3;
    for mib in [2048, 4096, 8192] {
        let _workload = started(&[&format!("pieces {}", mib.min(most))]);
        let report = report(&log_in(&directory), &["compact", "--settle", "1s", "--apply"]);
        let changed = report.changed.as_ref().expect("it was applied");
        let gained = changed.after.high_order_free_bytes() as i64
            - report.before.high_order_free_bytes() as i64;
        assert_eq!(changed.effect.gained_bytes, gained);
        let helped = changed.effect.verdict == Verdict::Helped;
        assert!(!helped || gained > 0, "{:?}", changed.effect);
        if helped && gained >= 128 * MIB as i64 {
            break;
        }
    }
}

/// Whether the kernel keeps pages on lists, and not by generations: only then it tells of each page whether it is active.
fn has_lists() -> bool {
    let generations = fs::read_to_string("/sys/kernel/mm/lru_gen/enabled");
    generations.map_or(true, |mask| mask.trim() == "0x0000")
}

#[test]
fn what_is_cold_is_inactive_then() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let file = directory.path().join("file");
    fs::write(&file, vec![7; 64 << 20]).unwrap();
    let mut workload = started(&[]);
    let path = file.display();
    // What is read twice is active.
    for line in [format!("read {path}"), format!("read {path}"), format!("map {path}")] {
        workload.send(&line);
        assert_eq!(workload.line(), "done");
    }
    let pid = pid(&workload);
    let flags =
        ["cold", "-p", &pid, "--only", "file", "--name", "*/file", "--settle", "1s", "--apply"];
    let report = report(&log_in(&directory), &flags);
    let changed = report.changed.as_ref().expect("it was applied");
    let inactive = |figures: &memmgr::optimize::figures::Figures| {
        figures.processes.as_ref().and_then(|processes| processes.inactive_bytes)
    };
    if !has_lists() {
        assert_eq!(inactive(&changed.settled), None);
        return;
    }
    let (before, after) = (inactive(&report.before).unwrap(), inactive(&changed.settled).unwrap());
    assert!(after >= before + 60 * MIB, "{before} {after}");
    assert_eq!(changed.effect.kept_bytes, (after - before) as i64);
    assert_eq!(changed.effect.verdict, Verdict::Helped, "{:?}", changed.effect);
}

#[test]
fn dropped_caches_are_gone_and_read_again() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let file = directory.path().join("file");
    fs::write(&file, vec![7; 256 << 20]).unwrap();
    assert!(Command::new("sync").arg(&file).status().expect("sync runs").success());
    let mut workload = started(&[]);
    let read = format!("read {}", file.display());
    workload.send(&read);
    assert_eq!(workload.line(), "done");
    // It reads the file again while the figures settle.
    let child = Command::new(binary())
        .args(["optimize", "drop-caches", "--settle", "5s", "--apply", "--json", "--log"])
        .arg(log_in(&directory))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("memmgr runs");
    let child = {
        let mut child = child;
        let lines = memmgr_tests::lines::Lines::of(child.stderr.take().expect("piped"));
        while lines.next().is_some_and(|line| !line.contains("what comes back")) {}
        child
    };
    workload.send(&read);
    assert_eq!(workload.line(), "done");
    let output = child.wait_with_output().expect("memmgr ends");
    let report: Report = serde_json::from_slice(&output.stdout).expect("JSON");
    let changed = report.changed.as_ref().expect("it was applied");
    assert!(changed.effect.gained_bytes >= 200 * MIB as i64, "{:?}", changed.effect);
    let read = changed.rates_settling.read_bytes * changed.rates_settling.seconds;
    assert!(read >= 250.0 * MIB as f64, "{:?}", changed.rates_settling);
    assert!(report.does.contains("WHOLE HOST") && report.costs.contains("EVERY program"));
}

#[test]
fn trim_gives_what_malloc_trim_gives() {
    if !require_root() || !has_program("gdb") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let rss_of =
        |workload: &mut Workload| workload.ask::<Value>("rss")["rss_bytes"].as_u64().expect("RSS");
    let mut twin = started(&["retain 200"]);
    let before = rss_of(&mut twin);
    assert!(before > 190 * MIB, "{before}");
    twin.send("trim");
    assert_eq!(twin.line(), "done");
    let own = before - rss_of(&mut twin);
    let mut workload = started(&["retain 200"]);
    let pid = pid(&workload);
    // Without it, the plan knows how much there is.
    let plan = report(&log, &["plan", "-p", &pid]);
    let trim = plan.suggestions.iter().find(|one| one.action == "trim").expect("a suggestion");
    let gain = trim.gain_bytes.expect("a gain");
    assert!(gain.abs_diff(own) < 4 * MIB && trim.why.contains("arenas hold"), "{own} {trim:?}");
    let before = rss_of(&mut workload);
    let (code, text) = refused(&log, &["trim", "-p", &pid, "--apply"]);
    assert_eq!((code, text.contains("--i-accept-the-risk")), (2, true), "{text}");
    assert!(rss_of(&mut workload).abs_diff(before) < MIB);
    let flags = ["trim", "-p", &pid, "--apply", "--i-accept-the-risk", "--settle", "1s"];
    let report = report(&log, &flags);
    let gained = before - rss_of(&mut workload);
    assert!(gained as f64 >= own as f64 * 0.9, "{gained} of {own}");
    let effect = &report.changed.as_ref().expect("it was applied").effect;
    assert!(effect.kept_bytes.unsigned_abs().abs_diff(gained) < 2 * MIB, "{effect:?} {gained}");
    assert_eq!(effect.verdict, Verdict::Helped);
    assert!(report.steps[0].starts_with("gdb calls malloc_trim of glibc"), "{:?}", report.steps);
    // Nobody holds it any more, and it goes on.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    assert!(workload.finish().success());
}

#[test]
fn what_is_not_what_was_meant_is_left_alone() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let log = log_in(&directory);
    let workload = started(&["hold 16"]);
    let pid = pid(&workload);
    let plan = report(&log, &["plan", "-p", &pid]);
    let started_at = plan.subject.start_time_s.expect("a time");
    let command = &plan.suggestions.first().map_or_else(String::new, |one| one.command.clone());
    let same = format!("--started {started_at:.2}");
    assert!(command.is_empty() || command.contains(&same), "{command}");
    let earlier = format!("{:.2}", started_at - 5.0);
    let (code, text) = refused(&log, &["cold", "-p", &pid, "--started", &earlier, "--apply"]);
    assert_eq!((code, text.contains("is another process now")), (3, true), "{text}");
    let same = format!("{started_at:.2}");
    let _ = report(&log, &["cold", "-p", &pid, "--started", &same, "--settle", "100ms", "--apply"]);
    drop(workload);
    let (code, text) = refused(&log, &["cold", "-p", &pid, "--apply"]);
    assert_eq!((code, text.contains("there is no process")), (3, true), "{text}");
    let (code, text) =
        refused(&log, &["reclaim", "--cgroup", "/no-such-group", "--all", "--apply"]);
    assert_eq!(
        (code, text.contains("there is no memory cgroup /no-such-group")),
        (1, true),
        "{text}"
    );
}

#[test]
fn a_process_that_ends_meanwhile_is_told() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let mut child = Command::new("timeout").args(["5", "sleep", "100"]).spawn().expect("it runs");
    let pid = child.id().to_string();
    let report = report(&log_in(&directory), &["cold", "-p", &pid, "--settle", "4s", "--apply"]);
    let _ = child.wait();
    let why = &report.changed.as_ref().expect("it was applied").effect.why;
    assert!(why.iter().any(|why| why.contains("ended meanwhile")), "{report:?}");
    // Its baseline ends before it does, or nothing is done to it.
    let mut child = Command::new("timeout").args(["1", "sleep", "100"]).spawn().expect("it runs");
    let pid = child.id().to_string();
    let waited = std::thread::spawn(move || child.wait());
    let (code, text) =
        refused(&log_in(&directory), &["cold", "-p", &pid, "--settle", "4s", "--apply"]);
    assert_eq!(code, 3, "{text}");
    let _ = waited.join();
}

#[test]
fn nothing_is_applied_without_a_log() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let workload = started(&["hold 16"]);
    let (code, text) =
        refused(Path::new("/no/such/place"), &["cold", "-p", &pid(&workload), "--apply"]);
    assert_eq!(
        (code, text.contains("no action is applied without a line in a log")),
        (1, true),
        "{text}"
    );
}

#[test]
fn the_page_shows_the_verdict() {
    if !require_root() || !has_program("chromium") {
        return;
    }
    let _turn = take_turn();
    let directory = on_disk();
    let workload = started(&["hold 64"]);
    let page = directory.path().join("page.html");
    let done = Command::new(binary())
        .args(["optimize", "collapse", "-p", &pid(&workload), "--settle", "1s", "--apply", "-o"])
        .arg(&page)
        .arg("--log")
        .arg(log_in(&directory))
        .output()
        .expect("memmgr runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains("verdict       helped: ") && text.contains("in huge pages"), "{text}");
    let mut browser = Browser::start(1000, 800);
    browser.open(&page);
    browser.wait_until("document.documentElement?.dataset.ready === 'yes'");
    assert_eq!(browser.text(".headline"), "Helped");
    assert!(browser.text("#figures").contains("in huge pages"));
    assert!(browser.text("h1").starts_with("collapse of gives-back"), "{}", browser.text("h1"));
    assert_eq!(browser.problems(), [""; 0]);
}
