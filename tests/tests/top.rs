//! `memmgr top` in a real terminal: tmux, with a server of its own for each test.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memmgr_tests::{Program, Workload, capture::binary, host::has_program, require_root};
use tempfile::TempDir;

/// How long a screen may take; tests share the processor.
const PATIENCE: Duration = Duration::from_mins(1);

/// A shell in a terminal. Its server ends with it.
struct Tmux {
    directory: TempDir,
}

impl Tmux {
    fn start(width: u16, height: u16) -> Self {
        let tmux = Tmux { directory: tempfile::tempdir().expect("no temporary directory") };
        let (width, height) = (width.to_string(), height.to_string());
        let home = tmux.directory.path().to_str().expect("a path");
        tmux.run(&[
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "-c",
            home,
            "env PS1='shell> ' sh",
        ]);
        tmux.run(&["set-option", "-g", "window-size", "manual"]);
        tmux.wait("the shell", |screen| screen.contains("shell>"));
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.directory.path().join("socket"))
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("tmux cannot be started");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts `memmgr top` and waits for its first figures.
    fn top(flags: &str) -> Self {
        let tmux = Self::start(80, 24);
        tmux.command(&format!("{} top {flags}", binary().display()));
        tmux
    }

    fn command(&self, command: &str) {
        self.run(&["send-keys", "-l", command]);
        self.keys(&["Enter"]);
    }

