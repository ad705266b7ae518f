//! A page of text: widths, wrapping and colour. What it writes is [`Safe`] and nothing else.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::escape::Safe;

/// Narrower than this a table cannot be read at all, so lines run over instead.
const WIDTH_MIN: usize = 40;
/// Where the values of [`Page::field`] begin.
const FIELD_COLUMN: usize = 16;

/// How a piece of text looks. Meaning never rests on it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Warn,
    Bad,
}

impl Style {
    /// Parameters of the ECMA-48 sequence "select graphic rendition".
    fn sgr(self) -> Option<&'static str> {
        match self {
            Style::Plain => None,
            Style::Bold => Some("1"),
            Style::Dim => Some("2"),
            Style::Good => Some("32"),
            Style::Warn => Some("33"),
            Style::Bad => Some("1;31"),
        }
    }
}

/// Text under construction.
pub(super) struct Page {
    out: String,
    color: bool,
    width: Option<usize>,
}

impl Page {
    pub(super) fn new(color: bool, width: Option<usize>) -> Self {
        Self { out: String::new(), color, width: width.map(|width| width.max(WIDTH_MIN)) }
    }

    /// Columns left of a line that begins with `used` columns; `None` when lines are not limited.
    pub(super) fn room(&self, used: usize) -> Option<usize> {
        self.width.map(|width| width.saturating_sub(used))
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// Ends the line, or leaves one empty.
    pub(super) fn end_line(&mut self) {
        let end = self.out.trim_end_matches(' ').len();
        self.out.truncate(end);
        self.out.push('\n');
    }

    /// Begins a section.
    pub(super) fn heading(&mut self, text: impl Into<Safe>) {
        self.end_line();
        self.paragraph(0, Style::Bold, text);
    }

    /// A name and a value, which goes on below itself when it is long.
    pub(super) fn field(&mut self, name: &'static str, value: impl Into<Safe>) {
        self.styled_field(name, Style::Plain, value);
    }

    pub(super) fn styled_field(
        &mut self,
        name: &'static str,
        style: Style,
        value: impl Into<Safe>,
    ) {
        for (i, line) in wrap(value.into().as_str(), self.room(FIELD_COLUMN)).iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            self.write(Style::Dim, &Safe::text(&format!("  {name:<14}")));
            self.write(style, line);
            self.end_line();
        }
    }

    /// Sentences, wrapped, each line indented.
    pub(super) fn paragraph(&mut self, indent: usize, style: Style, text: impl Into<Safe>) {
        for line in wrap(text.into().as_str(), self.room(indent)) {
            self.write(Style::Plain, &Safe::text(&" ".repeat(indent)));
            self.write(style, &line);
            self.end_line();
        }
    }

    /// One line of several pieces, cut at the width.
    pub(super) fn row(&mut self, pieces: &[(Style, Safe)]) {
        let mut room = self.width;
        for (style, text) in pieces {
            let text = match room {
                Some(room) => cut_end(text, room),
                None => text.clone(),
            };
            room = room.map(|room| room.saturating_sub(text.as_str().width()));
            self.write(*style, &text);
        }
        self.end_line();
    }

    /// The only place where text enters the page.
    fn write(&mut self, style: Style, text: &Safe) {
        match style.sgr().filter(|_| self.color && !text.as_str().trim().is_empty()) {
            Some(sgr) => {
                self.out.extend(["\x1b[", sgr, "m", text.as_str(), "\x1b[0m"]);
            }
            None => self.out.push_str(text.as_str()),
        }
    }
}

/// Breaks text at spaces into lines of at most `width` columns; a longer word is broken anywhere.
fn wrap(text: &str, width: Option<usize>) -> Vec<Safe> {
    let Some(width) = width else { return vec![Safe::text(text)] };
    let width = width.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        let columns = word.width();
        if used > 0 && used + 1 + columns > width {
            lines.push(Safe::from(std::mem::take(&mut line)));
            used = 0;
        } else if !line.is_empty() {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let columns = c.width().unwrap_or(0);
            if used + columns > width && used > 0 {
                lines.push(Safe::from(std::mem::take(&mut line)));
                used = 0;
            }
            line.push(c);
            used += columns;
        }
    }
    lines.push(Safe::from(line));
    lines
}

/// Text in at most `width` columns; what does not fit is replaced by `…` at the end.
pub(crate) fn cut_end(text: &Safe, width: usize) -> Safe {
    cut(text, width, width.saturating_sub(1))
}

/// As [`cut_end`], but the beginning goes.
pub(super) fn cut_start(text: &Safe, width: usize) -> Safe {
    cut(text, width, 0)
}

