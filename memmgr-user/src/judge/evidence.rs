//! What speaks for a finding about stacks, in sentences with numbers, and what to do.

use crate::{
    estimate::error_of_sum,
    report::{Finding, Growth, Noticed, Observed, Old, Report, Stack},
    units::{human_bytes, human_count},
};

use super::{
    severity::SURE,
    siblings::sibling,
    timeline::{self, Climb},
};

/// The stacks of a finding, added up.
pub(super) struct Case<'a> {
    report: &'a Report,
    stacks: Vec<&'a Stack>,
    /// Blocks outstanding.
    pub live_count: u64,
    live_bytes: u64,
    alloc_count: u64,
    samples: u64,
    /// Standard error of `live_bytes`.
    error: f64,
    kept: Vec<u64>,
    low: Vec<u64>,
    old: Old,
    /// What windows of time showed of their deaths, where there were only windows.
    pub noticed: Option<Noticed>,
    resized: bool,
}

impl<'a> Case<'a> {
    pub fn of(report: &'a Report, stacks: &[usize]) -> Self {
        let stacks: Vec<&Stack> = stacks.iter().map(|at| &report.stacks[*at]).collect();
        let growths = || stacks.iter().filter_map(|stack| stack.growth.as_ref());
        let sum = |series: fn(&Growth) -> &Vec<u64>| {
            (0..report.windows_s.len())
                .map(|at| growths().filter_map(|growth| series(growth).get(at)).sum())
                .collect()
        };
        let mut old = Old::default();
        for lifetime in stacks.iter().filter_map(|stack| stack.lifetime.as_ref()) {
            old.age_s = old.age_s.max(lifetime.old.age_s);
            old.reached += lifetime.old.reached;
            old.freed += lifetime.old.freed;
        }
        let in_windows = report.capture.observed.is_some();
        let mut noticed: Option<Noticed> = None;
        let lifetimes = stacks.iter().filter_map(|stack| stack.lifetime.as_ref());
        for more in lifetimes.filter_map(|lifetime| lifetime.noticed.as_ref()) {
            noticed.get_or_insert_default().add(more);
        }
        Case {
            report,
            live_count: stacks.iter().map(|stack| stack.live_count).sum(),
            live_bytes: stacks.iter().map(|stack| stack.live_bytes).sum(),
            alloc_count: stacks.iter().map(|stack| stack.alloc_count).sum(),
            samples: stacks.iter().map(|stack| stack.live_samples).sum(),
            error: error_of_sum(stacks.iter().map(|stack| stack.live_bytes_error), in_windows),
            kept: sum(|growth| &growth.kept),
            low: sum(|growth| &growth.series),
            old,
            noticed,
            resized: growths().any(|growth| growth.driver == "resized"),
            stacks,
        }
    }

    /// Blocks that may be outstanding only because the event that freed them was lost. Pages are looked at.
    pub fn lost_blocks(&self) -> f64 {
        if self.is_resident() {
            return 0.0;
        }
        let (loss, seen) = (&self.report.capture.loss, self.report.capture.accounting.seen);
        let lost = loss.ring_full
            + loss.asleep
            + loss.map_full
            + loss.unmatched_return
            + loss.missed
            + loss.implied_free;
        self.alloc_count as f64 * (lost as f64 / seen.max(lost).max(1) as f64)
    }

    /// Whether the new blocks took the place of older ones: about as many blocks from before the attach were
    /// freed, and the process did not grow by what seems to have leaked.
    pub fn is_replacement(&self) -> bool {
        let grew = self.kept.iter().skip(1).sum::<u64>();
        let unknown = self.report.capture.loss.unknown_free;
        !self.report.capture.estimates()
            && !self.is_resident()
            && grew >= 4 << 20
            && unknown > 0
            && unknown * 2 >= self.report.totals.live_count
            && self.report.timeline.iter().all(|point| point.rss_bytes > 0)
            && timeline::rise(self.report, |point| Some(point.rss_bytes))
                .is_some_and(|rss| rss * 4.0 < grew as f64)
    }

