//! The governor against programs that exist only in numbers.

use super::*;

/// A program that is always busy: pairs of malloc and free between its own work.
#[derive(Clone, Copy)]
struct Program {
    /// Nanoseconds of its own work a pair.
    own: f64,
    /// Bytes a block.
    size: f64,
    cores: f64,
    /// Share of the time that it is busy.
    busy: f64,
    /// Bytes that it grows by in a second.
    grows: u64,
}

const QUIET: Program = Program { own: 1e6, size: 100.0, cores: 1.0, busy: 1.0, grows: 0 };
const BUSY: Program = Program { own: 1e3, size: 200.0, cores: 1.0, busy: 1.0, grows: 0 };
const STORM: Program = Program { own: 15.0, size: 64.0, cores: 2.0, busy: 1.0, grows: 0 };

struct Run {
    governor: Governor,
    at: f64,
    seen: [f64; 4],
    memory: f64,
    open: bool,
}

/// What came of some seconds.
#[derive(Debug)]
struct Outcome {
    /// Throughput kept, of 1.
    kept: f64,
    /// Share of the time with probes.
    observed: f64,
    interval: u64,
    /// The longest time below half of the speed, in seconds.
    slow: f64,
}

impl Run {
    fn new(budget: Budget, finest: u64, growth_first: bool) -> Self {
        let functions = vec![
            Priced { can_be_dropped: true, ..Priced::default() },
            Priced::default(), // free
        ];
        let costs = Costs::USUAL;
        let terms = Terms { budget, finest, finest_faults: 4096, growth_first, costs, functions };
        Run { governor: Governor::new(terms), at: 0.0, seen: [0.0; 4], memory: 1e8, open: true }
    }

    fn seconds(&mut self, program: Program, seconds: f64) -> Outcome {
        let costs = Costs::USUAL;
        let (begin, mut pairs, mut observed, mut slow, mut slowest) = (self.at, 0.0, 0.0, 0.0, 0.0);
        while self.at < begin + seconds {
            let orders = self.governor.orders().clone();
            let dt = orders.next_look.as_nanos() as f64;
            let interval = orders.interval as f64;
            let p = if interval == 0.0 { 1.0 } else { 1.0 - (-program.size / interval).exp() };
            let probes =
                if self.open { 2.0 * costs.hit + p * (costs.returned + costs.event) } else { 0.0 };
            let cpu = dt * program.cores * program.busy;
            let done = cpu / (program.own + probes);
            pairs += done;
            let speed = program.own / (program.own + probes);
            slow = if speed < 0.5 { slow + dt / 1e9 } else { 0.0 };
            slowest = f64::max(slowest, slow);
            self.at += dt / 1e9;
            self.memory += program.grows as f64 * dt / 1e9;
            self.seen[0] += cpu;
            if self.open {
                observed += dt / 1e9;
                self.seen[1] += done;
                self.seen[2] += done * p;
                self.seen[3] += 2.0 * done * p;
            }
            let at = Duration::from_secs_f64(self.at);
            self.governor.memory(at, self.memory as u64);
            let seen = self.seen(at);
            let open = self.governor.look(seen, 0).open;
            if open && !self.open {
                self.governor.opened();
            }
            self.open = open;
        }
        let seconds = self.at - begin;
        let untraced = seconds * 1e9 * program.cores * program.busy / program.own;
        Outcome {
            kept: pairs / untraced,
            observed: observed / seconds,
            interval: self.governor.orders().interval,
            slow: slowest,
        }
    }

    fn seen(&self, at: Duration) -> Seen {
        let [cpu, pairs, chosen, submitted] = self.seen.map(|figure| figure as u64);
        Seen {
            at,
            cpu: Duration::from_nanos(cpu),
            hits: vec![pairs, pairs],
            chosen: vec![chosen, 0],
            submitted,
            ..Seen::default()
        }
    }
}

#[test]
fn a_quiet_program_is_captured_exactly() {
    let mut run = Run::new(Budget::Percent(5.0), 0, true);
    let first = run.seconds(QUIET, 5.0);
    assert!(first.observed > 0.99 && first.kept > 0.99, "{first:?}");
    assert_eq!(run.seconds(QUIET, 5.0).interval, 0, "{:?}", run.governor.steps());
}

