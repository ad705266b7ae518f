//! How things look. Only the terminal's own colours, which fit its background, and never colour alone.

use ratatui::style::{Color, Modifier, Style};

/// With or without colour.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    color: bool,
}

#[expect(clippy::unused_self, reason = "a theme is asked for every style, with colour or without")]
impl Theme {
    /// Without colour where the user wants none (no-color.org).
    pub fn from_environment() -> Self {
        Theme { color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// As a test wants it.
    #[cfg(test)]
    pub(super) fn new(color: bool) -> Self {
        Theme { color }
    }

    fn with(self, color: Color, style: Style) -> Style {
        if self.color { style.fg(color) } else { style }
    }

    /// What matters.
    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What matters less.
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The header of a list; of the one that has the keys.
    pub(super) fn heading(self, focused: bool) -> Style {
        let style = Style::new().add_modifier(Modifier::UNDERLINED);
        if focused { style.add_modifier(Modifier::BOLD) } else { style }
    }

    /// The chosen row.
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What grows, or deserves a look. Yellow cannot be read on white.
    pub(super) fn warn(self) -> Style {
        self.with(Color::Magenta, self.bold())
    }

    /// Trouble.
    pub(super) fn bad(self) -> Style {
        self.with(Color::Red, self.bold())
    }

    /// The style of a severity of a finding.
    pub(super) fn severity(self, severity: &str) -> Style {
        match severity {
            "critical" => self.bad(),
            "warning" => self.warn(),
            _ => Style::new(),
        }
    }
}
