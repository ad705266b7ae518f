//! `memmgr serve`: what it tells, whom it answers, and what clients that mean it ill can do.

use std::{
    fs::{self, Permissions},
    io::Read as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use memmgr_tests::{
    Program, Workload,
    browser::Browser,
    capture::binary,
    host::has_program,
    require_root,
    serving::{Answer, Server},
};
use rustix::process::Signal;
use serde_json::{Value, json};

const OPEN_METRICS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Ends with its guard.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process of this name that sleeps.
fn sleeper(directory: &Path, name: &str) -> Process {
    let program = directory.join(name);
    fs::copy("/bin/sleep", &program).expect("there is a sleep");
    let child = Command::new(program).arg("1000").spawn().expect("sleep cannot be started");
    Process(child)
}

const TOKEN: &str = "correct-horse-battery";

/// A file with it that only its owner reads.
fn token_file(directory: &Path) -> String {
    let file = directory.join("token");
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

/// The kernel's own figure, in bytes.
fn meminfo(key: &str) -> f64 {
    let text = fs::read_to_string("/proc/meminfo").expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kilobytes: f64 =
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("a figure");
    kilobytes * 1024.0
}

#[test]
fn figures_are_those_of_the_kernel() {
    let server = Server::start(&["--top", "10000"]);
    let scraped = server.get("/metrics", &[]);
    assert_eq!(scraped.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(scraped.figure("memmgr_up"), 1.0);
    assert_eq!(scraped.figure("memmgr_host_memory_size_bytes"), meminfo("MemTotal"));
    assert_eq!(scraped.figure("memmgr_host_swap_size_bytes"), meminfo("SwapTotal"));
    let free = scraped.figure("memmgr_host_memory_free_bytes") - meminfo("MemFree");
    assert!(free.abs() < meminfo("MemTotal") / 4.0, "{free} bytes off");
    let own = format!("{{pid=\"{}\",comm=\"memmgr\"}}", server.pid());
    let resident = scraped.figure(&format!("memmgr_process_resident_memory_bytes{own}"));
    assert_eq!(resident, scraped.figure("memmgr_exporter_resident_memory_bytes"));
    assert_eq!(scraped.figure("memmgr_processes_omitted"), 0.0);
    let open = server.get("/metrics", &[("Accept", OPEN_METRICS)]);
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(expected));
    assert!(open.body.ends_with("\n# EOF\n"));
    // Another look is another answer.
    let looks = |server: &Server| server.get("/metrics", &[]).figure("memmgr_exporter_looks_total");
    let first = looks(&server);
    while looks(&server) == first {}
}

#[test]
fn a_scrape_is_bounded() {
    let server = Server::start(&["--top", "1", "--top-cgroups", "1"]);
    let scraped = server.get("/metrics", &[]);
    let told = |label: &str| scraped.body.lines().filter(|line| line.contains(label)).count();
    assert_eq!(told("{pid="), 6);
    assert!(told("{path=") <= 4);
    let processes = scraped.figure("memmgr_processes");
    assert!(processes > 1.0);
    assert_eq!(scraped.figure("memmgr_processes_omitted"), processes - 1.0);
}

#[test]
fn a_process_and_its_cgroup_are_explained() {
    let server = Server::start(&["--interval", "100ms"]);
    let look = server.json("/api/v1/look?sort=growth");
    assert_eq!((&look["schema"], &look["interval_s"]), (&json!("memmgr.look/1"), &json!(0.1)));
    assert_eq!(look["host"]["total_bytes"].as_f64(), Some(meminfo("MemTotal")));
    let own = std::process::id();
    let stat = server.json(&format!("/api/v1/stat/process/{own}"));
    let process = &stat["process"];
    assert_eq!((&stat["schema"], &process["pid"]), (&json!("memmgr.stat/1"), &json!(own)));
    let lines = process["lines"].as_array().expect("lines");
    let sum: i64 = lines.iter().filter_map(|line| line["bytes"].as_i64()).sum();
    assert_eq!(Some(sum), process["rss_bytes"].as_i64());
    let host = server.json("/api/v1/stat/host");
    assert_eq!(host["host"]["total_bytes"].as_f64(), Some(meminfo("MemTotal")));
    if let Some(path) = process["cgroup"]["path"].as_str() {
        let stat = server.json(&format!("/api/v1/stat/cgroup?path={path}"));
        assert_eq!(stat["cgroup"]["path"], path);
    }
    for (path, status, words) in [
        ("/api/v1/stat/process/4194304", 404, "there is no process"),
        ("/api/v1/stat/process/-1", 400, ""),
        ("/api/v1/stat/process/", 404, "there is nothing here"),
        ("/api/v1/stat/cgroup", 400, ""),
        ("/api/v1/stat/cgroup?path=/../../etc", 404, "there is no memory cgroup"),
        ("/api/v1/look?sort=name", 400, ""),
        ("/../../etc/passwd", 404, "there is nothing here"),
    ] {
        let answer = server.get(path, &[]);
        let error = serde_json::from_str::<Value>(&answer.body).expect("JSON")["error"].clone();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(error.as_str().is_some_and(|error| error.contains(words)), "{path}: {error}");
    }
}

#[test]
fn only_questions_for_this_server_are_answered() {
    let server = Server::start(&["--allow-host", "node7.example"]);
    let check = |request: &str, status: u16| -> Answer {
        let answer = server.send(&request.replace('\n', "\r\n"));
        assert_eq!(answer.status, status, "{request:?}");
        assert!(answer.header("content-security-policy").is_some(), "{request:?}");
        answer
    };
    check("GET / HTTP/1.1\nHost: localhost:1\n\n", 200);
    check("GET /metrics HTTP/1.1\nHost: node7.example\n\n", 200);
    // What a page whose name was bound to this address would send.
    check("GET /metrics HTTP/1.1\nHost: evil.example:9464\n\n", 421);
    check("GET http://evil.example/metrics HTTP/1.1\nHost: localhost\n\n", 421);
    check("GET /metrics HTTP/1.1\nHost: localhost\nHost: evil.example\n\n", 421);
    check("GET /metrics HTTP/1.1\n\n", 421);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = check(&format!("{method} / HTTP/1.1\nHost: localhost\n\n"), 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    check("GET / HTTP/1.1\nHost: localhost\nContent-Length: 3\n\nabc", 413);
    check("GET / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", 413);
    let head = check("HEAD /metrics HTTP/1.1\nHost: localhost\n\n", 200);
    assert!(head.body.is_empty() && head.header("content-length").is_some());
    let answers = server.get("/metrics", &[]);
    assert_eq!(answers.figure("memmgr_exporter_http_answers_total{code=\"421\"}"), 4.0);
}

#[test]
fn reports_are_told_and_shown() {
    if !require_root() || !has_program("chromium") {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let mut target = Workload::start(&Program::c("changes-size").flags(&["-pthread"]), &[]);
    target.send("leak 5 60");
    assert_eq!(target.line(), "done");
    let pid = target.pid();
    let [html, json] = ["html", "json"].map(|ending| directory.path().join(format!("a.{ending}")));
    let captured = Command::new(binary())
        .args(["report", "--mode", "exact", "-d", "2s", "-p", &pid.to_string(), "-o"])
        .args([html.as_os_str(), "-o".as_ref(), json.as_os_str()])
        .output()
        .expect("memmgr runs");
    assert!(captured.status.success(), "{}", String::from_utf8_lossy(&captured.stderr));
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let server = Server::start(&["--reports", directory.path().to_str().expect("UTF-8")]);
    let told = loop {
        let told = server.json("/api/v1/reports");
        if told["reports"].as_array().is_some_and(|reports| !reports.is_empty()) {
            break told;
        }
    };
    let entry = &told["reports"][0];
    assert_eq!((&entry["pid"], &entry["name"]), (&json!(pid), &json!("a")));
    let stack = &entry["stacks"][0];
    assert_eq!(stack["function"], "lose_a_session");
    assert_eq!(stack["live_bytes"], report["stacks"][0]["live_bytes"]);
    let labels = format!(
        "{{pid=\"{pid}\",comm={},stack={},function=\"lose_a_session\"}}",
        entry["comm"], stack["id"]
    );
    let figure = server.get("/metrics", &[]).figure(&format!("memmgr_stack_live_bytes{labels}"));
    assert_eq!(Some(figure), stack["live_bytes"].as_f64());
    let page = server.get("/reports/a", &[]);
    assert_eq!((page.status, &page.body), (200, &fs::read_to_string(&html).expect("a page")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("sandbox allow-scripts; default-src 'none'"), "{policy}");
    assert_eq!(server.get("/reports/..%2Fa", &[]).status, 404);

    let mut browser = Browser::start(1300, 900);
    browser.open_at(server.address);
    browser.wait_until("document.querySelector('#reports a') !== null");
    let row = browser.text("#reports tbody");
    assert!(row.contains(&format!("({pid})")), "{row}");
    browser.click("#reports a", None);
    browser.wait_until("location.pathname === '/reports/a'");
    browser.wait_until("document.body?.innerText.includes('lose_a_session')");
    assert_eq!(browser.problems(), [] as [&str; 0]);
}

#[test]
fn a_token_is_asked_for() {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let server = Server::start(&["--token-file", &token_file(directory.path())]);
    for path in ["/", "/metrics", "/api/v1/look", "/page.js", "/nothing"] {
        let answer = server.get(path, &[]);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"memmgr\""));
        let wrong = [("Authorization", "Bearer correct-horse-batterx")];
        assert_eq!(server.get(path, &wrong).status, 401, "{path}");
    }
    let right = [("Authorization", "Bearer correct-horse-battery")];
    assert_eq!(server.get("/metrics", &right).figure("memmgr_up"), 1.0);
}

/// memmgr with flags that it does not serve with.
fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } =
        Command::new(binary()).arg("serve").args(flags).output().expect("memmgr cannot be started");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn what_cannot_be_served_is_said_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("an address").to_string();
    let directory = tempfile::tempdir().expect("no temporary directory");
    let token = token_file(directory.path());
    for (flags, code, words) in [
        (&["--listen", "0.0.0.0:0"][..], 2, "needs --token-file"),
        (&["--listen", "[::]:0"], 2, "needs --token-file"),
        (&["--listen", &address], 1, "`ss -ltnp`"),
        // Of a block that no host has (RFC 5737).
        (&["--listen", "192.0.2.1:0", "--token-file", &token], 1, "`ip address`"),
        (&["--token-file", "/dev/null"], 1, "everybody can read /dev/null"),
        (&["--interval", "50ms"], 2, "at least 100ms"),
        (&["--token-file", "/nothing"], 1, "cannot read the token from /nothing"),
    ] {
        let (status, said) = refused(flags);
        assert_eq!(status, Some(code), "{flags:?}: {said}");
        assert!(said.contains(words), "{flags:?}: {said}");
    }
}

#[test]
fn it_ends_when_it_is_told_to() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let server = Server::start(&[]);
        // Clients that say nothing are not waited for.
        let _idle = server.connect("GET");
        let begin = Instant::now();
        let (status, said) = server.end(signal);
        assert_eq!((status.code(), said), (Some(0), Vec::new()), "{signal:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{signal:?}: {:?}", begin.elapsed());
    }
}

