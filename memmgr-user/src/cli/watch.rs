//! `watch`: rules from flags and from a file, and alerts.

use std::{
    fs,
    io::{self, Write, stdout},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use rustix::fs::{Access, access};
use tokio::signal::unix::{SignalKind, signal};

use memmgr::{
    escape::Safe,
    monitor::Monitor,
    output::Output,
    sink,
    source::roots::Roots,
    watch::{
        alert::Alert,
        config::{Config, Watched},
        history::Past,
        run,
    },
};

use super::{args::Watch, exit::Misused, render::terminal};

/// Watches until the end, or checks the rules.
pub fn watch(flags: &Watch) -> anyhow::Result<()> {
    if let Some(path) = &flags.history {
        return history(path, flags);
    }
    let config = config(flags)?;
    if config.rules.is_empty() {
        let text =
            "there is no rule in the file: write one, or give it with --when 'host available < 5%'";
        return Err(Misused(text.to_owned()).into());
    }
    if config.writes() {
        writable(&config.directory)?;
    }
    if let Some(parent) = config.keep.as_deref().and_then(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        anyhow::ensure!(
            parent.is_dir(),
            "the history cannot be kept in {}, which is no directory: make it, or give another file with --keep",
            Safe::bytes(parent.as_os_str().as_encoded_bytes())
        );
    }
    if flags.check {
        for rule in &config.rules {
            let text = format!(
                "{}: understood, about {}, severity {}",
                rule.name,
                rule.when.subject,
                rule.severity.name()
            );
            println!("{}", Safe::text(&text));
        }
        return Ok(());
    }
    let memmgr = std::env::current_exe().context("memmgr does not know where it is itself")?;
    let monitor = Monitor::new(Roots::default(), config.extras())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let write: fn(&mut dyn Write, &Alert) -> io::Result<()> = if flags.json { json } else { line };
    let begin = format!(
        "memmgr: watching by {} rule{}, every {}; Ctrl-C ends it",
        config.rules.len(),
        if config.rules.len() == 1 { "" } else { "s" },
        humantime::format_duration(config.interval)
    );
    let ready = || memmgr::say!("{begin}");
    runtime.block_on(async {
        let ended = ended(flags.duration)?;
        Ok(run(monitor, config, &memmgr, &mut stdout().lock(), write, ready, ended).await?)
    })
}

/// Says now what would be found out when a report is to be written, and the moment is over.
fn writable(directory: &Path) -> anyhow::Result<()> {
    // It is made when it is needed: until then what is above it counts.
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let shown = Safe::bytes(there.as_os_str().as_encoded_bytes());
    let usable = there.is_dir() && access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    anyhow::ensure!(
        usable,
        "reports of captures and records of kills cannot be written in {shown}: give another directory with --directory"
    );
    Ok(())
}

/// Shows what a watch has kept.
fn history(path: &Path, flags: &Watch) -> anyhow::Result<()> {
    let past = Past::read(path, flags.since, SystemTime::now())?;
    let output = Output::open(Path::new("-"), false)?;
    if flags.json {
        let mut json = serde_json::to_vec_pretty(&past)?;
        json.push(b'\n');
        return output.commit(&json);
    }
    let (color, width) = terminal();
    output.commit(sink::past(&past, flags.top, color, width).as_bytes())
}

/// The file's rules, and those of the flags behind them. Flags decide where both say something.
fn config(flags: &Watch) -> anyhow::Result<Config> {
    let mut config = match &flags.config {
        None => Config::default(),
        Some(path) => {
            let shown = Safe::bytes(path.as_os_str().as_encoded_bytes());
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
            Config::parse(&text)
                .map_err(|error| Misused(format!("{shown} is not understood: {error}")))?
        }
    };
    if let Some(interval) = flags.interval {
        config.interval = interval;
    }
    if flags.keep.is_some() {
        config.keep.clone_from(&flags.keep);
    }
    if let Some(directory) = &flags.directory {
        config.directory.clone_from(directory);
    }
    // Alerts go to places where a path that begins here means nothing.
    config.directory = std::path::absolute(&config.directory)?;
    config.rules.extend(flags.when.iter().map(|when| Watched {
        name: when.text.clone(),
        when: when.rule.clone(),
        severity: flags.severity.into(),
        every: flags.every,
        command: flags.command.clone(),
        webhook: flags.webhook.clone(),
        capture: flags.capture,
    }));
    Ok(config)
}

fn line(out: &mut dyn Write, alert: &Alert) -> io::Result<()> {
    writeln!(out, "{}", alert.line())
}

fn json(out: &mut dyn Write, alert: &Alert) -> io::Result<()> {
    serde_json::to_writer(&mut *out, alert)?;
    out.write_all(b"\n")
}

/// Until a signal, or for as long as was asked for; after that until a signal.
fn ended(duration: Duration) -> anyhow::Result<impl AsyncFnMut()> {
    let [mut interrupt, mut terminate] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let mut time = (duration > Duration::ZERO).then(|| Box::pin(tokio::time::sleep(duration)));
    Ok(async move || {
        let until = async {
            match &mut time {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = until => time = None,
        }
    })
}
