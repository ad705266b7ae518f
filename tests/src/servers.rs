//! Servers of the distribution, on loopback or a socket of their own, with data in a directory of their own.

use std::{
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server with its data. It ends when this is dropped.
pub struct Server {
    child: Ends,
    directory: TempDir,
}

/// A child that is ended when this is dropped.
pub struct Ends(pub Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server finds in its environment beside what is there.
pub type Environment<'a> = &'a [(&'a str, &'a Path)];

impl Server {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Its data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// redis-server of the distribution and its port.
pub fn redis(environment: Environment) -> (Server, u16) {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"])
        .arg(directory.path())
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let server = Server { child: Ends(child), directory };
    wait_for("redis-server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, port)
}

/// nginx of the distribution and its port. Its workers end with it, for which it has to be asked.
pub struct Nginx {
    child: Child,
    _directory: TempDir,
}

/// nginx with so many workers; every request is answered with a few bytes.
pub fn nginx(workers: u32) -> (Nginx, u16) {
    let directory = tempfile::tempdir().expect("a directory");
    let (port, path) = (free_port(), directory.path().display());
    let configuration = directory.path().join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes {workers}; pid {path}/pid; error_log {path}/errors; events {{}}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port} reuseport; return 200 \"well\"; }} }}\n"
    );
    fs::write(&configuration, text).expect("a file");
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&configuration)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    let nginx = Nginx { child, _directory: directory };
    wait_for("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (nginx, port)
}

impl Nginx {
    /// The process that starts the others.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Nothing to do about a failure: it has ended already.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let _ = self.child.wait();
    }
}

/// postgres of the distribution, on a socket in its directory, as the user `postgres`.
pub fn postgres(environment: Environment) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let id = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().expect("id");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().expect("the user postgres")
    };
    chown(directory.path(), Some(id("-u")), Some(id("-g"))).expect("chown");
    run(as_postgres("initdb").args(["-A", "trust", "-D"]).arg(directory.path().join("data")));
    let child = as_postgres("postgres")
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
        .arg(directory.path())
        .arg("-D")
        .arg(directory.path().join("data"))
        .envs(environment.iter().copied())
        .stderr(Stdio::null())
        .spawn()
        .expect("postgres starts");
    let server = Server { child: Ends(child), directory };
    let socket = server.directory().join(".s.PGSQL.5432");
    wait_for("postgres", || socket.exists());
    run(&mut pgbench(&server, &["-i", "-q", "-s", "1"]));
    server
}

/// pgbench against a server of [`postgres`].
pub fn pgbench(server: &Server, arguments: &[&str]) -> Command {
    let mut command = as_postgres("pgbench");
    command.arg("-h").arg(server.directory()).args(arguments).arg("postgres");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The process that serves pgbench's connection. pgbench first looks at the tables through another
/// connection: the one that lasts is meant.
pub fn postgres_backend(server: &Server) -> u32 {
    let mut candidate = None;
    wait_for("a backend of postgres", || {
        let path = format!("/proc/{0}/task/{0}/children", server.pid());
        let children = fs::read_to_string(path).unwrap_or_default();
        let is_backend = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|title| title.contains("[local]"))
        };
        let now = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .find(|pid| is_backend(pid));
        let lasts = now.is_some() && now == candidate;
        candidate = now;
        if !lasts {
            sleep(Duration::from_millis(500));
        }
        lasts
    });
    candidate.expect("found")
}

fn as_postgres(program: &str) -> Command {
    let newest = fs::read_dir("/usr/lib/postgresql")
        .expect("postgresql is installed")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .max()
        .expect("a version of postgresql");
    let program: PathBuf = newest.join("bin").join(program);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("our own child").success(), "{command:?}: {said}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !there() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what} did not come up within a minute");
        sleep(Duration::from_millis(50));
    }
}
