//! Whether the server can do its work, and what its store takes: what monitoring asks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::metrics::StoreFigures;
use crate::storage::{Store, StoreError, disk};

/// The service.
pub struct Health {
    store: Store,
    folder: PathBuf,
    stopping: AtomicBool,
}

impl Health {
    /// The service over a store and its folder.
    pub fn new(store: Store, folder: PathBuf) -> Self {
        Self {
            store,
            folder,
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
        Ok(self.store.write(|_| Ok::<(), StoreError>(())).await?)
    }

    /// What the store is like now. Blocks on the file system.
    pub fn figures(&self) -> StoreFigures {
        StoreFigures {
            bytes: disk::size(&self.folder),
        }
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
