//! The one thread that changes anything. It takes all closures that wait, runs them one after the other, makes what they
//! changed durable in one step, and only then answers them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::index::Index;
use super::tx::{Changes, Tx};

/// How many closures may wait before senders do.
const QUEUE: usize = 1024;

/// How many closures become durable in one step at most.
const GROUP: usize = 512;

/// A closure that waits, with the place where its answer goes.
trait Job: Send {
    /// Runs the closure; true if its changes count.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
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

/// The way to the writer thread, which ends when this is dropped.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(index: Arc<Index>) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&index, waiting))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Sends a closure and waits until its group is durable.
    pub(super) async fn write<T, E, F>(&self, change: F) -> Result<T, E>
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
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        queue.send(job).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
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

fn run(index: &Index, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    let mut failed: Option<String> = None;
    let mut jobs = Vec::with_capacity(GROUP);
    while waiting.blocking_recv_many(&mut jobs, GROUP) > 0 {
        let mut group = Changes::default();
        for job in &mut jobs {
            let mut tx = Tx::new(index, Some(&group));
            if job.run(&mut tx) {
                let changes = tx.into_changes();
                group.absorb(changes);
            }
        }
        let durable = match &failed {
            _ if group.is_empty() => Ok(()),
            Some(reason) => Err(reason.clone()),
            None => index.apply(&group).map_err(|error| {
                log::error!("the store takes no more changes until it is restarted: {error}");
                failed.insert(error.to_string()).clone()
            }),
        };
        for job in jobs.drain(..) {
            job.answer(durable.clone().map_err(StoreError::unavailable));
        }
    }
}
