//! What stands where in the folder of a store.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::files::UNFINISHED;

/// The folder of a store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

/// What is in the folder of the journal.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The first sequence number of each segment, in order.
    pub(super) segments: Vec<u64>,
    /// The sequence number of each snapshot, in order.
    pub(super) snapshots: Vec<u64>,
    /// Files that were not finished.
    pub(super) unfinished: Vec<PathBuf>,
}

const SEGMENT: &str = "segment";
const SNAPSHOT: &str = "snapshot";

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Is there while the index is not known to be good.
    pub(super) fn marker(&self) -> PathBuf {
        self.root.join("index.opening")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Where a journal is made before it becomes the store's.
    pub(super) fn new_journal(&self) -> PathBuf {
        self.root.join("journal.new")
    }

    /// Where a journal is made out of a damaged one.
    pub(super) fn salvage(&self) -> PathBuf {
        self.root.join("salvage.new")
    }

    /// Where the journal goes when what can be read of it was saved.
    pub(super) fn damaged_journal(&self) -> PathBuf {
        self.root.join("journal.damaged")
    }

    pub(super) fn segment(&self, first: u64) -> PathBuf {
        segment(&self.journal(), first)
    }

    pub(super) fn snapshot(&self, sequence: u64) -> PathBuf {
        snapshot(&self.journal(), sequence)
    }

    pub(super) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(self.journal())? {
            let path = entry?.path();
            if path.extension().and_then(OsStr::to_str) == Some(UNFINISHED) {
                listing.unfinished.push(path);
                continue;
            }
            let number = path
                .file_stem()
                .and_then(OsStr::to_str)
                .filter(|stem| stem.len() == 16)
                .and_then(|stem| u64::from_str_radix(stem, 16).ok());
            match (number, path.extension().and_then(OsStr::to_str)) {
                (Some(first), Some(SEGMENT)) => listing.segments.push(first),
                (Some(sequence), Some(SNAPSHOT)) => listing.snapshots.push(sequence),
                _ => {}
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable();
        Ok(listing)
    }
}

/// The name of the segment that begins with a sequence number.
pub(super) fn segment(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:016x}.{SEGMENT}"))
}

/// The name of the snapshot after a sequence number.
pub(super) fn snapshot(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:016x}.{SNAPSHOT}"))
}
