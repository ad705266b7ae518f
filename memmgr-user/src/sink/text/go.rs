//! A Go program, for a terminal.

use super::{
    page::{Page, Style},
    stat::table,
    verdict::finding,
    words,
};
use crate::{
    go::{Collector, Course, GoStat, Group},
    units::human_bytes,
};

/// With fewer looks nothing is judged (`docs/judgement.md`).
const LEAST_LOOKS: usize = 6;

/// The whole view: at most `top` rows of each table, in at most `width` columns.
pub fn go(stat: &GoStat, top: usize, color: bool, width: Option<usize>) -> String {
    let mut page = Page::new(color, width);
    page.paragraph(0, Style::Bold, format!("{} ({}), {}", stat.comm, stat.pid, stat.go_version));
    if let Some(rss) = stat.rss_bytes {
        page.field("RSS", human_bytes(rss));
    }
    if let Some(course) = &stat.course {
        findings(&mut page, stat, course);
    }
    let figures = &stat.figures;
    let heap = &figures.heap;
    page.heading("Heap".to_owned());
    page.field(
        "allocated",
        format!("{} in {}", human_bytes(heap.alloc_bytes), words::counted(heap.objects, "object")),
    );
    let free = heap.in_use_bytes.saturating_sub(heap.alloc_bytes);
    page.field(
        "in use",
        format!(
            "{}, {} of it free between objects",
            human_bytes(heap.in_use_bytes),
            human_bytes(free)
        ),
    );
    page.field(
        "idle",
        format!(
            "{}, {} of it released to the kernel",
            human_bytes(heap.idle_bytes),
            human_bytes(heap.released_bytes)
        ),
    );
    page.field(
        "so far",
        format!(
            "{} allocated in {}, {} freed",
            human_bytes(heap.total_alloc_bytes),
            words::counted(heap.mallocs, "object"),
            words::counted(heap.frees, "object")
        ),
    );
    page.field("stacks", human_bytes(figures.stacks_in_use_bytes));
    page.field("all of it", format!("{} of the kernel", human_bytes(figures.sys_bytes)));
    collector(&mut page, &figures.gc);
    let goroutines = &stat.goroutines;
    page.heading("Goroutines".to_owned());
    page.field(
        "goroutines",
        format!(
            "{}, and {} of the runtime",
            words::count(goroutines.count),
            words::count(goroutines.system)
        ),
    );
    groups(&mut page, ["goroutines", "share"], "state", &goroutines.by_state, top);
    groups(&mut page, ["goroutines", "share"], "began with", &goroutines.by_function, top);
    page.finish()
}

fn findings(page: &mut Page, stat: &GoStat, course: &Course) {
    let time = course.t_s.last().copied().unwrap_or(0.0);
    page.heading(format!("Verdict over {}{}", words::span(time), words::ended(&course.ended)));
    if stat.findings.is_empty() {
        let looks = course.t_s.len();
        let text = if looks < LEAST_LOOKS {
            format!("Not judged: {looks} looks are too few.")
        } else {
            "Nothing grows and stays.".to_owned()
        };
        page.paragraph(2, Style::Bold, text);
    }
    for one in &stat.findings {
        finding(page, one);
    }
}

fn collector(page: &mut Page, gc: &Collector) {
    page.heading("Garbage collector".to_owned());
    let forced =
        if gc.forced > 0 { format!(", {} forced", words::count(gc.forced)) } else { String::new() };
    page.field("cycles", format!("{}{forced}", words::count(gc.cycles)));
    if gc.cycles > 0 {
        page.field("left alive", format!("{} by the last one", human_bytes(gc.live_bytes)));
        page.field(
            "pauses",
            format!("{} in all, the last {}", pause(gc.pause_total_s), pause(gc.last_pause_s)),
        );
    }
    page.field(
        "processor",
        format!("{:.2} % of the time since the start", gc.cpu_fraction * 100.0),
    );
    let goal = gc.next_goal_bytes.map_or_else(|| "none: it is off".to_owned(), human_bytes);
    page.field("next goal", goal);
    page.field(
        "GOGC",
        gc.gogc_percent.map_or_else(|| "off".to_owned(), |percent| percent.to_string()),
    );
    page.field("GOMEMLIMIT", gc.memory_limit_bytes.map_or_else(|| "none".to_owned(), human_bytes));
}

/// A pause: most are far below a millisecond.
fn pause(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

fn groups(page: &mut Page, head: [&str; 2], title: &str, groups: &[Group], top: usize) {
    let all = groups.iter().map(|group| group.count).sum();
    let rows: Vec<([String; 2], String)> = groups
        .iter()
        .map(|group| {
            ([words::count(group.count), words::share(group.count, all)], group.name.clone())
        })
        .collect();
    table(page, head, title, &rows, top);
}
