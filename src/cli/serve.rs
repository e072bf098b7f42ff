//! `bindery [serve]`: runs the server until a signal ends it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::CliError;
use crate::app::{App, Deps, Stop};
use crate::config::Config;

/// Serves. The first SIGTERM or SIGINT stops gracefully, a second one at once.
///
/// # Errors
/// When the server cannot start, or ends by itself.
pub fn run(config: Config) -> Result<(), CliError> {
    super::runtime()?.block_on(async {
        let (stop, stopping) = watch::channel(Stop::No);
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        let signals = tokio::spawn(async move {
            for wanted in [Stop::Gracefully, Stop::Now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                stop.send_replace(wanted);
            }
            std::future::pending::<()>().await;
        });
        let app = App::build(config, Deps::system()).await?;
        let ended = app.run(stopping).await;
        signals.abort();
        Ok(ended?)
    })
}
