//! `stat`: where memory is, at one moment.

use std::time::SystemTime;

use humantime::format_rfc3339_seconds;

use memmgr::{
    sink,
    source::{
        cgroup_tree::read_cgroup_stat, host::read_host_stat, process_stat::read_process_stat,
        roots::Roots,
    },
    stat::{SCHEMA, Stat},
    units::Pid,
};

use super::args;

/// Reads what was asked for, and shows it.
pub fn run(what: &args::Stat) -> anyhow::Result<()> {
    let output = what.shown.open()?;
    let roots = Roots::default();
    let host = what.host || (what.pid.is_none() && what.cgroup.is_none());
    let stat = Stat {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: format_rfc3339_seconds(SystemTime::now()).to_string(),
        host: host.then(|| read_host_stat(&roots)).transpose()?,
        cgroup: what.cgroup.as_ref().map(|name| read_cgroup_stat(&roots, name)).transpose()?,
        process: what.pid.map(|pid| read_process_stat(&roots, Pid(pid))).transpose()?,
    };
    what.shown.write(output, &stat, sink::stat)
}
