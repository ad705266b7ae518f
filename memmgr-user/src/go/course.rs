//! How a program moves while it is looked at again and again, and what that means: by the same rules as for other figures that
//! are sampled once an interval (`docs/judgement.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::GoStat;
use crate::{
    judge::{climb_of, grade_within, gravest_first},
    report::Finding,
    units::human_bytes,
};

/// Functions whose goroutines are followed; a program has a few dozen.
const MOST_FUNCTIONS: usize = 4096;
/// Goroutines that came and stayed, from which on it is worth a finding, and a warning.
const NOTABLE: f64 = 4.0;
const MANY: f64 = 16.0;
/// The same in bytes of the heap.
const NOTABLE_BYTES: f64 = (4 << 20) as f64;
const LARGE_BYTES: f64 = (16 << 20) as f64;
/// Fewer collections tell too little for a warning.
const COLLECTIONS: u64 = 3;
/// What a goroutine has at least: its first stack (runtime/stack.go, `stackMin`).
const LEAST_STACK: u64 = 2048;

/// Figures at each look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Seconds since the first look.
    pub t_s: Vec<f64>,
    /// Goroutines.
    pub goroutines: Vec<u64>,
    /// Goroutines by the function that they began with.
    pub by_function: BTreeMap<String, Vec<u64>>,
    /// `HeapAlloc`.
    pub heap_bytes: Vec<u64>,
    /// What the last collection found alive.
    pub live_bytes: Vec<u64>,
    /// `HeapObjects`.
    pub heap_objects: Vec<u64>,
    /// `NumGC`.
    pub cycles: Vec<u64>,
    /// Resident memory.
    pub rss_bytes: Vec<Option<u64>>,
    /// Why there are no more looks: `duration`, `interrupted`, or `exited`.
    pub ended: String,
}

impl Course {
    /// Takes a look in.
    pub fn add(&mut self, t_s: f64, stat: &GoStat) {
        let looks = self.t_s.len();
        self.t_s.push(t_s);
        self.goroutines.push(stat.goroutines.count);
        self.heap_bytes.push(stat.figures.heap.alloc_bytes);
        self.live_bytes.push(stat.figures.gc.live_bytes);
        self.heap_objects.push(stat.figures.heap.objects);
        self.cycles.push(stat.figures.gc.cycles);
        self.rss_bytes.push(stat.rss_bytes);
        for group in &stat.goroutines.by_function {
            if self.by_function.len() < MOST_FUNCTIONS || self.by_function.contains_key(&group.name)
            {
                let counts = self.by_function.entry(group.name.clone()).or_default();
                counts.resize(looks, 0);
                counts.push(group.count);
            }
        }
        for counts in self.by_function.values_mut() {
            counts.resize(looks + 1, 0);
        }
    }

    /// What grows and does not end, the most severe first. `last` is the last look, and `room` how many bytes the process may
    /// still grow by.
    pub fn findings(&self, last: &GoStat, room: Option<u64>) -> Vec<Finding> {
        let functions = self
            .by_function
            .iter()
            .filter_map(|(name, counts)| self.goroutines(name, counts, last, room));
        let mut all: Vec<Finding> = functions.chain(self.heap(last, room)).collect();
        all.sort_by(gravest_first);
        all
    }

    fn goroutines(
        &self,
        function: &str,
        counts: &[u64],
        last: &GoStat,
        room: Option<u64>,
    ) -> Option<Finding> {
        let climb = climb_of(&self.t_s, &floats(counts))?;
        let came = climb.to - climb.from;
        if came < NOTABLE {
            return None;
        }
        let group = last.goroutines.by_function.iter().find(|group| group.name == function);
        let mostly = group.and_then(|group| group.mostly.as_ref());
        let stack = last.figures.stacks_in_use_bytes / last.goroutines.count.max(1);
        let stack = stack.max(LEAST_STACK);
        let mut finding = Finding {
            kind: "goroutine-growth".to_owned(),
            subject: Some(function.to_owned()),
            shape: "linear".to_owned(),
            confidence: climb.confidence,
            growth_bytes_per_s: climb.per_s * stack as f64,
            evidence: vec![format!(
                "{:.0} goroutines that began with it became {:.0} in {:.0} s, {:.1} a second: more in every part of that time, and never \
                 fewer again.",
                climb.from,
                climb.to,
                self.t_s.last().copied().unwrap_or(0.0),
                climb.per_s
            )],
            recommendation: "Goroutines that are started and never end: look at what they wait for, at channels that nobody closes or \
                             sends to, and at contexts that are not cancelled."
                .to_owned(),
            ..Finding::default()
        };
        if let Some(state) = mostly {
            let by = group.and_then(|group| group.started_by.as_ref());
            let by = by.map_or_else(String::new, |by| format!(", and {by} started them"));
            finding
                .evidence
                .push(format!("Most of them are in the state \u{201c}{state}\u{201d}{by}."));
        }
        finding.evidence.push(format!(
            "Each has {} of stack on the average, and keeps alive what it points to.",
            human_bytes(stack)
        ));
        let rate = finding.growth_bytes_per_s;
        grade_within(&mut finding, room, came >= MANY, rate);
        Some(finding)
    }

