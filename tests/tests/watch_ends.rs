//! How `watch` ends: what is under way is finished, and nobody waits for ever.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memmgr_tests::{Program, Workload, capture::binary, require_root, watching::Watch};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn the_end_of_a_watch_does_not_lose_a_capture() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = Workload::start(&Program::c("changes-size").flags(&["-pthread"]), &[]);
    // A tenth of what the other test waits for.
    target.send("leak 1 120");
    assert_eq!(target.line(), "done");
    // Both rules are about one process: one capture is enough.
    let rules = [64, 32].map(|kib| format!("pid:{} grows > {kib}KiB/s", target.pid()));
    let mut watch = Watch::start(
        directory.path(),
        &["--when", &rules[0], "--when", &rules[1], "--capture", "10m"],
    );
    for _ in rules {
        assert_eq!(watch.alert(Duration::from_secs(20))["state"], "raised");
    }
    // Until it is attached.
    std::thread::sleep(Duration::from_secs(6));
    watch.interrupt();
    let captured = [(); 2].map(|()| watch.alert(Duration::from_secs(20)));
    for alert in &captured {
        assert_eq!(alert["state"], "captured", "{alert}");
    }
    assert_eq!(captured[0]["capture"], captured[1]["capture"]);
    assert_ne!(captured[0]["rule"], captured[1]["rule"]);
    let path = captured[0]["capture"]["json"].as_str().expect("a report");
    let report: Value =
        serde_json::from_slice(&fs::read(directory.path().join(path)).expect(path)).expect("JSON");
    let seconds = report["duration_s"].as_f64().expect("a time");
    assert!((2.0..30.0).contains(&seconds), "{seconds}");
    assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_second_interrupt_does_not_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let flags = ["--when", "host used > 0.1%", "--interval", "100ms", "--command", "sleep 60"];
    let mut watch = Watch::start(directory.path(), &flags);
    watch.alert(SOON);
    watch.interrupt();
    std::thread::sleep(Duration::from_millis(500));
    assert!(watch.child.try_wait().expect("a child").is_none(), "the command is waited for");
    let begin = Instant::now();
    watch.interrupt();
    assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let said = watch.said.rest().concat();
    assert!(said.contains("the watch was told again to end: 1"), "{said}");
}

#[test]
fn a_watch_that_nobody_reads_ends() {
    let mut child = Command::new(binary())
        .args(["watch", "--when", "host used > 0.1%", "--interval", "100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("memmgr runs");
    drop(child.stdout.take());
    let begin = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().expect("it is there");
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_a_command_is_about_to_do_is_done_before_the_watch_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let watch = Watch::start(
        directory.path(),
        &["--when", "host used > 0.1%", "--interval", "100ms", "--command", "sleep 2; touch done"],
    );
    watch.alert(SOON);
    watch.end();
    assert!(directory.path().join("done").exists());
}
