//! Brings journal and index together at the start: what the index lacks is replayed, and an index that cannot be trusted
//! is made again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::digest::Digest;
use super::error::{JournalError, OpenError};
use super::files::Disk;
use super::index::{Applied, Index, IndexError};
use super::journal::{self, Journal};
use super::layout::Layout;
use super::lookup::LookupTables;
use super::merge;
use super::progress::Progress;
use super::recovery::{self, Examined, Head};
use super::tables::{Associations, Meta, MetaName, MetaRecord, TABLES, Table as _};
use super::tx::Tx;
use super::{INDEX_TIMES, SCHEMA, Sizes, snapshot};
use crate::random::Random;

/// How many rows sled may load before it is reopened, as its cache does not bound what a bulk load takes.
const ROWS_AN_OPENING: u64 = 100_000;

/// What is needed to open a store.
pub(super) struct Opening<'a> {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: &'a Layout,
    pub(super) cache: u64,
    pub(super) sizes: Sizes,
    /// Whether the index is made anew, however good it is.
    pub(super) rebuild: bool,
}

/// A store that is ready to be read and written.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) index: Index,
    /// How many rows each table has, in the order of [`TABLES`].
    pub(super) rows: Vec<u64>,
    pub(super) lookup: LookupTables,
}

impl Opening<'_> {
    /// Opens, making what is not there yet. Everything that refuses a store is looked at before anything is changed.
    pub(super) fn run(&self) -> Result<Opened, OpenError> {
        if !self.folder.journal().is_dir() {
            self.found()?;
        }
        let found = recovery::examine(self.folder)?;
        let (index, distrust) = self.open_index(&found)?;
        let resumed = Journal::resume(
            Arc::clone(&self.disk),
            self.folder.clone(),
            self.sizes,
            &found,
        );
        let journal = match resumed {
            Ok(journal) => journal,
            Err(error) => {
                if index.is_some() {
                    drop(index);
                    self.remove_marker()?;
                }
                return Err(error.into());
            }
        };
        self.report_cut(&found);
        self.remove_unfinished();

        let usable = match (index, distrust) {
            (Some(index), None) => self.verified(index, &found),
            (_, reason) => Err(reason.unwrap_or_default()),
        };
        let (index, scanned) = match usable {
            Ok(usable) => usable,
            Err(reason) => self.rebuild(&found, &reason)?,
        };
        self.remove_marker()?;
        Ok(Opened {
            journal,
            index,
            rows: scanned.rows,
            lookup: scanned.lookup,
        })
    }

    /// Makes the journal of a new store, or of one that was kept in sled alone.
    fn found(&self) -> Result<(), OpenError> {
        let history = Random::system().bytes()?;
        if !self.folder.index().is_dir() {
            let nothing = |_: &Path| Ok(());
            journal::found(&*self.disk, self.folder, history, Head::default(), nothing)?;
            return Ok(());
        }
        let index = Index::open(&self.folder.index(), self.cache).map_err(|e| self.refused(&e))?;
        if index.applied().map_err(|e| self.refused(&e))?.is_some() {
            return Err(OpenError::Journal(JournalError::Missing {
                folder: self.folder.journal(),
                expected: 1,
            }));
        }
        let schema = Tx::new(&index, None).get::<Meta>(&MetaName::Schema)?;
        if let Some(MetaRecord::Schema(found)) = schema
            && found > SCHEMA
        {
            return Err(OpenError::Newer {
                path: self.folder.root().to_owned(),
                found,
            });
        }
        let Scanned { digest, rows, .. } = scan(&index).map_err(|fault| self.unreadable(fault))?;
        let head = Head {
            digest,
            ..Head::default()
        };
        journal::found(&*self.disk, self.folder, history, head, |file| {
            snapshot::write(&*self.disk, file, history, head, |out| {
                for table in TABLES {
                    for row in index.rows(table.id) {
                        let (key, record) = row.map_err(|e| JournalError::Index(e.to_string()))?;
                        out.row(table.id, &key, &record)?;
                    }
                }
                Ok(())
            })
        })?;
        log::info!(
            "took over a store of {} rows that had no journal yet",
            rows.iter().sum::<u64>()
        );
        Ok(())
    }

    /// Opens the index if it may be trusted; else says why not.
    fn open_index(&self, found: &Examined) -> Result<(Option<Index>, Option<String>), OpenError> {
        let marker = self.folder.marker();
        if marker.exists() {
            let reason = "the last start did not get to its end".to_owned();
            return Ok((None, Some(reason)));
        }
        let existed = self.folder.index().is_dir();
        self.disk
            .create(&marker)
            .and_then(|mut out| out.sync())
            .and_then(|()| self.disk.sync_folder(self.folder.root()))
            .map_err(|source| OpenError::Folder {
                path: marker,
                source,
            })?;
        if self.rebuild {
            return Ok((None, Some("it was asked for".to_owned())));
        }
        let opened = Index::open(&self.folder.index(), self.cache)
            .and_then(|index| index.applied().map(|applied| (index, applied)));
        let (index, applied) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok((None, Some(format!("sled cannot open it: {error}")))),
        };
        match applied {
            Some(applied)
                if applied.history == found.history && applied.sequence > found.head.sequence =>
            {
                drop(index);
                self.remove_marker()?;
                Err(OpenError::IndexAhead {
                    folder: self.folder.journal(),
                    index_folder: self.folder.index(),
                    journal: found.head.sequence,
                    index: applied.sequence,
                })
            }
            Some(applied) if applied.history == found.history => Ok((Some(index), None)),
            Some(_) => Ok((None, Some("it is that of another history".to_owned()))),
            // A store whose first start was interrupted.
            None if found.head == Head::default() => Ok((Some(index), None)),
            None if existed => Ok((None, Some("it does not say what it holds".to_owned()))),
            None => Ok((None, Some("it is missing".to_owned()))),
        }
    }

    /// Replays what the index lacks and compares all rows with the digest; the reason if it cannot be used.
    fn verified(&self, index: Index, found: &Examined) -> Result<(Index, Scanned), String> {
        self.replay(&index, found)?;
        match scan(&index) {
            Ok(scanned) if scanned.digest == found.head.digest => {
                self.check_size(&index, &scanned)?;
                Ok((index, scanned))
            }
            Ok(_) => Err("its rows do not add up to what was written".to_owned()),
            Err(Fault::Table(table)) => Err(format!("its table `{table}` cannot be read")),
            Err(Fault::Index(error)) => Err(format!("it cannot be read: {error}")),
        }
    }

    /// sled gives back what deleted and replaced rows took in its own time, and promises no bound.
    fn check_size(&self, index: &Index, scanned: &Scanned) -> Result<(), String> {
        let takes = index.size().map_err(|error| error.to_string())?;
        let may = INDEX_TIMES * scanned.bytes + self.sizes.index_spare;
        if takes > may {
            return Err(format!(
                "it takes {} MiB, and at most {} MiB for so many rows",
                takes >> 20,
                may >> 20
            ));
        }
        Ok(())
    }

    fn replay(&self, index: &Index, found: &Examined) -> Result<(), String> {
        let applied = index.applied().map_err(|error| error.to_string())?;
        let from = applied.map_or(0, |applied| applied.sequence);
        if from == found.head.sequence {
            return Ok(());
        }
        let base = recovery::base_before(self.folder, from + 1).map_err(|e| e.to_string())?;
        let Some(base) = base else {
            return Err("it is older than the journal".to_owned());
        };
        let mut groups = 0_u64;
        let read = recovery::read_from(self.folder, &base, &mut |frame, changes| {
            if frame.meta.sequence > from {
                groups += 1;
                for (table, key, record) in changes {
                    index
                        .load(*table, key, *record)
                        .map_err(|error| JournalError::Index(error.to_string()))?;
                }
            }
            Ok(())
        });
        read.map_err(|error| error.to_string())?;
        index
            .mark(applied_at(found))
            .map_err(|error| error.to_string())?;
        log::info!("replayed {groups} groups of changes into the index");
        Ok(())
    }

    /// Makes the index anew out of snapshot and journal.
    fn rebuild(&self, found: &Examined, reason: &str) -> Result<(Index, Scanned), OpenError> {
        let path = self.folder.index();
        if found.head.sequence > 0 {
            log::warn!("rebuilding the index in {}: {reason}", path.display());
        }
        let all_after = |sequence| {
            let mut segments = recovery::list(self.folder)?.segments;
            segments.retain(|first| *first > sequence);
            Ok(segments)
        };
        let loaded = merge::with_rows(self.folder, all_after, |moment| {
            // Every try begins with an empty folder.
            if path.exists() {
                fs::remove_dir_all(&path).map_err(JournalError::file(&path))?;
            }
            let mut loader = Loader::open(&path, self.cache)?;
            moment.rows(self.folder, &mut |table, key, record| {
                loader.row(table, key, record)
            })?;
            loader.finish(applied_at(found))
        });
        let index = loaded.map_err(|error| match error {
            JournalError::Index(reason) => OpenError::Index {
                path: path.clone(),
                reason,
            },
            other => OpenError::Journal(other),
        })?;
        let scanned = scan(&index).map_err(|fault| self.unreadable(fault))?;
        if scanned.digest != found.head.digest {
            return Err(OpenError::Journal(JournalError::Digest {
                folder: self.folder.journal(),
                sequence: found.head.sequence,
            }));
        }
        if found.head.sequence > 0 {
            log::warn!(
                "the index is rebuilt: {} rows",
                scanned.rows.iter().sum::<u64>()
            );
        }
        Ok((index, scanned))
    }

    fn report_cut(&self, found: &Examined) {
        if let Some(bad) = found.tail.bad {
            log::warn!(
                "the end of {} from byte {} on was cut off, a change that was never acknowledged ({})",
                self.folder.segment(found.tail.first).display(),
                found.tail.intact,
                bad.reason(),
            );
        }
    }

    fn remove_unfinished(&self) {
        let unfinished = recovery::list(self.folder).map_or_else(|_| Vec::new(), |l| l.unfinished);
        for file in unfinished {
            if let Err(error) = self.disk.remove(&file) {
                log::warn!("{} could not be removed: {error}", file.display());
            }
        }
    }

    fn remove_marker(&self) -> Result<(), OpenError> {
        let marker = self.folder.marker();
        self.disk
            .remove(&marker)
            .and_then(|()| self.disk.sync_folder(self.folder.root()))
            .map_err(|source| OpenError::Folder {
                path: marker,
                source,
            })
    }

    fn refused(&self, error: &IndexError) -> OpenError {
        OpenError::Index {
            path: self.folder.index(),
            reason: format!("{error}; restore it from a backup"),
        }
    }

    fn unreadable(&self, fault: Fault) -> OpenError {
        match fault {
            Fault::Table(table) => OpenError::Damaged {
                path: self.folder.root().to_owned(),
                table,
            },
            Fault::Index(error) => self.refused(&error),
        }
    }
}

