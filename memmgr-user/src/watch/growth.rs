//! What rates and counts are made of: the last figures of everything that rules can be about.

use std::{collections::HashMap, time::Duration};

use super::{counters::Counters, stalls::Stalls};
use crate::{
    monitor::{Look, Process, trend::Trends},
    source::{groups::GroupRow, processes::Row},
    units::Pid,
};

/// Growth of everything, for rates.
#[derive(Debug)]
pub struct Growth {
    pub(super) used: Trends<()>,
    pub(super) groups: Trends<String>,
    pub(super) processes: Trends<Process>,
    pub(super) stalls: Stalls,
    pub(super) group_stalls: HashMap<String, Stalls>,
    pub(super) counters: Counters,
}

impl Growth {
    /// Takes rates over this window.
    pub fn new(window: Duration) -> Self {
        Growth {
            used: Trends::new(window),
            groups: Trends::new(window),
            processes: Trends::new(window),
            stalls: Stalls::default(),
            group_stalls: HashMap::new(),
            counters: Counters::default(),
        }
    }

    /// Takes the figures of a look, later than the last.
    pub fn update(&mut self, look: &Look) {
        self.used.update(look.at, [((), look.host.used_bytes)]);
        let groups = look.groups.iter().map(|group| (group.path.clone(), group.usage_bytes));
        self.groups.update(look.at, groups);
        let rows = look.processes.rows.iter();
        self.processes.update(look.at, rows.map(|row| (row.into(), row.rss_bytes)));
        if let Some(pressure) = &look.host.pressure {
            self.stalls.update(look.at, pressure);
        }
        let mut before = std::mem::take(&mut self.group_stalls);
        for (path, pressure) in
            look.groups.iter().filter_map(|group| Some((&group.path, group.pressure.as_ref()?)))
        {
            let mut stalls = before.remove(path).unwrap_or_default();
            stalls.update(look.at, pressure);
            self.group_stalls.insert(path.clone(), stalls);
        }
        self.count(look.oom_kills, &look.groups);
    }

    /// Takes counters alone, of the host and of groups.
    pub fn count(&mut self, kills: Option<u64>, groups: &[GroupRow]) {
        self.counters.update(kills, groups);
    }

    /// The process that grew most within the window among those of a look that `wanted` says yes to; none where none grew.
    pub fn grew_most<'a>(&self, look: &'a Look, wanted: impl Fn(Pid) -> bool) -> Option<&'a Row> {
        let rows = look.processes.rows.iter().filter(|row| wanted(row.pid));
        rows.map(|row| (row, self.processes.gained(&row.into())))
            .filter(|(_, gained)| *gained > 0)
            .max_by_key(|(_, gained)| *gained)
            .map(|(row, _)| row)
    }
}
