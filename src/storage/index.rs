//! The index: all rows in sled, to be read fast. The journal is the truth, so nothing here needs to be durable; what is
//! lost or damaged is made again. The only file that names sled.
//!
//! Rows are plain inserts and removes: sled's transactions and batches turn on a lock for the whole process, which its
//! flushes hold while they wait for the disk.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::StoreError;
use super::changes::Changes;
use super::frame::History;
use super::recent::{Known, Recent};
use super::tables::TABLES;

/// A row as bytes.
pub(super) type Row = (sled::IVec, sled::IVec);

/// Up to which change the index has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) history: History,
    pub(super) sequence: u64,
}

const APPLIED: &[u8] = b"applied";

/// A table, and rows of it that are read again and again: to find a row in sled takes a good part of the time of a short
/// call, even when it is in sled's memory.
struct Tree {
    rows: sled::Tree,
    recent: Recent<sled::IVec>,
}

impl Tree {
    fn new(rows: sled::Tree) -> Self {
        let recent = Recent::new();
        Self { rows, recent }
    }

    /// A row. That it can be kept here rests on this: nobody reads a row while it is set, for until it is set readers find
    /// it in the layer above the index.
    fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, sled::Error> {
        match self.recent.get(key) {
            Known::Kept(row) => Ok(Some(row)),
            Known::New => self.rows.get(key),
            Known::Again => {
                let row = self.rows.get(key)?;
                if let Some(row) = &row {
                    self.recent.keep(key, row.clone());
                }
                Ok(row)
            }
        }
    }

    fn set(&self, key: &[u8], record: Option<&[u8]>) -> Result<(), sled::Error> {
        self.recent.forget(key);
        match record {
            Some(record) => self.rows.insert(key, record)?,
            None => self.rows.remove(key)?,
        };
        Ok(())
    }
}

/// All tables, each a tree.
pub(super) struct Index {
    // Dropped before the database, which then closes.
    trees: Vec<Tree>,
    applied: sled::Tree,
    db: sled::Db,
    /// Why the index cannot be used any more.
    broken: watch::Sender<Option<Arc<str>>>,
}

/// The index cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct IndexError(Arc<str>);

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        // sled's own texts say what happened to its file, never what is in it; they span lines.
        let text = error.to_string();
        Self(text.split_whitespace().collect::<Vec<_>>().join(" ").into())
    }
}

/// Calls sled, which panics where its files are not what it expects.
fn guarded<T>(call: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(IndexError("its files are damaged".into())))
}

