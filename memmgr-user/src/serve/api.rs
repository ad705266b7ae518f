//! `/metrics` and `/api/v1/…`: questions → the last look, or a read of one thing.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_SECURITY_POLICY},
    },
    response::Response,
};
use humantime::{format_rfc3339_millis, format_rfc3339_seconds};
use serde::{Deserialize, Serialize};

use super::{
    Bounds, Shared,
    answer::{error, json, text},
    choice::{Choice, Sort},
    exposition::Format,
    looker::{Seen, since_boot_s},
    metrics,
    reads::{NotRead, Subject},
    reports::{self, Shelf},
};
use crate::{
    report::Host,
    source::{
        cgroup_tree::read_cgroup_stat, host::read_host_stat, process_dir::ProcessError,
        process_stat::read_process_stat,
    },
    stat::{self, Stat},
    units::Pid,
};

type Asked = State<Arc<Shared>>;

/// The schema of `/api/v1/look`. Fields may be added; one that is renamed or removed raises the number.
const SCHEMA: &str = "memmgr.look/1";

/// `/metrics`.
pub(super) async fn metrics(State(shared): Asked, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accepted.collect::<Vec<_>>().join(","));
    let seen = shared.seen().ok();
    let shelf = Arc::clone(&shared.shelf.borrow());
    let shelf = shared.directory.as_ref().map(|_| &*shelf);
    let body = metrics::metrics(seen.as_deref(), shelf, &shared.own, shared.bounds, format);
    text(format.content_type(), body)
}

/// How a look is told.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Order {
    #[serde(default)]
    sort: Sort,
}

