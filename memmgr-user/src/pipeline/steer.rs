//! Keeping to the budget: figures to the governor, its orders to the kernel part.

use std::{thread::JoinHandle, time::Duration};

use memmgr_common::{Counter, MappingWay, Mode, Settings};
use tokio::time::Instant;

use crate::{
    bpf::{Books, Kernel, KernelError},
    capture::{CapturePlan, Session, calibrate, prospect},
    govern::{Budget, Costs, Governor, Priced, Seen, Terms},
    source::cpu_clock::CpuClock,
    units::KernelTime,
};

use super::{heirs::Heirs, now};

/// The programs work on for so long without a word from here, which with the time between two words is less than the
/// 5 s that a target has to bear a collector that stands still.
const AWAKE: Duration = Duration::from_secs(4);
/// How often they hear one.
const WORD: Duration = Duration::from_millis(500);

/// What an interval of the recording saw of the allocator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seeing {
    /// Seconds of it with the probes in place; `None` while they always were.
    pub observed_s: Option<f64>,
    /// How many times as much each block stands for.
    pub stands_for: f64,
}

/// Steers one capture.
pub(super) struct Steering {
    /// Who decides.
    pub governor: Governor,
    settings: Settings,
    calibration: Option<JoinHandle<Costs>>,
    clock: Option<CpuClock>,
    /// The target's processor time when counting began, and as it was last read.
    cpu: (Duration, Duration),
    began: KernelTime,
    next: Instant,
    heirs: Heirs,
    /// Since when the allocator's probes are in place.
    open_since: Option<KernelTime>,
    had_gaps: bool,
    /// When the running interval of the recording began, and nanoseconds of it with probes in a window that is over.
    interval: (KernelTime, u64),
    /// When the time began that the next blocks stand for: intervals without a window are added to the next with one,
    /// because a window's time does not depend on what is in it, while the pause before it is known only then.
    stretch: KernelTime,
}

impl Steering {
    /// Begins, at the moment of which counting begins. `settings` are in force from then on.
    pub(super) fn begin(
        plan: &CapturePlan,
        session: &Session,
        settings: Settings,
        began: KernelTime,
    ) -> Self {
        let governor = Governor::new(Terms {
            budget: plan.budget,
            finest: settings.sample_interval,
            finest_faults: settings.fault_interval,
            growth_first: plan.grows_first(),
            costs: Costs::USUAL,
            functions: priced(session),
        });
        let clock = CpuClock::of(plan.pid);
        let cpu = clock.and_then(CpuClock::read).unwrap_or_default();
        Steering {
            governor,
            settings,
            calibration: calibrate::begin(),
            clock,
            cpu: (cpu, cpu),
            began,
            next: Instant::now(),
            heirs: Heirs::of(session.target.dir.path().to_owned()),
            open_since: session.kernel.heap.is_some().then_some(began),
            had_gaps: false,
            interval: (began, 0),
            stretch: began,
        }
    }

    /// There are more functions now.
    pub(super) fn more_functions(&mut self, session: &Session) {
        self.governor.functions(priced(session));
    }

    /// The target has made so many children until now. To be called at every wake: they may be gone soon.
    pub(super) fn children(&mut self, made: u64) {
        self.heirs.look(made, self.open_since.is_some());
    }

