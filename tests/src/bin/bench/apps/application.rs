//! Programs under load, with a leak in them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use memmgr_tests::{
    Program, Workload,
    lines::Lines,
    servers::{Ends, Server, pgbench, postgres, postgres_backend, redis},
};

use super::{leak::Seed, meter::Meter};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// redis-server, asked by redis-benchmark with so many requests at a time on each of 50 connections.
    Redis(u32),
    /// The backend of postgres that serves pgbench.
    Postgres,
    /// A script in python3.
    Python,
    /// A service in C++ with two threads.
    Cpp,
    /// A program in Rust.
    Rust,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] =
        [Kind::Redis(1), Kind::Redis(16), Kind::Postgres, Kind::Python, Kind::Cpp, Kind::Rust];

    /// As a filter names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Redis(1) => "redis",
            Kind::Redis(_) => "redis-pipelined",
            Kind::Postgres => "postgres",
            Kind::Python => "python",
            Kind::Cpp => "cpp",
            Kind::Rust => "rust",
        }
    }

    /// What it is and does.
    pub fn what(self) -> &'static str {
        match self {
            Kind::Redis(1) => {
                "redis-server with jemalloc: SET of 300 bytes, 50 connections of redis-benchmark"
            }
            Kind::Redis(_) => "the same with 16 requests at a time on each connection",
            Kind::Postgres => "the backend of postgres that serves one client of pgbench, TPC-B",
            Kind::Python => {
                "python3: objects, dictionaries, JSON, and strings that malloc has to serve"
            }
            Kind::Cpp => "a C++ service: maps, strings and vectors, two threads",
            Kind::Rust => "a Rust program: an index of documents, in maps of strings",
        }
    }
}

/// A program under load. It and its load end when this is dropped.
pub struct Application {
    /// The process to capture.
    pub pid: u32,
    /// How far it is.
    pub meter: Meter,
    _load: Option<Ends>,
    _server: Option<Server>,
}

impl Application {
    /// Starts it, leaking, and its load.
    pub fn start(kind: Kind, seed: &Seed) -> Result<Self> {
        match kind {
            Kind::Redis(pipelined) => redis_under_load(pipelined, seed),
            Kind::Postgres => postgres_under_load(seed),
            Kind::Python => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/makes-objects.py");
                let mut command = Command::new("/usr/bin/python3");
                command.arg(script);
                alone(command, seed)
            }
            Kind::Cpp => alone(Command::new(Program::cpp("serves-orders").build()), seed),
            Kind::Rust => alone(Command::new(Program::rust("indexes-documents").build()), seed),
        }
    }
}

fn alone(mut command: Command, seed: &Seed) -> Result<Application> {
    seed.turn_on()?;
    let workload = Workload::spawn({
        command.envs(seed.environment());
        command
    });
    let pid = workload.pid();
    let mut meter = Meter::Own(workload);
    meter.read()?;
    seed.turn_off()?;
    Ok(Application { pid, meter, _load: None, _server: None })
}

fn redis_under_load(pipelined: u32, seed: &Seed) -> Result<Application> {
    seed.turn_on()?;
    let (server, port) = redis(&seed.environment());
    seed.turn_off()?;
    let load = Command::new("redis-benchmark")
        .args(["-q", "-l", "-t", "set", "-d", "300", "-r", "100000", "-n", "100000000"])
        .args(["-P", &pipelined.to_string(), "-p", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .context("redis-benchmark cannot be started")?;
    let meter = Meter::redis(port)?;
    Ok(Application { pid: server.pid(), meter, _load: Some(Ends(load)), _server: Some(server) })
}

fn postgres_under_load(seed: &Seed) -> Result<Application> {
    let server = postgres(&seed.environment());
    // Only backends leak: the server's other processes are there already.
    seed.turn_on()?;
    let mut load = pgbench(&server, &["-n", "-c", "1", "-T", "1000000", "--progress=1"])
        .stderr(Stdio::piped())
        .spawn()
        .context("pgbench cannot be started")?;
    let lines = Lines::of(load.stderr.take().context("no stderr")?);
    let load = Ends(load);
    // What pgbench says before it begins is no progress.
    while !lines.next().context("pgbench ended")?.starts_with("progress") {}
    let pid = postgres_backend(&server);
    seed.turn_off()?;
    let meter = Meter::pgbench(lines);
    Ok(Application { pid, meter, _load: Some(load), _server: Some(server) })
}
