//! How far the rebuild is, if somebody watches.

use std::io::IsTerminal as _;

use cairn_gateway::recovery::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error; silent where that is no terminal.
#[derive(Debug)]
pub(super) struct ProgressLine(ProgressBar);

impl ProgressLine {
    pub(super) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(
            "reading shards {bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        self.0.set_length(progress.shard_count);
        self.0.set_position(progress.seen_count);
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
