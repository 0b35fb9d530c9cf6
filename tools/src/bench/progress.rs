//! What is shown while measuring, if somebody watches.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line on standard error; silent where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    line: ProgressBar,
}

impl Progress {
    pub(super) fn new() -> Self {
        let line = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        line.set_style(ProgressStyle::default_spinner());
        Self { line }
    }

    /// Says what is under way.
    pub(super) fn say(&self, text: impl Into<String>) {
        self.line.set_message(text.into());
        self.line.tick();
    }

    /// Leaves a line behind.
    pub(super) fn finished(&self, text: impl AsRef<str>) {
        self.line.println(text);
    }

    pub(super) fn clear(&self) {
        self.line.finish_and_clear();
    }
}

/// How often the line is renewed and the server looked at.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