/// Opens a database. Its file may still be locked by threads of one that was just closed, which end in their own time;
/// nobody else can have it, as the store has a lock of its own.
fn open_when_free(config: &sled::Config) -> Result<sled::Db, sled::Error> {
    const PAUSE: Duration = Duration::from_millis(1);
    const TRIES: u32 = 5_000;
    for _ in 0..TRIES {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                std::thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
    config.open()
}

impl Index {
    /// Opens the trees in a folder, making them if need be.
    pub(super) fn open(folder: &Path, cache: u64) -> Result<Self, IndexError> {
        guarded(|| {
            let db = open_when_free(&sled::Config::new().path(folder).cache_capacity(cache))?;
            let trees = TABLES
                .iter()
                .map(|table| db.open_tree(table.id.to_be_bytes()).map(Tree::new))
                .collect::<Result<Vec<_>, _>>()?;
            let applied = db.open_tree(APPLIED)?;
            Ok(Self {
                trees,
                applied,
                db,
                broken: watch::Sender::new(None),
            })
        })
    }

    /// Up to which change it has come; none if it was never said.
    pub(super) fn applied(&self) -> Result<Option<Applied>, IndexError> {
        let row = guarded(|| Ok(self.applied.get(APPLIED)?))?;
        Ok(row.and_then(|row| {
            let (history, rest) = row.split_first_chunk()?;
            let (sequence, rest) = rest.split_first_chunk()?;
            rest.is_empty().then_some(Applied {
                history: *history,
                sequence: u64::from_be_bytes(*sequence),
            })
        }))
    }

    /// Puts changes in, then says how far it has come.
    pub(super) fn apply(&self, changes: &Changes, applied: Applied) -> Result<(), IndexError> {
        self.watched(|| {
            for (table, key, record) in changes.iter() {
                self.set(table, key, record)?;
            }
            self.mark(applied)
        })
    }

    fn set(&self, table: u8, key: &[u8], record: Option<&[u8]>) -> Result<(), IndexError> {
        Ok(self.tree(table)?.set(key, record)?)
    }

    /// Puts one row into an index that nobody reads yet, or takes it out.
    pub(super) fn load(
        &self,
        table: u8,
        key: &[u8],
        record: Option<&[u8]>,
    ) -> Result<(), IndexError> {
        guarded(|| self.set(table, key, record))
    }

    /// Says how far it has come.
    pub(super) fn mark(&self, applied: Applied) -> Result<(), IndexError> {
        let mut row = applied.history.to_vec();
        row.extend_from_slice(&applied.sequence.to_be_bytes());
        self.applied.insert(APPLIED, row)?;
        Ok(())
    }

    /// Writes what is only in memory.
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        guarded(|| {
            self.db.flush()?;
            Ok(())
        })
    }

    pub(super) fn get(&self, table: u8, key: &[u8]) -> Result<Option<sled::IVec>, IndexError> {
        self.watched(|| Ok(self.tree(table)?.get(key)?))
    }

    /// A row that is about to be set, and so is not worth keeping.
    pub(super) fn get_to_set(
        &self,
        table: u8,
        key: &[u8],
    ) -> Result<Option<sled::IVec>, IndexError> {
        self.watched(|| Ok(self.tree(table)?.rows.get(key)?))
    }

    /// Rows in order, from a bound on, as long as their keys begin with a prefix.
    pub(super) fn range<'a>(
        &'a self,
        table: u8,
        from: (Bound<&[u8]>, Bound<&[u8]>),
        prefix: &'a [u8],
    ) -> impl Iterator<Item = Result<Row, IndexError>> + 'a {
        let mut rows = self
            .tree(table)
            .map(|tree| tree.rows.range::<&[u8], _>(from));
        std::iter::from_fn(move || {
            let next = match &mut rows {
                Ok(rows) => self.watched(|| Ok(rows.next().transpose()?)).transpose(),
                Err(error) => Some(Err(error.clone())),
            };
            next.filter(|row| {
                row.as_ref()
                    .map_or(true, |(key, _)| key.starts_with(prefix))
            })
        })
        .fuse()
    }

    /// All rows of a table.
    pub(super) fn rows(&self, table: u8) -> impl Iterator<Item = Result<Row, IndexError>> + '_ {
        self.range(table, (Bound::Unbounded, Bound::Unbounded), &[])
    }

    /// How many bytes its files take.
    pub(super) fn size(&self) -> Result<u64, IndexError> {
        guarded(|| Ok(self.db.size_on_disk()?))
    }

    /// Tells why the index cannot be used any more, as soon as it cannot.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.broken.subscribe()
    }

    fn watched<T>(&self, call: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
        guarded(call).inspect_err(|error| {
            self.broken.send_if_modified(|broken| {
                let first = broken.is_none();
                if first {
                    *broken = Some(Arc::clone(&error.0));
                }
                first
            });
        })
    }

    fn tree(&self, table: u8) -> Result<&Tree, IndexError> {
        let place = TABLES.iter().position(|known| known.id == table);
        place
            .and_then(|place| self.trees.get(place))
            .ok_or_else(|| IndexError(format!("there is no table {table}").into()))
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        Self::unavailable(format!("its index failed: {error}"))
    }
}

/// Makes a database as the first form of the store did; answers the way to put rows into it.
#[cfg(test)]
pub(super) fn first_form(folder: &Path) -> impl Fn(u8, &[u8], &[u8]) + use<> {
    let db = sled::Config::new().path(folder).open().unwrap();
    move |table, key, record| {
        let tree = db.open_tree(table.to_be_bytes()).unwrap();
        tree.insert(key, record).unwrap();
    }
}
