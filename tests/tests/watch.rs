//! `watch` on live processes, cgroups and the kernel's own words.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use memmgr_tests::{
    Program, Workload, capture::binary, cgroup::MemoryGroup, require_root, watching::Watch,
};
use rustix::fs::{Advice, fadvise};
use serde_json::Value;

fn workload() -> Workload {
    Workload::start(&Program::c("changes-size").flags(&["-pthread"]), &[])
}

fn tell(workload: &mut Workload, command: &str) {
    workload.send(command);
    assert_eq!(workload.line(), "done", "{command}");
}

/// How the name of the workload begins.
const COMM: &str = "changes-size";
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_level_is_raised_and_cleared() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = workload();
    let rule = format!("pid:{} rss > 50MiB", target.pid());
    let write =
        "printf '%s %s %s\\n' \"$MEMMGR_STATE\" \"$MEMMGR_PID\" \"$MEMMGR_SEVERITY\" >> told";
    let watch = Watch::start(
        directory.path(),
        &["--when", &rule, "--interval", "100ms", "--severity", "critical", "--command", write],
    );
    tell(&mut target, "grow 64");
    let raised = watch.alert(SOON);
    assert_eq!((&raised["state"], &raised["severity"]), (&"raised".into(), &"critical".into()));
    assert_eq!(raised["subject"]["pid"], target.pid());
    assert!(raised["value"].as_f64().expect("bytes") >= f64::from(50 << 20), "{raised}");
    tell(&mut target, "shrink");
    assert_eq!(watch.alert(SOON)["state"], "cleared");
    // The second within five minutes is not told.
    tell(&mut target, "grow 64");
    let told = directory.path().join("told");
    let begin = Instant::now();
    let expected = format!("raised {pid} critical\ncleared {pid} critical\n", pid = target.pid());
    while fs::read_to_string(&told).unwrap_or_default() != expected {
        assert!(begin.elapsed() < SOON, "{:?}", fs::read_to_string(&told));
        std::thread::sleep(Duration::from_millis(20));
    }
    watch.end();
}

#[test]
fn a_process_that_starts_to_leak_is_captured_and_its_function_named() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = workload();
    let rule = "process:changes-size* grows > 600KiB/s for 3s";
    let watch = Watch::start(directory.path(), &["--when", rule, "--capture", "20s"]);
    // 10 KiB every 10 ms: 1 MiB a second.
    tell(&mut target, "leak 10 120");
    let begin = Instant::now();
    let raised = watch.alert(Duration::from_secs(30));
    assert_eq!(
        (&raised["state"], &raised["subject"]["pid"]),
        (&"raised".into(), &target.pid().into())
    );
    let crossed = Instant::now();
    let captured = watch.alert(Duration::from_mins(1));
    assert!(crossed.elapsed() < Duration::from_mins(1), "{:?}", begin.elapsed());
    assert_eq!(captured["state"], "captured");
    let said = captured["capture"]["said"].as_str().expect("a verdict");
    assert!(said.contains("lose_a_session"), "{captured}");
    for report in ["html", "json"] {
        let path = captured["capture"][report].as_str().expect("a report");
        let text = fs::read_to_string(directory.path().join(path)).expect("the report");
        assert!(text.contains("lose_a_session"), "{path}");
    }
    watch.end();
}

#[test]
fn a_kill_is_told_with_its_victim_and_the_last_minute_kept() {
    if !require_root() {
        return;
    }
    let Some(group) = MemoryGroup::make("oom", 48 << 20) else { return };
    // A busy host may not run the watch for a second.
    let told = (0..3).any(|_| kill_and_read_alert(&group) < Duration::from_secs(1));
    assert!(told, "never within a second");
}

/// Has the kernel kill a process of the group, checks what a watch says of it, and returns how long it took to say so.
fn kill_and_read_alert(group: &MemoryGroup) -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = workload();
    group.take(target.pid());
    let rule = format!("cgroup:{} oom_kill", group.path());
    let watch = Watch::start(directory.path(), &["--when", &rule]);
    std::thread::sleep(Duration::from_millis(1500));
    target.send("grow 128");
    // How long the kernel takes to give up is its own matter: the alert follows the victim's end.
    target.finish();
    let killed = Instant::now();
    let alert = watch.alert(SOON);
    let took = killed.elapsed();
    let what = alert["what"].as_str().expect("words");
    let words = [format!("killed {COMM}"), format!("({})", target.pid()), group.path()];
    assert!(words.iter().all(|word| what.contains(word)), "{alert}");
    let record = fs::read_dir(directory.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().contains("memmgr-oom-"))
        .expect("a record");
    let record: Value =
        serde_json::from_slice(&fs::read(record).expect("the record")).expect("JSON");
    assert_eq!(
        (&record["killed_pid"], &record["cgroup"]),
        (&target.pid().into(), &group.path().into())
    );
    assert!(!record["moments"].as_array().expect("moments").is_empty());
    watch.end();
    took
}

