//! `bindery [serve]`: runs the server until a signal ends it.

use std::path::{Path, PathBuf};
use std::sync::Weak;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::CliError;
use super::logging::Logging;
use crate::app::{App, Deps, Passed, Reloader, StartError, Stop};
use crate::config::{Config, Environment, Loaded, Said};

/// Serves. The first SIGTERM or SIGINT stops gracefully, a second one at once; SIGHUP reads the configuration again.
/// `named` is the file of the command line.
///
/// # Errors
/// When the server cannot start, or ends by itself.
pub fn run(loaded: Loaded, named: Option<PathBuf>, logging: Logging) -> Result<(), CliError> {
    super::runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        let hangups = signal(SignalKind::hangup()).map_err(CliError::Runtime)?;
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
        let passed = Passed::to_process().map_err(StartError::from)?;
        let app = App::build_on(passed, loaded.config, Deps::system()).await?;
        let reloads = tokio::spawn(reload_on(
            hangups,
            app.reloader(),
            loaded.said,
            named,
            logging,
        ));
        let ended = app.run(stopping).await;
        signals.abort();
        reloads.abort();
        Ok(ended?)
    })
}

async fn reload_on(
    mut hangups: Signal,
    reloader: Weak<Reloader>,
    started: Said,
    named: Option<PathBuf>,
    logging: Logging,
) {
    while hangups.recv().await.is_some() {
        let Some(reloader) = reloader.upgrade() else {
            return;
        };
        let (started, named, logging) = (started.clone(), named.clone(), logging.clone());
        let done = tokio::task::spawn_blocking(move || {
            reload(&reloader, &started, named.as_deref(), &logging);
        });
        if let Err(error) = done.await {
            log::error!("the configuration could not be reloaded: {error}");
        }
    }
}

fn reload(reloader: &Reloader, started: &Said, named: Option<&Path>, logging: &Logging) {
    let now = NotifyState::monotonic_usec_now();
    let begins = now.map(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
    let carried_out = match read(reloader, named) {
        Ok(Loaded { config, said, .. }) => {
            logging.set_level(&config.log.level);
            log::info!("the configuration was read again");
            for advice in config.advice() {
                log::warn!("{advice}");
            }
            let mut waiting = started.differences(&said);
            waiting.retain(|key| !reloader.takes(key));
            if !waiting.is_empty() {
                log::warn!(
                    "changed, but only from the next start on: {}",
                    waiting.join(", ")
                );
            }
            true
        }
        Err(reason) => {
            log::error!("the configuration is not reloaded, the old one still holds: {reason}");
            false
        }
    };
    reloader.count(carried_out);
    if matches!(begins, Ok(Ok(())))
        && let Err(error) = sd_notify::notify(&[NotifyState::Ready])
    {
        log::warn!("systemd could not be notified: {error}");
    }
}

fn read(reloader: &Reloader, named: Option<&Path>) -> Result<Loaded, String> {
    let loaded = Config::load(named, &Environment::of_process())
        .map_err(|error| error.to_string().replace('\n', "; "))?;
    reloader
        .reload(&loaded.config)
        .map_err(|error| error.to_string())?;
    Ok(loaded)
}
