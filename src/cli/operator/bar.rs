//! How far a long command has come: a bar for whoever watches a terminal, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::services::admin::Progress;

/// In how many parts there is a line for each.
const PARTS: u64 = 10;

/// Shown on standard error from the first word on, and gone with this.
pub(super) struct Bar {
    what: &'static str,
    shown: Option<ProgressBar>,
    /// Of how many parts there was a line.
    told: u64,
}

impl Bar {
    pub(super) const fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: None,
            told: 0,
        }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let Progress { done, of } = progress;
        let what = self.what;
        let bar = self.shown.get_or_insert_with(|| bar(what));
        bar.set_length(of);
        bar.set_position(done);
        let part = done.saturating_mul(PARTS).checked_div(of).unwrap_or(0);
        if bar.is_hidden() && part > self.told {
            self.told = part;
            log::info!("{what}: {done} of {of} rows");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg}: {wide_bar} {human_pos} of {human_len} rows, {per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
