//! `demo`: the main job from end to end, on a program of our own.

use std::{
    fs,
    io::{IsTerminal, stdout},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

use memmgr::{
    aggregate::Filter,
    capture::{CapturePlan, Selection, StackOption},
    govern::Budget,
    judge::Suppressions,
    output::Output,
    sink::{Format, RenderOptions, leaks_table, write},
    units::Pid,
};

use super::args::Demo;

/// Starts the leaking program, captures it, and shows what was found.
pub fn run(options: &Demo) -> anyhow::Result<()> {
    fs::create_dir_all(&options.output)
        .with_context(|| format!("cannot make the directory {}", options.output.display()))?;
    let program = Program::start()?;
    // Let it come out of its start-up, as a service in production has long since.
    std::thread::sleep(Duration::from_millis(200));
    let plan = CapturePlan {
        pid: Pid(program.0.id()),
        selection: Selection::Exact,
        stack: StackOption::Auto,
        stack_bytes: 16 << 10,
        ring_bytes: 8 << 20,
        duration: Some(options.duration),
        interval: Duration::from_millis(500),
        filter: Filter::default(),
        allocators: Vec::new(),
        probes: Vec::new(),
        allow_traced: false,
        budget: Budget::Off,
        in_group: false,
    };
    memmgr::say!("memmgr: started a small program that leaks (process {})", plan.pid);
    let outputs = [
        ("flamegraph.svg", Format::Svg),
        ("report.json", Format::Json),
        ("report.txt", Format::Text),
    ]
    .map(|(name, format)| (options.output.join(name), format));
    // The directory is ours: a second demo replaces the results of the first.
    let opened =
        outputs.iter().map(|(path, _)| Output::open(path, true)).collect::<Result<Vec<_>, _>>()?;
    let report = super::capture::capture(&plan, &Suppressions::default())?;
    drop(program);
    let options = RenderOptions::default();
    for (output, (_, format)) in opened.into_iter().zip(&outputs) {
        output.commit_with(|out| write(*format, &report, &options, out))?;
    }
    let shown = RenderOptions {
        color: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        top: 5,
        ..options
    };
    print!("{}", leaks_table(&report, &shown));
    println!(
        "\nThe leak of the demo is in `open_session`: its sessions are never closed. `remember_in_cache` holds"
    );
    println!("memory too, but it is bounded.\n");
    for (path, format) in &outputs {
        println!("{:>7}  {}", format.name(), path.display());
    }
    Ok(())
}

/// The leaking program; ends when this is dropped.
struct Program(Child);

impl Program {
    fn start() -> anyhow::Result<Self> {
        let me = std::env::current_exe().context("memmgr cannot find itself")?;
        Command::new(me)
            .arg("leaking-program")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Program)
            .context("the demo program could not be started")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It is our own child; when it has ended already there is nothing left to end.
        if self.0.kill().is_ok()
            && let Err(error) = self.0.wait()
        {
            tracing::debug!("{error}");
        }
    }
}
