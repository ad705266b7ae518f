//! What `memmgr serve` does: the host's memory over HTTP, to read and nothing else.
//!
//! ```text
//! a thread that looks → the last look → /metrics, /api/v1/look, the page
//!                        a read for one → /api/v1/stat/…
//! a thread that looks for reports of captures → /api/v1/reports, /reports/…
//! ```
//!
//! Answers are made from the last look, so that scraping often costs the host nothing. [`guard`] says who is answered,
//! [`connections`] how many at a time, [`reads`] what one of them may cost.

mod answer;
mod api;
mod choice;
mod connections;
#[cfg(test)]
mod example;
mod exposition;
pub mod guard;
mod looker;
mod metrics;
mod own;
mod page;
mod reads;
mod reports;

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, middleware, routing::get};
use tokio::{net::TcpListener, sync::watch};

use self::{
    connections::Limits,
    guard::Guard,
    looker::{Latest, LookerError, Seen},
    own::Own,
    reads::Reads,
    reports::Shelf,
};
use crate::{
    monitor::{Monitor, MonitorError},
    source::{groups::Extras, roots::Roots},
};

/// What was asked for.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who is answered.
    pub guard: Guard,
    /// Distance of the looks.
    pub interval: Duration,
    /// How much is told.
    pub bounds: Bounds,
    /// Where reports of captures are, if they are to be told.
    pub reports: Option<PathBuf>,
}

/// How many processes and cgroups are told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Processes.
    pub processes: usize,
    /// Cgroups.
    pub groups: usize,
}

/// The server cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The host cannot be looked at.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// There is no thread for it.
    #[error("memmgr's threads could not be started")]
    Thread(#[source] io::Error),
    /// The address cannot be listened at.
    #[error("memmgr cannot listen at {address} ({source}): {}", listen_remedy(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The thread that looks at the host failed; why is on stderr.
    #[error("memmgr does not look at the host any more, which is a mistake of its own")]
    Blind,
}

impl ServeError {
    /// Whether more rights would help.
    pub fn is_permission(&self) -> bool {
        matches!(self, ServeError::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl From<LookerError> for ServeError {
    fn from(error: LookerError) -> Self {
        match error {
            LookerError::Monitor(error) => ServeError::Monitor(error),
            LookerError::Thread(source) => ServeError::Thread(source),
        }
    }
}

fn listen_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program does, `ss -ltnp` shows which; choose another port with --listen"
        }
        io::ErrorKind::AddrNotAvailable => "`ip address` shows the addresses of this host",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root, or CAP_NET_BIND_SERVICE",
        _ => "choose another address with --listen",
    }
}

/// What every answer is made from.
struct Shared {
    roots: Roots,
    latest: watch::Receiver<Latest>,
    guard: Guard,
    interval: Duration,
    bounds: Bounds,
    reads: Reads,
    /// Where reports are, and what they say.
    directory: Option<PathBuf>,
    shelf: watch::Receiver<Arc<Shelf>>,
    own: Arc<Own>,
    script: Arc<str>,
}

impl Shared {
    /// The last look.
    ///
    /// # Errors
    /// Why there is none, or none that is not old.
    fn seen(&self) -> Result<Arc<Seen>, Arc<str>> {
        let seen = self.latest.borrow().clone()?;
        let (age, oldest) = (seen.taken.elapsed(), self.interval * 3 + Duration::from_secs(5));
        if age > oldest {
            return Err(
                format!("the last look at the host was {:.0} s ago", age.as_secs_f64()).into()
            );
        }
        Ok(seen)
    }
}

/// Serves until `stop`. `ready` is told the address, whose port the kernel has chosen if it was 0.
///
/// # Errors
/// When the host cannot be looked at, or the address not be listened at.
pub async fn serve(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Settings { listen: address, guard, interval, bounds, reports } = settings;
    let listen_error = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let chosen = listener.local_addr().map_err(listen_error)?;
    let (roots, own) = (Roots::default(), Arc::new(Own::default()));
    let monitor = Monitor::new(roots.clone(), Extras::default())?;
    let latest = looker::start(monitor, interval, Arc::clone(&own))?;
    let mut looks = latest.clone();
    let shared = Shared {
        roots,
        latest,
        guard,
        interval,
        bounds,
        reads: Reads::new(reads::Bounds::default()),
        shelf: reports::start(reports.clone()).map_err(ServeError::Thread)?,
        directory: reports,
        own: Arc::clone(&own),
        script: page::whole_script().into(),
    };
    ready(chosen);
    let serving =
        connections::serve(listener, router(Arc::new(shared)), Limits::default(), own, stop);
    tokio::select! {
        () = serving => Ok(()),
        () = async { while looks.changed().await.is_ok() {} } => Err(ServeError::Blind),
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page::document))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/metrics", get(api::metrics))
        .route("/api/v1/look", get(api::look))
        .route("/api/v1/reports", get(api::reports))
        .route("/reports/{name}", get(api::report))
        .route("/api/v1/stat/host", get(api::host))
        .route("/api/v1/stat/process/{pid}", get(api::process))
        .route("/api/v1/stat/cgroup", get(api::cgroup))
        .fallback(api::nothing)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), answer::guarded))
        .with_state(shared)
}
