//! Whether the server can do its work, and what its store takes: what monitoring asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use crate::clock::Clock;
use crate::metrics::{OutboxFigures, StoreFigures};
use crate::storage::{MaintenanceError, Store, StoreError, outbox};
use crate::types::Timestamp;

/// The service.
pub struct Health {
    store: Store,
    clock: Arc<dyn Clock>,
    stopping: AtomicBool,
}

impl Health {
    /// The service over a store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on the server is not ready: it finishes what runs and takes nothing new.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether requests can be served: the server is not stopping, and its store takes changes.
    ///
    /// # Errors
    /// Says in one sentence why not.
    pub async fn ready(&self) -> Result<(), NotReady> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(NotReady::Stopping);
        }
        Ok(self.store.check_writable().await?)
    }

    /// What the store is like now. Blocks on the file system.
    ///
    /// # Errors
    /// When the files of the store cannot be looked at.
    pub fn figures(&self) -> Result<StoreFigures, MaintenanceError> {
        let stats = self.store.stats()?;
        let made = stats.snapshot_made;
        Ok(StoreFigures {
            rows: stats.rows,
            journal_bytes: stats.journal_bytes,
            snapshot_bytes: stats.snapshot_bytes,
            index_bytes: stats.index_bytes,
            frames: stats.groups,
            snapshot_made: made.and_then(|made| made.duration_since(UNIX_EPOCH).ok()),
        })
    }

    /// What outgoing work there is now.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outbox(&self) -> Result<OutboxFigures, StoreError> {
        let figures = outbox::figures(&self.store)?;
        let now = self.clock.now();
        let ago = |then: Option<Timestamp>| then.map(|then| now.since(then)).unwrap_or_default();
        Ok(OutboxFigures {
            waiting: figures.waiting,
            failed: figures.failed,
            oldest: ago(figures.oldest),
            overdue: ago(figures.due),
        })
    }
}

/// Why requests cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The server was told to stop.
    #[error("the server is stopping")]
    Stopping,
    /// The store does not take changes.
    #[error(transparent)]
    Store(#[from] StoreError),
}
