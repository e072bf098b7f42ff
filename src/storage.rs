//! The store: typed tables that change only through closures, durable before anyone is answered.
//!
//! [`Store::write`] hands a closure to the one writer thread, [`Store::read`] gives a consistent view. Nothing above this
//! module knows what the tables are kept in: a journal, which is the truth, and an index in sled, which can be made again
//! from it at any time. `docs/storage.md` gives every file byte by byte.

pub mod accounts;
pub mod associations;
mod changes;
mod codec;
mod digest;
pub mod erase;
mod error;
mod files;
mod frame;
mod index;
pub mod invitations;
mod journal;
mod keeper;
pub mod key_states;
mod layout;
mod lookup;
pub mod maintenance;
mod merge;
mod opening;
pub mod outbox;
mod outgoing;
mod progress;
mod recent;
mod recovery;
mod rotation;
pub mod secret_file;
pub mod sessions;
mod snapshot;
pub mod tables;
#[cfg(test)]
mod tests;
mod tx;
mod view;
mod writer;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use self::files::{Disk, RealDisk};
use self::journal::Counters;
use self::keeper::{Keeper, Waker};
use self::layout::Layout;
use self::lookup::LookupTables;
use self::opening::Opening;
use self::tables::{Meta, MetaName, MetaRecord, TABLES, Table as _};
use self::view::View;
use self::writer::{Committer, Writer};
use crate::config;
use crate::types::ServerName;

pub use self::error::{JournalError, MaintenanceError, OpenError, StoreError};
pub use self::lookup::Found;
pub use self::outgoing::Written;
pub use self::rotation::{Progress as RotationProgress, Rotation, RotationError};
pub use self::tx::{Rows, Spent, Tx};

/// The version of the tables that this binary writes. 2 brought the tables 5, 6, 11 and 13.
const SCHEMA: u32 = 2;

/// When files are ended and merged, in bytes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// A segment is ended when it is this long.
    segment: u64,
    /// A snapshot is made when the journal after the last one is as long as that one, but at least this,
    merge_least: u64,
    /// and at most this.
    merge_most: u64,
    /// What is kept free on the disk, so that the index can always be written.
    reserve: u64,
    /// What the index may take beyond [`INDEX_TIMES`] the rows before a start makes it anew.
    index_spare: u64,
}

/// How many times what its rows take the index may take. A new one takes 4 to 7 times as much.
const INDEX_TIMES: u64 = 12;

impl Default for Sizes {
    fn default() -> Self {
        Self {
            segment: 4 << 20,
            merge_least: 8 << 20,
            merge_most: 32 << 20,
            reserve: 32 << 20,
            index_spare: 8 << 20,
        }
    }
}

/// How a store is opened; tests have their own ways.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    sizes: Sizes,
    rebuild: bool,
    /// Whether the store may be another server's.
    any_name: bool,
}

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    // Dropped in this order: the keeper gives up, the writer finishes, the index closes, the lock is released.
    keeper: Keeper,
    writer: Writer,
    view: Arc<View>,
    folder: Layout,
    rows: Arc<[AtomicU64]>,
    counters: Arc<Counters>,
    _lock: File,
    /// Disconnected when all of the above is closed.
    _closed: mpsc::Sender<()>,
    closed: Mutex<Option<mpsc::Receiver<()>>>,
}

/// What a store holds and how it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// How many rows each table has, by its name.
    pub rows: Vec<(&'static str, u64)>,
    /// The number of the last durable change.
    pub sequence: u64,
    /// How many groups were written since the store was opened.
    pub groups: u64,
    /// How many bytes the journal takes.
    pub journal_bytes: u64,
    /// How many bytes the snapshots take.
    pub snapshot_bytes: u64,
    /// When the newest snapshot was made, if there is one.
    pub snapshot_made: Option<SystemTime>,
    /// How many bytes sled's files take.
    pub index_bytes: u64,
}

impl Store {
    /// Opens the store in `settings.path`, making it if need be. All rows are read once, so that damage is found now and
    /// not when somebody asks.
    ///
    /// # Errors
    /// One sentence that says what the operator is to do; nothing that was stored is lost by it.
    pub fn open(settings: &config::Store, server_name: &ServerName) -> Result<Self, OpenError> {
        Self::open_with(
            settings,
            server_name,
            Arc::new(RealDisk),
            Options::default(),
        )
    }

