//! The program that is timed, and memmgr beside it.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A running loop of malloc and free; ends when it is dropped.
pub struct Loop {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Loop {
    /// Compiles the workload and starts it with this many threads.
    pub fn start(directory: &Path, threads: usize) -> Result<Self> {
        let program = compile(directory)?;
        let mut child = Command::new(program)
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the loop")?;
        let ask = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut this = Loop { child, ask, answers };
        if this.answer()? != "ready" {
            bail!("the loop did not get ready");
        }
        Ok(this)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds a pair over so many pairs of this size in every thread.
    pub fn time(&mut self, pairs: u64, size: u64) -> Result<f64> {
        writeln!(self.ask, "{pairs} {size}")?;
        let nanoseconds: u64 = self.answer()?.parse()?;
        Ok(nanoseconds as f64 / pairs as f64)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn compile(directory: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/malloc-free-loop.c");
    let program = directory.join("malloc-free-loop");
    let status = Command::new("cc")
        .args(["-O2", "-fno-omit-frame-pointer", "-fno-builtin", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .context("cannot run cc")?;
    if !status.success() {
        bail!("cc failed: {status}");
    }
    Ok(program)
}

/// memmgr capturing; ends, with its report thrown away, when it is dropped.
pub struct Capture {
    child: Child,
}

impl Capture {
    /// Starts memmgr on a process and returns when its probes are in place.
    pub fn start(pid: u32, flags: &[&str]) -> Result<Self> {
        let binary = std::env::var_os("MEMMGR_TEST_BIN")
            .context("MEMMGR_TEST_BIN names no binary; `cargo xtask bench` sets it")?;
        let mut child = Command::new(binary)
            .args(["leaks", "--duration", "0", "--pid", &pid.to_string()])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start memmgr")?;
        let mut line = String::new();
        BufReader::new(child.stderr.take().context("no stderr")?).read_line(&mut line)?;
        let capture = Capture { child };
        if !line.starts_with("memmgr: capturing") {
            bail!("memmgr did not attach: {line}");
        }
        // The line comes just before counting begins.
        std::thread::sleep(std::time::Duration::from_millis(100));
        Ok(capture)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && kill_process(pid, Signal::INT).is_ok()
        {
            self.child.wait().expect("our own child");
        }
    }
}

fn end(child: &mut Child) {
    if child.kill().is_ok() {
        child.wait().expect("our own child");
    }
}
