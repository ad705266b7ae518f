//! Reads what a plan rests on.

use std::time::Duration;

use super::{
    OptimizeError,
    act::{
        ActError,
        debugger::{self, Trim},
        kernel,
    },
    action::{Amount, Only, Scope, Selection, Touched},
    choose::{choose, touched},
    figures::Figures,
    plan::{Facts, GroupFacts, HostFacts, Memory, Trimmable},
    prepare::check_collectable,
    runtime::Runtime,
    subject::{Member, Subject},
};
use crate::{
    pools,
    source::{
        cgroup::MemoryCgroup,
        cgroup_path::Version,
        mappings::{Mapping, read_mapping_figures, read_mappings},
        process::read_stack_pointers,
        processes::Processes,
        roots::Roots,
    },
};

/// Processes of the host that a plan names.
const LARGEST: usize = 3;

impl Facts {
    /// Reads them. `idle` is for how long the referenced bits had been cleared.
    pub(super) fn read(
        roots: &Roots,
        scope: &Scope,
        subject: &Subject,
        figures: &Figures,
        idle: Option<Duration>,
    ) -> Result<Self, OptimizeError> {
        let host = &figures.host.memory;
        let room = subject.group.as_ref().and_then(MemoryCgroup::swap_room_bytes);
        let mut facts = Facts {
            flags: flags(scope, subject),
            idle,
            swap_room_bytes: room.unwrap_or(u64::MAX).min(host.swap_free_bytes),
            ..Facts::default()
        };
        for member in &subject.members {
            match memory(member) {
                Ok(memory) => add(facts.memory.get_or_insert_default(), memory),
                Err(error) if error.is_gone() && subject.is_crowd() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let (Scope::Process(..), [member]) = (scope, &*subject.members) {
            let mappings: Vec<Mapping> = read_mappings(&member.dir)?;
            let exe = member.identity.exe.as_deref();
            facts.runtime = Runtime::of(&member.dir, exe, &mappings);
            let trim = debugger::prepare(&member.dir);
            facts.no_collection = facts
                .runtime
                .and_then(|runtime| check_collectable(runtime, member).err())
                .map(|error| error.to_string());
            let trim = trim.and_then(|trim| trimmable(roots, member, &trim));
            facts.trim = Some(trim.map_err(|error| error.to_string()));
        }
        facts.group = group(subject, figures);
        if let Scope::Host = scope {
            facts.host = Some(HostFacts {
                stat: figures.host.clone(),
                cache_bytes: figures.cache_bytes(),
                compact: kernel::prepare_compact(roots, None).map(drop).map_err(|e| e.to_string()),
                merge: kernel::prepare_merge(roots)
                    .map(|(_, run)| run == "1")
                    .map_err(|error| error.to_string()),
                largest: largest(roots),
            });
        }
        Ok(facts)
    }
}

/// What stands in a command for this subject, and for no other that gets its number later.
fn flags(scope: &Scope, subject: &Subject) -> String {
    match (scope, subject.facts.start_time_s) {
        (Scope::Process(pid, _), Some(started)) => format!("-p {pid} --started {started:.2}"),
        (Scope::Process(pid, _), None) => format!("-p {pid}"),
        (Scope::Cgroup(path), _) => {
            let path = path.to_string_lossy();
            let quoted = shlex::try_quote(&path).map_or_else(|_| path.to_string(), Into::into);
            format!("--cgroup {quoted}")
        }
        (Scope::Host, _) => "--host".to_owned(),
    }
}

fn memory(member: &Member) -> Result<Memory, ActError> {
    let mappings = read_mapping_figures(&member.dir)?;
    let pointers = read_stack_pointers(&member.dir)?.known;
    let pid = member.identity.pid.0;
    let of = |only| {
        let chosen = choose(pid, &mappings, &Selection { only, ..Selection::default() }, &pointers);
        let idle = touched(&chosen, &mappings, Touched::Hardly(Duration::ZERO));
        [chosen, idle].map(|some| {
            // What others have mapped too stays in memory.
            let private = some.iter().filter_map(|chosen| {
                let found =
                    mappings.iter().find(|figures| figures.mapping.start == chosen.start)?;
                Some(found.private_clean + found.private_dirty)
            });
            private.sum::<u64>()
        })
    };
    let ([anon_bytes, anon_idle_bytes], [file_bytes, file_idle_bytes]) =
        (of(Only::Anonymous), of(Only::File));
    let huge_bytes = mappings.iter().map(|figures| figures.anon_huge).sum();
    Ok(Memory { anon_bytes, anon_idle_bytes, file_bytes, file_idle_bytes, huge_bytes })
}

/// What glibc's arenas hold free, or of others, and where that cannot be read, what may be theirs.
fn trimmable(roots: &Roots, member: &Member, trim: &Trim) -> Result<Trimmable, ActError> {
    let caches = pools::debuginfod_caches();
    let free = || pools::free_in_glibc(roots, member.identity.pid, &caches);
    if let Some(most_bytes) = trim.is_of_glibc().then(free).flatten() {
        return Ok(Trimmable { step: trim.step(), most_bytes, is_free: true });
    }
    let mappings = read_mapping_figures(&member.dir)?;
    let own = mappings.iter().filter(|figures| trim.may_hold(&figures.mapping));
    let most_bytes = own.map(|figures| figures.private_clean + figures.private_dirty).sum();
    Ok(Trimmable { step: trim.step(), most_bytes, is_free: false })
}

fn add(to: &mut Memory, more: Memory) {
    to.anon_bytes += more.anon_bytes;
    to.anon_idle_bytes += more.anon_idle_bytes;
    to.file_bytes += more.file_bytes;
    to.file_idle_bytes += more.file_idle_bytes;
    to.huge_bytes += more.huge_bytes;
}

fn group(subject: &Subject, figures: &Figures) -> Option<GroupFacts> {
    let (group, read) = subject.group.as_ref().zip(figures.cgroup.as_ref())?;
    let takes_amount = group.version() == Version::V2;
    let amount = if takes_amount { Amount::Bytes(0) } else { Amount::All };
    let way = kernel::prepare_reclaim(group, amount, None);
    Some(GroupFacts {
        path: group.shown(),
        way: way.map(drop).map_err(|error| error.to_string()),
        takes_amount,
        inactive_file_bytes: read.counter("inactive_file").unwrap_or(0),
        inactive_anon_bytes: read.counter("inactive_anon").unwrap_or(0),
        others: match subject.facts.pid {
            Some(pid) => group.pids().iter().filter(|other| other.0 != pid).count(),
            None => 0,
        },
        stalled: read.cgroup.pressure.as_ref().map(|pressure| pressure.some.avg10),
    })
}

fn largest(roots: &Roots) -> Vec<(u32, String, u64)> {
    let table = Processes::open(roots).and_then(|mut processes| processes.read());
    let mut rows = table.unwrap_or_default().rows;
    rows.sort_by_key(|row| std::cmp::Reverse(row.rss_bytes));
    rows.into_iter().take(LARGEST).map(|row| (row.pid.0, row.comm, row.rss_bytes)).collect()
}
