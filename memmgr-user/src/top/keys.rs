//! Keys → state.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    app::{App, Effect, Focus, Prompt, Typing},
    capture_view::{CaptureView, Page},
    list::Step,
    processes::From,
};

/// The longest text that is typed into a prompt.
const TYPED_MOST: usize = 64;

impl App {
    /// Does what a key means, and says what is left for the loop to do.
    pub fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.notice = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Effect::Quit),
                KeyCode::Char('l') => Some(Effect::Redraw),
                _ => None,
            };
        }
        if self.help {
            self.help = false;
            return None;
        }
        if self.prompt.is_some() {
            self.type_key(key.code);
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            code => match (&mut self.capture, step(code)) {
                (Some(capture), Some(step)) => capture.step(step),
                (Some(capture), None) => return capture_key(capture, code),
                (None, Some(step)) if self.focus == Focus::Processes => self.table.step(step),
                (None, Some(step)) => self.tree.step(step),
                (None, None) => return self.host_key(code),
            },
        }
        None
    }

    fn host_key(&mut self, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = match self.focus {
                    Focus::Processes if !self.tree.groups.is_empty() => Focus::Groups,
                    _ => Focus::Processes,
                };
            }
            KeyCode::Char(' ') => self.pause(),
            KeyCode::Char('s') => self.table.sort_by(true),
            KeyCode::Char('S') => self.table.sort_by(false),
            KeyCode::Char('r') => {
                self.table.reversed = !self.table.reversed;
                self.table.arrange();
            }
            KeyCode::Char('t') => {
                self.table.tree = !self.table.tree;
                self.table.arrange();
            }
            KeyCode::Char('f') => self.prompt(Typing::Filter),
            KeyCode::Char('/') => self.prompt(Typing::Search),
            KeyCode::Char('n') => self.find(From::After),
            KeyCode::Char('N') => self.find(From::Before),
            KeyCode::Left if self.focus == Focus::Groups => self.tree.open(Some(false)),
            KeyCode::Right if self.focus == Focus::Groups => self.tree.open(Some(true)),
            KeyCode::Enter if self.focus == Focus::Groups => self.tree.open(None),
            KeyCode::Enter => return self.attach(),
            KeyCode::Esc if self.focus == Focus::Groups => {
                self.tree.list.chosen = None;
                self.focus = Focus::Processes;
            }
            KeyCode::Esc if self.table.list.chosen.is_some() => self.table.list.chosen = None,
            KeyCode::Esc => {
                self.table.filter.clear();
                self.table.arrange();
            }
            _ => {}
        }
        None
    }

    fn attach(&mut self) -> Option<Effect> {
        let chosen = self.table.chosen().map(|chosen| (chosen.id(), chosen.row.comm.clone()));
        if chosen.is_none() {
            self.say("choose a process first: ↑ ↓, or / and its name", false);
        }
        chosen.map(|(process, name)| Effect::Attach(process, name))
    }

    fn prompt(&mut self, what: Typing) {
        self.focus = Focus::Processes;
        let typed = match what {
            Typing::Filter => &mut self.table.filter,
            Typing::Search => &mut self.table.search,
        };
        self.prompt = Some(Prompt { what, before: (typed.clone(), self.table.list.chosen) });
        if what == Typing::Search {
            typed.clear();
        }
    }

    fn type_key(&mut self, code: KeyCode) {
        let Some(prompt) = &self.prompt else { return };
        let what = prompt.what;
        let typed = match what {
            Typing::Filter => &mut self.table.filter,
            Typing::Search => &mut self.table.search,
        };
        match code {
            KeyCode::Char(c) if typed.chars().count() < TYPED_MOST => typed.push(c),
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Esc => {
                (*typed, self.table.list.chosen) = prompt.before.clone();
                if what == Typing::Filter {
                    typed.clear();
                }
                self.prompt = None;
            }
            KeyCode::Enter => {
                self.prompt = None;
                // Whoever filters until one is left means that one.
                if let (Typing::Filter, [only]) = (what, self.table.order().as_slice()) {
                    self.table.list.chosen = Some(*only);
                }
            }
            code => {
                if let Some(step) = step(code) {
                    self.table.step(step);
                }
                return;
            }
        }
        self.table.arrange();
        if what == Typing::Search && self.prompt.is_some() && !self.table.search.is_empty() {
            self.find(From::Here);
        }
    }

    fn find(&mut self, from: From) {
        if self.table.search.is_empty() {
            self.say("nothing was searched for yet: / and a name", false);
        } else if !self.table.find(from) {
            let among = if self.table.filter.is_empty() {
                ""
            } else {
                " among those that the filter shows"
            };
            self.say(format!("no process like {}{among}", self.table.search), false);
        }
    }
}

