//! `serve`: the memory of the host over HTTP, for Prometheus and for a browser.

use anyhow::Context;
use clap::{CommandFactory, error::ErrorKind};
use tokio::signal::unix::{SignalKind, signal};

use memmgr::{
    escape::Safe,
    serve::{
        Bounds, Settings,
        guard::{Guard, Token},
        serve,
    },
};

use super::{
    args::{self, Arguments},
    exit::Lacking,
};

/// Serves until Ctrl-C, or whatever else ends programs.
pub fn run(options: &args::Serve) -> anyhow::Result<()> {
    let loopback = options.listen.ip().to_canonical().is_loopback();
    if !loopback && options.token_file.is_none() {
        let message = format!(
            "other hosts reach {}: that needs --token-file; without one listen at 127.0.0.1, which \
             `ssh -L 9464:localhost:9464 HOST` reaches",
            options.listen
        );
        Arguments::command().error(ErrorKind::MissingRequiredArgument, message).exit();
    }
    let token = options.token_file.as_deref().map(Token::read).transpose()?;
    let settings = Settings {
        listen: options.listen,
        guard: Guard::new(options.allow_host.clone(), token),
        interval: options.interval,
        reports: options.reports.clone(),
        bounds: Bounds { processes: options.top, groups: options.top_cgroups },
    };
    if let Some(directory) = &options.reports {
        let shown = Safe::bytes(directory.as_os_str().as_encoded_bytes());
        anyhow::ensure!(!directory.is_file(), "{shown} is no directory: give one with --reports");
        if !directory.exists() {
            memmgr::say!("memmgr: {shown} is not there yet: its reports are told when it is");
        }
    }
    // One thread: nothing here waits for anything but the network.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("memmgr's threads could not be started")?;
    let served = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        };
        let interval = humantime::format_duration(options.interval);
        let ready = |address| {
            memmgr::say!("memmgr: serving http://{address}/ and http://{address}/metrics, a look every {interval}; until Ctrl-C");
        };
        serve(settings, ready, stop).await.map_err(anyhow::Error::from)
    });
    // A read of a process that hangs is not waited for.
    runtime.shutdown_background();
    served.map_err(|error| match error.downcast_ref::<memmgr::serve::ServeError>() {
        Some(denied) if denied.is_permission() => Lacking(denied.to_string()).into(),
        _ => error,
    })
}
