//! The end of the journal, where changes are added.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::changes::Changes;
use super::digest::Digest;
use super::error::JournalError;
use super::files::{Disk, Out, create_whole};
use super::frame::{self, History, Kind, Meta};
use super::layout::{self, Layout};
use super::recovery::{Examined, Head};
use super::{SCHEMA, Sizes};
use crate::clock::{Clock as _, SystemClock};

/// Why a group did not get into the journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    /// The journal is as it was; a later try may succeed.
    #[error("{0}")]
    Refused(String),
    /// What is on the disk is not known; nothing may be added before it was read again.
    #[error("{0}")]
    Failed(String),
}

/// The journal as the writer has it.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    clock: SystemClock,
    folder: Layout,
    sizes: Sizes,
    history: History,
    head: Head,
    segment: Box<dyn Out>,
    first: u64,
    length: u64,
    /// Whether a segment was ended since somebody last asked.
    sealed: bool,
    counters: Arc<Counters>,
}

/// What the writer did since the store was opened, for whoever wants to show it.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) frames: AtomicU64,
    pub(super) sequence: AtomicU64,
    /// Called with how long the disk took for a group.
    pub(super) on_sync: OnceLock<Observer>,
}

type Observer = Box<dyn Fn(Duration) + Send + Sync>;

impl Journal {
    /// Makes the readable part of the last segment durable, as it may have been read from memory that never reached the
    /// disk, and starts a segment after it.
    pub(super) fn resume(
        disk: Arc<dyn Disk>,
        folder: Layout,
        sizes: Sizes,
        found: &Examined,
    ) -> Result<Self, JournalError> {
        if !found.tail.is_empty {
            let file = folder.segment(found.tail.first);
            copy_intact(&*disk, &file, found.tail.intact).map_err(JournalError::file(&file))?;
        }
        let first = found.head.sequence + 1;
        let file = folder.segment(first);
        let (segment, length) = start_segment(&*disk, &file, found.history, found.head)
            .map_err(JournalError::file(&file))?;
        Ok(Self {
            disk,
            clock: SystemClock::new(),
            folder,
            sizes,
            history: found.history,
            head: found.head,
            segment,
            first,
            length,
            sealed: false,
            counters: Arc::new(Counters {
                sequence: AtomicU64::new(found.head.sequence),
                ..Counters::default()
            }),
        })
    }

    /// Whether a segment was ended since this was last asked.
    pub(super) fn take_sealed(&mut self) -> bool {
        std::mem::take(&mut self.sealed)
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn history(&self) -> History {
        self.history
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Adds a group and waits until the disk has it. `digest` is that of all rows after it.
    pub(super) fn append(&mut self, changes: &Changes, digest: Digest) -> Result<(), AppendError> {
        self.check_space()?;
        let meta = Meta {
            kind: Kind::Group,
            schema: SCHEMA,
            history: self.history,
            sequence: self.head.sequence + 1,
            previous: self.head.checksum,
            digest,
        };
        let (bytes, checksum) = meta.frame(|body| changes.encode(body));
        if bytes.len() > frame::HEAD + frame::MAX_BODY + frame::TAIL {
            return Err(AppendError::Refused("the group is too large".to_owned()));
        }
        if self.length >= self.sizes.segment {
            self.seal()?;
        }
        self.write(&bytes)?;
        self.head = Head {
            sequence: meta.sequence,
            checksum,
            digest,
        };
        self.length += bytes.len() as u64;
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        self.counters
            .sequence
            .store(meta.sequence, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the disk has the room without which nothing is added.
    pub(super) fn check_space(&self) -> Result<(), AppendError> {
        let free = self
            .disk
            .free_space(self.folder.root())
            .map_err(|error| AppendError::Refused(format!("its disk does not answer: {error}")))?;
        if free < self.sizes.reserve {
            return Err(AppendError::Refused(format!(
                "the disk is full ({} MiB are left, {} MiB are kept free)",
                free >> 20,
                self.sizes.reserve >> 20
            )));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        if let Err(error) = self.segment.append(bytes) {
            // What was written of it is taken back, so that the next frame stands where this one should have.
            let undone = self
                .segment
                .truncate(self.length)
                .and_then(|()| self.segment.sync());
            return Err(match undone {
                Ok(()) => AppendError::Refused(format!("its journal cannot be written: {error}")),
                Err(undo) => AppendError::Failed(format!(
                    "its journal cannot be written: {error}, and what was written of it cannot be removed: {undo}"
                )),
            });
        }
        let started = self.clock.monotonic();
        // After a failure the system may have dropped the bytes and would say that all is well the next time.
        self.segment.sync().map_err(|error| {
            AppendError::Failed(format!("its journal cannot be synced: {error}"))
        })?;
        if let Some(observe) = self.counters.on_sync.get() {
            observe(self.clock.monotonic().saturating_sub(started));
        }
        Ok(())
    }

    /// Ends the segment, unless it is empty, and starts the next one.
    pub(super) fn seal(&mut self) -> Result<(), AppendError> {
        let first = self.head.sequence + 1;
        if first == self.first {
            return Ok(());
        }
        let file = self.folder.segment(first);
        match start_segment(&*self.disk, &file, self.history, self.head) {
            Ok((segment, length)) => {
                self.segment = segment;
                self.first = first;
                self.length = length;
                self.sealed = true;
                Ok(())
            }
            // Without its name, the new file is none.
            Err(error) if !file.exists() => Err(AppendError::Refused(format!(
                "its journal cannot be continued: {error}"
            ))),
            Err(error) => Err(AppendError::Failed(format!(
                "its journal cannot be continued: {error}"
            ))),
        }
    }
}

/// Writes the frame that begins a segment.
fn start_segment(
    disk: &dyn Disk,
    file: &std::path::Path,
    history: History,
    head: Head,
) -> io::Result<(Box<dyn Out>, u64)> {
    let meta = Meta {
        kind: Kind::Segment,
        schema: SCHEMA,
        history,
        sequence: head.sequence + 1,
        previous: head.checksum,
        digest: head.digest,
    };
    let (bytes, _) = meta.frame(|_| {});
    let out = create_whole(disk, file, |out| out.append(&bytes))?;
    Ok((out, bytes.len() as u64))
}

/// Puts a durable copy of the first `length` bytes of a file in its place.
fn copy_intact(disk: &dyn Disk, file: &std::path::Path, length: u64) -> io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    create_whole(disk, file, |out| out.append(&bytes)).map(|_| ())
}

/// Makes the first folder of a history: an optional snapshot, then the segment after it. It is whole when its name
/// appears.
pub(super) fn found(
    disk: &dyn Disk,
    folder: &Layout,
    history: History,
    head: Head,
    snapshot: impl FnOnce(&std::path::Path) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let unfinished = folder.new_journal();
    let at = |path: &std::path::Path| JournalError::file(PathBuf::from(path));
    if unfinished.is_dir() {
        std::fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
    }
    disk.create_folder(&unfinished).map_err(at(&unfinished))?;
    snapshot(&layout::snapshot(&unfinished, head.sequence))?;
    let file = layout::segment(&unfinished, head.sequence + 1);
    start_segment(disk, &file, history, head).map_err(at(&file))?;
    disk.sync_folder(&unfinished).map_err(at(&unfinished))?;
    disk.rename(&unfinished, &folder.journal())
        .map_err(at(&unfinished))?;
    disk.sync_folder(folder.root()).map_err(at(folder.root()))
}