fn capture_key(capture: &mut CaptureView, code: KeyCode) -> Option<Effect> {
    match code {
        KeyCode::Enter if !capture.stacks.is_empty() => {
            if capture.page == Page::Overview {
                let place = capture.place();
                capture.list.chosen = Some(capture.stacks[place].key);
            }
            capture.turn_to(Page::Stack);
        }
        KeyCode::Char('v') => capture.turn_to(Page::Verdict),
        KeyCode::Char('s') => capture.sort(),
        KeyCode::Char('c') => capture.next_class(),
        KeyCode::Char('w') => return Some(Effect::Write),
        KeyCode::Esc if capture.page != Page::Overview => capture.turn_to(Page::Overview),
        KeyCode::Esc => return Some(Effect::Detach),
        _ => {}
    }
    None
}

/// Keys that move in a list.
fn step(code: KeyCode) -> Option<Step> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => Step::Up,
        KeyCode::Down | KeyCode::Char('j') => Step::Down,
        KeyCode::PageUp => Step::PageUp,
        KeyCode::PageDown => Step::PageDown,
        KeyCode::Home => Step::Home,
        KeyCode::End => Step::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use ratatui::layout::Rect;

    use super::*;
    use crate::{
        monitor::Process,
        sink::fixture,
        top::history::{
            Histories,
            tests::{group, look, row},
        },
        units::Pid,
    };

    /// A host with a few processes.
    fn app() -> App {
        let mut app = App::new(Duration::from_secs(1));
        let rows = vec![row(1, 0, "init", 10), row(20, 1, "nginx", 30), row(300, 1, "redis", 90)];
        let groups = vec![group("/a", 5, None), group("/a/b", 4, None)];
        let mut histories = Histories::new(Duration::from_secs(1));
        app.take(histories.take(look(0, groups, rows)));
        app.settle(Rect::new(0, 0, 80, 24));
        app
    }

    /// Presses keys: letters as they are, others by name in angle brackets.
    fn press(app: &mut App, keys: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            let (code, length) = match rest.split_once('>').filter(|_| c == '<') {
                Some((name, _)) => {
                    let code = match &name[1..] {
                        "enter" => KeyCode::Enter,
                        "esc" => KeyCode::Esc,
                        "tab" => KeyCode::Tab,
                        "up" => KeyCode::Up,
                        "down" => KeyCode::Down,
                        "left" => KeyCode::Left,
                        "right" => KeyCode::Right,
                        "back" => KeyCode::Backspace,
                        other => panic!("{other}"),
                    };
                    (code, name.len() + 1)
                }
                None => (KeyCode::Char(c), c.len_utf8()),
            };
            effects.extend(app.key(KeyEvent::new(code, KeyModifiers::NONE)));
            rest = &rest[length..];
        }
        effects
    }

    fn names(app: &App) -> Vec<&str> {
        app.table.lines.iter().map(|line| app.table.processes[line.at].row.comm.as_str()).collect()
    }

    #[test]
    fn lists_are_sorted_filtered_and_searched() {
        let check = |keys: &str, shown: &[&str], chosen: Option<u32>| {
            let mut app = app();
            assert_eq!(press(&mut app, keys), []);
            let is = app.table.list.chosen.map(|process| process.pid.0);
            assert_eq!((names(&app), is), (shown.to_vec(), chosen), "{keys}");
        };
        check("", &["redis", "nginx", "init"], None);
        check("r", &["init", "nginx", "redis"], None);
        check("sss", &["init", "nginx", "redis"], None);
        check("S", &["init", "nginx", "redis"], None);
        check("t", &["init", "redis", "nginx"], None);
        check("<down>", &["redis", "nginx", "init"], Some(300));
        check("jj<up><up>", &["redis", "nginx", "init"], Some(300));
        check("jj<esc>", &["redis", "nginx", "init"], None);
        check("fin<enter>", &["nginx", "init"], None);
        check("fin<back>q", &[], None);
        check("fin<esc>", &["redis", "nginx", "init"], None);
        check("fre<enter>", &["redis"], Some(300));
        check("fre<enter><esc>", &["redis"], None);
        check("fre<enter><esc><esc>", &["redis", "nginx", "init"], None);
        check("fre<enter>f<esc>", &["redis", "nginx", "init"], Some(300));
        check("/ini", &["redis", "nginx", "init"], Some(1));
        check("/in<enter>n", &["redis", "nginx", "init"], Some(1));
        check("/in<enter>nnN", &["redis", "nginx", "init"], Some(1));
        check("j/in<esc>", &["redis", "nginx", "init"], Some(300));
    }

    #[test]
    fn groups_have_the_keys_when_they_are_asked_for() {
        let mut app = app();
        press(&mut app, "<tab><down><left>");
        assert_eq!((app.focus, app.tree.lines.len()), (Focus::Groups, 1));
        press(&mut app, "<enter>");
        assert_eq!((app.tree.lines.len(), app.table.list.chosen), (2, None));
        press(&mut app, "<esc><down>");
        assert_eq!((app.focus, app.tree.list.chosen.clone()), (Focus::Processes, None));
        assert!(app.table.list.chosen.is_some());
    }

    #[test]
    fn a_process_is_attached_to_only_when_it_was_chosen() {
        let mut app = app();
        assert_eq!(press(&mut app, "<enter>"), []);
        assert!(app.notice.as_ref().unwrap().text.as_str().contains("choose a process"));
        let redis = Process { pid: Pid(300), start_ticks: 300 };
        assert_eq!(press(&mut app, "<down><enter>"), [Effect::Attach(redis, "redis".into())]);
        assert_eq!(app.notice, None);
        assert_eq!(press(&mut app, "q"), [Effect::Quit]);
    }

    #[test]
    fn a_capture_has_pages_and_ends_from_the_first() {
        let mut app = app();
        let mut capture = CaptureView::new(Pid(7), "server");
        capture.take_report(Arc::new(fixture::redis()));
        app.capture = Some(capture);
        assert_eq!(press(&mut app, "<down><enter>"), []);
        let page = |app: &App| app.capture.as_ref().unwrap().page;
        assert_eq!(page(&app), Page::Stack);
        assert_eq!(press(&mut app, "<esc>v"), []);
        assert_eq!(page(&app), Page::Verdict);
        assert_eq!(press(&mut app, "v w<esc>"), [Effect::Write, Effect::Detach]);
    }

    #[test]
    fn help_goes_with_any_key_and_a_pause_holds_everything() {
        let mut app = app();
        press(&mut app, "?");
        assert!(app.help);
        assert_eq!(press(&mut app, "q"), []);
        assert!(!app.help);
        press(&mut app, " ");
        let mut histories = Histories::new(Duration::from_secs(1));
        app.take(histories.take(look(9, vec![], vec![row(5, 1, "new", 10)])));
        assert_eq!(names(&app), ["redis", "nginx", "init"]);
        press(&mut app, " ");
        assert_eq!(names(&app), ["new"]);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(app.key(control('c')), Some(Effect::Quit));
        assert_eq!(app.key(control('l')), Some(Effect::Redraw));
    }
}
