//! What stands where on a terminal of any size.

use ratatui::layout::Rect;

use super::{app::Focus, capture_view::Page};

/// Terminals lower than this have the host in two lines.
const LOW: u16 = 14;
/// From this height on both lists are on the screen; on lower ones the one that the keys move in.
const BOTH: u16 = 20;

/// The host view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Areas {
    /// The host's figures.
    pub host: Rect,
    /// The tree of groups, its header included.
    pub groups: Option<Rect>,
    /// The process table, its header included.
    pub processes: Option<Rect>,
    /// The chosen process or group in one line.
    pub detail: Option<Rect>,
    /// Keys, prompts and notices.
    pub footer: Rect,
}

/// Cuts areas from the top of what is left.
struct Cut(Rect);

impl Cut {
    fn top(&mut self, height: u16) -> Rect {
        let height = height.min(self.0.height);
        let area = Rect { height, ..self.0 };
        self.0 = Rect { y: self.0.y + height, height: self.0.height - height, ..self.0 };
        area
    }

    fn bottom(&mut self, height: u16) -> Rect {
        let height = height.min(self.0.height);
        self.0.height -= height;
        Rect { y: self.0.y + self.0.height, height, ..self.0 }
    }
}

impl Areas {
    /// On a terminal of this size, with so many lines of groups.
    pub fn of(size: Rect, groups: usize, focus: Focus) -> Self {
        let mut left = Cut(size);
        let host = left.top(if size.height < LOW { 2 } else { 4 });
        let footer = left.bottom(1);
        let (mut tree, mut detail) = (None, None);
        if size.height >= BOTH {
            detail = Some(left.bottom(1));
            if groups > 0 {
                let most = left.0.height / if focus == Focus::Groups { 2 } else { 3 };
                let wanted = u16::try_from(groups + 1).unwrap_or(u16::MAX);
                tree = Some(left.top(wanted.min(most)));
            }
        } else if focus == Focus::Groups {
            return Areas { host, groups: Some(left.0), processes: None, detail, footer };
        }
        Areas { host, groups: tree, processes: Some(left.0), detail, footer }
    }
}

/// The capture view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureAreas {
    /// What is captured and how it stands.
    pub head: Rect,
    /// Memory over time.
    pub timeline: Rect,
    /// The verdict.
    pub verdict: Rect,
    /// The stacks, their header included.
    pub stacks: Rect,
    /// The frames of the chosen stack.
    pub frames: Rect,
    /// Keys and notices.
    pub footer: Rect,
}

impl CaptureAreas {
    /// On a terminal of this size, with a verdict of so many lines.
    pub fn of(size: Rect, page: Page, verdict: usize) -> Self {
        let mut left = Cut(size);
        let head = left.top(if size.height < LOW { 2 } else { 3 });
        let footer = left.bottom(1);
        if page != Page::Overview {
            let none = left.top(0);
            let (verdict, frames) = match page {
                Page::Verdict => (left.0, none),
                _ => (none, left.0),
            };
            return CaptureAreas { head, timeline: none, verdict, stacks: none, frames, footer };
        }
        let timeline = left.top(match size.height {
            0..LOW => 0,
            LOW..36 => 2,
            _ => 6,
        });
        let most = (left.0.height / 3).max(1);
        let verdict = left.top(u16::try_from(verdict).unwrap_or(most).min(most));
        let frames = left.bottom(if size.height < BOTH { 0 } else { left.0.height / 3 });
        CaptureAreas { head, timeline, verdict, stacks: left.0, frames, footer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The areas are below each other and fill the terminal.
    fn check(size: Rect, areas: &[Rect]) {
        let mut next = 0;
        for area in areas.iter().filter(|area| area.height > 0) {
            assert_eq!((area.x, area.width, area.y), (0, size.width, next), "{size:?} {areas:?}");
            next += area.height;
        }
        assert_eq!(next, size.height, "{areas:?}");
    }

    #[test]
    fn every_terminal_is_filled() {
        for height in 0..60 {
            let size = Rect::new(0, 0, 80, height);
            for (groups, focus) in [
                (0, Focus::Processes),
                (3, Focus::Processes),
                (90, Focus::Processes),
                (90, Focus::Groups),
            ] {
                let at = Areas::of(size, groups, focus);
                let lists = [at.groups, at.processes, at.detail].into_iter().flatten();
                let all: Vec<Rect> = std::iter::once(at.host)
                    .chain(lists)
                    .chain(std::iter::once(at.footer))
                    .collect();
                check(size, &all);
                let list = if focus == Focus::Groups { at.groups } else { at.processes };
                assert!(height < 10 || list.unwrap().height >= 7, "{height}");
            }
            for (page, verdict) in
                [(Page::Overview, 2), (Page::Overview, 99), (Page::Stack, 2), (Page::Verdict, 99)]
            {
                let at = CaptureAreas::of(size, page, verdict);
                check(size, &[at.head, at.timeline, at.verdict, at.stacks, at.frames, at.footer]);
                assert!(height < 10 || page != Page::Overview || at.stacks.height >= 4, "{height}");
            }
        }
    }
}