    fn keys(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        self.run(&arguments);
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits for a screen; panics with the one that is there instead.
    fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(began.elapsed() < PATIENCE, "{what} never comes:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn host(&self) -> String {
        // The number of processes is there with the first figures.
        self.wait("the host", |screen| {
            [" processes ", "GROWTH/S", "PID"].iter().all(|word| screen.contains(word))
        })
    }

    /// The shell is back, on the screen that it had, and its terminal is as it was: it shows what is typed.
    fn check_restored(&self) {
        self.wait("the shell", |screen| screen.contains("shell>") && !screen.contains("GROWTH/S"));
        self.command("stty -a | grep -o -- '-\\?echo\\b\\|-\\?icanon\\b\\|-\\?isig\\b'");
        self.wait("its settings", |screen| {
            ["\nisig", "\nicanon", "\necho"].iter().all(|setting| screen.contains(setting))
        });
        assert_eq!(
            self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim(),
            "0 1"
        );
    }

    /// The process that the shell started.
    fn memmgr(&self) -> u32 {
        let shell = self.run(&["display-message", "-p", "#{pane_pid}"]);
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        let children = fs::read_to_string(children).expect("the shell runs");
        children.split_whitespace().next().expect("memmgr runs").parse().expect("a number")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.directory.path().join("socket");
        // It may have ended already.
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(socket)
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill");
    assert!(sent.success(), "{pid} is gone");
}

fn wait_for_end(pid: u32) {
    let began = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "{pid} does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn workload() -> Workload {
    Workload::start(&Program::c("obeys-commands"), &[])
}

/// Has it hold a million bytes more, in so few blocks that all of them are captured.
fn hold(workload: &mut Workload) {
    workload.send("hold 100000 10");
    assert_eq!(workload.line(), "held 1000000");
}

#[test]
fn keys_sizes_and_the_way_back() {
    if !has_program("tmux") {
        return;
    }
    let workload = workload();
    let tmux = Tmux::top("--interval 200ms");
    tmux.host();
    tmux.keys(&["f"]);
    tmux.run(&["send-keys", "-l", &workload.pid().to_string()]);
    tmux.keys(&["Enter", "Down"]);
    let begins = format!("{} obeys-commands", workload.pid());
    tmux.wait("the workload alone, with all of its figures and its cgroup", |screen| {
        let row = screen.lines().find(|line| line.trim_start().starts_with(&begins));
        let known = row.is_some_and(|row| !row.contains('…'));
        known && screen.contains("1 of ") && screen.contains("cgroup /")
    });
    for (width, height) in [(40, 10), (200, 50), (80, 24)] {
        tmux.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
        let screen = tmux.wait("the whole screen", |screen| {
            let lines: Vec<&str> = screen.lines().collect();
            lines.len() == height && lines[height - 1].contains("? help")
        });
        assert!(screen.contains(&workload.pid().to_string()), "{screen}");
    }
    tmux.keys(&["?"]);
    tmux.wait("help", |screen| screen.contains("any key goes back"));
    tmux.keys(&["x", "q"]);
    tmux.check_restored();
}

#[test]
fn a_signal_gives_the_terminal_back() {
    if !has_program("tmux") {
        return;
    }
    for name in ["-TERM", "-INT", "-HUP"] {
        let tmux = Tmux::top("");
        tmux.host();
        let pid = tmux.memmgr();
        signal(pid, name);
        wait_for_end(pid);
        tmux.check_restored();
    }
}

/// Closing the window ends memmgr even where nothing tells it: without a controlling terminal no SIGHUP comes.
#[test]
fn a_terminal_that_closes_ends_it() {
    if !has_program("tmux") {
        return;
    }
    let tmux = Tmux::start(80, 24);
    let file = tmux.directory.path().join("pid");
    let script = format!("echo $$ > {}; exec {} top", file.display(), binary().display());
    tmux.command(&format!("setsid -w sh -c '{script}'"));
    tmux.host();
    let pid: u32 = fs::read_to_string(&file).expect("it runs").trim().parse().expect("a number");
    tmux.run(&["kill-server"]);
    wait_for_end(pid);
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = Command::new(binary()).arg("top").stdin(Stdio::null()).output().expect("memmgr");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is none; `memmgr stat`") && stderr.lines().count() == 1, "{stderr}");
    assert!(output.stdout.is_empty());
}

/// From a row of the table to the stack that holds its memory, to a file, and back.
#[test]
fn a_process_is_captured_and_let_go() {
    if !require_root() || !has_program("tmux") {
        return;
    }
    let mut workload = workload();
    let tmux = Tmux::top("");
    tmux.host();
    tmux.run(&["send-keys", "-l", &format!("/{}", workload.pid())]);
    tmux.keys(&["Enter", "Enter"]);
    tmux.wait("the capture", |screen| screen.contains("captured for"));
    for _ in 0..3 {
        hold(&mut workload);
    }
    tmux.wait("the stack", |screen| {
        screen.contains("HEAP BY STACK") && screen.contains("hold_block ←")
    });
    tmux.wait("all that is held", |screen| screen.contains("2.9M"));
    tmux.keys(&["Enter"]);
    tmux.wait("its frames", |screen| screen.contains("obeys-commands.c:"));
    tmux.keys(&["Escape"]);
    tmux.wait("the overview", |screen| screen.contains("HEAP BY STACK"));
    tmux.keys(&["w"]);
    tmux.wait("the first file", |screen| screen.contains("wrote memmgr.obeys-commands"));
    tmux.keys(&["w"]);
    tmux.wait("the second file", |screen| screen.contains(".2.html"));
    let pages = fs::read_dir(tmux.directory.path()).expect("a directory").filter_map(Result::ok);
    let pages = pages.filter(|entry| entry.file_name().to_string_lossy().ends_with(".html"));
    assert_eq!(pages.count(), 2);
    tmux.keys(&["Escape"]);
    tmux.wait("the host", |screen| screen.contains("detached from"));
    hold(&mut workload);
}

/// The end of the process leaves its last report on the screen.
#[test]
fn a_process_that_ends_leaves_its_report() {
    if !require_root() || !has_program("tmux") {
        return;
    }
    let mut workload = workload();
    let tmux = Tmux::top(&format!("-p {}", workload.pid()));
    tmux.wait("the capture", |screen| screen.contains("captured for"));
    hold(&mut workload);
    tmux.wait("the stack", |screen| screen.contains("HEAP BY STACK"));
    workload.finish();
    tmux.wait("its end", |screen| {
        screen.contains("the process has ended") && screen.contains("hold_block ←")
    });
    tmux.keys(&["q"]);
    tmux.check_restored();
}