fn applied_at(found: &Examined) -> Applied {
    Applied {
        history: found.history,
        sequence: found.head.sequence,
    }
}

/// Why the rows of an index do not do.
enum Fault {
    Table(&'static str),
    Index(IndexError),
}

/// What all rows amount to.
struct Scanned {
    digest: Digest,
    /// How many each table has.
    rows: Vec<u64>,
    /// How many bytes their keys and records have.
    bytes: u64,
    lookup: LookupTables,
}

/// Reads every row of every table.
fn scan(index: &Index) -> Result<Scanned, Fault> {
    let mut lookup = LookupTables::for_peppers_of(index).map_err(Fault::Index)?;
    let mut digest = Digest::default();
    let mut counts = Vec::new();
    let mut bytes = 0;
    let mut progress = Progress::new("checking the index");
    for table in TABLES {
        let mut count = 0;
        for row in index.rows(table.id) {
            let (key, record) = row.map_err(Fault::Index)?;
            if !(table.reads)(&key, &record) {
                return Err(Fault::Table(table.name));
            }
            digest.add(table.id, &key, &record);
            if table.id == Associations::ID {
                lookup.load(&key, &record);
            }
            count += 1;
            bytes += (key.len() + record.len()) as u64;
            progress.step();
        }
        counts.push(count);
    }
    Ok(Scanned {
        digest,
        rows: counts,
        bytes,
        lookup,
    })
}

/// Fills an empty index with sorted rows.
struct Loader<'a> {
    path: &'a Path,
    cache: u64,
    index: Option<Index>,
    rows: u64,
    progress: Progress,
}

