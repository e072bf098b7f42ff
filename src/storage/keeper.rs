//! The thread that keeps journal and snapshots small, and makes backups. Whatever fails here, serving goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::{JournalError, MaintenanceError};
use super::files::Disk;
use super::journal;
use super::layout::Layout;
use super::merge::{self, Moment};
use super::recovery::{self, Base, Head};
use super::writer::Message;
use super::{Sizes, StoreError, snapshot};
use crate::clock::{Clock as _, SystemClock};

/// How often it is looked whether the newest snapshot is too old.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// How old the newest snapshot may be.
const OLDEST: Duration = Duration::from_hours(24);

/// How many segments may stand after the newest snapshot.
const SEGMENTS: usize = 32;

/// How many rows pass until whoever waits for a backup is told.
const TELL_EVERY: u64 = 4096;

/// Told how many rows are written.
pub(super) type Watch = Box<dyn Fn(u64) + Send>;

/// What the thread is asked to do.
enum Command {
    /// To look whether a snapshot is due, as a segment was ended.
    Look,
    /// To make a snapshot of the last change.
    Snapshot(oneshot::Sender<Result<u64, MaintenanceError>>),
    /// To make snapshots until nothing that was deleted is left in journal and snapshots.
    Forget(oneshot::Sender<Result<u64, MaintenanceError>>),
    /// To write a backup into a folder.
    Backup(
        PathBuf,
        Watch,
        oneshot::Sender<Result<u64, MaintenanceError>>,
    ),
}

/// The way to the thread, which gives up what it does and ends when this is dropped.
pub(super) struct Keeper {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
}

/// The thread before it runs, which needs the writer, which needs a way to wake the thread.
pub(super) struct Waker {
    commands: Sender<Command>,
    waiting: Receiver<Command>,
}

impl Waker {
    pub(super) fn new() -> Self {
        let (commands, waiting) = mpsc::channel();
        Self { commands, waiting }
    }

    /// Tells the thread that a segment was ended.
    pub(super) fn on_sealed(&self) -> impl Fn() + Send + use<> {
        let commands = self.commands.clone();
        move || {
            // After the thread has ended, nobody needs to look.
            let _ = commands.send(Command::Look);
        }
    }

    /// Starts the thread.
    pub(super) fn start(
        self,
        disk: Arc<dyn Disk>,
        folder: Layout,
        sizes: Sizes,
        writer: tokio::sync::mpsc::Sender<Message>,
    ) -> std::io::Result<Keeper> {
        let closing = Arc::new(AtomicBool::new(false));
        let work = Work {
            disk,
            folder,
            sizes,
            writer,
            closing: Arc::clone(&closing),
            clock: SystemClock::new(),
        };
        let waiting = self.waiting;
        let thread = std::thread::Builder::new()
            .name("store-keeper".to_owned())
            .spawn(move || work.run(&waiting))?;
        Ok(Keeper {
            commands: Some(self.commands),
            thread: Some(thread),
            closing,
        })
    }
}

impl Keeper {
    pub(super) async fn snapshot(&self) -> Result<u64, MaintenanceError> {
        self.ask(Command::Snapshot).await
    }

    pub(super) async fn forget(&self) -> Result<u64, MaintenanceError> {
        self.ask(Command::Forget).await
    }

    pub(super) async fn backup(&self, to: PathBuf, watch: Watch) -> Result<u64, MaintenanceError> {
        self.ask(|reply| Command::Backup(to, watch, reply)).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<u64, MaintenanceError>>) -> Command,
    ) -> Result<u64, MaintenanceError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StoreError::Stopped)?;
        commands
            .send(command(reply))
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // The writer keeps a way to the thread too, so it is told instead of left to notice.
        if let Some(commands) = self.commands.take() {
            let _ = commands.send(Command::Look);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that makes the store's snapshots panicked");
        }
    }
}

/// Sizes in bytes.
struct Added {
    snapshot: u64,
    segments: usize,
    bytes: u64,
}

struct Work {
    disk: Arc<dyn Disk>,
    folder: Layout,
    sizes: Sizes,
    writer: tokio::sync::mpsc::Sender<Message>,
    closing: Arc<AtomicBool>,
    /// Reads how long the thread has been there.
    clock: SystemClock,
}

