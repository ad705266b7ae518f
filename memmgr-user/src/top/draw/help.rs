//! What the keys and the words mean.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, put};

/// Keys and what they do, the most needed first: a low terminal shows no more than fits.
const HOST: [(&str, &str); 21] = [
    ("↑ ↓", "choose (also PgUp, PgDn, Home, End, j, k)"),
    ("Enter", "attach: which code holds its memory"),
    ("f", "filter by name or number; Esc: all"),
    ("/ n N", "search, next, previous"),
    ("s S r", "sort by next, previous column; turn round"),
    ("t", "processes below their parents"),
    ("Tab", "cgroups, and back"),
    ("← →", "close, open a cgroup"),
    ("Space", "stand still, go on"),
    ("Ctrl-L", "draw anew"),
    ("q", "quit"),
    ("", ""),
    ("GROWTH/S", "bytes a second over the last minute; … too early to say"),
    ("RSS", "resident memory; PSS: shared pages divided by who shares"),
    ("USS", "what nobody else has; … not read yet, - refused or none"),
    ("hangs", "the process does not answer; the others do"),
    ("S", "state: R runs, S sleeps, D waits for a device, Z has ended"),
    ("FULL IN", "when a cgroup reaches its limit, if it goes on like this"),
    ("cache", "what the kernel can take back without swapping"),
    ("pressure", "time in which some, or all, tasks waited for memory"),
    ("OOM", "processes killed for lack of memory"),
];

const CAPTURE: [(&str, &str); 15] = [
    ("↑ ↓", "choose a stack"),
    ("Enter", "all of its frames; Esc: back"),
    ("v", "the whole verdict; Esc: back"),
    ("w", "write the report to a new file here"),
    ("Esc", "detach, and back to the host"),
    ("s", "sort: live, growth, allocated"),
    ("c", "kind of memory: heap, resident, mapping"),
    ("q", "detach and quit"),
    ("", ""),
    ("live", "allocated since the attach and not freed"),
    ("GROWTH/S", "bytes a second that stay"),
    ("ALLOC/S", "bytes a second allocated, freed or not"),
    ("! i", "there is a finding about this stack: v"),
    ("a ← b", "a was called by b"),
    ("costs it", "share of its time that the probes take; at most 5 %"),
];

pub(super) fn draw(buffer: &mut Buffer, area: Rect, capture: bool, theme: Theme) {
    let lines: &[(&str, &str)] = if capture { &CAPTURE } else { &HOST };
    put(buffer, area, 0, Line::styled("memmgr top: any key goes back", theme.bold()));
    for (row, (key, meaning)) in (1..area.height).zip(lines) {
        let line =
            Line::from(vec![Span::styled(format!("{key:<9} "), theme.bold()), Span::raw(*meaning)]);
        put(buffer, area, row, line);
    }
}