    /// Whether the allocator's probes are in place and count.
    pub(super) fn is_open(&self) -> bool {
        self.open_since.is_some()
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Looks at the figures and does what the governor orders. `before_opening` is called when the probes are in place
    /// again and before they count; it returns the moment from which on they do.
    pub(super) fn look(
        &mut self,
        session: &mut Session,
        held: usize,
        before_opening: impl FnOnce(&mut Session) -> KernelTime,
    ) -> Result<(), KernelError> {
        if let Some(calibration) = self.calibration.take_if(|thread| thread.is_finished()) {
            self.governor.price(calibration.join().unwrap_or(Costs::USUAL));
        }
        let books = session.kernel.books()?;
        let seen = self.seen(&books);
        let at = seen.at;
        self.governor.burst(at, books.highest_floor);
        let mut orders = self.governor.look(seen, held).clone();
        let mut open = orders.open;
        if !open && self.open_since.is_some() {
            self.close(&mut session.kernel)?;
        }
        if let Some(gate) = &mut session.kernel.heap {
            let changed =
                || session.plan.allocators.iter().any(|a| !a.is_unchanged().unwrap_or(false));
            if open && self.open_since.is_none() && changed() {
                self.governor.failed(at, "an allocator's file was overwritten");
                open = false;
            }
            let wanted =
                |function: u16| !orders.dropped.get(usize::from(function)).is_some_and(|d| *d);
            let turned = gate.turn(open, wanted);
            match turned.and_then(|()| gate.is_open()) {
                Ok(Some(true)) if open && self.open_since.is_none() => {
                    self.open_since = Some(before_opening(session));
                    self.settings.window += 1;
                    self.governor.opened();
                }
                Ok(None) => orders.next_look = Duration::from_millis(2),
                Ok(Some(_)) => {}
                Err(error) => self.governor.failed(at, &error.to_string()),
            }
        }
        if orders.leave_library && self.settings.mapping_way != MappingWay::Kernel as u64 {
            self.settings.mapping_way = MappingWay::Kernel as u64;
            if let Err(error) = session.kernel.leave_library(self.settings) {
                self.settings.mapping_way = MappingWay::Library as u64;
                self.governor.stays_in_library(&error.to_string());
            }
        }
        self.put_in_force(&mut session.kernel)?;
        self.next = Instant::now() + orders.next_look.min(WORD);
        Ok(())
    }

    /// The last look, at books that nothing is added to any more.
    pub(super) fn last_look(&mut self, books: &Books, held: usize) {
        let seen = self.seen(books);
        self.governor.burst(seen.at, books.highest_floor);
        self.governor.look(seen, held);
    }

    /// Takes the target's private memory, which tells whether it grows.
    pub(super) fn memory(&mut self, at: KernelTime, bytes: u64) {
        self.governor.memory(Duration::from_nanos(at.0.saturating_sub(self.began.0)), bytes);
    }

    fn put_in_force(&mut self, kernel: &mut Kernel) -> Result<(), KernelError> {
        let orders = self.governor.orders();
        self.settings.sample_interval = orders.interval;
        self.settings.fault_interval = orders.fault_interval;
        let open = self.open_since.is_some();
        if self.settings.mode != Mode::Exact as u32 {
            self.settings.mode = if open { Mode::Sample } else { Mode::Off } as u32;
        }
        if let Budget::Percent(percent) = self.governor.budget() {
            // Wide enough that only what the governor cannot be quick enough for meets it.
            let share = (2.0 * percent / 100.0).max(0.1);
            self.settings.event_cost = self.governor.event_price() as u64;
            self.settings.tokens_per_1024_ns = (1024.0 * share) as u64;
        }
        self.settings.awake_until = now().0 + AWAKE.as_nanos() as u64;
        kernel.set(self.settings)
    }

    /// Ends the window: first in the programs, because taking the probes away takes a while.
    fn close(&mut self, kernel: &mut Kernel) -> Result<(), KernelError> {
        let since = self.open_since.take();
        self.put_in_force(kernel)?;
        self.interval.1 = self.observed(since, now());
        self.had_gaps = true;
        Ok(())
    }

    /// Nanoseconds of the running interval with probes in place.
    fn observed(&self, open_since: Option<KernelTime>, now: KernelTime) -> u64 {
        let (began, before) = self.interval;
        before + open_since.map_or(0, |since| now.0.saturating_sub(since.0.max(began.0)))
    }

    /// Ends the running interval of the recording.
    pub(super) fn interval(&mut self, now: KernelTime) -> Seeing {
        let observed = self.observed(self.open_since, now);
        self.interval = (now, 0);
        let stretch = now.0.saturating_sub(self.stretch.0);
        if observed > 0 || !self.had_gaps {
            self.stretch = now;
        }
        Seeing {
            observed_s: self.had_gaps.then_some(observed as f64 / 1e9),
            stands_for: match (self.had_gaps, observed) {
                (false, _) | (_, 0) => 1.0,
                (true, observed) => (stretch as f64 / observed as f64).max(1.0),
            },
        }
    }

    fn seen(&mut self, books: &Books) -> Seen {
        if let Some(cpu) = self.clock.and_then(CpuClock::read) {
            self.cpu.1 = cpu;
        }
        Seen {
            at: Duration::from_nanos(now().0.saturating_sub(self.began.0)),
            cpu: self.cpu.1.saturating_sub(self.cpu.0),
            hits: books.calls.iter().map(|calls| calls.hits).collect(),
            chosen: books.calls.iter().map(|calls| calls.chosen).collect(),
            submitted: books.get(Counter::Submitted).saturating_sub(books.faults.chosen),
            faults: books.faults.hits,
            fault_events: books.faults.chosen,
            stepped_mappings: books.get(Counter::SteppedMapping),
            heirs: self.heirs.lost(),
        }
    }
}

/// What the price of a hit on each function depends on.
fn priced(session: &Session) -> Vec<Priced> {
    let functions = session.plan.functions().into_iter();
    functions.map(|(_, f)| prospect::priced(f, session.always_returns(f.cookie))).collect()
}