    /// Whether it is about pages and who touched them first.
    fn is_resident(&self) -> bool {
        self.stacks[0].class == "resident"
    }

    /// What is counted.
    fn unit(&self) -> &'static str {
        if self.is_resident() { "pages" } else { "blocks" }
    }

    /// Whether its figures were estimated from samples.
    fn is_estimated(&self) -> bool {
        // Mappings never are, and pages are where not every fault was taken.
        match self.stacks[0].class.as_str() {
            "heap" => self.report.capture.estimates(),
            _ => self.error > 0.0,
        }
    }

    /// How fast it becomes resident. Mappings are address space: what is not touched takes no memory.
    pub fn resident_rate(&self, rate: f64) -> f64 {
        let rss = timeline::rise(self.report, |point| Some(point.rss_bytes));
        match rss {
            Some(rise) if self.stacks[0].class == "mapping" && self.report.duration_s > 0.0 => {
                rate.min(rise.max(0.0) / self.report.duration_s)
            }
            _ => rate,
        }
    }

    fn about(&self) -> &'static str {
        if self.is_estimated() { "about " } else { "" }
    }
}

/// The evidence for and against, most telling first.
pub(super) fn sentences(case: &Case, finding: &Finding) -> Vec<String> {
    let mut said = Vec::new();
    let (report, about) = (case.report, case.about());
    let windows = report.windows_s.len();
    if case.stacks.len() > 1 {
        said.push(format!("{} stacks lead to it; the largest is shown.", case.stacks.len()));
    }
    if case.resized {
        let (first, last) = (case.low.iter().find(|bytes| **bytes > 0), case.low.last());
        let sizes = match (first, last) {
            (Some(first), Some(last)) if last > first => {
                format!(": {about}{} became {}", human_bytes(*first), human_bytes(*last))
            }
            _ => String::new(),
        };
        said.push(format!(
            "Its blocks are replaced by larger ones{sizes}; {about}{} of {} blocks allocated since the attach were freed.",
            human_count(case.alloc_count.saturating_sub(case.live_count)),
            human_count(case.alloc_count),
        ));
    } else {
        let grew = case.kept.iter().filter(|bytes| **bytes > 0).count();
        let what = if case.is_resident() {
            "pages that were first touched here and are still there"
        } else {
            "blocks that are still outstanding"
        };
        said.push(format!(
            "{grew} of {windows} windows of {} left {what}: {about}{} in {about}{} {}.",
            seconds(report.windows_s.last().copied().unwrap_or(0.0) / windows.max(1) as f64),
            human_bytes(case.live_bytes),
            human_count(case.live_count),
            case.unit(),
        ));
        said.push(freed(case));
        let came = if case.is_resident() { "first touched" } else { "allocated" };
        said.extend(thirds(&case.kept, &report.windows_s, came));
    }
    if let Some(oldest) =
        case.stacks.iter().filter_map(|s| s.age_s.as_ref()).map(|age| age.max).reduce(f64::max)
        && !case.resized
    {
        said.push(format!(
            "The oldest is {} old; counting began {} before the end.",
            seconds(oldest),
            seconds(report.duration_s)
        ));
    }
    said.extend(share_of_rss(case, finding));
    said.extend(doubts(case, finding));
    said
}

/// How many were freed, and how many of those that had become old.
fn freed(case: &Case) -> String {
    let freed = human_count(case.alloc_count.saturating_sub(case.live_count));
    let about = case.about();
    let old = case.old;
    let count = human_count(case.alloc_count);
    let (what, went) = if case.is_resident() {
        ("pages first touched since the attach", "are gone again")
    } else {
        ("blocks allocated since the attach", "were freed")
    };
    let all = if about.is_empty() {
        format!("{freed} of {count} {what} {went}")
    } else {
        format!("About {freed} of about {count} {what} {went}")
    };
    if old.reached < 1.0 || old.age_s <= 0.0 {
        return all + ".";
    }
    let seen = if about.is_empty() { case.unit() } else { "samples" };
    let age = seconds(old.age_s);
    format!(
        "{all}; of the {:.0} {seen} that reached an age of {age}, {:.0} were.",
        old.reached, old.freed
    )
}