/// `/api/v1/look`.
pub(super) async fn look(
    State(shared): Asked,
    order: Result<Query<Order>, QueryRejection>,
) -> Response {
    let order = match order {
        Ok(Query(order)) => order,
        Err(rejection) => return error(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    match shared.seen() {
        Ok(seen) => {
            let interval_s = shared.interval.as_secs_f64();
            json(StatusCode::OK, &Told::of(&seen, interval_s, shared.bounds, order.sort))
        }
        Err(why) => error(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// A look, as it is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    memmgr_version: &'static str,
    taken_at: String,
    interval_s: f64,
    host: &'a Host,
    oom_kills: Option<u64>,
    /// Processes that there are, and of them those that are not told.
    processes_total: usize,
    processes_omitted: usize,
    processes_unread: u64,
    processes: Vec<ToldProcess<'a>>,
    cgroups_total: usize,
    cgroups_omitted: usize,
    cgroups: Vec<ToldGroup<'a>>,
}

#[derive(Debug, Serialize)]
struct ToldProcess<'a> {
    pid: u32,
    start_time_s: f64,
    parent: u32,
    comm: &'a str,
    state: char,
    threads: u64,
    rss_bytes: u64,
    virtual_bytes: u64,
    minor_faults: u64,
    major_faults: u64,
    growth_bytes_per_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ToldGroup<'a> {
    path: &'a str,
    usage_bytes: u64,
    limit_bytes: Option<u64>,
    oom_kills: Option<u64>,
    growth_bytes_per_s: Option<f64>,
}

impl<'a> Told<'a> {
    fn of(seen: &'a Seen, interval_s: f64, bounds: Bounds, sort: Sort) -> Self {
        let look = &seen.look;
        let processes = Choice::processes(seen, bounds.processes, sort);
        let groups = Choice::groups(seen, bounds.groups, sort);
        Told {
            schema: SCHEMA,
            memmgr_version: env!("CARGO_PKG_VERSION"),
            taken_at: format_rfc3339_millis(look.time).to_string(),
            interval_s,
            host: &look.host,
            oom_kills: look.oom_kills,
            processes_total: look.processes.rows.len(),
            processes_omitted: processes.omitted,
            processes_unread: look.processes.unread,
            processes: processes.places.iter().map(|place| process_of(seen, *place)).collect(),
            cgroups_total: look.groups.len(),
            cgroups_omitted: groups.omitted,
            cgroups: groups.places.iter().map(|place| group_of(seen, *place)).collect(),
        }
    }
}

fn process_of(seen: &Seen, place: usize) -> ToldProcess<'_> {
    let row = &seen.look.processes.rows[place];
    ToldProcess {
        pid: row.pid.0,
        start_time_s: since_boot_s(row),
        parent: row.parent.0,
        comm: &row.comm,
        state: row.state,
        threads: row.threads,
        rss_bytes: row.rss_bytes,
        virtual_bytes: row.virtual_bytes,
        minor_faults: row.minor_faults,
        major_faults: row.major_faults,
        growth_bytes_per_s: seen.process_growth[place],
    }
}

fn group_of(seen: &Seen, place: usize) -> ToldGroup<'_> {
    let group = &seen.look.groups[place];
    ToldGroup {
        path: &group.path,
        usage_bytes: group.usage_bytes,
        limit_bytes: group.limit_bytes,
        oom_kills: group.events.oom_kill,
        growth_bytes_per_s: seen.group_growth[place],
    }
}

/// `/api/v1/stat/host`.
pub(super) async fn host(State(shared): Asked) -> Response {
    let roots = shared.roots.clone();
    let read = shared.reads.read(Subject::Host, move || read_host_stat(&roots)).await;
    told(read, |host| Stat { host: Some(host), ..now() }, |_| StatusCode::SERVICE_UNAVAILABLE)
}

/// `/api/v1/stat/process/PID`.
pub(super) async fn process(
    State(shared): Asked,
    pid: Result<Path<u32>, PathRejection>,
) -> Response {
    let pid = match pid {
        Ok(Path(pid)) => Pid(pid),
        Err(rejection) => return error(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let roots = shared.roots.clone();
    let read =
        shared.reads.read(Subject::Process(pid), move || read_process_stat(&roots, pid)).await;
    told(
        read,
        |process| Stat { process: Some(process), ..now() },
        |error| match error {
            gone if gone.is_gone() => StatusCode::NOT_FOUND,
            ProcessError::Thread { .. } => StatusCode::NOT_FOUND,
            refused if refused.is_permission() => StatusCode::FORBIDDEN,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        },
    )
}

/// Which cgroup.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    path: PathBuf,
}

/// `/api/v1/stat/cgroup?path=PATH`.
pub(super) async fn cgroup(
    State(shared): Asked,
    named: Result<Query<Named>, QueryRejection>,
) -> Response {
    let path = match named {
        Ok(Query(Named { path })) => path,
        Err(rejection) => return error(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let (roots, subject) = (shared.roots.clone(), Subject::Cgroup(path.clone()));
    let read = shared.reads.read(subject, move || read_cgroup_stat(&roots, &path)).await;
    told(read, |cgroup| Stat { cgroup: Some(cgroup), ..now() }, |_| StatusCode::NOT_FOUND)
}

/// Any other path.
pub(super) async fn nothing() -> Response {
    error(StatusCode::NOT_FOUND, "there is nothing here; / and /metrics and /api/v1/look are")
}

/// The schema of `/api/v1/reports`. Fields may be added; one that is renamed or removed raises the number.
const REPORTS_SCHEMA: &str = "memmgr.reports/1";

/// A report's page runs what it brings along, and nothing else: it may not even ask this server.
const REPORT_POLICY: &str = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; \
                             style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

#[derive(Debug, Serialize)]
struct Reports<'a> {
    schema: &'static str,
    #[serde(flatten)]
    shelf: &'a Shelf,
}

/// `/api/v1/reports`.
pub(super) async fn reports(State(shared): Asked) -> Response {
    let shelf = Arc::clone(&shared.shelf.borrow());
    json(StatusCode::OK, &Reports { schema: REPORTS_SCHEMA, shelf: &shelf })
}

/// `/reports/NAME`.
pub(super) async fn report(
    State(shared): Asked,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(rejection) => return error(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let is_there = shared.shelf.borrow().reports.iter().any(|entry| entry.name == name);
    let directory = shared.directory.clone().filter(|_| is_there);
    let Some(directory) = directory else {
        return error(StatusCode::NOT_FOUND, "there is no such report; /api/v1/reports has them");
    };
    let subject = Subject::Report(name.clone());
    match shared.reads.read(subject, move || reports::page(&directory, &name)).await {
        Ok(Ok(page)) => {
            let mut response = text("text/html; charset=utf-8", page);
            let policy = HeaderValue::from_static(REPORT_POLICY);
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            response
        }
        Ok(Err(_)) => error(StatusCode::NOT_FOUND, "this report has no page"),
        Err(not_read) => unread(&not_read),
    }
}

/// A snapshot of nothing, at this moment.
fn now() -> Stat {
    Stat {
        schema: stat::SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: format_rfc3339_seconds(SystemTime::now()).to_string(),
        host: None,
        cgroup: None,
        process: None,
    }
}

/// The answer to a read.
fn told<T, E: std::error::Error>(
    read: Result<Result<T, E>, NotRead>,
    snapshot: impl FnOnce(T) -> Stat,
    status: impl FnOnce(&E) -> StatusCode,
) -> Response {
    match read {
        Ok(Ok(part)) => json(StatusCode::OK, &snapshot(part)),
        Ok(Err(problem)) => error(status(&problem), &problem.to_string()),
        Err(problem) => unread(&problem),
    }
}

fn unread(problem: &NotRead) -> Response {
    let status = match problem {
        NotRead::Busy => StatusCode::SERVICE_UNAVAILABLE,
        NotRead::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
        NotRead::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::example;

    #[test]
    fn a_look_is_told_in_the_order_that_is_asked_for() {
        let seen = example::seen();
        let check = |sort: Sort, pids: &[u32], paths: &[&str]| {
            let told = Told::of(&seen, 1.0, Bounds { processes: 2, groups: 2 }, sort);
            let json = serde_json::to_value(&told).unwrap();
            let of = |list: &str, key: &str| -> Vec<serde_json::Value> {
                json[list].as_array().unwrap().iter().map(|row| row[key].clone()).collect()
            };
            assert_eq!(of("processes", "pid"), pids);
            assert_eq!(of("cgroups", "path"), paths);
            assert_eq!(json["processes_omitted"], 1);
            assert_eq!(json["cgroups_omitted"], 1);
            json
        };
        let json = check(Sort::Size, &[11, 7], &["/", "/system.slice"]);
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["taken_at"], "1970-01-02T00:00:00.000Z");
        assert_eq!(json["host"]["available_bytes"], 5000);
        assert_eq!(json["processes"][0]["comm"], "\u{202e}</script>");
        assert_eq!(json["processes"][0]["growth_bytes_per_s"], serde_json::Value::Null);
        assert_eq!(json["processes"][1]["start_time_s"], 2.5);
        assert_eq!(json["cgroups"][1]["limit_bytes"], 3500);
        check(Sort::Growth, &[9, 7], &["/system.slice", "/"]);
    }
}