#[test]
fn clients_that_ask_nothing_keep_nobody_out() {
    let server = Server::start(&[]);
    let slow: Vec<_> = (0..500).map(|_| server.connect("GET / HTTP/1.1\r\nHost")).collect();
    let begin = Instant::now();
    assert_eq!(server.get("/metrics", &[]).figure("memmgr_up"), 1.0);
    // Far less than the time that slow clients get.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let descriptors =
        || fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("procfs").count();
    assert!(descriptors() < 200, "{}", descriptors());
    // The rest is cut off by the clock.
    let begin = Instant::now();
    for mut stream in slow {
        let mut rest = String::new();
        // A connection that is cut off may end with an error.
        let _ = stream.read_to_string(&mut rest);
        assert!(!rest.contains("200 OK"), "{rest}");
    }
    assert!(begin.elapsed() < Duration::from_mins(1), "{:?}", begin.elapsed());
    let scraped = server.get("/metrics", &[]);
    assert_eq!(scraped.figure("memmgr_exporter_cut_connections_total"), 500.0);
    // One looks, one answers.
    assert_eq!(scraped.figure("memmgr_exporter_threads"), 2.0);
}

#[test]
fn promtool_finds_nothing_to_say() {
    if !has_program("promtool") {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let _hostile = sleeper(directory.path(), "a\"b\\c\nd\u{202e}");
    let server = Server::start(&["--top", "10000"]);
    let scraped = server.get("/metrics", &[]);
    assert!(scraped.body.contains(r#"comm="a\"b\\c\\u{a}d\\u{202e}""#), "{}", scraped.body);
    let text = directory.path().join("metrics");
    fs::write(&text, &scraped.body).expect("a file");
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(&text).expect("a file"))
        .output()
        .expect("promtool cannot be started");
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

/// A Prometheus that scrapes a server each second.
struct Prometheus {
    process: Process,
    said: std::path::PathBuf,
    _directory: tempfile::TempDir,
    address: std::net::SocketAddr,
}

impl Prometheus {
    fn start(target: &Server) -> Self {
        let directory = tempfile::tempdir().expect("no temporary directory");
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let config = directory.path().join("prometheus.yml");
        let job = json!({
            "job_name": "memmgr",
            "static_configs": [{ "targets": [target.address.to_string()] }],
            "authorization": { "credentials": TOKEN },
        });
        // JSON is YAML.
        let text = json!({ "global": { "scrape_interval": "1s" }, "scrape_configs": [job] });
        fs::write(&config, text.to_string()).expect("a file");
        let said = directory.path().join("log");
        let log = fs::File::create(&said).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("prometheus cannot be started");
        Prometheus { process: Process(child), said, _directory: directory, address }
    }

    /// What its API answers, once it does.
    fn ask(&mut self, path: &str) -> Option<Value> {
        assert!(self.process.0.try_wait().expect("a child").is_none(), "{}", self.log());
        let mut stream = std::net::TcpStream::connect(self.address).ok()?;
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Some(answer["data"].clone())
    }

    /// The value of a query, as soon as there is one.
    fn value(&mut self, query: &str) -> f64 {
        let begin = Instant::now();
        loop {
            let answer = self.ask(&format!("query?query={query}")).unwrap_or_default();
            if let Some(value) = answer["result"][0]["value"][1].as_str() {
                return value.parse().expect("a number");
            }
            assert!(begin.elapsed() < Duration::from_mins(2), "no {query}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.said).expect("a log")
    }
}

#[test]
fn prometheus_scrapes_without_a_warning() {
    if !has_program("prometheus") {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let _hostile = sleeper(directory.path(), "a\"b\\c\nd\u{202e}");
    let server = Server::start(&["--token-file", &token_file(directory.path()), "--top", "10000"]);
    let mut prometheus = Prometheus::start(&server);
    // Several scrapes: a counter that fell, or a series that came twice, would be said by now.
    while prometheus.value("count_over_time(memmgr_up[1m])") < 4.0 {}
    assert_eq!(prometheus.value("memmgr_host_memory_size_bytes"), meminfo("MemTotal"));
    assert!(prometheus.value("count(memmgr_process_threads)") > 1.0);
    assert_eq!(
        prometheus.value("max(scrape_samples_scraped-scrape_samples_post_metric_relabeling)"),
        0.0
    );
    let targets = prometheus.ask("targets").expect("targets");
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&json!("up"), &json!("")));
    // Units are in OpenMetrics alone: it was asked for, and was understood.
    let metadata = prometheus.ask("metadata").expect("metadata");
    let of = |name: &str| (metadata[name][0]["type"].clone(), metadata[name][0]["unit"].clone());
    assert_eq!(of("memmgr_host_memory_size_bytes"), (json!("gauge"), json!("bytes")));
    assert_eq!(of("memmgr_exporter_cpu_seconds").0, json!("counter"));
    let log = prometheus.log();
    let wrong: Vec<&str> = log
        .lines()
        .filter(|line| {
            [
                "level=warn",
                "level=error",
                "level=WARN",
                "level=ERROR",
                "Scrape failed",
                "Append failed",
            ]
            .iter()
            .any(|word| line.contains(word))
        })
        .collect();
    assert!(log.contains("Server is ready to receive web requests"), "{log}");
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_page_shows_what_is_there_and_runs_nothing_else() {
    if !has_program("chromium") {
        return;
    }
    let directory = tempfile::tempdir().expect("no temporary directory");
    let hostile = sleeper(directory.path(), "<img id=x>\u{202e}");
    let server = Server::start(&["--top", "10000", "--interval", "200ms"]);
    let mut browser = Browser::start(1300, 900);
    browser.open_at(server.address);
    browser.wait_until("document.documentElement?.dataset.ready === 'yes'");
    let headline = browser.text("#host .headline");
    assert!(headline.contains(" used, ") && headline.contains("GiB"), "{headline}");
    let name = "<img id=x>\\u{202e}";
    let rows = browser.text("#processes tbody");
    assert!(rows.contains(name) && rows.contains("memmgr"), "{rows}");
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.value("document.querySelector('th[aria-sort]').innerText"), "resident");
    // Figures change, rows stay the same elements.
    let pid = hostile.0.id();
    browser.value(&format!(
        "window.row = [...document.querySelectorAll('#processes tbody tr')].find((row) => row.children[1].innerText === '{pid}'), 1"
    ));
    browser.value("window.before = document.querySelector('#time').innerText, 1");
    browser.wait_until("document.querySelector('#time').innerText !== window.before");
    assert_eq!(browser.value("window.row.isConnected"), true);
    browser.click("#processes th:nth-child(4) button", None);
    browser.wait_until("document.querySelector('#processes th[aria-sort]').innerText === 'growth'");
    // A row opens to what explains it.
    browser.value("window.row.querySelector('button').click(), 1");
    browser.wait_until("document.querySelector('#detail table') !== null");
    let detail = browser.text("#detail");
    assert!(
        detail.starts_with(&format!("{name} ({pid})")) && detail.contains("the executable"),
        "{detail}"
    );
    // It goes with its process, and the page goes on.
    drop(hostile);
    browser.wait_until("!window.row.isConnected");
    let paper = "getComputedStyle(document.body).backgroundColor";
    browser.prefer("light");
    let light = browser.value(paper);
    browser.click("#theme", None);
    assert_ne!(browser.value(paper), light);
    assert_eq!(browser.problems(), [] as [&str; 0]);
    // Old figures are called old.
    drop(server);
    browser.wait_until(
        "document.querySelector('#state').innerText.includes('memmgr does not answer')",
    );
}
