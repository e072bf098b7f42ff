//! What can go wrong, each as one sentence that says what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::SCHEMA;

/// Why a store could not be opened. Nothing that it holds was changed.
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
    /// The journal or a snapshot is not what was written.
    #[error("{0}{way_out}", way_out = .0.way_out())]
    Journal(#[from] JournalError),
    /// A backup is not what was written.
    #[error("the backup cannot be used: {0}")]
    Backup(#[source] JournalError),
    /// The index knows changes that the journal lacks.
    #[error(
        "the journal in {} ends with change {journal}, but change {index} was made and acknowledged: a part of the \
         journal is missing. Put the missing files back or restore a backup; to go on without the later changes, \
         remove {}",
        folder.display(),
        index_folder.display()
    )]
    IndexAhead {
        /// The folder of the journal.
        folder: PathBuf,
        /// The folder of the index.
        index_folder: PathBuf,
        /// The last change in the journal.
        journal: u64,
        /// The last change in the index.
        index: u64,
    },
    /// The index cannot be read, or made.
    #[error("the index in {} cannot be used: {reason}", path.display())]
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
        /// The folder or file.
        path: PathBuf,
        /// The schema that was found.
        found: u32,
    },
    /// It belongs to another server.
    #[error(
        "the store in {} belongs to `{found}`, but server.name is `{wanted}`: set server.name back, give the new server a \
         store of its own (store.path), or let the store change its name with `bindery rename {wanted}`",
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
    /// The folder that is to be filled holds a store already.
    #[error("{} is not empty: a backup is restored into an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// A journal was salvaged before, and its damaged files are still there.
    #[error("{} is still there from an earlier time: move it away first", .0.display())]
    Salvaged(PathBuf),
    /// The operating system gave no random bytes for the id of a new history.
    #[error(transparent)]
    Random(#[from] crate::random::RandomError),
    /// The store failed after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with a journal or a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A newer binary has written it.
    #[error(
        "{} was written by a newer bindery ({what} {found}): install that version again, or restore a backup from \
         before the upgrade",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// `format` or `schema`.
        what: &'static str,
        /// Its number.
        found: u32,
    },
    /// A frame is damaged, and what it held cannot be told.
    #[error("{} is damaged at byte {offset}: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
        /// The last change before it.
        intact: u64,
        /// How many intact groups of changes stand after it.
        later: u64,
    },
    /// Files between others are missing.
    #[error(
        "{} begins with change {found}, but {expected} is the next one: the files in between are missing",
        file.display()
    )]
    Gap {
        /// The file after the gap.
        file: PathBuf,
        /// The change that should come.
        expected: u64,
        /// The one that comes.
        found: u64,
    },
    /// The journal's files after the last snapshot are gone.
    #[error("{} holds no journal from change {expected} on", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The change that should come.
        expected: u64,
    },
    /// A file of another store.
    #[error("{} belongs to another store, or to another life of this one", .0.display())]
    Foreign(PathBuf),
    /// A snapshot is damaged and no older one can stand in for it.
    #[error("{} is damaged at byte {offset}: {reason}", file.display())]
    Snapshot {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// All frames are intact, but the rows do not add up to the digest that was written with them.
    #[error("the rows in {} do not add up to the digest of change {sequence}", folder.display())]
    Digest {
        /// The folder.
        folder: PathBuf,
        /// The change.
        sequence: u64,
    },
    /// The index did not take the rows.
    #[error("the index cannot be made: {0}")]
    Index(String),
    /// The operating system gave no random bytes for the id of a new history.
    #[error(transparent)]
    Random(#[from] crate::random::RandomError),
    /// The work was given up because the store closes.
    #[error("the store is closing")]
    Closing,
}

impl JournalError {
    pub(super) fn file(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        |source| Self::File { file, source }
    }

    /// What an operator can do about it, to be said after it; nothing where there is nothing but to look at the disk.
    fn way_out(&self) -> String {
        match self {
            Self::Damaged { intact, later, .. } => format!(
                "; restore a backup, or see by `bindery salvage` what can be kept: the changes up to {intact}. Lost would \
                 be the one after that and at least {later} later ones"
            ),
            Self::Gap { expected, .. } => format!(
                "; put them back, restore a backup, or see by `bindery salvage` what can be kept: the changes before \
                 {expected}"
            ),
            Self::Missing { .. } => "; put the missing files back, restore a backup, or see by `bindery salvage` what \
                                     can be kept"
                .to_owned(),
            Self::Foreign(_) => "; put the right file back, restore a backup, or see by `bindery salvage` what can be kept"
                .to_owned(),
            Self::Snapshot { .. } => "; restore a backup".to_owned(),
            Self::Digest { .. } => {
                "; restore a backup, or keep the rows as they are by `bindery salvage`".to_owned()
            }
            Self::File { .. }
            | Self::Newer { .. }
            | Self::Index(_)
            | Self::Random(_)
            | Self::Closing => String::new(),
        }
    }
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
    /// One closure changed more than a frame of the journal holds.
    #[error("a change of more than {} MiB was dropped", super::frame::MAX_BODY >> 20)]
    TooLarge,
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

/// Why a snapshot, a backup or another work on the whole store failed. Serving goes on.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The journal or a snapshot.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no room for a snapshot.
    #[error("a snapshot needs {} MiB of free space, and there are {}", needed >> 20, free >> 20)]
    NoSpace {
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// The target of a backup.
    #[error("cannot write the backup to {}: {source}", path.display())]
    Target {
        /// The folder or file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is something in the target of a backup.
    #[error("{} is not empty: a backup goes into a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
