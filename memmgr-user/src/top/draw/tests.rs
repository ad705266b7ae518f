//! Screens as they are, on terminals of three sizes.

use std::{sync::Arc, time::Duration};

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::Rect,
    style::Color,
};

use super::{Theme, draw};
use crate::{
    escape::is_hostile,
    monitor::Process,
    pipeline::Pulse,
    report::{Pressure, PressureLine},
    sink::fixture,
    source::process::Sets,
    top::{
        app::App,
        capture_view::{CaptureView, Stage},
        details::{Detail, Known},
        history::{
            Histories,
            tests::{group, look, row},
        },
    },
    units::Pid,
};

const SIZES: [(u16, u16); 3] = [(80, 24), (40, 10), (200, 50)];

/// A host on which a server leaks, as it was watched for a minute.
fn host() -> App {
    let mut app = App::new(Duration::from_secs(1));
    let mut histories = Histories::new(Duration::from_secs(1));
    for second in 0..=60 {
        let leak = second * (1 << 20);
        let mut groups = vec![
            group("/system.slice", (3 << 30) + leak, None),
            group("/system.slice/nginx.service", 200 << 20, None),
            group("/system.slice/server.service", (600 << 20) + leak, Some(1 << 30)),
            group("/system.slice/server.service/worker", 20 << 20, None),
            group("/user.slice", 900 << 20, Some(8 << 30)),
        ];
        groups[2].events.oom_kill = Some(2);
        let mut rows = vec![
            row(1, 0, "systemd", 12 << 20),
            row(410, 1, "nginx", 9 << 20),
            row(411, 410, "nginx", 60 << 20),
            row(412, 410, "nginx", 61 << 20),
            row(23199, 1, "server", (400 << 20) + leak),
            row(30001, 1, "\u{1b}[2J\u{202e}日本語", 3 << 20),
        ];
        rows[4].threads = 64;
        rows[5].state = 'D';
        if second > 40 {
            rows.push(row(31000, 23199, "sh", (1 << 20) + (second % 2) * 4096));
        }
        let mut look = look(second, groups, rows);
        look.processes.unread = 1;
        look.host.pressure = Some(Pressure {
            some: PressureLine { avg10: 12.5, avg60: 3.25, avg300: 1.0, total_s: 9.0 },
            full: PressureLine { avg10: 1.5, avg60: 0.25, avg300: 0.0, total_s: 1.0 },
        });
        app.take(histories.take(look));
    }
    let id = |pid: u32| Process { pid: Pid(pid), start_ticks: u64::from(pid) };
    let sets = Sets {
        rss_bytes: 460 << 20,
        pss_bytes: 455 << 20,
        uss_bytes: 450 << 20,
        swap_bytes: 5 << 20,
    };
    let detail = |sets, command: &str| {
        Known::Here(Detail {
            sets,
            group: Some("/system.slice/server.service".into()),
            command: Some(command.into()),
        })
    };
    app.details.insert(id(23199), detail(Some(sets), "/usr/bin/server --port 80"));
    app.details.insert(id(412), detail(None, "nginx: worker process"));
    app.details.insert(id(30001), Known::Hangs);
    app
}

/// A capture of the process that the report is about.
fn capture() -> App {
    let report = fixture::redis();
    let mut view = CaptureView::new(Pid(report.target.pid), &report.target.comm);
    view.stage = Stage::Counting;
    view.take_pulse(Pulse {
        elapsed: Duration::from_secs(30),
        events: 131_408,
        live_bytes: 34_734_080,
        rss_bytes: 71_303_168,
        lost: 0,
        overhead_percent: Some(1.25),
        steps: vec!["after 3 s: a sample every 64 KiB, for the budget".into()],
        news: Vec::new(),
    });
    view.take_report(Arc::new(report));
    let mut app = host();
    app.capture = Some(view);
    app
}

fn screen(app: &mut App, (width, height): (u16, u16), theme: Theme) -> Terminal<TestBackend> {
    app.settle(Rect::new(0, 0, width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, theme)).unwrap();
    terminal
}

fn check(name: &str, app: impl Fn() -> App, keys: &str, sizes: &[(u16, u16)]) {
    for &(width, height) in sizes {
        let mut app = app();
        app.settle(Rect::new(0, 0, width, height));
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                c => KeyCode::Char(c),
            };
            app.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        let terminal = screen(&mut app, (width, height), Theme::new(true));
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), terminal.backend());
    }
}

#[test]
fn the_host() {
    check("host", host, "", &SIZES);
}

#[test]
fn a_chosen_process_in_the_tree() {
    check("chosen", host, "tjj", &[(80, 24)]);
    check("filtered", host, "fng", &[(80, 24), (40, 10)]);
    check("groups", host, "\tjjj\n ", &[(80, 24), (40, 10)]);
}

#[test]
fn help() {
    check("help", host, "?", &[(80, 24)]);
    check("help_capture", capture, "?", &[(80, 24)]);
}

#[test]
fn a_capture() {
    check("capture", capture, "", &SIZES);
    check("stack", capture, "jj\n", &[(80, 24)]);
    check("verdict", capture, "v", &[(80, 24)]);
}

#[test]
fn captures_that_begin_and_that_fail() {
    let with = |stage: Stage| {
        move || {
            let mut app = host();
            let mut view = CaptureView::new(Pid(7), "server");
            view.stage = stage.clone();
            app.capture = Some(view);
            app
        }
    };
    check("attaching", with(Stage::Attaching), "", &[(40, 10)]);
    let why = "cannot attach to malloc: Permission denied (os error 13) run memmgr as root (`sudo memmgr …`); \
               `memmgr doctor` says what this host lacks";
    check("failed", with(Stage::Failed(why.into())), "", &[(40, 10), (80, 24)]);
}

/// Every screen on terminals of every size: nothing hostile, nothing but the terminal's own colours, and none at all
/// where the user wants none.
#[test]
fn any_size_and_any_name() {
    let mut hostile = capture();
    hostile.capture.as_mut().unwrap().take_report(Arc::new(fixture::hostile()));
    let mut help = host();
    help.help = true;
    for app in [&mut host(), &mut hostile, &mut help, &mut App::default()] {
        for width in (1..=60).step_by(7).chain([80, 133, 200, 300]) {
            for height in (1..=26).step_by(3).chain([40, 80]) {
                for color in [true, false] {
                    let terminal = screen(app, (width, height), Theme::new(color));
                    check_cells(terminal.backend().buffer(), color);
                }
            }
        }
    }
}

fn check_cells(buffer: &Buffer, color: bool) {
    for cell in &buffer.content {
        assert!(!cell.symbol().contains(is_hostile), "{:?}", cell.symbol());
        assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)) && cell.bg == Color::Reset);
        assert!(color || cell.fg == Color::Reset);
    }
}
