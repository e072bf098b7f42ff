//! Work on a whole store that nobody else has open: restoring a backup, saving what a damaged journal still holds,
//! making the index anew, giving it to a server of another name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::digest::Digest;
use super::error::{JournalError, OpenError};
use super::files::{Disk, RealDisk};
use super::layout::Layout;
use super::merge::{self, Moment};
use super::progress::Progress;
use super::recovery::{self, Head};
use super::tables::{Meta, MetaName, MetaRecord, Table as _};
use super::{Options, Store, StoreError, frame, journal, snapshot};
use crate::config;
use crate::random::Random;
use crate::types::ServerName;

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The last change that is in it.
    pub sequence: u64,
}

/// What could be saved of a damaged journal.
#[derive(Debug)]
pub struct Salvaged {
    /// The last change that could be read.
    pub sequence: u64,
    /// What was wrong with the next one, and how much is lost with it; none if nothing was wrong.
    pub damage: Option<JournalError>,
    /// Where the damaged journal is now; none if it was only looked at.
    pub kept_in: Option<PathBuf>,
}

/// Fills an empty store with a backup, or with the `journal` folder of a store that was stopped, as a new history: an
/// index or a journal of the old one is not taken for one of it.
///
/// # Errors
/// When there is a store already, or the backup is damaged or incomplete. The target is as it was.
pub fn restore(from: &Path, to: &config::Store) -> Result<Restored, OpenError> {
    let (folder, _lock) = super::lock(&to.path)?;
    if folder.journal().exists() || folder.index().exists() {
        return Err(OpenError::NotEmpty(to.path.clone()));
    }
    let source = Layout::new(from);
    // Whatever refuses a store at its start refuses a backup too.
    let found = recovery::examine(&source).map_err(OpenError::Backup)?;
    if let Some(bad) = found.tail.bad {
        return Err(OpenError::Backup(JournalError::Damaged {
            file: source.segment(found.tail.first),
            offset: found.tail.intact,
            reason: bad.reason(),
            intact: found.head.sequence,
            later: 0,
        }));
    }
    let all = |sequence| {
        let mut segments = recovery::list(&source)?.segments;
        segments.retain(|first| *first > sequence);
        Ok(segments)
    };
    let history = Random::system().bytes()?;
    let restored = merge::with_rows(&source, all, |moment| {
        let mut progress = Progress::new("restoring the backup");
        make_journal(
            &source,
            &folder,
            history,
            &moment,
            moment.head(),
            &mut progress,
        )
    });
    let sequence = restored.map_err(OpenError::Backup)?;
    Ok(Restored { sequence })
}

/// Makes a journal of a new history that begins with a snapshot of the moment.
fn make_journal(
    source: &Layout,
    target: &Layout,
    history: frame::History,
    moment: &Moment,
    head: Head,
    progress: &mut Progress,
) -> Result<u64, JournalError> {
    let head = Head {
        checksum: frame::Checksum::default(),
        ..head
    };
    journal::found(&RealDisk, target, history, head, |file| {
        snapshot::write(&RealDisk, file, history, head, |out| {
            moment.rows(source, &mut |table, key, record| {
                progress.step();
                out.row(table, key, record)
            })
        })
    })?;
    Ok(head.sequence)
}

