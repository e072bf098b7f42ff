//! Says how far long work at the start has come, and asks systemd for the time that it takes.

use sd_notify::NotifyState;

/// How many rows pass between two lines.
const EVERY: u64 = 100_000;

/// How much longer systemd is asked to wait, in microseconds, at every step.
const EXTENSION: u32 = 60_000_000;

/// Counts rows.
pub(super) struct Progress {
    what: &'static str,
    rows: u64,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        // Whether or not systemd can be told, the work goes on.
        let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(EXTENSION)]);
        Self { what, rows: 0 }
    }

    pub(super) fn step(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(EVERY) {
            let status = format!("{}: {} rows", self.what, self.rows);
            log::info!("{status}");
            let _ = sd_notify::notify(&[
                NotifyState::ExtendTimeoutUsec(EXTENSION),
                NotifyState::Status(&status),
            ]);
        }
    }
}
