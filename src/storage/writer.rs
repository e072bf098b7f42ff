//! The one thread that changes anything. It takes all closures that wait, runs them one after the other, makes what they
//! changed durable in one step, and only then answers them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::changes::Changes;
use super::digest::Digest;
use super::frame::MAX_BODY;
use super::index::Applied;
use super::journal::{AppendError, Journal};
use super::recovery::Head;
use super::tables::TABLES;
use super::tx::Tx;
use super::view::View;

/// How many closures may wait before senders do.
const QUEUE: usize = 1024;

/// How many closures become durable in one step at most.
const GROUP: usize = 512;

/// What the thread is asked to do.
pub(super) enum Message {
    /// To run a closure.
    Change(Box<dyn Job>),
    /// To end the segment, after a group without changes if `advance`, and to say how far the journal has come.
    Seal {
        advance: bool,
        reply: oneshot::Sender<Result<Head, StoreError>>,
    },
    /// To say whether a change could be written now.
    Probe(oneshot::Sender<Result<(), StoreError>>),
}

/// A closure that waits, with the place where its answer goes.
pub(super) trait Job: Send {
    /// Runs the closure; true if its changes count.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Makes its answer a refusal.
    fn refuse(&mut self, error: StoreError);
    /// Answers, after the group became durable or failed to.
    fn answer(self: Box<Self>, durable: Result<(), StoreError>);
}

struct Pending<F, T, E> {
    change: F,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Pending<F, T, E>
where
    F: Fn(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| (self.change)(tx)))
            .unwrap_or_else(|_| Err(StoreError::Panicked.into()));
        let counts = result.is_ok();
        self.result = Some(result);
        counts
    }

    fn refuse(&mut self, error: StoreError) {
        self.result = Some(Err(error.into()));
    }

    fn answer(self: Box<Self>, durable: Result<(), StoreError>) {
        let answer = match (durable, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(StoreError::Stopped.into()),
            (Err(error), _) => Err(error.into()),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer thread, which ends when the last one of these is dropped.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(committer: Committer) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || committer.run(waiting))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Another way to the thread, which keeps it from ending.
    pub(super) fn queue(&self) -> Option<mpsc::Sender<Message>> {
        self.queue.clone()
    }

    /// Sends a closure and waits until its group is durable.
    pub(super) async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, answer) = pending(change);
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        queue.send(job).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Whether a change could be written now.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        let sent = queue.send(Message::Probe(reply)).await;
        sent.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// The same on a thread that may wait.
    pub(super) fn write_blocking<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, answer) = pending(change);
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        queue.blocking_send(job).map_err(|_| StoreError::Stopped)?;
        answer.blocking_recv().map_err(|_| StoreError::Stopped)?
    }
}

fn pending<T, E, F>(change: F) -> (Message, oneshot::Receiver<Result<T, E>>)
where
    F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job = Box::new(Pending {
        change,
        result: None,
        reply,
    });
    (Message::Change(job), answer)
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread finishes what waits, then ends.
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that writes the store panicked");
        }
    }
}

/// What the writer thread works with.
pub(super) struct Committer {
    view: Arc<View>,
    journal: Journal,
    rows: Arc<[AtomicU64]>,
    /// Called when a segment was ended.
    sealed: Box<dyn Fn() + Send>,
    /// Why nothing is written any more.
    failed: Option<Arc<str>>,
    /// Whether the last group was refused, such as by a full disk.
    refused: bool,
}

/// Closures that become durable together.
#[derive(Default)]
struct Group {
    changes: Changes,
    jobs: Vec<Box<dyn Job>>,
}

impl Committer {
    pub(super) fn new(
        view: Arc<View>,
        journal: Journal,
        rows: Arc<[AtomicU64]>,
        sealed: impl Fn() + Send + 'static,
    ) -> Self {
        Self {
            view,
            journal,
            rows,
            sealed: Box::new(sealed),
            failed: None,
            refused: false,
        }
    }

    fn run(mut self, mut waiting: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(GROUP);
        while waiting.blocking_recv_many(&mut messages, GROUP) > 0 {
            let mut group = Group::default();
            for message in messages.drain(..) {
                match message {
                    Message::Change(job) => self.run_job(job, &mut group),
                    Message::Seal { advance, reply } => {
                        self.finish(&mut group);
                        // Whoever asked may have gone.
                        let _ = reply.send(self.seal(advance));
                    }
                    Message::Probe(reply) => drop(reply.send(self.probe())),
                }
            }
            self.finish(&mut group);
        }
    }

