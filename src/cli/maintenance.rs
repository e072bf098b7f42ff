//! `bindery restore`, `bindery salvage`, `bindery compact` and `bindery rename`: work on a store that no server has open.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, say};
use crate::app::{self, OfflineError};
use crate::config::Config;
use crate::storage::maintenance::{self, CompactError, RenameError};
use crate::storage::{JournalError, OpenError};
use crate::types::ServerName;

/// Work on a whole store.
#[derive(Debug, Clone, Subcommand)]
pub enum Maintenance {
    /// Fill a store that does not exist yet with a backup
    #[command(after_help = "Example:\n  bindery restore /var/backups/bindery/monday")]
    Restore {
        /// The folder of the backup
        #[arg(value_name = "DIR")]
        from: PathBuf,
    },
    /// Say what of a damaged store can be kept and what would be lost, and with --accept-loss go on without the rest
    #[command(after_help = "Examples:\n  bindery salvage\n  bindery salvage --accept-loss")]
    Salvage {
        /// Do it: keep what is intact, and move the damaged files aside
        #[arg(long)]
        accept_loss: bool,
    },
    /// Make the store as small as it can be, while no server runs
    #[command(after_help = "Example:\n  bindery compact")]
    Compact,
    /// Give the store to a server of another name, while no server runs
    #[command(after_help = "Example:\n  bindery rename id.example.org --confirm")]
    Rename {
        /// The new `server.name`
        #[arg(value_name = "NEW_NAME", value_parser = super::server)]
        to: ServerName,
        /// Do it; without this, the command only says what it means
        #[arg(long)]
        confirm: bool,
    },
}

/// What another name means to everybody who knows the server.
const MEANING: &str = "\
From the first start under the new name on, everything is signed under it, with the same keys, and nothing has to be \
published again: associations are signed whenever they are shown. What was signed before carries the old name, and whoever \
kept it can no longer find its signer by that name. Homeservers that remember the server by its old name sign unbinds for \
that name: keep it in server.aliases.";

/// Why the work was not done.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// A server runs.
    #[error("a server has the store in {} open: stop it first", .0.display())]
    Running(PathBuf),
    /// The store is not the caller's.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// The backup or the store cannot be used.
    #[error(transparent)]
    Store(OpenError),
    /// The store could not be made smaller.
    #[error(transparent)]
    Compact(CompactError),
    /// The store was not given another name.
    #[error(transparent)]
    Rename(RenameError),
    /// The name is not meant to change yet.
    #[error("nothing was changed: add --confirm to let the store belong to `{0}`")]
    Unconfirmed(ServerName),
}

impl From<OpenError> for MaintenanceError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InUse(path) => Self::Running(path),
            other => Self::Store(other),
        }
    }
}

impl From<CompactError> for MaintenanceError {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Open(error) => error.into(),
            other => Self::Compact(other),
        }
    }
}

impl From<RenameError> for MaintenanceError {
    fn from(error: RenameError) -> Self {
        match error {
            RenameError::Open(error) => error.into(),
            other => Self::Rename(other),
        }
    }
}

/// Does the work and says what was done.
///
/// # Errors
/// One sentence that says what to do; the store is as it was.
pub fn run(work: &Maintenance, config: &Config) -> Result<(), CliError> {
    match work {
        Maintenance::Restore { from } => restore(from, config),
        Maintenance::Salvage { accept_loss } => salvage(*accept_loss, config),
        Maintenance::Compact => compact(config),
        Maintenance::Rename { to, confirm } => rename(to, *confirm, config),
    }
}

/// Looks first in any case, so that a store without damage is left alone.
fn salvage(accept_loss: bool, config: &Config) -> Result<(), CliError> {
    let store = &config.store;
    app::check_store(&store.path).map_err(MaintenanceError::from)?;
    let found = maintenance::salvage(store, true).map_err(MaintenanceError::from)?;
    let Some(damage) = found.damage else {
        return say("Nothing is damaged, so there is nothing to salvage.");
    };
    say(&format!("{damage}."))?;
    say(&loss(&damage, found.sequence))?;
    if !accept_loss {
        return say(
            "Nothing was changed. A backup that is newer than that is the better way; without one, run \
             `bindery salvage --accept-loss`.",
        );
    }
    let saved = maintenance::salvage(store, false).map_err(MaintenanceError::from)?;
    let kept_in = saved.kept_in.unwrap_or_default();
    say(&format!(
        "{} now holds everything up to change {}; the damaged files are in {}.",
        store.path.display(),
        saved.sequence,
        kept_in.display()
    ))
}

/// What is kept and what is not.
fn loss(damage: &JournalError, intact: u64) -> String {
    let lost = match damage {
        JournalError::Digest { .. } => {
            return format!(
                "All rows up to change {intact} can be kept, but some are not what was written."
            );
        }
        JournalError::Damaged { later, .. } => format!("that and at least {later} later changes"),
        _ => "whatever came after it".to_owned(),
    };
    format!(
        "Everything up to change {intact} can be kept. Lost would be {lost}: what was bound by them is gone, and what was \
         unbound is bound again."
    )
}

fn restore(from: &Path, config: &Config) -> Result<(), CliError> {
    let store = &config.store;
    app::check_owner(&store.path).map_err(MaintenanceError::from)?;
    let restored = maintenance::restore(from, store).map_err(MaintenanceError::from)?;
    let mut text = format!(
        "{} holds everything up to change {} of the backup.",
        store.path.display(),
        restored.sequence
    );
    let keys = [&config.keys.file, &config.keys.secret];
    let missing: Vec<String> = keys
        .into_iter()
        .filter(|file| !file.exists())
        .map(|file| file.display().to_string())
        .collect();
    if !missing.is_empty() {
        text.push_str(" Before the server starts, put back from your copies: ");
        text.push_str(&missing.join(", "));
    }
    say(&text)
}

fn compact(config: &Config) -> Result<(), CliError> {
    let store = &config.store;
    app::check_store(&store.path).map_err(MaintenanceError::from)?;
    let work = maintenance::compact(store, &config.server.name);
    super::runtime()?
        .block_on(work)
        .map_err(MaintenanceError::from)?;
    say(&format!(
        "{} is as small as it can be.",
        store.path.display()
    ))
}

fn rename(to: &ServerName, confirm: bool, config: &Config) -> Result<(), CliError> {
    let store = &config.store;
    app::check_store(&store.path).map_err(MaintenanceError::from)?;
    if !confirm {
        say(MEANING)?;
        return Err(MaintenanceError::Unconfirmed(to.clone()).into());
    }
    let work = maintenance::rename(store, to);
    let from = super::runtime()?
        .block_on(work)
        .map_err(MaintenanceError::from)?;
    let path = store.path.display();
    say(&if from == to.as_str() {
        format!("{path} belongs to `{to}` already.")
    } else {
        format!(
            "{path} belongs to `{to}` now, and not to `{from}` any more. Before the server starts, set server.name = \
             \"{to}\", and add \"{from}\" to server.aliases."
        )
    })
}