/// When the survivors were born.
fn thirds(kept: &[u64], ends_s: &[f64], came: &str) -> Option<String> {
    let whole: u64 = kept.iter().sum();
    let end = *ends_s.last()?;
    if whole == 0 || ends_s.len() < 3 {
        return None;
    }
    let mut shares = [0.0; 3];
    let mut begin = 0.0;
    for (bytes, window_end) in kept.iter().zip(ends_s) {
        // A window that reaches over a border counts to both sides of it.
        for (third, share) in shares.iter_mut().enumerate() {
            let (from, to) = (end / 3.0 * third as f64, end / 3.0 * (third + 1) as f64);
            let within = (window_end.min(to) - f64::max(begin, from)).max(0.0);
            *share += *bytes as f64 * within / f64::max(window_end - begin, f64::MIN_POSITIVE);
        }
        begin = *window_end;
    }
    let [first, second, last] = shares.map(|share| share * 100.0 / whole as f64);
    Some(format!(
        "Of these bytes {first:.0} % were {came} in the first third of the capture, {second:.0} % in the second and {last:.0} % in the last."
    ))
}

/// What part of the process's growth this is.
fn share_of_rss(case: &Case, finding: &Finding) -> Option<String> {
    let rss = timeline::rise(case.report, |point| Some(point.rss_bytes))?.max(0.0);
    let grew = finding.growth_bytes_per_s * case.report.duration_s;
    let resident = human_bytes(rss as u64);
    if case.stacks[0].class == "mapping" && rss < 0.5 * grew {
        Some(format!(
            "Resident memory grew by only {resident} during the capture: most of what is mapped is not touched."
        ))
    } else if grew > 0.0 && rss >= 65_536.0 {
        let part = (grew * 100.0 / rss).min(100.0);
        Some(format!(
            "The resident memory of the process grew by {resident} during the capture; this rate explains {part:.0} % of it."
        ))
    } else {
        None
    }
}

/// What speaks against it, or makes it uncertain.
fn doubts(case: &Case, finding: &Finding) -> Vec<String> {
    let report = case.report;
    let capture = &report.capture;
    let mut said = Vec::new();
    if case.error > 0.0 && case.live_bytes > 0 {
        said.push(format!(
            "The figures are estimates from {} samples: right within about {:.0} %.",
            case.samples,
            200.0 * case.error / case.live_bytes as f64
        ));
    }
    if let (Some(observed), Some(noticed)) = (&capture.observed, &case.noticed) {
        said.push(unseen(observed, noticed));
    }
    if report.windows_s.len() < 9 {
        said.push(format!(
            "The capture has only {} windows; a longer one would say more.",
            report.windows_s.len()
        ));
    }
    let lost = case.lost_blocks();
    if !capture.complete && case.is_resident() {
        // Whether pages are there is looked up: no loss leaves one behind.
        said.push("Events were lost: more may have been touched here.".to_owned());
    } else if !capture.complete {
        said.push(format!(
            "Events were lost: up to about {lost:.0} of these {} blocks may be outstanding only because their free was not seen.",
            human_count(case.live_count)
        ));
    }
    if case.is_replacement() {
        said.push(format!(
            "{} blocks from before the attach were freed while {} new ones stayed, and resident memory hardly grew: \
             the new blocks may take the place of old ones.",
            human_count(capture.loss.unknown_free),
            human_count(report.totals.live_count)
        ));
    } else if capture.loss.unknown_free > 0
        && capture.observed.is_none()
        && !case.resized
        && !case.is_resident()
    {
        said.push(format!(
            "{} blocks from before the attach were freed, by any function, while {} new ones stayed.",
            human_count(capture.loss.unknown_free),
            human_count(report.totals.live_count)
        ));
    }
    if case.resized && finding.confidence < SURE {
        said.push("Other stacks of the same function grow less and less; what they fill may be this table.".to_owned());
    }
    let shapes = |wanted: &str| finding.confidence < SURE && finding.shape == wanted;
    if shapes("saturating") {
        said.push("Its growth slows down: it may be a cache or a pool that fills.".to_owned());
    } else if case.stacks.iter().all(|s| s.growth.as_ref().is_some_and(|g| g.driver == "turnover"))
    {
        let go = if case.is_resident() { "pages do go again" } else { "blocks do get freed" };
        said.push(format!(
            "Its {go}, but later than new ones come: a queue or a cache that fills, or more load."
        ));
    } else if !case.resized && case.alloc_count == case.live_count {
        said.push(format!(
            "A cache that has not reached its bound within {} looks the same.",
            seconds(report.duration_s)
        ));
    }
    said
}

