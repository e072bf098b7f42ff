//! `bindery [serve]`: runs the server until a signal ends it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::CliError;
use crate::app::{App, Deps, Stop};
use crate::config::Loaded;

/// Serves. The first SIGTERM or SIGINT stops gracefully, a second one at once.
///
/// # Errors
/// When the server cannot start, or ends by itself.
pub fn run(loaded: Loaded) -> Result<(), CliError> {
    super::runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        let (stop, stopping) = watch::channel(Stop::No);
        let signals = tokio::spawn(async move {
            for wanted in [Stop::Gracefully, Stop::Now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                stop.send_replace(wanted);
            }
        });
        match &loaded.file {
            Some(file) => log::info!("configured by {}", file.display()),
            None => log::info!("no configuration file: the built-in defaults hold"),
        }
        for advice in loaded.config.advice() {
            log::warn!("{advice}");
        }
        let app = App::build(loaded.config, Deps::system()).await?;
        let ended = app.run(stopping).await;
        signals.abort();
        Ok(ended?)
    })
}