#[test]
fn pressure_is_told_within_a_second() {
    if !require_root() {
        return;
    }
    let Some(group) = MemoryGroup::make("pressure", 8 << 20) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    // On a disk: what is in tmpfs has no file to be read again from.
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("thrash-{}", std::process::id()));
    fs::write(&file, vec![1; 24 << 20]).expect("a file");
    let on_disk = fs::File::open(&file).expect("the file");
    on_disk.sync_all().expect("on disk");
    // What is in the page cache was charged to the test.
    fadvise(&on_disk, 0, None, Advice::DontNeed).expect("out of the page cache");
    let mut target = workload();
    group.take(target.pid());
    let watch = Watch::start(directory.path(), &["--when", "host pressure.some > 0.5% in 2s"]);
    target.send(&format!("thrash {} 6000", file.display()));
    let alert = watch.alert(Duration::from_secs(6));
    assert_eq!(alert["subject"]["kind"], "host");
    assert!(alert["what"].as_str().expect("words").contains("waited for memory"), "{alert}");
    assert_eq!(target.line(), "done");
    fs::remove_file(&file).expect("the file");
}

/// Files in a directory once there are so many; the last seconds of a capture that nobody waits for any more.
fn files(directory: &Path, count: usize) -> Vec<std::path::PathBuf> {
    let begin = Instant::now();
    loop {
        let entries = fs::read_dir(directory).expect("the directory");
        let files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        if files.len() >= count {
            return files;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{files:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_watch_that_is_killed_leaves_the_reports_of_its_captures() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = workload();
    tell(&mut target, "leak 1 120");
    let rule = format!("pid:{} rss > 1KiB", target.pid());
    let mut watch = Watch::start(directory.path(), &["--when", &rule, "--capture", "10m"]);
    assert_eq!(watch.alert(SOON)["state"], "raised");
    std::thread::sleep(Duration::from_secs(6));
    watch.child.kill().expect("it is there");
    watch.child.wait().expect("it ends");
    // What it said to is gone too.
    drop(watch);
    for file in files(directory.path(), 2) {
        let text = fs::read_to_string(&file).expect("a report");
        assert!(text.contains("lose_a_session"), "{}", file.display());
    }
}

#[test]
fn a_finding_is_told_when_its_process_has_ended() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = workload();
    tell(&mut target, "leak 5 120");
    let rule = format!("pid:{} finding warning", target.pid());
    let watch = Watch::start(directory.path(), &["--when", &rule, "--capture", "10m"]);
    std::thread::sleep(Duration::from_secs(16));
    drop(target);
    let raised = watch.alert(Duration::from_secs(20));
    assert_eq!(raised["state"], "raised", "{raised}");
    let said = raised["capture"]["said"].as_str().expect("a verdict");
    assert!(said.contains("lose_a_session"), "{raised}");
    assert_eq!(watch.alert(SOON)["what"], "is gone");
    watch.end();
}

#[test]
fn alerts_that_cannot_be_written_are_acted_upon() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(binary())
        .args(["watch", "--when", "host used > 0.1%", "--interval", "100ms", "-d", "1s"])
        .args(["--command", "echo $MEMMGR_STATE >> told"])
        .current_dir(directory.path())
        .stdout(fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full"))
        .output()
        .expect("memmgr runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let times = said.matches("could not be written to standard output").count();
    assert!(times == 2 && said.contains("\nmemmgr: 1 alerts could not be written"), "{said}");
    assert_eq!(fs::read_to_string(directory.path().join("told")).expect("a file"), "raised\n");
}

#[test]
fn processes_of_a_cgroup_are_looked_at_for_findings() {
    if !require_root() {
        return;
    }
    let Some(group) = MemoryGroup::make("findings", 1 << 30) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (quiet, mut leaking) = (workload(), workload());
    for target in [&quiet, &leaking] {
        group.take(target.pid());
    }
    // Half of what the other test waits for.
    tell(&mut leaking, "leak 5 120");
    let rule = format!("process:{COMM}*@{} finding warning each 1h", group.path());
    let watch = Watch::start(directory.path(), &["--when", &rule, "--capture", "15s"]);
    let raised = watch.alert(Duration::from_mins(1));
    assert_eq!(
        (&raised["state"], &raised["subject"]["pid"]),
        (&"raised".into(), &leaking.pid().into())
    );
    let capture = &raised["capture"];
    assert!(capture["said"].as_str().expect("a verdict").contains("lose_a_session"), "{raised}");
    assert!(["warning", "critical"].contains(&capture["severity"].as_str().expect("a severity")));
    // The report of the one that has no finding did not stay.
    let reports = fs::read_dir(directory.path()).expect("the directory").count();
    assert_eq!(reports, 2, "{raised}");
    assert!(directory.path().join(capture["html"].as_str().expect("a report")).exists());
    watch.end();
}

/// One request: its head and its body.
fn request(stream: &mut TcpStream) -> (String, Value) {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let length = stream.read(&mut chunk).expect("a request");
        assert!(length > 0, "{:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&chunk[..length]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        if let Ok(json) = serde_json::from_str(body) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("an answer");
            return (head.to_owned(), json);
        }
    }
}

#[test]
fn alerts_are_posted_and_a_dead_webhook_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/alerts", listener.local_addr().expect("an address"));
    let watch = Watch::start(
        directory.path(),
        &["--when", "host used > 0.1%", "--interval", "100ms", "--webhook", &address],
    );
    let (mut stream, _) = listener.accept().expect("a connection");
    let (head, json) = request(&mut stream);
    assert!(head.starts_with("POST /alerts HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    assert_eq!(json, watch.alert(SOON));
    watch.end();

    drop(listener);
    let watch =
        Watch::start(directory.path(), &["--when", "host used > 0.1%", "--webhook", &address]);
    watch.alert(SOON);
    let said = watch.said.within(Duration::from_secs(15)).expect("in time").unwrap_or_default();
    let host = address.split('/').nth(2).expect("a host");
    assert!(said.contains(&format!("the webhook at {host} failed 3 times")), "{said}");
    watch.end();
}

#[test]
fn what_is_seen_is_kept_and_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = workload();
    tell(&mut target, "grow 300");
    let rule = format!("pid:{} rss > 100MiB", target.pid());
    let watch = Watch::start(
        directory.path(),
        &["--when", &rule, "--interval", "100ms", "--keep", "history.db"],
    );
    let alert = watch.alert(SOON);
    std::thread::sleep(Duration::from_millis(500));
    watch.end();
    let show = |flags: &[&str]| {
        let output = Command::new(binary())
            .args(["watch", "--history", "history.db"])
            .args(flags)
            .current_dir(directory.path())
            .output()
            .expect("memmgr runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let past: Value = serde_json::from_str(&show(&["--json"])).expect("JSON");
    assert_eq!(past["alerts"], serde_json::json!([alert]));
    let series = past["series"].as_array().expect("series");
    let own = series.iter().find(|series| series["pid"] == target.pid()).expect("the process");
    let points = own["points"].as_array().expect("points");
    assert!(points.len() >= 4, "{points:?}");
    for point in points {
        assert!(point["low"].as_u64().expect("bytes") > 300 << 20, "{point}");
    }
    let text = show(&[]);
    let words = [COMM.to_owned(), format!("({})", target.pid()), "host used".to_owned(), rule];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn rules_are_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect(name);
    write("good.toml", "[[rule]]\nname = \"oom\"\nwhen = \"host oom_kill\"\n");
    write("bad.toml", "[[rule]]\nwhen = \"host oom_kills\"\n");
    write("empty.toml", "");
    for (flags, code, words) in [
        (
            &["--check", "--config", "good.toml"][..],
            0,
            "oom: understood, about host, severity warning",
        ),
        (&["--check", "--when", "pid:7 rss > 1GiB"], 0, "understood"),
        (&["--check", "--config", "bad.toml"], 2, "\"oom_kills\" is not known of host"),
        (&["--check", "--config", "empty.toml"], 2, "there is no rule"),
        (&["--check", "--config", "no.toml"], 1, "cannot read no.toml"),
        (&["--check", "--when", "host full"], 2, "within is missing"),
        (
            &["--check", "--when", "host oom_kill", "--directory", "empty.toml/reports"],
            1,
            "empty.toml: give another directory with --directory",
        ),
        (&["--check"], 2, "--when"),
    ] {
        let output = Command::new(binary())
            .arg("watch")
            .args(flags)
            .current_dir(directory.path())
            .output()
            .expect("memmgr runs");
        let text =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text:?}");
        assert!(text.concat().contains(words), "{flags:?}: {text:?}");
    }
}