impl Work {
    fn run(&self, waiting: &Receiver<Command>) {
        self.look_quietly();
        loop {
            let command = waiting.recv_timeout(LOOK_EVERY);
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            // Whoever asked may have gone.
            match command {
                Ok(Command::Look) | Err(RecvTimeoutError::Timeout) => self.look_quietly(),
                Ok(Command::Snapshot(reply)) => drop(reply.send(self.snapshot_now())),
                Ok(Command::Forget(reply)) => drop(reply.send(self.forget())),
                Ok(Command::Backup(to, watch, reply)) => {
                    drop(reply.send(self.backup(&to, &*watch)));
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look_quietly(&self) {
        match self.look() {
            Ok(()) | Err(MaintenanceError::Journal(JournalError::Closing)) => {}
            Err(error) => log::error!("no snapshot of the store was made: {error}"),
        }
    }

    fn look(&self) -> Result<(), MaintenanceError> {
        if self.is_due_by_size()? {
            self.snapshot_of_sealed()?;
        } else if self.is_due_by_age()? {
            self.renew()?;
        }
        Ok(())
    }

    /// Whether merging what was added since the last snapshot is worth its work.
    fn is_due_by_size(&self) -> Result<bool, MaintenanceError> {
        let added = self.added()?;
        let enough = added
            .snapshot
            .clamp(self.sizes.merge_least, self.sizes.merge_most);
        Ok(added.segments >= SEGMENTS || added.bytes >= enough)
    }

    /// What the next snapshot will be made of.
    fn added(&self) -> Result<Added, JournalError> {
        let newest = recovery::list(&self.folder)?.snapshots.pop();
        let segments = recovery::sealed_after(&self.folder, newest.unwrap_or(0))?;
        let size = |file: PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
        Ok(Added {
            snapshot: newest.map_or(0, |sequence| size(self.folder.snapshot(sequence))),
            segments: segments.len(),
            bytes: segments
                .iter()
                .map(|first| size(self.folder.segment(*first)))
                .sum(),
        })
    }

    /// Refuses a snapshot that could take the space without which the index fails.
    fn check_space(&self) -> Result<(), MaintenanceError> {
        let added = self.added()?;
        let needed = added.snapshot + added.bytes + self.sizes.reserve / 4;
        let root = self.folder.root();
        let free = self
            .disk
            .free_space(root)
            .map_err(JournalError::file(root))?;
        if free < needed {
            return Err(MaintenanceError::NoSpace { needed, free });
        }
        Ok(())
    }

    fn is_due_by_age(&self) -> Result<bool, MaintenanceError> {
        let listing = recovery::list(&self.folder)?;
        let newest = match (listing.snapshots.last(), listing.segments.as_slice()) {
            (Some(sequence), _) => self.folder.snapshot(*sequence),
            (None, [first, _, ..]) => self.folder.segment(*first),
            // The only segment is as young as its last change.
            (None, _) => return Ok(self.clock.monotonic() >= OLDEST),
        };
        let modified = fs::metadata(&newest)
            .and_then(|metadata| metadata.modified())
            .map_err(JournalError::file(&newest))?;
        // One from a later day was made while the clock was wrong, and says nothing about its age.
        let age = modified.elapsed().unwrap_or_else(|ahead| ahead.duration());
        Ok(age >= OLDEST)
    }

    /// A snapshot for a new day. If nothing changed, one is made all the same as long as the older of the two that are
    /// kept, or the journal between them, holds what was deleted since.
    fn renew(&self) -> Result<(), MaintenanceError> {
        let head = self.seal(false)?;
        let kept = self.kept()?;
        if let [newest, older] = kept.as_slice() {
            let apart = newest.head.sequence.saturating_sub(older.head.sequence);
            if newest.head.sequence == head.sequence
                && apart <= 1
                && newest.head.digest == older.head.digest
            {
                return Ok(());
            }
        }
        if kept
            .first()
            .is_some_and(|newest| newest.head.sequence == head.sequence)
        {
            self.seal(true)?;
        }
        self.snapshot_of_sealed()?;
        Ok(())
    }

    fn snapshot_now(&self) -> Result<u64, MaintenanceError> {
        self.seal(false)?;
        self.snapshot_of_sealed()
    }

    fn forget(&self) -> Result<u64, MaintenanceError> {
        self.snapshot_now()?;
        self.seal(true)?;
        self.snapshot_of_sealed()
    }

    /// Merges everything that is no longer written to into a snapshot, and removes what is older than two of them.
    fn snapshot_of_sealed(&self) -> Result<u64, MaintenanceError> {
        self.check_space()?;
        let sealed = |sequence| recovery::sealed_after(&self.folder, sequence);
        let (base, head) = merge::with_rows(&self.folder, sealed, |moment| {
            let (base, head) = (*moment.base(), moment.head());
            if head.sequence > base.head.sequence {
                let file = self.folder.snapshot(head.sequence);
                self.write_snapshot(&file, &moment, &|_| {})?;
            }
            Ok((base, head))
        })?;
        self.prune(&base, head)?;
        Ok(head.sequence)
    }

    fn write_snapshot(
        &self,
        file: &Path,
        moment: &Moment,
        watch: &dyn Fn(u64),
    ) -> Result<(), JournalError> {
        let (history, head) = (moment.base().history, moment.head());
        let mut rows = 0_u64;
        snapshot::write(&*self.disk, file, history, head, |out| {
            moment.rows(&self.folder, &mut |table, key, record| {
                if self.closing.load(Ordering::Relaxed) {
                    return Err(JournalError::Closing);
                }
                if rows.is_multiple_of(TELL_EVERY) {
                    watch(rows);
                }
                rows += 1;
                out.row(table, key, record)
            })
        })
    }

    /// Removes what nothing is read from any more: snapshots that turned out to be damaged, those older than the newest
    /// two, and segments older than both.
    fn prune(&self, base: &Base, head: Head) -> Result<(), MaintenanceError> {
        let remove = |file: PathBuf| {
            self.disk
                .remove(&file)
                .map_err(JournalError::file(&file))
                .map_err(MaintenanceError::from)
        };
        let passed_over =
            |sequence: &u64| *sequence > base.head.sequence && *sequence < head.sequence;
        let listing = recovery::list(&self.folder)?;
        for sequence in listing.snapshots.into_iter().filter(passed_over) {
            remove(self.folder.snapshot(sequence))?;
        }
        let kept = self.kept()?;
        let [_, older] = kept.as_slice() else {
            return Ok(());
        };
        let oldest = older.head.sequence;
        let listing = recovery::list(&self.folder)?;
        for sequence in listing.snapshots.into_iter().filter(|s| *s < oldest) {
            remove(self.folder.snapshot(sequence))?;
        }
        for first in listing.segments.into_iter().filter(|f| *f <= oldest) {
            remove(self.folder.segment(first))?;
        }
        let journal = self.folder.journal();
        self.disk
            .sync_folder(&journal)
            .map_err(JournalError::file(&journal))?;
        Ok(())
    }

    /// The newest two snapshots.
    fn kept(&self) -> Result<Vec<Base>, MaintenanceError> {
        let bases = recovery::bases(&self.folder)?;
        let snapshots = bases.filter_map(Result::ok).filter(|base| base.snapshot);
        Ok(snapshots.take(2).collect())
    }

    fn backup(&self, to: &Path, watch: &dyn Fn(u64)) -> Result<u64, MaintenanceError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            |source| MaintenanceError::Target { path, source }
        };
        if to.exists() {
            if fs::read_dir(to).map_err(at(to))?.next().is_some() {
                return Err(MaintenanceError::NotEmpty(to.to_owned()));
            }
        } else {
            self.disk.create_folder(to).map_err(at(to))?;
        }
        let last = self.seal(false)?.sequence;
        let target = Layout::new(to);
        let sealed = |sequence| {
            let mut segments = recovery::sealed_after(&self.folder, sequence)?;
            segments.retain(|first| *first <= last);
            Ok(segments)
        };
        let head = merge::with_rows(&self.folder, sealed, |moment| {
            let (history, head) = (moment.base().history, moment.head());
            journal::found(&*self.disk, &target, history, head, |file| {
                self.write_snapshot(file, &moment, watch)
            })?;
            Ok(head)
        })?;
        Ok(head.sequence)
    }

    fn seal(&self, advance: bool) -> Result<Head, MaintenanceError> {
        let (reply, answer) = oneshot::channel();
        self.writer
            .blocking_send(Message::Seal { advance, reply })
            .map_err(|_| StoreError::Stopped)?;
        let head = answer.blocking_recv().map_err(|_| StoreError::Stopped)?;
        Ok(head?)
    }
}