/// How much of the time was watched, and what that says about frees that were not seen.
fn unseen(observed: &Observed, noticed: &Noticed) -> String {
    let Noticed { outlived, freed, expected, .. } = noticed;
    let verdict = if noticed.rules_out_deaths() {
        "so most of them stay"
    } else if *freed >= *expected {
        "so many of them go, unless by chance: a longer observation shows it"
    } else {
        "which is too little to tell: only a longer observation or a larger --max-overhead shows whether they stay"
    };
    format!(
        "Allocator probes were in place for {} of the time. Of {outlived:.0} blocks seen there that outlived two \
         windows {freed:.0} were seen to be freed; had half of them died, it would be about {expected:.1}: {verdict}.",
        observed.percent()
    )
}

/// What to do, for this case.
pub(super) fn recommendation(case: &Case, finding: &Finding) -> String {
    let report = case.report;
    let name = finding.subject.as_deref().unwrap_or("the code that this stack shows");
    let first = if finding.confidence < SURE {
        format!("Capture for longer to see whether {name} goes on growing.")
    } else if case.resized {
        format!(
            "Look at what {name} collects: one buffer or table grows and nothing takes entries out of it."
        )
    } else if case.is_resident() {
        let more = match case.report.capture.mode.as_str() {
            "auto" => "a longer capture or a larger --max-overhead",
            _ => "--mode sample or auto",
        };
        format!(
            "The memory is touched for the first time in {name}; who holds it may be somebody else, whom {more} names."
        )
    } else if case.stacks[0].class == "mapping" {
        format!("Look at {name}: it maps memory that it never unmaps.")
    } else if case.alloc_count == case.live_count {
        format!(
            "Look at {name}: nothing that it allocates is freed. If it fills a cache, give the cache a bound; \
             else find the owner that forgets its blocks."
        )
    } else {
        format!("Look at {name}: find the path on which what it allocates is not freed.")
    };
    let mut advice = vec![first];
    if !case.is_resident() {
        advice.extend(sibling(report, &case.stacks));
    }
    let beside = [
        ("Threads", timeline::climb(report, |point| point.threads)),
        ("Open file descriptors", timeline::climb(report, |point| point.descriptors)),
    ];
    for (what, climb) in beside {
        advice.extend(climb.map(|Climb { from, to, .. }| {
            format!("{what} grow too, from {from:.0} to {to:.0}: what leaks may hold one each.")
        }));
    }
    advice.join(" ")
}

/// Seconds for people.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds >= 10.0 || seconds.fract() == 0.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_leak_is_spread_evenly() {
        for windows in 6..=64 {
            let ends_s: Vec<f64> = (1..=windows).map(f64::from).collect();
            let said = thirds(&vec![100; ends_s.len()], &ends_s, "allocated").unwrap();
            assert_eq!(said.matches("33 %").count(), 3, "{windows}: {said}");
        }
        let said =
            thirds(&[0, 0, 0, 0, 0, 90], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "allocated").unwrap();
        assert!(said.contains("0 % in the second and 100 % in the last"), "{said}");
    }
}
