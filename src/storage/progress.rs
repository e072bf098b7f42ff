//! Says how far long work has come: by a bar to whoever watches a terminal, by lines to a log, and to systemd, which is
//! asked for the time that it takes.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sd_notify::NotifyState;

/// How many rows pass between two lines.
const EVERY: u64 = 100_000;

/// How much longer systemd is asked to wait, in microseconds, at every step.
const EXTENSION: u32 = 60_000_000;

/// Counts rows. How many there will be is known only at the end.
pub(super) struct Progress {
    what: &'static str,
    rows: u64,
    /// Hidden where standard error is no terminal.
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        // Whether or not systemd can be told, the work goes on.
        let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(EXTENSION)]);
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg}: {human_pos} rows, {per_sec}")
        {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { what, rows: 0, bar }
    }

    pub(super) fn step(&mut self) {
        self.rows += 1;
        self.bar.inc(1);
        if self.rows.is_multiple_of(EVERY) {
            let status = format!("{}: {} rows", self.what, self.rows);
            if self.bar.is_hidden() {
                log::info!("{status}");
            }
            let _ = sd_notify::notify(&[
                NotifyState::ExtendTimeoutUsec(EXTENSION),
                NotifyState::Status(&status),
            ]);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