    fn open_with(
        settings: &config::Store,
        server_name: &ServerName,
        disk: Arc<dyn Disk>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let (folder, lock) = lock(&settings.path)?;
        let opened = Opening {
            disk: Arc::clone(&disk),
            folder: &folder,
            cache: settings.cache,
            sizes: options.sizes,
            rebuild: options.rebuild,
        }
        .run()?;
        let rows: Arc<[AtomicU64]> = opened.rows.into_iter().map(AtomicU64::new).collect();
        let counters = opened.journal.counters();
        let view = Arc::new(View::new(opened.index, opened.lookup));
        let expected = (!options.any_name).then_some(server_name);
        let condition = examine(&view, &folder, &rows, expected)?;
        let waker = Waker::new();
        let mut committer = Committer::new(
            Arc::clone(&view),
            opened.journal,
            Arc::clone(&rows),
            waker.on_sealed(),
        );
        if condition != Condition::Current {
            let mut tx = Tx::new(view.index(), None);
            if condition == Condition::New {
                let name = MetaRecord::ServerName(server_name.as_str().to_owned());
                tx.put::<Meta>(&MetaName::ServerName, &name)?;
            }
            tx.put::<Meta>(&MetaName::Schema, &MetaRecord::Schema(SCHEMA))?;
            if let Some(changes) = committer.commit(tx.into_changes())? {
                committer.apply(&changes);
            }
        }
        let thread = |source| OpenError::Folder {
            path: folder.root().to_owned(),
            source,
        };
        let writer = Writer::start(committer).map_err(thread)?;
        let queue = writer.queue().ok_or(StoreError::Stopped)?;
        let keeper = waker
            .start(disk, folder.clone(), options.sizes, queue)
            .map_err(thread)?;
        let (open, closed) = mpsc::channel();
        Ok(Self(Arc::new(Inner {
            keeper,
            writer,
            view,
            folder,
            rows,
            counters,
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
    /// The closure's own, or that of the store. After [`StoreError::Unavailable`] the change may be there or not, but
    /// never in part.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.0.writer.write(change).await
    }

    /// [`Self::write`] for a thread that may wait; never to be called by one that runs asynchronous tasks.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_blocking<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.0.writer.write_blocking(change)
    }

    /// Runs a query on this thread, over tables that do not change meanwhile. It never waits for the disk's sync. A query
    /// does not ask the store again, and a long one is divided into steps, because nothing becomes visible while it runs.
    ///
    /// # Errors
    /// The query's own, or that of the store.
    pub fn read<T, E>(&self, query: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.0.view.read(query)
    }

    /// Whether a change could be written now. A closure that changes nothing would not tell: it does not reach the disk.
    ///
    /// # Errors
    /// Why it could not: the disk is full, a sync or the index failed, or the store is closing.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.0.writer.probe().await
    }

    fn lookup_tables(&self) -> Arc<LookupTables> {
        Arc::clone(self.0.view.lookup())
    }

    /// Waits until the index fails, which a new start repairs, and says why. Whoever runs the server ends it then.
    pub async fn failed(&self) -> Arc<str> {
        let mut broken = self.0.view.index().watch();
        let reason = match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone(),
            Err(_) => None,
        };
        match reason {
            Some(reason) => reason,
            // The store holds the other end, and this borrows the store.
            None => std::future::pending().await,
        }
    }

    /// Waits until outgoing work was written since this answered last, by whomever, and says where it stands. For one who
    /// waits.
    pub async fn outgoing(&self) -> Written {
        self.0.view.outgoing().next().await
    }

    /// Makes a snapshot of the last change, and answers that change's number. Snapshots are also made without being
    /// asked for: daily, and when the journal grows.
    ///
    /// # Errors
    /// When it cannot be written. Serving goes on.
    pub async fn snapshot(&self) -> Result<u64, MaintenanceError> {
        self.0.keeper.snapshot().await
    }

    /// Makes snapshots until journal and snapshots hold nothing that is deleted by now.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    pub async fn forget_deleted(&self) -> Result<u64, MaintenanceError> {
        self.0.keeper.forget().await
    }

    /// Writes a consistent copy into a new or empty folder while everything goes on, and answers the number of the last
    /// change in it. [`maintenance::restore`] reads it. The key files are not part of it.
    ///
    /// # Errors
    /// When it cannot be written; an incomplete copy is not taken for a whole one.
    pub async fn backup(&self, to: PathBuf) -> Result<u64, MaintenanceError> {
        self.backup_watched(to, |_| {}).await
    }

