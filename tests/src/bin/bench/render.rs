//! `render`: time and memory to symbolize and render, by number of stacks and size of the debug information.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use memmgr_tests::capture::binary;
use rustix::{
    fs::{Advice, fadvise},
    process::{Pid, Signal, kill_process},
};

use crate::{
    service::{self, DEPTH, LARGE, SMALL},
    usage::{Usage, wait},
};

const ROUNDS: usize = 3;

/// Runs the bench and returns its table.
pub fn run() -> Result<String> {
    let directory = tempfile::tempdir()?;
    let mut text = String::from(
        "| debug information | stacks | functions in them | HTML | processor | memory | read | SVG | memory | JSON \
         | memory | end of a capture | memory |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for scale in [SMALL, LARGE] {
        let program = service::build(scale)?;
        for stacks in [100, 1_000, 10_000] {
            row(&mut text, &program, stacks, directory.path())?;
        }
    }
    Ok(text)
}

fn row(text: &mut String, program: &Path, stacks: usize, directory: &Path) -> Result<()> {
    let killed = directory.join("killed.db");
    let mut capture = Capture::start(program, stacks, &killed)?;
    capture.memmgr.kill()?;
    capture.memmgr.wait()?;
    drop(capture);
    let functions = functions(&killed, stacks)?;

    let mut rendered = ["html", "svg", "json"].map(|format| (format, Vec::new()));
    let mut ends = Vec::new();
    for _ in 0..ROUNDS {
        for (format, usages) in &mut rendered {
            usages.push(render(program, &killed, format)?);
        }
        ends.push(end(program, stacks, &directory.join("ended.db"))?);
    }
    let [html, svg, json] = rendered.map(|(_, usages)| median(usages));
    let end = median(ends);
    let memory = |usage: Usage| format!("{} MiB", usage.peak_bytes >> 20);
    writeln!(
        text,
        "| {} MiB | {stacks} | {functions} | {:.2} s | {:.2} s | {} | {} MiB | {:.2} s | {} | {:.2} s | {} | {:.2} s | {} |",
        service::debug_bytes(program)? >> 20,
        html.seconds,
        html.processor_s,
        memory(html),
        html.read_bytes >> 20,
        svg.seconds,
        memory(svg),
        json.seconds,
        memory(json),
        end.seconds,
        memory(end),
    )?;
    Ok(())
}

/// The program, which has allocated from so many stacks, and memmgr, which has recorded it.
struct Capture {
    program: Child,
    memmgr: Child,
    /// Kept open, because memmgr says something at its end too.
    _said: BufReader<ChildStderr>,
}

impl Capture {
    fn start(program: &Path, stacks: usize, recording: &Path) -> Result<Self> {
        let mut program = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let answers = program.stdout.take().context("no stdout")?;
        let mut answers = BufReader::new(answers).lines();
        let mut expect = |word: &str| -> Result<()> {
            let answer = answers.next().context("the program ended")??;
            ensure!(answer == word, "the program said {answer:?}");
            Ok(())
        };
        expect("ready")?;
        let mut memmgr = Command::new(binary())
            .args(["record", "--mode", "exact", "--duration", "0", "-f", "-o"])
            .arg(recording)
            .args(["--pid", &program.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start memmgr")?;
        let mut line = String::new();
        let mut said = BufReader::new(memmgr.stderr.take().context("no stderr")?);
        said.read_line(&mut line)?;
        ensure!(line.starts_with("memmgr: capturing"), "memmgr did not attach: {line}");
        // The line comes just before counting begins.
        sleep(Duration::from_millis(100));
        writeln!(program.stdin.as_mut().context("no stdin")?, "allocate {stacks}")?;
        expect("done")?;
        // Two intervals, so that one is written that has it all.
        sleep(Duration::from_millis(2_500));
        Ok(Capture { program, memmgr, _said: said })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        for child in [&mut self.memmgr, &mut self.program] {
            // Nothing to do about a failure: it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// From Ctrl-C to the end of a capture, with the debug information not in memory; memory is that of the whole capture.
fn end(program: &Path, stacks: usize, recording: &Path) -> Result<Usage> {
    let capture = Capture::start(program, stacks, recording)?;
    cool(program)?;
    let since = Instant::now();
    let pid = i32::try_from(capture.memmgr.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("memmgr is gone")?, Signal::INT)?;
    wait(&capture.memmgr, since)
}

/// A rendering by a new process, with the debug information not in memory.
fn render(program: &Path, recording: &Path, format: &str) -> Result<Usage> {
    cool(program)?;
    let since = Instant::now();
    let child = report(recording, format).stdout(Stdio::null()).spawn()?;
    wait(&child, since)
}

fn report(recording: &Path, format: &str) -> Command {
    let mut command = Command::new(binary());
    command.arg("report").arg(recording).args(["--format", format, "-o", "-"]);
    command
}

/// Takes a file out of the page cache.
fn cool(file: &Path) -> Result<()> {
    Ok(fadvise(File::open(file)?, 0, None, Advice::DontNeed)?)
}

/// Distinct functions in the stacks of a recording that has no frames, of which it must have as many as it should,
/// down to the functions that are inlined.
fn functions(recording: &Path, stacks: usize) -> Result<usize> {
    let mut child = report(recording, "folded").stdout(Stdio::piped()).spawn()?;
    let (mut whole, mut functions) = (0, HashSet::new());
    for line in BufReader::new(child.stdout.take().context("no stdout")?).lines() {
        let line = line?;
        let named =
            |start: &'static str| line.split(';').filter(move |frame| frame.starts_with(start));
        // The innermost function allocates, the others have one inlined that goes on.
        whole += usize::from(
            named("service::").count() == DEPTH && named("either").count() == DEPTH - 1,
        );
        functions.extend(named("service::").map(str::to_owned));
    }
    ensure!(child.wait()?.success(), "memmgr failed");
    ensure!(whole >= stacks, "of {stacks} stacks {whole} were recorded and resolved");
    Ok(functions.len())
}

/// The usage of middle duration.
fn median(mut usages: Vec<Usage>) -> Usage {
    usages.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    usages[usages.len() / 2]
}