/// As [`cut_end`], but the middle goes: of a long C++ or Rust name both ends matter.
pub(super) fn cut_middle(text: &Safe, width: usize) -> Safe {
    cut(text, width, width.saturating_sub(1) / 2)
}

/// Keeps `head` columns of the beginning, `…`, and as much of the end as there is room for.
fn cut(text: &Safe, width: usize, head: usize) -> Safe {
    let text = text.as_str();
    if text.width() <= width {
        return Safe::text(text);
    }
    if width == 0 {
        return Safe::default();
    }
    let (start, start_columns) = take(text.chars(), head);
    let (end, _) = take(text.chars().rev(), width - 1 - start_columns);
    Safe::from(format!("{start}…{}", end.chars().rev().collect::<String>()))
}

/// As many characters as fit in `width` columns, and how many columns they take.
fn take(chars: impl Iterator<Item = char>, width: usize) -> (String, usize) {
    let (mut taken, mut used) = (String::new(), 0);
    for c in chars {
        let columns = c.width().unwrap_or(0);
        if used + columns > width {
            break;
        }
        taken.push(c);
        used += columns;
    }
    (taken, used)
}

/// Rows of cells, set in columns: the first column to the left, numbers to the right.
pub(super) struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// Takes the width of each column from the widest cell.
    pub(super) fn of<const N: usize>(rows: &[[String; N]]) -> Self {
        let widths = (0..N)
            .map(|column| rows.iter().map(|row| row[column].as_str().width()).max().unwrap_or(0))
            .collect();
        Self { widths }
    }

    /// One row, each cell set to the right of its column.
    pub(super) fn line<const N: usize>(&self, row: &[String; N]) -> String {
        let cells = row
            .iter()
            .zip(&self.widths)
            .map(|(cell, width)| " ".repeat(width.saturating_sub(cell.as_str().width())) + cell);
        cells.collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_keep_the_width_and_show_themselves() {
        let text = Safe::text("std::vector<int>::push_back");
        for (cut, expected) in [
            (cut_end(&text, 12), "std::vector…"),
            (cut_start(&text, 12), "…::push_back"),
            (cut_middle(&text, 12), "std::…h_back"),
            (cut_end(&text, 99), "std::vector<int>::push_back"),
            (cut_middle(&text, 1), "…"),
            (cut_end(&text, 0), ""),
            (cut_end(&Safe::text("日本語"), 4), "日…"),
        ] {
            assert_eq!(cut.as_str(), expected);
        }
    }

    #[test]
    fn words_wrap_and_long_ones_break() {
        let lines = |text, width| wrap(text, width).iter().map(Safe::to_string).collect::<Vec<_>>();
        assert_eq!(lines("one two three", Some(7)), ["one two", "three"]);
        assert_eq!(lines("a /very/long/path b", Some(6)), ["a", "/very/", "long/p", "ath b"]);
        assert_eq!(lines("one two three", None), ["one two three"]);
        assert_eq!(lines("", Some(7)), [""]);
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let text = |color| {
            let mut page = Page::new(color, Some(80));
            page.heading("Title");
            page.field("name", "value");
            page.finish()
        };
        assert_eq!(text(false), "\nTitle\n  name          value\n");
        assert_eq!(text(true), "\n\x1b[1mTitle\x1b[0m\n\x1b[2m  name          \x1b[0mvalue\n");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_the_page(text in "[ a-z日é\u{1b}]{0,200}", width in 40_usize..120, indent in 0_usize..8) {
            let mut page = Page::new(false, Some(width));
            page.heading(text.as_str());
            page.field("name", text.as_str());
            page.paragraph(indent, Style::Warn, text.as_str());
            page.row(&[(Style::Plain, Safe::text(&text)), (Style::Bad, Safe::text(&text))]);
            for line in page.finish().lines() {
                prop_assert!(line.width() <= width, "{:?}", line);
            }
        }

        #[test]
        fn wrapping_loses_no_word(text in "[a-z日]{1,9}( [a-z日]{1,9}){0,20}", width in 20_usize..60) {
            let lines: Vec<String> = wrap(&text, Some(width)).iter().map(Safe::to_string).collect();
            prop_assert_eq!(lines.join(" "), text);
        }

        #[test]
        fn cuts_fit(text in ".{0,60}", width in 0_usize..40) {
            let text = Safe::text(&text);
            for cut in [cut_end(&text, width), cut_start(&text, width), cut_middle(&text, width)] {
                prop_assert!(cut.as_str().width() <= width);
            }
        }
    }
}