#[test]
fn busy_programs_keep_their_speed() {
    for (name, program, budget) in
        [("busy", BUSY, 5.0), ("busy", BUSY, 1.0), ("storm", STORM, 5.0), ("storm", STORM, 20.0)]
    {
        let what = format!("{name} {budget} %");
        let mut run = Run::new(Budget::Percent(budget), 0, false);
        let first = run.seconds(program, 3.0);
        assert!(first.slow < 0.2, "{what}: {first:?}");
        let settled = run.seconds(program, 20.0);
        assert!(settled.kept >= 1.0 - budget / 100.0, "{what}: {settled:?}");
        // No budget is left lying about.
        assert!(settled.kept <= 1.0 - budget / 100.0 * 0.1, "{what}: {settled:?}");
        assert!(run.governor.achieved_percent().unwrap() <= budget, "{what}");
    }
}

#[test]
fn the_probes_come_back_when_the_load_falls() {
    let mut run = Run::new(Budget::Percent(5.0), 0, false);
    assert!(run.seconds(STORM, 10.0).observed < 0.2);
    run.seconds(QUIET, 4.0);
    let back = run.seconds(QUIET, 5.0);
    assert!(back.observed > 0.99 && back.interval == 0, "{back:?} {:?}", run.governor.steps());
    // And go again within a moment.
    let again = run.seconds(STORM, 3.0);
    assert!(again.slow < 0.2 && again.kept > 0.9, "{again:?}");
}

#[test]
fn the_probes_come_back_to_what_went_idle() {
    let mut run = Run::new(Budget::Percent(5.0), 0, true);
    run.seconds(STORM, 10.0);
    let idle = Program { busy: 0.0, ..QUIET };
    run.seconds(idle, 6.0);
    let back = run.seconds(idle, 2.0);
    assert!(back.observed > 0.99 && back.interval == 0, "{back:?} {:?}", run.governor.steps());
}

#[test]
fn windows_wait_for_growth() {
    let mut run = Run::new(Budget::Percent(5.0), 0, true);
    run.seconds(BUSY, 5.0);
    let calm = run.seconds(BUSY, 20.0);
    let growing = Program { grows: 1 << 20, ..BUSY };
    run.seconds(growing, 10.0);
    let attended = run.seconds(growing, 20.0);
    assert!(
        calm.observed > 0.0 && attended.observed > 0.7 / Governor::UNATTENDED * calm.observed,
        "{calm:?} {attended:?}"
    );
    assert!(attended.kept > 0.95, "{attended:?}");
}

#[test]
fn without_a_budget_nothing_is_touched() {
    let mut run = Run::new(Budget::Off, 0, true);
    let outcome = run.seconds(STORM, 5.0);
    assert!(outcome.observed > 0.999_999 && outcome.interval == 0, "{outcome:?}");
    assert!(run.governor.steps().is_empty());
    assert!(run.governor.achieved_percent().unwrap() > 50.0);
}

#[test]
fn the_interval_follows_what_events_cost() {
    // Large blocks: nearly each of them is an event, whatever the interval up to their size.
    let large = Program { own: 2e5, size: 1e6, ..BUSY };
    let mut run = Run::new(Budget::Percent(2.4), 0, false);
    run.seconds(large, 10.0);
    let settled = run.seconds(large, 10.0);
    assert!(
        settled.kept > 0.98 && settled.observed > 0.9,
        "{settled:?} {:?}",
        run.governor.steps()
    );
}

#[test]
fn a_budget_of_nothing_leaves_no_probe() {
    let mut run = Run::new(Budget::Percent(0.0), 0, false);
    run.seconds(BUSY, 1.0);
    let outcome = run.seconds(BUSY, 10.0);
    assert!(outcome.observed == 0.0 && outcome.kept > 0.999_999, "{outcome:?}");
}

#[test]
fn a_probe_that_gives_nothing_is_dropped() {
    let terms = Terms {
        budget: Budget::Percent(5.0),
        finest: 0,
        finest_faults: 4096,
        growth_first: false,
        costs: Costs::USUAL,
        functions: vec![
            Priced { can_be_dropped: true, ..Priced::default() },
            Priced { can_be_dropped: true, ..Priced::default() },
            Priced::default(),
        ],
    };
    let mut governor = Governor::new(terms);
    let seen = |ms: u64, a: u64, b: u64| Seen {
        at: Duration::from_millis(ms),
        cpu: Duration::from_millis(ms),
        hits: vec![a, b, a + b],
        chosen: vec![a / 10, 0, 0],
        submitted: a / 5,
        ..Seen::default()
    };
    assert!(!governor.look(seen(100, 50_000, 50_000), 0).open);
    assert_eq!(governor.orders().dropped, [false, true, false]);
}