/// Goes on with what a damaged journal holds before its damage, as a new history. The damaged files are kept. With
/// `dry_run`, only says what would be lost.
///
/// # Errors
/// When another process has the store, when nothing at all can be read, or when the disk fails.
pub fn salvage(settings: &config::Store, dry_run: bool) -> Result<Salvaged, OpenError> {
    let (folder, _lock) = super::lock(&settings.path)?;
    let kept_in = folder.damaged_journal();
    if !dry_run && kept_in.exists() {
        return Err(OpenError::Salvaged(kept_in));
    }
    let mut first_damage = None;
    for base in recovery::bases(&folder)? {
        let tried = base.and_then(|base| {
            let (moment, damage) = Moment::as_far_as_intact(&folder, base)?;
            let sequence = moment.head().sequence;
            // That the rows do not add up to the digest of their change must not keep them from being saved.
            let mut digest = Digest::default();
            moment.rows(&folder, &mut |table, key, record| {
                digest.add(table, key, record);
                Ok(())
            })?;
            let head = Head {
                digest,
                ..moment.head()
            };
            let damage = damage.or_else(|| {
                (digest != moment.head().digest).then(|| JournalError::Digest {
                    folder: folder.journal(),
                    sequence,
                })
            });
            if !dry_run {
                save(&folder, &moment, head)?;
            }
            Ok((sequence, damage))
        });
        match tried {
            Ok((sequence, damage)) => {
                return Ok(Salvaged {
                    sequence,
                    damage: first_damage.or(damage),
                    kept_in: (!dry_run).then_some(kept_in),
                });
            }
            Err(error @ JournalError::Snapshot { .. }) => {
                first_damage.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(OpenError::Journal(first_damage.unwrap_or_else(|| {
        JournalError::Missing {
            folder: folder.journal(),
            expected: 1,
        }
    })))
}

fn save(folder: &Layout, moment: &Moment, head: Head) -> Result<(), JournalError> {
    // The new journal is made beside the store, so that it is whole before it takes the place of the damaged one.
    let beside = Layout::new(&folder.salvage());
    let at = |path: &Path| JournalError::file(path.to_owned());
    if beside.root().exists() {
        fs::remove_dir_all(beside.root()).map_err(at(beside.root()))?;
    }
    RealDisk
        .create_folder(beside.root())
        .map_err(at(beside.root()))?;
    let history = Random::system().bytes()?;
    let mut progress = Progress::new("saving what is intact");
    make_journal(folder, &beside, history, moment, head, &mut progress)?;
    let journal = folder.journal();
    RealDisk
        .rename(&journal, &folder.damaged_journal())
        .and_then(|()| RealDisk.rename(&beside.journal(), &journal))
        .and_then(|()| RealDisk.sync_folder(folder.root()))
        .and_then(|()| fs::remove_dir(beside.root()))
        .map_err(at(&journal))
}

/// Makes the index of a stopped store anew, which gives back what space it takes beyond its rows, and removes from
/// journal and snapshots what was deleted.
///
/// # Errors
/// As for [`Store::open`].
pub async fn compact(
    settings: &config::Store,
    server_name: &ServerName,
) -> Result<(), CompactError> {
    let options = Options {
        rebuild: true,
        ..Options::default()
    };
    let (settings, name) = (settings.clone(), server_name.clone());
    let opening = tokio::task::spawn_blocking(move || {
        Store::open_with(&settings, &name, Arc::new(RealDisk), options)
    });
    let store = opening.await.map_err(|_| CompactError::Stopped)??;
    store.forget_deleted().await?;
    Ok(())
}

/// Why a store could not be compacted.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A snapshot could not be made.
    #[error(transparent)]
    Maintenance(#[from] super::MaintenanceError),
    /// The thread that does it ended.
    #[error("compaction was interrupted")]
    Stopped,
}

/// Lets a stopped store belong to a server of another name from now on, in one write. Nothing else that it holds is changed:
/// associations are signed when they are shown. Answers the name it had.
///
/// # Errors
/// As for [`Store::open`], but for the name; the store is as it was then.
pub async fn rename(settings: &config::Store, to: &ServerName) -> Result<String, RenameError> {
    let options = Options {
        any_name: true,
        ..Options::default()
    };
    let (settings, name) = (settings.clone(), to.clone());
    let opening = tokio::task::spawn_blocking(move || {
        Store::open_with(&settings, &name, Arc::new(RealDisk), options)
    });
    let store = opening.await.map_err(|_| RenameError::Stopped)??;
    let to = to.as_str().to_owned();
    let from = store.write(move |tx| {
        let Some(MetaRecord::ServerName(from)) = tx.get::<Meta>(&MetaName::ServerName)? else {
            return Err(StoreError::Damaged { table: Meta::NAME });
        };
        tx.put::<Meta>(&MetaName::ServerName, &MetaRecord::ServerName(to.clone()))?;
        Ok::<_, StoreError>(from)
    });
    let from = from.await?;
    store.close(CLOSING);
    Ok(from)
}

/// How long the last write may take.
const CLOSING: Duration = Duration::from_secs(10);

/// Why a store was not given another name.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that does it ended.
    #[error("the work was interrupted")]
    Stopped,
}
