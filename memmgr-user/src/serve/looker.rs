//! The thread that looks at the host, and what it publishes.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::own::Own;
use crate::{
    monitor::{Look, Monitor, MonitorError, Process, trend::Trends},
    source::processes::Row,
};

/// Growth is told over this time.
const WINDOW: Duration = Duration::from_mins(1);
/// Figures for it are kept at most this often, so that short intervals take no more memory.
const STEP: Duration = Duration::from_secs(1);

/// One look, and what it is compared with those before.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, by a clock that never jumps.
    pub taken: Instant,
    /// The figures.
    pub look: Look,
    /// Growth of the resident memory of each process, in bytes a second; absent in the first seconds of its life.
    pub process_growth: Vec<Option<f64>>,
    /// Growth of the usage of each cgroup.
    pub group_growth: Vec<Option<f64>>,
}

/// The last look, or why there is none.
pub type Latest = Result<Arc<Seen>, Arc<str>>;

/// The thread cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LookerError {
    /// The host cannot be looked at.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// There is no thread for it.
    #[error("memmgr's threads could not be started")]
    Thread(#[source] io::Error),
}

/// Looks once, and then goes on in a thread until nobody listens any more.
///
/// # Errors
/// When the first look fails. A later one that fails is published, and the next may succeed.
pub fn start(
    mut monitor: Monitor,
    interval: Duration,
    own: Arc<Own>,
) -> Result<watch::Receiver<Latest>, LookerError> {
    let mut growth = Growth::new();
    let first = look(&mut monitor, &mut growth, &own)?;
    let (sender, receiver) = watch::channel(Ok(first));
    let go_on = move || {
        let mut next = Instant::now() + interval;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // What was missed is not made up for.
            next = (next + interval).max(Instant::now());
            let seen = look(&mut monitor, &mut growth, &own);
            if sender.send(seen.map_err(|error| error.to_string().into())).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("look".into()).spawn(go_on).map_err(LookerError::Thread)?;
    Ok(receiver)
}

fn look(monitor: &mut Monitor, growth: &mut Growth, own: &Own) -> Result<Arc<Seen>, MonitorError> {
    let taken = Instant::now();
    let look = monitor.look();
    own.looked(taken.elapsed(), look.is_ok());
    Ok(Arc::new(growth.seen(taken, look?)))
}

/// Seconds from boot to the start of a process.
pub fn since_boot_s(row: &Row) -> f64 {
    row.start_ticks as f64 / procfs::ticks_per_second() as f64
}

/// Figures of the last minute.
#[derive(Debug)]
struct Growth {
    last: Option<Duration>,
    processes: Trends<Process>,
    groups: Trends<String>,
}

impl Growth {
    fn new() -> Self {
        Growth { last: None, processes: Trends::new(WINDOW), groups: Trends::new(WINDOW) }
    }

    fn seen(&mut self, taken: Instant, look: Look) -> Seen {
        // A look that comes a little early by the interval of a second is one all the same.
        if self.last.is_none_or(|last| look.at.saturating_sub(last) >= STEP.mul_f64(0.95)) {
            self.last = Some(look.at);
            let rows = look.processes.rows.iter();
            self.processes.update(look.at, rows.map(|row| (Process::from(row), row.rss_bytes)));
            let groups = look.groups.iter();
            self.groups
                .update(look.at, groups.map(|group| (group.path.clone(), group.usage_bytes)));
        }
        let rows = look.processes.rows.iter();
        Seen {
            taken,
            process_growth: rows.map(|row| self.processes.rate(&row.into())).collect(),
            group_growth: look.groups.iter().map(|group| self.groups.rate(&group.path)).collect(),
            look,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::example;

    #[test]
    fn growth_is_told_of_each_row() {
        let mut growth = Growth::new();
        let mut seen = None;
        for tenth in 0..50_u32 {
            let mut look = example::look();
            look.at = Duration::from_millis(u64::from(tenth) * 100);
            look.processes.rows[1].rss_bytes = u64::from(tenth) * 500;
            look.groups[0].usage_bytes = 1_000_000 - u64::from(tenth) * 10;
            seen = Some(growth.seen(Instant::now(), look));
        }
        let seen = seen.unwrap();
        let near = |rate: Option<f64>, expected: f64| (rate.unwrap() - expected).abs() < 1e-6;
        assert!(near(seen.process_growth[0], 0.0), "{seen:?}");
        assert!(near(seen.process_growth[1], 5000.0), "{seen:?}");
        assert!(near(seen.group_growth[0], -100.0), "{seen:?}");
        let points = growth.processes.points(&(&seen.look.processes.rows[1]).into()).len();
        assert_eq!(points, 5, "one a second is kept");
    }
}
