//! The store: typed tables that change only through closures, durable before anyone is answered.
//!
//! [`Store::write`] hands a closure to the one writer thread, [`Store::read`] gives a consistent view. Nothing above this
//! module knows what the tables are kept in.

pub mod accounts;
pub mod associations;
mod codec;
mod index;
pub mod sessions;
pub mod tables;
mod tx;
mod writer;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use self::index::{Index, IndexError};
use self::tables::{Meta, MetaName, MetaRecord, Table as _};
pub use self::tx::Tx;
use self::writer::Writer;
use crate::config;
use crate::types::ServerName;

/// The version of the tables that this binary writes.
const SCHEMA: u32 = 1;

/// Why a store could not be opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("the store in {} is already in use by another bindery", .0.display())]
    InUse(PathBuf),
    /// A folder or file cannot be made or read.
    #[error("cannot use {} for the store (store.path): {source}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The index cannot be read.
    #[error("the store in {} cannot be opened: {reason}; restore it from a backup", path.display())]
    Index {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A row cannot be read.
    #[error("the store in {} is damaged in the table `{table}`; restore it from a backup", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The table.
        table: &'static str,
    },
    /// A newer binary has written to it.
    #[error(
        "the store in {} was written by a newer bindery (schema {found}, this one knows {SCHEMA}): \
         install that version again, or restore a backup from before the upgrade",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The schema that was found.
        found: u32,
    },
    /// It belongs to another server.
    #[error(
        "the store in {} belongs to `{found}`, but server.name is `{wanted}`: set server.name back, \
         or give the new server a store of its own (store.path)",
        path.display()
    )]
    OtherServer {
        /// The folder.
        path: PathBuf,
        /// The name in the store.
        found: String,
        /// The name in the configuration.
        wanted: String,
    },
    /// The store failed after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a read or a write failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing can be written or read at the moment; says why.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// A row is not what was written.
    #[error("the store is damaged in the table `{table}`")]
    Damaged {
        /// The table.
        table: &'static str,
    },
    /// A record cannot be put into bytes.
    #[error("a record of the table `{table}` cannot be written")]
    Unwritable {
        /// The table.
        table: &'static str,
    },
    /// A closure panicked; its changes were dropped.
    #[error("a change of the store panicked and was dropped")]
    Panicked,
    /// The store is closing.
    #[error("the store is closed")]
    Stopped,
}

impl StoreError {
    pub(crate) fn unavailable(reason: impl Into<Arc<str>>) -> Self {
        Self::Unavailable(reason.into())
    }

    /// Whether a later try may succeed.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Stopped)
    }
}

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    // Dropped in this order: the writer finishes, the index closes, the lock is released.
    writer: Writer,
    index: Arc<Index>,
    _lock: File,
    /// Disconnected when all of the above is closed.
    _closed: mpsc::Sender<()>,
    closed: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Store {
    /// Opens the store in `settings.path`, making it if need be. All rows are read once, so that damage is found now and
    /// not when somebody asks.
    ///
    /// # Errors
    /// One sentence that says what the operator is to do; the store is as it was.
    pub fn open(settings: &config::Store, server_name: &ServerName) -> Result<Self, OpenError> {
        let path = settings.path.clone();
        let lock = lock(&path)?;
        let opened = Index::open(&path.join("index"), settings.cache);
        let index = Arc::new(opened.map_err(|error| match error {
            IndexError::File(source) => OpenError::Folder {
                path: path.clone(),
                source,
            },
            other => OpenError::Index {
                path: path.clone(),
                reason: other.to_string(),
            },
        })?);
        let fresh = examine(&index, &path, server_name)?;
        let writer = Writer::start(Arc::clone(&index)).map_err(|source| OpenError::Folder {
            path: path.clone(),
            source,
        })?;
        if fresh {
            let mut tx = Tx::new(&index, None);
            let name = MetaRecord::ServerName(server_name.as_str().to_owned());
            tx.put::<Meta>(&MetaName::ServerName, &name)?;
            tx.put::<Meta>(&MetaName::Schema, &MetaRecord::Schema(SCHEMA))?;
            index.apply(&tx.into_changes())?;
        }
        let (open, closed) = mpsc::channel();
        Ok(Self(Arc::new(Inner {
            writer,
            index,
            _lock: lock,
            _closed: open,
            closed: Mutex::new(Some(closed)),
        })))
    }

    /// Gives this clone up and waits until the last one is gone, its writes are finished and its lock is released.
    /// Answers false if that took longer than `patience`. Every answered write is durable either way.
    pub fn close(self, patience: Duration) -> bool {
        let closed = self
            .0
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(self);
        closed.is_some_and(|closed| {
            matches!(
                closed.recv_timeout(patience),
                Err(mpsc::RecvTimeoutError::Disconnected)
            )
        })
    }

    /// Runs a change and answers when it is durable. Closures are run one after the other, each seeing what the ones
    /// before it changed; one that answers an error changes nothing. A closure does no I/O and may be run again.
    ///
    /// # Errors
    /// The closure's own, or that of the store.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.0.writer.write(change).await
    }

    /// Runs a query on this thread, over tables that do not change meanwhile.
    ///
    /// # Errors
    /// The query's own, or that of the store.
    pub fn read<T, E>(&self, query: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.0
            .index
            .consistently(|| query(&Tx::new(&self.0.index, None)))
    }
}

/// Takes the lock before anything else in the folder is touched.
fn lock(path: &Path) -> Result<File, OpenError> {
    let folder = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    if !path.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(folder)?;
    }
    let file = path.join("lock");
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file);
    let lock = opened.map_err(|source| OpenError::Folder {
        path: file.clone(),
        source,
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Folder { path: file, source }),
    }
}

/// Looks at what was opened without changing it. True if the store has never been used.
fn examine(index: &Index, path: &Path, server_name: &ServerName) -> Result<bool, OpenError> {
    let damaged = |error: StoreError| match error {
        StoreError::Damaged { table } => OpenError::Damaged {
            path: path.to_owned(),
            table,
        },
        other => OpenError::Store(other),
    };
    let tx = Tx::new(index, None);
    let schema = tx.get::<Meta>(&MetaName::Schema).map_err(damaged)?;
    if let Some(MetaRecord::Schema(found)) = schema
        && found > SCHEMA
    {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
        });
    }
    let mut rows = 0;
    for table in tables::TABLES {
        rows += (table.check)(&tx).map_err(damaged)?;
    }
    match tx.get::<Meta>(&MetaName::ServerName).map_err(damaged)? {
        None if rows == 0 => Ok(true),
        Some(MetaRecord::ServerName(found)) if found == server_name.as_str() => Ok(false),
        Some(MetaRecord::ServerName(found)) => Err(OpenError::OtherServer {
            path: path.to_owned(),
            found,
            wanted: server_name.as_str().to_owned(),
        }),
        _ => Err(OpenError::Damaged {
            path: path.to_owned(),
            table: Meta::NAME,
        }),
    }
}

/// Whether there is a store in the folder already.
pub fn exists(path: &Path) -> bool {
    path.join("index").is_dir()
}
