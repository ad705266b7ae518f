//! What a person sees on stderr while a capture runs: a line that moves on a terminal, nothing elsewhere.

use std::{io, thread::JoinHandle, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::{pipeline::Pulse, units::human_bytes};

/// Says a line on stderr. Where nobody can hear it, because the terminal or the program that read it is gone, the work goes on:
/// `eprintln!` would end it, and lose what was captured.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        // Nobody is there to be told of the failure either.
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

const REFRESH: Duration = Duration::from_millis(500);

/// Shows pulses until the sender is gone, on a thread of its own: a terminal that is stopped must not keep events
/// waiting. `length` is how long the capture runs, when it ends by itself.
pub fn start(
    pulses: watch::Receiver<Pulse>,
    length: Option<Duration>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("progress".into())
        .spawn(move || runtime.block_on(show(pulses, length)))
}

async fn show(mut pulses: watch::Receiver<Pulse>, length: Option<Duration>) {
    // indicatif draws nothing when stderr is no terminal.
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{spinner} {wide_msg}").expect("a literal template"),
    );
    let (mut before, mut said) = (Pulse::default(), (0, 0));
    loop {
        let gone = tokio::time::timeout(REFRESH, pulses.changed())
            .await
            .is_ok_and(|changed| changed.is_err());
        let pulse = pulses.borrow_and_update().clone();
        // Each once, above the line, and where there is no terminal too.
        for line in pulse.steps.iter().skip(said.0).chain(pulse.news.iter().skip(said.1)) {
            bar.suspend(|| crate::say!("memmgr: {line}"));
        }
        said = (pulse.steps.len(), pulse.news.len());
        if gone {
            break;
        }
        if pulse.elapsed > before.elapsed {
            bar.set_message(line(&pulse, &before, length, own_rss()));
            before = pulse;
        }
        bar.tick();
    }
    bar.finish_and_clear();
}

fn line(pulse: &Pulse, before: &Pulse, length: Option<Duration>, own_rss: u64) -> String {
    let time = match length {
        Some(length) => {
            format!("{} s left", length.saturating_sub(pulse.elapsed).as_secs_f64().ceil())
        }
        None => format!("{} s, Ctrl-C ends", pulse.elapsed.as_secs()),
    };
    let seconds = (pulse.elapsed.saturating_sub(before.elapsed)).as_secs_f64();
    let rate = if seconds > 0.0 { (pulse.events - before.events) as f64 / seconds } else { 0.0 };
    let lost = if pulse.lost == 0 { "0 lost".to_owned() } else { format!("LOST {}", pulse.lost) };
    let overhead = pulse
        .overhead_percent
        .map_or_else(String::new, |percent| format!(" · costs it {percent:.1} %"));
    format!(
        "{time} · {rate:.0} events/s · live {} · RSS {}{overhead} · {lost} · memmgr {}",
        human_bytes(pulse.live_bytes),
        human_bytes(pulse.rss_bytes),
        human_bytes(own_rss),
    )
}

/// Resident bytes of memmgr now.
fn own_rss() -> u64 {
    procfs::process::Process::myself()
        .and_then(|me| me.statm())
        .map_or(0, |statm| statm.resident * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_matters() {
        let before = Pulse { elapsed: Duration::from_secs(2), events: 100, ..Pulse::default() };
        let pulse = Pulse {
            elapsed: Duration::from_secs(4),
            events: 1100,
            live_bytes: 3 << 20,
            rss_bytes: 10 << 20,
            overhead_percent: Some(0.44),
            ..Pulse::default()
        };
        assert_eq!(
            line(&pulse, &before, Some(Duration::from_secs(30)), 20 << 20),
            "26 s left · 500 events/s · live 3.0 MiB · RSS 10.0 MiB · costs it 0.4 % · 0 lost · memmgr 20.0 MiB"
        );
        let lossy = line(&Pulse { lost: 7, ..pulse }, &before, None, 0);
        assert!(lossy.contains("4 s, Ctrl-C ends") && lossy.contains("LOST 7"), "{lossy}");
    }
}
