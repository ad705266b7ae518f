//! Which processes and cgroups are told, because a host has more than a time series database or a page can bear.

use std::{cmp::Ordering, collections::HashSet};

use super::looker::Seen;
use crate::escape::Safe;

/// By what the first are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Resident memory, or usage.
    #[default]
    Size,
    /// Growth, those that shrink last.
    Growth,
}

/// Places of the rows that are told, the first first, and how many are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In the look's tables.
    pub places: Vec<usize>,
    /// How many there are beside.
    pub omitted: usize,
}

/// Names that are longer are no labels; systemd's and Kubernetes' are a third of this.
const LONGEST_PATH: usize = 512;

impl Choice {
    /// Processes.
    pub fn processes(seen: &Seen, most: usize, sort: Sort) -> Self {
        let rows = &seen.look.processes.rows;
        Choice::first(rows.len(), most, |a, b| match sort {
            Sort::Size => rows[a].rss_bytes.cmp(&rows[b].rss_bytes),
            Sort::Growth => by_growth(&seen.process_growth, a, b),
        })
    }

    /// Cgroups.
    pub fn groups(seen: &Seen, most: usize, sort: Sort) -> Self {
        let groups = &seen.look.groups;
        Choice::first(groups.len(), most, |a, b| match sort {
            Sort::Size => groups[a].usage_bytes.cmp(&groups[b].usage_bytes),
            Sort::Growth => by_growth(&seen.group_growth, a, b),
        })
    }

    /// Leaves out groups whose paths are too long, or the same as another's once they can be shown: a scrape with one
    /// label twice is refused as a whole.
    pub fn with_distinct_paths(mut self, seen: &Seen) -> Self {
        let mut shown = HashSet::new();
        let before = self.places.len();
        self.places.retain(|place| {
            let path = Safe::text(&seen.look.groups[*place].path);
            path.as_str().len() <= LONGEST_PATH && shown.insert(path)
        });
        self.omitted += before - self.places.len();
        self
    }

    /// The `most` largest of `count`; of two that are equal the earlier.
    fn first(count: usize, most: usize, order: impl Fn(usize, usize) -> Ordering) -> Self {
        let mut places: Vec<usize> = (0..count).collect();
        places.sort_unstable_by(|a, b| order(*b, *a).then(a.cmp(b)));
        places.truncate(most);
        Choice { omitted: count - places.len(), places }
    }
}

fn by_growth(rates: &[Option<f64>], a: usize, b: usize) -> Ordering {
    let rate = |place: usize| rates[place].unwrap_or(f64::NEG_INFINITY);
    rate(a).total_cmp(&rate(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::example;

    #[test]
    fn the_largest_are_told_and_the_others_counted() {
        let seen = example::seen();
        let check = |choice: Choice, places: &[usize], omitted: usize| {
            assert_eq!(choice, Choice { places: places.to_vec(), omitted });
        };
        check(Choice::processes(&seen, 9, Sort::Size), &[2, 0, 1], 0);
        check(Choice::processes(&seen, 2, Sort::Size), &[2, 0], 1);
        check(Choice::processes(&seen, 0, Sort::Size), &[], 3);
        // 5 bytes a second, -1, and not known.
        check(Choice::processes(&seen, 9, Sort::Growth), &[1, 0, 2], 0);
        check(Choice::groups(&seen, 2, Sort::Size), &[0, 1], 1);
    }

    #[test]
    fn no_path_is_told_twice_or_without_end() {
        let mut seen = example::seen();
        seen.look.groups[0].path = "/x\u{1b}".to_owned();
        seen.look.groups[1].path = "/x\\u{1b}".to_owned();
        seen.look.groups[2].path = format!("/{}", "y".repeat(LONGEST_PATH));
        let choice = Choice::groups(&seen, 9, Sort::Size).with_distinct_paths(&seen);
        assert_eq!(choice, Choice { places: vec![0], omitted: 2 });
    }
}