    fn run_job(&mut self, mut job: Box<dyn Job>, group: &mut Group) {
        let mut tx = self.view.tx(Some(&group.changes));
        let mut counts = job.run(&mut tx);
        let mut own = tx.into_changes();
        if counts && !group.changes.is_empty() && group.changes.size() + own.size() > MAX_BODY {
            self.finish(group);
            let mut tx = self.view.tx(None);
            counts = job.run(&mut tx);
            own = tx.into_changes();
        }
        if counts && own.size() > MAX_BODY {
            job.refuse(StoreError::TooLarge);
        } else if counts {
            group.changes.absorb(own);
        }
        group.jobs.push(job);
    }

    /// Makes a group durable and visible, answers all of it, then brings the index up to it.
    fn finish(&mut self, group: &mut Group) {
        let Group { changes, jobs } = std::mem::take(group);
        let committed = self.commit(changes);
        let durable = committed.as_ref().map(|_| ()).map_err(Clone::clone);
        for job in jobs {
            job.answer(durable.clone());
        }
        if let Ok(Some(changes)) = committed {
            self.apply(&changes);
        }
    }

    /// Puts changes into the journal and shows them to readers; none if there was nothing to do.
    pub(super) fn commit(&mut self, changes: Changes) -> Result<Option<Arc<Changes>>, StoreError> {
        if let Some(reason) = &self.failed {
            return Err(StoreError::Unavailable(Arc::clone(reason)));
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let (net, digest, grown) = self.net(changes)?;
        if net.is_empty() {
            return Ok(None);
        }
        self.append(&net, digest)?;
        for (count, by) in self.rows.iter().zip(grown) {
            count.fetch_add(by, Ordering::Relaxed);
        }
        let net = Arc::new(net);
        self.view.show(Arc::clone(&net));
        Ok(Some(net))
    }

    /// Leaves out what is already so, and works out the digest and, wrapping, by how much each table grows.
    fn net(&self, changes: Changes) -> Result<(Changes, Digest, Vec<u64>), StoreError> {
        let mut digest = self.journal.head().digest;
        let mut grown = vec![0_u64; TABLES.len()];
        let mut net = Changes::default();
        for (table, key, record) in changes.into_rows() {
            let before = self.view.index().get_to_set(table, &key)?;
            if before.as_deref() == record.as_deref() {
                continue;
            }
            let place = TABLES.iter().position(|known| known.id == table);
            let mut grow = |by: u64| {
                if let Some(count) = place.and_then(|place| grown.get_mut(place)) {
                    *count = count.wrapping_add(by);
                }
            };
            if let Some(before) = &before {
                digest.take(table, &key, before);
                grow(u64::MAX);
            }
            if let Some(record) = &record {
                digest.add(table, &key, record);
                grow(1);
            }
            net.set(table, key, record);
        }
        Ok((net, digest, grown))
    }

    fn append(&mut self, changes: &Changes, digest: Digest) -> Result<(), StoreError> {
        let appended = self.journal.append(changes, digest);
        if self.journal.take_sealed() {
            (self.sealed)();
        }
        self.refused = appended.is_err();
        appended.map_err(|error| self.failure(&error))
    }

    /// Whether a change could be written now. After one that could not, the only way to know is to write: a quota or a
    /// limit on the size of files does not show in the free space.
    fn probe(&mut self) -> Result<(), StoreError> {
        if let Some(reason) = &self.failed {
            return Err(StoreError::Unavailable(Arc::clone(reason)));
        }
        if self.refused {
            return self.advance();
        }
        let space = self.journal.check_space();
        space.map_err(|error| self.failure(&error))
    }

    /// Writes a group without changes.
    fn advance(&mut self) -> Result<(), StoreError> {
        let nothing = Changes::default();
        self.append(&nothing, self.journal.head().digest)?;
        self.apply(&nothing);
        Ok(())
    }

    fn failure(&mut self, error: &AppendError) -> StoreError {
        let reason: Arc<str> = error.to_string().into();
        if matches!(error, AppendError::Failed(_)) {
            log::error!("the store takes no more changes until it is restarted: {reason}");
            self.failed = Some(Arc::clone(&reason));
        }
        StoreError::Unavailable(reason)
    }

    /// Brings the index up to the journal.
    pub(super) fn apply(&mut self, changes: &Changes) {
        let applied = Applied {
            history: self.journal.history(),
            sequence: self.journal.head().sequence,
        };
        if let Err(error) = self.view.index().apply(changes, applied) {
            log::error!("the index failed, and is brought up to date at the next start: {error}");
            self.failed = Some(format!("its index failed: {error}").into());
        }
    }

    fn seal(&mut self, advance: bool) -> Result<Head, StoreError> {
        if let Some(reason) = &self.failed {
            return Err(StoreError::Unavailable(Arc::clone(reason)));
        }
        if advance {
            self.advance()?;
        }
        self.journal.seal().map_err(|error| self.failure(&error))?;
        // Whoever asked knows.
        self.journal.take_sealed();
        Ok(self.journal.head())
    }
}
