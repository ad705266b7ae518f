//! What probing costs the target: prices, and the sum over what was seen.

use std::time::Duration;

/// Prices on this host, in nanoseconds of the target's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// A hit on an instruction that the kernel emulates.
    pub hit: f64,
    /// A hit on one that it single-steps.
    pub single_stepped: f64,
    /// The return of a call that is followed.
    pub returned: f64,
    /// An event with a stack in the ring buffer, and what the collector does with it.
    pub event: f64,
    /// A page fault that is passed over.
    pub fault: f64,
    /// Placing all probes once and taking them away again.
    pub switch: f64,
}

impl Costs {
    /// Where nothing could be measured: a virtual machine, on which a trap costs more than on bare metal
    /// (`docs/benchmarks.md`), so that a budget is rather kept too well than not.
    pub const USUAL: Costs = Costs {
        hit: 900.0,
        single_stepped: 12_000.0,
        returned: 700.0,
        event: 3_000.0,
        fault: 80.0,
        switch: 500_000.0,
    };

    /// What one event without a stack takes: a free.
    const FREE_EVENT: f64 = 150.0;

    /// What a call takes of which nothing is wanted.
    pub fn of_call(&self, function: &Priced) -> f64 {
        let trap = if function.single_stepped { self.single_stepped } else { self.hit };
        let returned = if function.always_returns { self.returned } else { 0.0 };
        trap + returned
    }

    /// What an allocation takes more that becomes an event.
    pub fn of_event(&self) -> f64 {
        self.returned + self.event
    }

    /// What was paid for this.
    pub fn of(&self, functions: &[Priced], seen: &Seen) -> Spent {
        let hits: f64 = functions
            .iter()
            .zip(&seen.hits)
            .map(|(function, hits)| *hits as f64 * self.of_call(function))
            .sum();
        let events = seen.events() as f64 * self.of_event()
            + seen.submitted.saturating_sub(seen.events()) as f64 * Self::FREE_EVENT;
        let faults = seen.faults as f64 * self.fault + seen.fault_events as f64 * self.event;
        let mappings = seen.stepped_mappings as f64 * self.single_stepped;
        let hits = hits + seen.heirs.as_nanos() as f64;
        Spent { hits, events, faults, mappings }
    }
}

/// What the price of a hit on a function depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// Its name, for people.
    pub name: String,
    /// The probe stands on an instruction that the kernel single-steps.
    pub single_stepped: bool,
    /// Its return is followed whether the call is sampled or not.
    pub always_returns: bool,
    /// It only gives out blocks, so that without its probe nothing is misunderstood, only missed.
    pub can_be_dropped: bool,
}

/// What was counted since counting began; it only ever grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Since counting began.
    pub at: Duration,
    /// Processor time of the target.
    pub cpu: Duration,
    /// Calls by function.
    pub hits: Vec<u64>,
    /// Allocations that were sampled, by function.
    pub chosen: Vec<u64>,
    /// Events in the ring buffer, those of page faults left out.
    pub submitted: u64,
    /// Page faults that the programs saw.
    pub faults: u64,
    /// Page faults that became an event.
    pub fault_events: u64,
    /// Mapping calls at a probe in the C library that the kernel single-steps.
    pub stepped_mappings: u64,
    /// Processor time that children lost at most which inherited the allocator's probes.
    pub heirs: Duration,
}

impl Seen {
    /// Allocations that were sampled: events with a stack.
    pub fn events(&self) -> u64 {
        self.chosen.iter().sum()
    }

    /// What came since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Seen) -> Seen {
        let less = |now: &[u64], before: &[u64]| {
            let before = before.iter().copied().chain(std::iter::repeat(0));
            now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
        };
        Seen {
            at: self.at.saturating_sub(earlier.at),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            hits: less(&self.hits, &earlier.hits),
            chosen: less(&self.chosen, &earlier.chosen),
            submitted: self.submitted.saturating_sub(earlier.submitted),
            faults: self.faults.saturating_sub(earlier.faults),
            fault_events: self.fault_events.saturating_sub(earlier.fault_events),
            stepped_mappings: self.stepped_mappings.saturating_sub(earlier.stepped_mappings),
            heirs: self.heirs.saturating_sub(earlier.heirs),
        }
    }
}

/// Nanoseconds of the target's time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// By traps of the allocator's probes, children's too.
    pub hits: f64,
    /// By what they send.
    pub events: f64,
    /// By page faults.
    pub faults: f64,
    /// By mapping calls in the C library.
    pub mappings: f64,
}

impl Spent {
    /// All of it.
    pub fn total(self) -> f64 {
        self.hits + self.events + self.faults + self.mappings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_add_up() {
        let costs = Costs {
            hit: 1.0,
            single_stepped: 10.0,
            returned: 2.0,
            event: 100.0,
            fault: 0.5,
            switch: 0.0,
        };
        let functions = [
            Priced::default(),
            Priced { single_stepped: true, ..Priced::default() },
            Priced { always_returns: true, ..Priced::default() },
        ];
        let check = |hits: [u64; 3], chosen: u64, submitted: u64, faults: u64, expected: Spent| {
            let seen = Seen {
                hits: hits.to_vec(),
                chosen: vec![chosen],
                submitted,
                faults,
                fault_events: faults / 2,
                ..Seen::default()
            };
            assert_eq!(costs.of(&functions, &seen), expected);
        };
        check([7, 0, 0], 0, 0, 0, Spent { hits: 7.0, ..Spent::default() });
        check([0, 3, 0], 0, 0, 0, Spent { hits: 30.0, ..Spent::default() });
        check([0, 0, 4], 0, 0, 0, Spent { hits: 12.0, ..Spent::default() });
        check([0, 0, 0], 2, 3, 0, Spent { events: 204.0 + 150.0, ..Spent::default() });
        check([0, 0, 0], 0, 0, 8, Spent { faults: 404.0, ..Spent::default() });
        let seen = Seen { stepped_mappings: 4, ..Seen::default() };
        assert_eq!(costs.of(&functions, &seen), Spent { mappings: 40.0, ..Spent::default() });
        let seen = Seen { heirs: Duration::from_millis(40), ..Seen::default() };
        assert_eq!(costs.of(&functions, &seen), Spent { hits: 4e7, ..Spent::default() });
    }
}