    fn heap(&self, last: &GoStat, room: Option<u64>) -> Option<Finding> {
        // Between collections garbage gathers: what each leaves alive is what counts.
        let looks = self.t_s.iter().zip(&self.live_bytes).zip(&self.cycles);
        let mut last_cycle = None;
        let collected = looks.filter(|(_, cycle)| last_cycle.replace(**cycle) != Some(**cycle));
        let (times, live): (Vec<f64>, Vec<f64>) =
            collected.map(|((t_s, bytes), _)| (*t_s, *bytes as f64)).unzip();
        let climb = climb_of(&times, &live)?;
        let came = climb.to - climb.from;
        if came < NOTABLE_BYTES {
            return None;
        }
        let cycles = last.figures.gc.cycles.saturating_sub(self.cycles.first().copied()?);
        let (first, now) = (self.heap_objects.first()?, self.heap_objects.last()?);
        let mut finding = Finding {
            kind: "heap-growth".to_owned(),
            subject: Some("heap of the Go runtime".to_owned()),
            shape: "linear".to_owned(),
            confidence: climb.confidence,
            growth_bytes_per_s: climb.per_s,
            evidence: vec![
                format!(
                    "What collections left alive grew by {} in {:.0} s, {}/s: in every part of that time, and it never fell below that again.",
                    human_bytes(came as u64),
                    self.t_s.last().copied().unwrap_or(0.0),
                    human_bytes(climb.per_s as u64)
                ),
                format!("Objects went from {first} to {now}; the collector ran {cycles} times."),
            ],
            recommendation:
                "See which code holds it: --profile writes the program's own heap profile."
                    .to_owned(),
            ..Finding::default()
        };
        let rate = finding.growth_bytes_per_s;
        grade_within(&mut finding, room, came >= LARGE_BYTES && cycles >= COLLECTIONS, rate);
        Some(finding)
    }
}

fn floats(values: &[u64]) -> Vec<f64> {
    values.iter().map(|value| *value as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::Group;

    /// A minute of looks at a program: goroutines of `main.serve`, what is alive on the heap, and collections by second.
    fn check(
        serve: fn(u64) -> u64,
        heap: fn(u64) -> u64,
        cycles: fn(u64) -> u64,
        expected: &[(&str, &str)],
    ) {
        let mut course = Course::default();
        let mut last = None;
        for second in 0..60 {
            let mut stat = crate::go::example();
            stat.goroutines.count = 10 + serve(second);
            let group = |name: &str, count| Group {
                name: name.to_owned(),
                count,
                mostly: Some("chan receive".to_owned()),
                started_by: None,
            };
            stat.goroutines.by_function =
                vec![group("main.serve", serve(second)), group("main.main", 1)];
            stat.figures.gc.live_bytes = heap(second);
            stat.figures.gc.cycles = cycles(second);
            course.add(second as f64, &stat);
            last = Some(stat);
        }
        let found = course.findings(&last.unwrap(), Some(1 << 40));
        let found: Vec<(&str, &str)> =
            found.iter().map(|one| (one.kind.as_str(), one.severity.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_comes_and_stays_is_found() {
        const MIB: u64 = 1 << 20;
        let quiet = |_| 100 * MIB;
        let often = |second| second / 2;
        check(|second| 5 + 10 * second, quiet, often, &[("goroutine-growth", "warning")]);
        check(|_| 500, quiet, often, &[]);
        // Requests come and go.
        check(|second| 20 + second * 7 % 13, quiet, often, &[]);
        // Many at the start, and no more then.
        check(|second| 100 * second.min(5), quiet, often, &[]);
        let leak = |second: u64| 100 * MIB + second / 4 * 4 * MIB;
        check(|_| 5, leak, |second| second / 4, &[("heap-growth", "warning")]);
        let breathes = |second: u64| 100 * MIB + second / 4 % 5 * 30 * MIB;
        check(|_| 5, breathes, |second| second / 4, &[]);
    }

    #[test]
    fn functions_that_come_later_have_no_goroutines_before() {
        let mut course = Course::default();
        let mut stat = crate::go::example();
        stat.goroutines.by_function = Vec::new();
        course.add(0.0, &stat);
        stat.goroutines.by_function =
            vec![Group { name: "main.late".to_owned(), count: 3, mostly: None, started_by: None }];
        course.add(1.0, &stat);
        stat.goroutines.by_function = Vec::new();
        course.add(2.0, &stat);
        assert_eq!(course.by_function["main.late"], [0, 3, 0]);
    }
}
