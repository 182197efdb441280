//! A line on the terminal that counts bytes.

use std::io::{IsTerminal, Write};

use edgeslm::import::Progress;

/// A line that is rewritten as work goes on; nothing where standard error is no terminal.
pub(crate) struct Line {
    terminal: bool,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    pub(crate) fn show(&mut self, progress: Progress<'_>) {
        if self.terminal {
            let megabytes = |bytes: u64| bytes / 1_000_000;
            let Progress { written, total, item } = progress;
            let _on_failure_the_line_is_missing =
                write!(std::io::stderr(), "\r\x1b[K{} of {} MB {item}", megabytes(written), megabytes(total));
        }
    }

    pub(crate) fn finish(&mut self) {
        if self.terminal {
            let _on_failure_the_line_stays = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
