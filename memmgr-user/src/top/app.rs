//! The whole view as state: pure, so that every key and every moment can be tested.

use std::{collections::HashMap, time::Duration};

use ratatui::layout::Rect;

use crate::{escape::Safe, monitor::Process};

use super::{
    capture_view::CaptureView,
    details::Known,
    groups::GroupTree,
    history::Moment,
    layout::{Areas, CaptureAreas},
    processes::{self, ProcessTable},
};

/// Which list the keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// The processes.
    #[default]
    Processes,
    /// The groups.
    Groups,
}

/// What is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// For what.
    pub what: Typing,
    /// What was there before: Esc brings it back.
    pub before: (String, Option<Process>),
}

/// What a prompt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Which processes are shown.
    Filter,
    /// Which process to go to.
    Search,
}

/// A line for a person, until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub text: Safe,
    /// Whether it is trouble.
    pub trouble: bool,
}

/// What the loop has to do for the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End.
    Quit,
    /// Capture this process.
    Attach(Process, String),
    /// End the capture.
    Detach,
    /// Write the report.
    Write,
    /// Draw everything anew: something else wrote on the terminal.
    Redraw,
}

/// The view.
#[derive(Debug, Default)]
pub struct App {
    /// Distance of the looks.
    pub interval: Duration,
    /// The host at the last look; its processes and groups are in their lists.
    pub moment: Option<Moment>,
    /// A look that came while nothing moved.
    held: Option<Moment>,
    /// The processes.
    pub table: ProcessTable,
    /// The groups.
    pub tree: GroupTree,
    /// What is known of processes on the screen.
    pub details: HashMap<Process, Known>,
    /// Which list the keys move in.
    pub focus: Focus,
    /// Whether the host view stands still.
    pub paused: bool,
    /// Whether help covers the screen.
    pub help: bool,
    /// What is being typed.
    pub prompt: Option<Prompt>,
    /// What happened.
    pub notice: Option<Notice>,
    /// The capture, while there is one.
    pub capture: Option<CaptureView>,
}

impl App {
    /// A view of looks at this distance.
    pub fn new(interval: Duration) -> Self {
        App { interval, ..App::default() }
    }

    /// Takes the figures of a moment.
    pub fn take(&mut self, moment: Moment) {
        if self.paused {
            self.held = Some(moment);
        } else {
            self.show(moment);
        }
    }

    fn show(&mut self, mut moment: Moment) {
        self.tree.take(std::mem::take(&mut moment.groups));
        let gone = self.table.take(std::mem::take(&mut moment.processes));
        if let Some(gone) = gone.filter(|_| self.capture.is_none()) {
            self.say(format!("{} ({}) has ended", gone.row.comm, gone.row.pid), false);
        }
        // What is being searched for may only just have come.
        let searches = self.prompt.as_ref().is_some_and(|prompt| prompt.what == Typing::Search);
        if searches && self.table.list.chosen.is_none() && !self.table.search.is_empty() {
            self.table.find(processes::From::Here);
        }
        self.moment = Some(moment);
    }

    /// Lets the view stand still, or go on from where the host is now.
    pub fn pause(&mut self) {
        self.paused = !self.paused;
        if let Some(moment) = self.held.take().filter(|_| !self.paused) {
            self.show(moment);
        }
    }

    /// Tells a person something.
    pub fn say(&mut self, text: impl Into<Safe>, trouble: bool) {
        self.notice = Some(Notice { text: text.into(), trouble });
    }

    /// Fits the lists to a terminal of this size.
    pub fn settle(&mut self, size: Rect) {
        let areas = Areas::of(size, self.tree.lines.len(), self.focus);
        let rows =
            |area: Option<Rect>| area.map_or(1, |area| usize::from(area.height).saturating_sub(1));
        self.table.settle(rows(areas.processes));
        self.tree.settle(rows(areas.groups));
        if let Some(capture) = &mut self.capture {
            let areas = CaptureAreas::of(size, capture.page, capture.verdict(size.width).len());
            capture.settle(usize::from(areas.stacks.height).saturating_sub(1));
        }
    }

    /// The processes on the screen, for which more is read.
    pub fn visible(&self, size: Rect) -> Vec<Process> {
        let areas = Areas::of(size, self.tree.lines.len(), self.focus);
        let Some(area) = areas.processes.filter(|_| self.capture.is_none()) else {
            return Vec::new();
        };
        let height = usize::from(area.height).saturating_sub(1);
        let order = self.table.order();
        let chosen = self.table.list.chosen.filter(|chosen| order.contains(chosen));
        order.iter().skip(self.table.list.first).take(height).copied().chain(chosen).collect()
    }
}