    /// [`Self::backup`], which now and then tells `watch` how many rows are written. It must not wait.
    ///
    /// # Errors
    /// As [`Self::backup`].
    pub async fn backup_watched(
        &self,
        to: PathBuf,
        watch: impl Fn(u64) + Send + 'static,
    ) -> Result<u64, MaintenanceError> {
        self.0.keeper.backup(to, Box::new(watch)).await
    }

    /// Has `observe` called from now on with how long the disk took for each group of changes, by the thread that writes:
    /// it must neither wait nor use the store. Only the first one that is given here is called.
    pub fn observe_syncs(&self, observe: impl Fn(Duration) + Send + Sync + 'static) {
        // Whoever comes second would not be told more than the first.
        let _ = self.0.counters.on_sync.set(Box::new(observe));
    }

    /// What the store holds and how it is doing.
    ///
    /// # Errors
    /// When its files cannot be looked at.
    pub fn stats(&self) -> Result<StoreStats, MaintenanceError> {
        let inner = &self.0;
        let listing = recovery::list(&inner.folder)?;
        let metadata = |file: PathBuf| std::fs::metadata(file).ok();
        let bytes = |file: PathBuf| metadata(file).map_or(0, |metadata| metadata.len());
        let snapshots = listing.snapshots.iter();
        let newest = listing
            .snapshots
            .last()
            .and_then(|sequence| metadata(inner.folder.snapshot(*sequence)));
        Ok(StoreStats {
            rows: TABLES
                .iter()
                .zip(inner.rows.iter())
                .map(|(table, count)| (table.name, count.load(Ordering::Relaxed)))
                .collect(),
            sequence: inner.counters.sequence.load(Ordering::Relaxed),
            groups: inner.counters.frames.load(Ordering::Relaxed),
            journal_bytes: listing
                .segments
                .iter()
                .map(|first| bytes(inner.folder.segment(*first)))
                .sum(),
            snapshot_bytes: snapshots.map(|s| bytes(inner.folder.snapshot(*s))).sum(),
            snapshot_made: newest.and_then(|metadata| metadata.modified().ok()),
            index_bytes: inner
                .view
                .index()
                .size()
                .map_err(|error| MaintenanceError::Store(error.into()))?,
        })
    }
}

/// Takes the lock before anything else in the folder is touched.
fn lock(path: &Path) -> Result<(Layout, File), OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| OpenError::Folder { path, source }
    };
    create_folder(path).map_err(at(path))?;
    let folder = Layout::new(path);
    let file = folder.lock();
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file)
        .map_err(at(&file))?;
    match lock.try_lock() {
        Ok(()) => Ok((folder, lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Folder { path: file, source }),
    }
}

/// Makes a folder and those above it, durably.
fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    create_folder(above)?;
    DirBuilder::new().mode(0o700).create(path)?;
    File::open(above)?.sync_all()
}

/// What is to be done with a store before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It has never been used, and is to be given its name.
    New,
    /// It is of an earlier schema, whose rows this binary reads, and is to be called one of this schema.
    Earlier,
    /// Nothing.
    Current,
}

/// What the store is like; an error if it is of a later schema, or of another server than is expected.
fn examine(
    view: &View,
    folder: &Layout,
    rows: &[AtomicU64],
    expected: Option<&ServerName>,
) -> Result<Condition, OpenError> {
    let path = folder.root().to_owned();
    let (schema, name) = view.read(|tx| -> Result<_, StoreError> {
        Ok((
            tx.get::<Meta>(&MetaName::Schema)?,
            tx.get::<Meta>(&MetaName::ServerName)?,
        ))
    })?;
    match (schema, name) {
        (Some(MetaRecord::Schema(found)), _) if found > SCHEMA => {
            Err(OpenError::Newer { path, found })
        }
        (Some(MetaRecord::Schema(schema)), Some(MetaRecord::ServerName(found))) => match expected {
            Some(wanted) if found != wanted.as_str() => Err(OpenError::OtherServer {
                path,
                found,
                wanted: wanted.as_str().to_owned(),
            }),
            _ if schema == SCHEMA => Ok(Condition::Current),
            _ => Ok(Condition::Earlier),
        },
        (None, None) if rows.iter().all(|count| count.load(Ordering::Relaxed) == 0) => {
            Ok(Condition::New)
        }
        _ => Err(OpenError::Damaged {
            path,
            table: Meta::NAME,
        }),
    }
}

/// Whether there is a store in the folder already.
pub fn exists(path: &Path) -> bool {
    let folder = Layout::new(path);
    folder.journal().is_dir() || folder.index().is_dir()
}
