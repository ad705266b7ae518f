//! What the kernel only counts upwards, and how much of it is new.

use std::collections::HashMap;

use crate::source::groups::{Events, GroupRow};

/// The last counts of the host and of every group.
#[derive(Debug, Default)]
pub struct Counters {
    kills: Option<u64>,
    groups: Option<HashMap<String, Events>>,
    new_kills: u64,
    new: HashMap<String, Events>,
}

impl Counters {
    /// Takes the counts: kills on the host, and the events of groups. What happened before the first time is no news.
    pub fn update(&mut self, kills: Option<u64>, groups: &[GroupRow]) {
        self.new_kills = more(self.kills, kills).unwrap_or(0);
        self.kills = kills;
        self.new.clear();
        let mut counts = HashMap::with_capacity(groups.len());
        for group in groups {
            if let Some(known) = &self.groups {
                // All that happened to a group that was not there before is news.
                let zero = Some(0);
                let fresh = Events { low: zero, high: zero, max: zero, oom: zero, oom_kill: zero };
                let before = known.get(&group.path).copied().unwrap_or(fresh);
                let now = group.events;
                let new = Events {
                    low: more(before.low, now.low),
                    high: more(before.high, now.high),
                    max: more(before.max, now.max),
                    oom: more(before.oom, now.oom),
                    oom_kill: more(before.oom_kill, now.oom_kill),
                };
                if new != Events::default() {
                    self.new.insert(group.path.clone(), new);
                }
            }
            counts.insert(group.path.clone(), group.events);
        }
        self.groups = Some(counts);
    }

    /// Kills on the host since the counts before.
    pub fn kills(&self) -> u64 {
        self.new_kills
    }

    /// Events of a group since the counts before; absent where nothing happened.
    pub fn of(&self, path: &str) -> Events {
        self.new.get(path).copied().unwrap_or_default()
    }
}

/// What was counted since; absent for nothing. A count that is lower belongs to a new group of that path.
fn more(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    let (before, now) = before.zip(now)?;
    Some(now.checked_sub(before).unwrap_or(now)).filter(|more| *more > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str, max: Option<u64>) -> GroupRow {
        let events = Events { max, ..Events::default() };
        GroupRow { path: path.to_owned(), events, ..GroupRow::default() }
    }

    #[test]
    fn only_what_is_new_counts() {
        let mut counters = Counters::default();
        let mut check = |kills, a: Option<u64>, expected: (u64, Option<u64>)| {
            counters.update(kills, &[group("/a", a)]);
            assert_eq!((counters.kills(), counters.of("/a").max), expected);
        };
        check(Some(5), Some(7), (0, None));
        check(Some(5), Some(7), (0, None));
        check(Some(7), Some(10), (2, Some(3)));
        check(None, None, (0, None));
        check(Some(7), Some(12), (0, None));
        // It was removed and made again.
        check(Some(7), Some(2), (0, Some(2)));
    }

    #[test]
    fn a_group_that_comes_later_is_new_as_a_whole() {
        let mut counters = Counters::default();
        counters.update(None, &[]);
        counters.update(None, &[group("/late", Some(3)), group("/quiet", Some(0))]);
        assert_eq!((counters.of("/late").max, counters.of("/quiet").max), (Some(3), None));
        counters.update(None, &[]);
        assert_eq!(counters.of("/late"), Events::default());
    }
}
