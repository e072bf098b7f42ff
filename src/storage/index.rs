//! The rows in sled. The only file that names sled.

use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use sled::transaction::{ConflictableTransactionResult, TransactionResult, Transactional as _};

use super::StoreError;
use super::tables::TABLES;
use super::tx::Changes;

/// A row as bytes.
pub(super) type Row = (sled::IVec, sled::IVec);

/// All tables, each a tree.
pub(super) struct Index {
    db: sled::Db,
    trees: Vec<sled::Tree>,
    /// sled's own flush starts the writing of its file but does not wait for the disk; this handle does.
    file: File,
    applying: RwLock<()>,
}

/// The index could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("its files are damaged")]
    Panicked,
}

impl Index {
    /// Opens the trees in a folder. sled panics on some damaged files.
    pub(super) fn open(folder: &Path, cache: u64) -> Result<Self, IndexError> {
        let config = sled::Config::new().path(folder).cache_capacity(cache);
        catch_unwind(AssertUnwindSafe(|| {
            let db = config.open()?;
            let trees = TABLES
                .iter()
                .map(|table| db.open_tree(table.id.to_be_bytes()))
                .collect::<Result<Vec<_>, _>>()?;
            let file = File::open(folder.join("db"))?;
            Ok(Self {
                db,
                trees,
                file,
                applying: RwLock::new(()),
            })
        }))
        .unwrap_or(Err(IndexError::Panicked))
    }

    /// Runs a query while nothing is applied.
    pub(super) fn consistently<T>(&self, query: impl FnOnce() -> T) -> T {
        let _nothing_applied = self.applying.read().unwrap_or_else(PoisonError::into_inner);
        query()
    }

    /// Makes a group of changes durable: one transaction over all trees, then sled's flush, then the disk's.
    pub(super) fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        {
            let _alone = self
                .applying
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let result: TransactionResult<(), ()> = self.trees.as_slice().transaction(|trees| {
                for (table, key, record) in changes.iter() {
                    let place = TABLES.iter().position(|known| known.id == table);
                    if let Some(tree) = place.and_then(|place| trees.get(place)) {
                        match record {
                            Some(record) => tree.insert(key, record)?,
                            None => tree.remove(key)?,
                        };
                    }
                }
                ConflictableTransactionResult::Ok(())
            });
            result.map_err(|error| StoreError::unavailable(format!("{error:?}")))?;
        }
        self.db
            .flush()
            .map_err(|error| StoreError::unavailable(error.to_string()))?;
        self.file
            .sync_data()
            .map_err(|error| StoreError::unavailable(error.to_string()))
    }

    pub(super) fn get(&self, table: u8, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.tree(table)?
            .get(key)
            .map_err(|error| StoreError::unavailable(error.to_string()))
    }

    /// Rows in order, from a bound on, as long as their keys begin with a prefix.
    pub(super) fn range<'a>(
        &'a self,
        table: u8,
        from: Bound<Vec<u8>>,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = Result<Row, StoreError>> + 'a {
        let rows = self
            .tree(table)
            .ok()
            .map(|tree| tree.range((from, Bound::Unbounded)));
        rows.into_iter()
            .flatten()
            .map(|row| row.map_err(|error| StoreError::unavailable(error.to_string())))
            .take_while(move |row| {
                row.as_ref()
                    .map_or(true, |(key, _)| key.starts_with(prefix))
            })
    }

    fn tree(&self, table: u8) -> Result<&sled::Tree, StoreError> {
        let place = TABLES.iter().position(|known| known.id == table);
        place
            .and_then(|place| self.trees.get(place))
            .ok_or_else(|| StoreError::unavailable(format!("there is no table {table}")))
    }
}
