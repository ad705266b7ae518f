//! What `--fail-on` and `--suppress` do to a report that has a leak. Needs no privileges.

use std::{fs, path::Path, process::Command, sync::Arc};

use memmgr::report::{Finding, Frame, Growth, Lifetime, Report, SCHEMA, Stack};
use memmgr_tests::capture::binary;

const WINDOWS: u64 = 30;

/// `open_session` leaks a block of 1,000 bytes a second.
fn leaking() -> Report {
    let series: Vec<u64> = (1..=WINDOWS).map(|window| window * 1000).collect();
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        duration_s: WINDOWS as f64,
        windows_s: (1..=WINDOWS).map(|window| window as f64).collect(),
        ..Report::default()
    };
    "exact".clone_into(&mut report.capture.mode);
    report.capture.complete = true;
    (report.totals.live_bytes, report.totals.live_count) = (WINDOWS * 1000, WINDOWS);
    (report.totals.alloc_bytes, report.totals.alloc_count) = (WINDOWS * 1000, WINDOWS);
    report.stacks.push(Stack {
        class: "heap".to_owned(),
        live_bytes: WINDOWS * 1000,
        live_count: WINDOWS,
        live_samples: WINDOWS,
        alloc_bytes: WINDOWS * 1000,
        alloc_count: WINDOWS,
        frames: ["malloc", "open_session", "main"]
            .map(|name| Frame { function: Some(name.to_owned()), ..Frame::default() })
            .map(Arc::new)
            .to_vec(),
        growth: Some(Growth {
            shape: "linear".to_owned(),
            driver: "kept".to_owned(),
            confidence: 0.95,
            bytes_per_s: 1000.0,
            grown_bytes: 20_000,
            kept: vec![1000; WINDOWS as usize],
            series,
        }),
        lifetime: Some(Lifetime { censored_count: WINDOWS, immortal: 1.0, ..Lifetime::default() }),
        finding: Some(0),
        ..Stack::default()
    });
    report.findings.push(Finding {
        kind: "leak".to_owned(),
        stack_id: Some(0),
        subject: Some("open_session".to_owned()),
        shape: "linear".to_owned(),
        severity: "warning".to_owned(),
        growth_bytes_per_s: 1000.0,
        ..Finding::default()
    });
    report
}

/// Exit code, stdout and stderr of `memmgr leaks r.json FLAGS`.
fn leaks(directory: &Path, flags: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary())
        .current_dir(directory)
        .args(["leaks", "r.json"])
        .args(flags)
        .output()
        .expect("memmgr");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn exit_codes_and_suppressions() {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let write = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).expect(name);
    write("r.json", &serde_json::to_vec(&leaking()).expect("a report is JSON"));
    write("known.supp", b"# sessions are known\nleak:open_*\n");
    write("other.supp", b"leak:close_session\n");
    write("broken.supp", b"leak:a\nrace:b\n");
    for (flags, code, words) in [
        (&[][..], 0, "warning: open_session grows by 1000 B/s"),
        (&["--fail-on", "warning"], 4, "warning: open_session"),
        (&["--fail-on", "info"], 4, "warning: open_session"),
        (&["--fail-on", "critical"], 0, "warning: open_session"),
        (
            &["--fail-on", "info", "--suppress", "known.supp"],
            0,
            "Suppressed by leak:open_*: 29.3 KiB outstanding in 1 stack",
        ),
        (&["--fail-on", "warning", "--suppress", "other.supp"], 4, "warning: open_session"),
    ] {
        let (found, stdout, stderr) = leaks(directory.path(), flags);
        assert_eq!(found, Some(code), "{flags:?}: {stdout} {stderr}");
        assert!(stdout.contains(words), "{flags:?}: {words:?} is not in {stdout}");
        assert_eq!(stderr, "", "{flags:?}");
    }
    for (file, words) in
        [("broken.supp", "broken.supp"), ("missing.supp", "cannot read missing.supp")]
    {
        let (found, stdout, stderr) = leaks(directory.path(), &["--suppress", file]);
        assert_eq!((found, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(stderr.contains(words) && stderr.lines().count() == 1, "{stderr}");
    }
}