impl<'a> Loader<'a> {
    fn open(path: &'a Path, cache: u64) -> Result<Self, JournalError> {
        Ok(Self {
            path,
            cache,
            index: Some(open_for_loading(path, cache)?),
            rows: 0,
            progress: Progress::new("rebuilding the index"),
        })
    }

    fn row(&mut self, table: u8, key: &[u8], record: &[u8]) -> Result<(), JournalError> {
        if self.rows == ROWS_AN_OPENING {
            // Closed before it is opened again.
            self.index = None;
            self.rows = 0;
        }
        let index = match self.index.take() {
            Some(index) => index,
            None => open_for_loading(self.path, self.cache)?,
        };
        index
            .load(table, key, Some(record))
            .map_err(|error| JournalError::Index(error.to_string()))?;
        self.index = Some(index);
        self.rows += 1;
        self.progress.step();
        Ok(())
    }

    fn finish(mut self, applied: Applied) -> Result<Index, JournalError> {
        self.index = None;
        let index = open_for_loading(self.path, self.cache)?;
        index
            .mark(applied)
            .and_then(|()| index.flush())
            .map_err(|error| JournalError::Index(error.to_string()))?;
        Ok(index)
    }
}

fn open_for_loading(path: &Path, cache: u64) -> Result<Index, JournalError> {
    Index::open(path, cache).map_err(|error| JournalError::Index(error.to_string()))
}
