//! Captures of several processes side by side: one report, or a recording of each.

use std::{
    collections::HashSet,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;

use memmgr::{
    capture::CapturePlan,
    escape::Safe,
    group::{self, Chooser, Found, Outcome, Terms, Who},
    judge::Suppressions,
    recording::Recording,
    report::Report,
    source::roots::Roots,
    units::{Pid, human_bytes},
};

use super::{
    args::Record,
    capture::{Until, interrupted},
    capture_flags::CaptureFlags,
    record::{file_name, plain},
};

/// What all ring buffers take together, unless somebody says otherwise: as much as those of eight captures in exact mode.
const RINGS_BYTES: u32 = 128 << 20;

/// Captures, and makes one report of those of all processes.
pub fn capture(
    flags: &CaptureFlags,
    who: Who,
    suppressions: &Suppressions,
) -> anyhow::Result<Report> {
    let keep = |plan: &CapturePlan, _: &str| Ok(Recording::in_memory(plan.count_scale())?);
    let (mut chooser, first) = choose(flags, who)?;
    let plan = plan(flags, &first);
    let terms = Terms { roots: Roots::default(), plan, keep: &keep, suppressions };
    let outcome = group::run(&terms, &mut chooser, first, || interrupted(Until::Interrupted))?;
    Ok(outcome.report())
}

/// Captures each process into a recording in one directory.
pub fn record(job: &Record, who: Who) -> anyhow::Result<()> {
    let directory = job.output.clone().unwrap_or_else(|| format!("memmgr.{}", label(&who)).into());
    let shown = Safe::bytes(directory.as_os_str().as_encoded_bytes());
    let (mut chooser, first) = choose(&job.capture, who)?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the directory {shown}; give another one with -o"))?;
    let made = Mutex::new(HashSet::new());
    let keep = |plan: &CapturePlan, name: &str| {
        let path = place(
            &directory,
            name,
            plan.pid,
            &mut made.lock().unwrap_or_else(PoisonError::into_inner),
        );
        Ok(Recording::create(&path, plan.count_scale(), job.force)?)
    };
    let plan = plan(&job.capture, &first);
    let suppressions = &Suppressions::default();
    let terms = Terms { roots: Roots::default(), plan, keep: &keep, suppressions };
    let outcome = group::run(&terms, &mut chooser, first, || interrupted(Until::Interrupted))?;
    say(&outcome, &shown);
    Ok(())
}

/// Where the recording of a process goes: one that executes its own program again has two.
fn place(directory: &Path, name: &str, pid: Pid, made: &mut HashSet<PathBuf>) -> PathBuf {
    let mut file = file_name(name, pid);
    let mut count = 1;
    while !made.insert(directory.join(&file)) {
        count += 1;
        file = file_name(&format!("{name}.{count}"), pid);
    }
    directory.join(file)
}

/// The processes that are there now.
fn choose(flags: &CaptureFlags, who: Who) -> anyhow::Result<(Chooser, Vec<Found>)> {
    let unreadable = "the processes of this host cannot be listed";
    let mut chooser =
        Chooser::new(&Roots::default(), who, flags.follow_forks).context(unreadable)?;
    let first = chooser.look().context(unreadable)?;
    if first.is_empty() { Err(chooser.nobody().into()) } else { Ok((chooser, first)) }
}

/// The plan for each of so many.
fn plan(flags: &CaptureFlags, first: &[Found]) -> CapturePlan {
    let mut plan = flags.plan(first[0].pid);
    let members = first.len().min(group::MOST_AT_A_TIME) as u32;
    if flags.ring_bytes.is_none() {
        plan.ring_bytes = plan.ring_bytes.min(share(RINGS_BYTES, members));
    }
    plan
}

/// The part of each, a power of two as rings are.
fn share(bytes: u32, members: u32) -> u32 {
    let part = bytes.checked_div(members).and_then(NonZero::new);
    part.map_or(bytes, |part| 1 << part.ilog2())
}

/// How a group is called in the name of a directory.
fn label(who: &Who) -> String {
    match who {
        Who::Pids(pids) => pids.iter().map(Pid::to_string).collect::<Vec<_>>().join("-"),
        Who::Name(name) => plain(&name.to_string()),
        Who::Cgroup(path) => path
            .file_name()
            .map_or_else(|| "cgroup".to_owned(), |name| plain(&name.to_string_lossy())),
    }
}

fn say(outcome: &Outcome, directory: &Safe) {
    let reports = || outcome.parts.iter().map(|part| &part.report);
    let bytes = reports().map(|report| report.totals.live_bytes).sum();
    let count = reports().count();
    memmgr::say!(
        "memmgr: wrote {count} recording{} in {directory}: {} outstanding{}; `memmgr leaks {directory}` shows them together",
        if count == 1 { "" } else { "s" },
        human_bytes(bytes),
        if reports().all(|report| report.capture.complete) { "" } else { ", incomplete" },
    );
}

#[cfg(test)]
mod tests {
    use memmgr::pattern::Pattern;

    use super::*;

    #[test]
    fn rings_of_many_are_smaller() {
        for (members, mib) in [(1, 128), (2, 64), (8, 16), (9, 8), (31, 4), (32, 4)] {
            assert_eq!(share(RINGS_BYTES, members), mib << 20, "{members}");
        }
    }

    #[test]
    fn every_recording_has_a_name_of_its_own() {
        let mut made = HashSet::new();
        for (name, expected) in [
            ("we b", "d/memmgr.we_b.7.db"),
            ("we b", "d/memmgr.we_b.2.7.db"),
            ("we b", "d/memmgr.we_b.3.7.db"),
            ("db", "d/memmgr.db.7.db"),
        ] {
            assert_eq!(place(Path::new("d"), name, Pid(7), &mut made), Path::new(expected));
        }
    }

    #[test]
    fn directories_are_named_by_what_was_asked_for() {
        for (who, name) in [
            (Who::Pids(vec![Pid(7), Pid(9)]), "7-9"),
            (Who::Name(Pattern::new("web*").unwrap()), "web_"),
            (Who::Cgroup("/system.slice/web.service".into()), "web.service"),
            (Who::Cgroup("/".into()), "cgroup"),
        ] {
            assert_eq!(label(&who), name);
        }
    }
}
