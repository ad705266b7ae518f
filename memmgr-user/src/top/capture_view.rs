//! A capture on the screen, as state.

use std::{sync::Arc, time::Duration};

use crate::{
    escape::Safe,
    pipeline::Pulse,
    report::Report,
    sink::{Class, verdict_text},
    units::Pid,
};

use super::{
    list::{List, Step},
    stacks::{By, StackLine, lines},
};

/// How far a capture is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Probes are put in place.
    #[default]
    Attaching,
    /// Calls count.
    Counting,
    /// It ended by itself, and this is why. The last report is there.
    Ended(Safe),
    /// It could not be made, or broke off.
    Failed(Safe),
}

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Everything in short.
    #[default]
    Overview,
    /// All frames of the chosen stack.
    Stack,
    /// The whole verdict.
    Verdict,
}

/// The view.
#[derive(Clone, Debug, Default)]
pub struct CaptureView {
    /// Its name and number.
    pub title: Safe,
    /// How far it is.
    pub stage: Stage,
    /// The figures of the last interval.
    pub pulse: Pulse,
    /// Events a second between the last two of them.
    pub events_per_s: Option<f64>,
    /// The last report.
    pub report: Option<Arc<Report>>,
    /// Which kind of memory; until somebody chooses, the one that the report is about.
    pub class: Class,
    class_chosen: bool,
    /// What the stacks are sorted by.
    pub by: By,
    /// The stacks.
    pub stacks: Vec<StackLine>,
    /// Which of them is chosen.
    pub list: List<u64>,
    /// What fills the screen.
    pub page: Page,
    /// Lines of the page above the screen.
    pub scroll: usize,
}

impl CaptureView {
    /// Of a process that is about to be captured.
    pub fn new(pid: Pid, name: &str) -> Self {
        CaptureView { title: Safe::from(format!("{name} ({pid})")), ..CaptureView::default() }
    }

    /// Takes the figures of an interval.
    pub fn take_pulse(&mut self, pulse: Pulse) {
        let seconds = pulse.elapsed.saturating_sub(self.pulse.elapsed).as_secs_f64();
        if seconds > 0.0 {
            let events = pulse.events.saturating_sub(self.pulse.events);
            self.events_per_s = Some(events as f64 / seconds);
        }
        self.pulse = pulse;
    }

    /// Takes a report.
    pub fn take_report(&mut self, report: Arc<Report>) {
        if !self.class_chosen {
            self.class = Class::main_of(&report);
        }
        self.report = Some(report);
        self.arrange();
    }

    fn arrange(&mut self) {
        self.stacks =
            self.report.as_ref().map_or(Vec::new(), |report| lines(report, self.class, self.by));
    }

    /// The verdict, in lines that fit into so many columns.
    pub fn verdict(&self, width: u16) -> Vec<String> {
        let text = self.report.as_ref().map(|report| verdict_text(report, usize::from(width)));
        // Behind the heading, which is for reports.
        let lines = text.iter().flat_map(|text| text.lines()).skip_while(|line| line.is_empty());
        lines.skip(1).map(str::to_owned).collect()
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.pulse.elapsed
    }

    /// Sorts by another figure.
    pub fn sort(&mut self) {
        self.by = self.by.next();
        self.arrange();
    }

    /// Shows the next kind of memory that the report has.
    pub fn next_class(&mut self) {
        let Some(report) = &self.report else { return };
        let there = |class: &Class| report.stacks.iter().any(|stack| stack.class == class.name());
        let at = Class::ALL.iter().position(|class| *class == self.class).unwrap_or(0);
        let others = Class::ALL.iter().cycle().skip(at + 1).take(Class::ALL.len());
        if let Some(class) = others.copied().find(there) {
            (self.class, self.class_chosen) = (class, true);
            self.list = List::default();
            self.arrange();
        }
    }

    fn keys(&self) -> Vec<u64> {
        self.stacks.iter().map(|line| line.key).collect()
    }

    /// The place of the chosen stack; without one the first.
    pub fn place(&self) -> usize {
        self.list.place(&self.keys()).unwrap_or(0)
    }

    /// What is on a screen of this height.
    pub fn settle(&mut self, height: usize) {
        let keys = self.keys();
        self.list.settle(height, &keys);
    }

    /// Goes through the stacks, or through the page that fills the screen.
    pub fn step(&mut self, step: Step) {
        if self.page == Page::Overview {
            let keys = self.keys();
            return self.list.step(step, &keys);
        }
        const PAGE: usize = 10;
        self.scroll = match step {
            Step::Up => self.scroll.saturating_sub(1),
            Step::Down => self.scroll + 1,
            Step::PageUp => self.scroll.saturating_sub(PAGE),
            Step::PageDown => self.scroll + PAGE,
            Step::Home => 0,
            Step::End => usize::MAX,
        };
    }

    /// Fills the screen with a page, or goes back to the overview when it is there.
    pub fn turn_to(&mut self, page: Page) {
        self.page = if self.page == page { Page::Overview } else { page };
        self.scroll = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixture;

    fn view() -> CaptureView {
        CaptureView::new(Pid(7), "server")
    }

    #[test]
    fn pulses_give_a_rate() {
        let mut view = view();
        let pulse =
            |ms, events| Pulse { elapsed: Duration::from_millis(ms), events, ..Pulse::default() };
        view.take_pulse(pulse(1000, 50));
        assert_eq!(view.events_per_s, Some(50.0));
        view.take_pulse(pulse(1500, 150));
        view.take_pulse(pulse(1500, 150));
        assert_eq!(view.events_per_s, Some(200.0));
    }

    #[test]
    fn classes_that_are_there_take_turns() {
        let mut view = view();
        view.next_class();
        view.take_report(Arc::new(fixture::redis()));
        let mut seen = vec![view.class];
        for _ in 0..2 {
            view.next_class();
            seen.push(view.class);
        }
        assert!(seen[0] == Class::Heap && seen[1] != Class::Heap, "{seen:?}");
        // What was chosen stays.
        let chosen = view.class;
        view.take_report(Arc::new(fixture::redis()));
        assert_eq!(view.class, chosen);
    }

    #[test]
    fn pages_turn_and_scroll() {
        let mut view = view();
        view.take_report(Arc::new(fixture::redis()));
        view.settle(2);
        view.step(Step::Down);
        view.step(Step::Down);
        assert_eq!(view.place(), 1);
        view.turn_to(Page::Stack);
        view.step(Step::PageDown);
        view.step(Step::Up);
        assert_eq!((view.page, view.scroll, view.place()), (Page::Stack, 9, 1));
        view.turn_to(Page::Verdict);
        assert_eq!((view.page, view.scroll), (Page::Verdict, 0));
        view.turn_to(Page::Verdict);
        assert_eq!(view.page, Page::Overview);
    }
}
