//! Colours, of the sixteen that the terminal's own palette defines; or none.

use ratatui::style::{Color, Modifier, Style};

use crate::detect::Severity;

/// How things look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Theme {
    color: bool,
}

impl Theme {
    /// Bold, dim and reversed text only.
    pub const PLAIN: Self = Self { color: false };

    /// Colours too.
    pub const COLOR: Self = Self { color: true };

    /// As the environment asks: `NO_COLOR` that is set and not empty means none
    /// (no-color.org).
    pub fn from_env() -> Self {
        match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Self::PLAIN,
            _ => Self::COLOR,
        }
    }

    /// Plain text.
    pub(super) fn text() -> Style {
        Style::new()
    }

    /// Text that matters less.
    pub(super) fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The chosen row, the open tab.
    pub(super) fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Heads of columns and sections.
    pub(super) fn head() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The name of the program.
    pub(super) fn title(self) -> Style {
        self.paint(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is as it should be.
    pub(super) fn good(self) -> Style {
        self.paint(Color::Green)
    }

    /// What deserves a look.
    pub(super) fn warn(self) -> Style {
        self.paint(Color::Yellow)
    }

    /// What is wrong.
    pub(super) fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// By status code; `None` when there was no response.
    pub(super) fn status(self, status: Option<u16>) -> Style {
        match status {
            Some(200..=299) => self.paint(Color::Green),
            Some(300..=399) => self.paint(Color::Cyan),
            Some(400..=499) => self.paint(Color::Yellow),
            Some(500..) => self.bad(),
            Some(_) => Self::text(),
            None => Self::dim(),
        }
    }

    /// By share of errors, 0 to 1.
    pub(super) fn errors(self, share: Option<f64>) -> Style {
        match share {
            None => Self::dim(),
            Some(share) if share >= 0.1 => self.bad(),
            Some(share) if share > 0.0 => self.warn(),
            Some(_) => Self::text(),
        }
    }

    /// By severity.
    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Info => Self::text(),
            Severity::Low => self.paint(Color::Cyan),
            Severity::Medium => self.warn(),
            Severity::High => self.paint(Color::Red),
            Severity::Critical => self.paint(Color::Magenta).add_modifier(Modifier::BOLD),
        }
    }

    fn paint(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }
}
