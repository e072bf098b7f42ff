//! Outgoing work: telling homeservers what was bound, and sending messages that could not be sent at once.
//!
//! Work is a row of the store, written with the change that it belongs to. It is done when it is due, and tried again
//! after growing pauses; what fails for a week is given up and kept for the operator. A row goes only when it is known that
//! its work is done, so that a crash at any moment means at most that something is done twice.
//!
//! There is one line for each destination (`lines`), of which one is served at a time. A destination that does not
//! answer is put aside with all that waits for it.

mod attempt;
mod lines;
mod messages;
mod notice;
mod pauses;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{Id, JoinError, JoinSet};

use self::lines::{Lines, Whom};
pub use self::messages::{Messages, Sending, Sent};
use crate::clock::Clock;
use crate::federation::Federation;
use crate::metrics::Metrics;
use crate::random::{Random, RandomError};
use crate::signing::{CanonicalError, ServerKeys};
use crate::storage::outbox::{self, Destination};
use crate::storage::tables::OutboxPlace;
use crate::storage::{Store, StoreError, Written};
use crate::types::{RecordId, ServerName, Timestamp};

/// Work that is done at once, for all destinations together.
const AT_ONCE: usize = 32;

/// As much of it may be for destinations that failed when they were asked last: each may take all of its time.
const UNRELIABLE_AT_ONCE: usize = 8;

/// How many rows are read in one step.
const STEP: usize = 256;

/// How often all that is due is looked for, beside what was written and became due since the last look. It is for a clock
/// that was set back.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_hours(1);

/// The id that stands after all others of one time.
const LAST_ID: RecordId = RecordId::from_bytes([0xff; 16]);

/// For how long what was given up is kept for the operator.
const KEPT_AFTER_FAILURE: Duration = Duration::from_hours(30 * 24);

/// How long to wait when the store fails.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What of the configuration the outbox needs.
#[derive(Debug, Clone)]
pub struct OutboxSettings {
    /// The name that everything is signed under.
    pub server_name: ServerName,
}

/// What the outbox is put together from.
pub struct OutboxParts {
    /// The store.
    pub store: Store,
    /// What homeservers are told is signed with them.
    pub keys: Arc<ServerKeys>,
    /// The way to homeservers.
    pub federation: Federation,
    /// Sends messages.
    pub messages: Box<dyn Messages>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The chance in pauses.
    pub random: Random,
    /// Counts what is done.
    pub metrics: Arc<Metrics>,
}

/// Why work was not done. One sentence, without addresses and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The sentence.
    pub reason: String,
    /// Whether to try again is useless.
    pub is_final: bool,
    /// Whether other work for the same destination would fail as well.
    pub is_of_destination: bool,
}

impl Failure {
    /// The destination answers, and does not take this.
    pub const fn of_this(reason: String) -> Self {
        Self {
            reason,
            is_final: false,
            is_of_destination: false,
        }
    }

    /// The destination does not answer, or takes nothing.
    pub const fn of_all(reason: String) -> Self {
        Self {
            reason,
            is_final: false,
            is_of_destination: true,
        }
    }

    /// This will never be taken.
    pub const fn of_good(reason: String) -> Self {
        Self {
            reason,
            is_final: true,
            is_of_destination: false,
        }
    }
}

/// What a try came to.
enum Turn {
    /// It is done.
    Taken,
    /// Nobody wants it any more.
    NotWanted,
    /// It was not taken.
    Failed(Failure),
}

/// Why outgoing work could not be looked at or written down.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Something could not be signed.
    #[error("it could not be signed: {0}")]
    Sign(#[from] CanonicalError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The service. Clones are the same.
#[derive(Clone)]
pub struct Outbox {
    parts: Arc<OutboxParts>,
    settings: OutboxSettings,
    desk: Arc<Mutex<Desk>>,
}

/// What whoever does the work has before them.
#[derive(Default)]
struct Desk {
    lines: Lines,
    /// Up to when everything that was due stands in the lines.
    looked: Timestamp,
    /// When all that is due is to be looked for, by the monotonic clock.
    look_at_all: Duration,
    /// When more becomes due.
    next: Option<Timestamp>,
}

/// Tries that are being made.
#[derive(Default)]
struct Running {
    tries: JoinSet<Result<Standing, OutboxError>>,
    by_task: HashMap<Id, Try>,
}

/// One of them.
struct Try {
    place: OutboxPlace,
    destination: Destination,
    is_reliable: bool,
}

/// What a try says of its destination.
enum Standing {
    /// It answers.
    Answers,
    /// It was not asked.
    NotAsked,
    /// It does not answer, for this reason.
    Fails(String),
}

impl Outbox {
    /// The service over its parts.
    pub fn new(parts: OutboxParts, settings: OutboxSettings) -> Self {
        Self {
            parts: Arc::new(parts),
            settings,
            desk: Arc::default(),
        }
    }

    /// Does all work as it becomes due, until it is dropped. What is being done then is left, and done again after the
    /// next start.
    pub async fn run(&self) {
        let mut sleep = Duration::ZERO;
        loop {
            let written = tokio::select! {
                written = self.parts.store.outgoing() => Some(written),
                () = tokio::time::sleep(sleep) => None,
            };
            sleep = match self.work(written).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    log::error!("outgoing work waits: {error}");
                    AFTER_FAILURE
                }
            };
        }
    }

    /// Looks for all work that is due, and does it.
    ///
    /// # Errors
    /// When the store fails; work that was not done stays.
    pub async fn run_once(&self) -> Result<(), OutboxError> {
        let mut desk = self.desk.lock().await;
        desk.look_at_all = Duration::ZERO;
        self.look(&mut desk)?;
        self.empty(&mut desk).await?;
        Ok(())
    }

    /// Does what is due, and was written by now; answers after how long there may be more.
    async fn work(&self, written: Option<Written>) -> Result<Duration, OutboxError> {
        let mut desk = self.desk.lock().await;
        match written {
            Some(written) => self.note(&mut desk, &written)?,
            None => self.look(&mut desk)?,
        }
        self.empty(&mut desk).await
    }

    /// Serves the lines until nothing can be done for now.
    async fn empty(&self, desk: &mut Desk) -> Result<Duration, OutboxError> {
        desk.lines.reopen(self.parts.clock.monotonic());
        let mut running = Running::default();
        let mut broken = None;
        loop {
            if broken.is_none() {
                self.start_what_can_be(desk, &mut running);
            }
            let sleep = self.sleep(desk);
            if running.tries.is_empty() {
                return broken.map_or(Ok(sleep), Err);
            }
            let told = tokio::select! {
                Some(ended) = running.tries.join_next_with_id() => {
                    self.finish(desk, &mut running, ended).await
                }
                written = self.parts.store.outgoing() => self.note(desk, &written),
                () = tokio::time::sleep(sleep) => self.look(desk),
            };
            // What was begun is brought to its end.
            broken = broken.or(told.err());
        }
    }

    /// Puts what became due since the last look into the lines.
    fn look(&self, desk: &mut Desk) -> Result<(), OutboxError> {
        let (now, monotonic) = (self.parts.clock.now(), self.parts.clock.monotonic());
        let all = monotonic >= desk.look_at_all;
        let mut after = (!all).then_some((desk.looked, LAST_ID));
        let mut next = None;
        loop {
            let rows = self.parts.store.read(|tx| -> Result<_, StoreError> {
                let rows = outbox::list(tx, after.as_ref(), STEP)?;
                let places = rows.into_iter().map(|(place, record)| {
                    outbox::destination(tx, &record.item).map(|destination| (place, destination))
                });
                places.collect::<Result<Vec<_>, _>>()
            })?;
            let last = rows.last().map(|(place, _)| *place);
            let full = rows.len() == STEP;
            for (place, destination) in rows {
                if place.0 > now {
                    next = Some(place.0);
                    break;
                }
                desk.lines.add(place, destination);
            }
            if !full || next.is_some() {
                break;
            }
            after = last;
        }
        (desk.looked, desk.next) = (now, next);
        if all {
            desk.look_at_all = monotonic.saturating_add(LOOK_AT_ALL_EVERY);
        }
        Ok(())
    }

    /// Puts what was written into the lines, if it is due.
    fn note(&self, desk: &mut Desk, written: &Written) -> Result<(), OutboxError> {
        if written.more {
            desk.look_at_all = Duration::ZERO;
            return self.look(desk);
        }
        let now = self.parts.clock.now();
        for places in written.places.chunks(STEP) {
            self.parts.store.read(|tx| -> Result<(), StoreError> {
                for place in places {
                    if place.0 > now {
                        desk.next = desk.next.into_iter().chain([place.0]).min();
                    } else if let Some(record) = outbox::get(tx, place)? {
                        let destination = outbox::destination(tx, &record.item)?;
                        if record.attempts == 0 && record.last_error.is_some() {
                            // An operator asked for it, and knows more of the destination than we do.
                            desk.lines.forgive(&destination);
                        }
                        desk.lines.add(*place, destination);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// How long nothing happens by itself.
    fn sleep(&self, desk: &Desk) -> Duration {
        let (now, monotonic) = (self.parts.clock.now(), self.parts.clock.monotonic());
        let due = desk.next.map(|next| next.since(now));
        let aside = desk.lines.next(monotonic);
        let aside = aside.map(|until| until.saturating_sub(monotonic));
        let soonest = due.into_iter().chain(aside).min();
        // A little later rather than too early.
        let soonest = soonest.map(|soonest| soonest.saturating_add(Duration::from_millis(1)));
        soonest.unwrap_or(LOOK_AT_ALL_EVERY).min(LOOK_AT_ALL_EVERY)
    }

    /// Starts as much as may be done at once.
    fn start_what_can_be(&self, desk: &mut Desk, running: &mut Running) {
        let now = self.parts.clock.monotonic();
        while running.tries.len() < AT_ONCE {
            let unreliable = running.by_task.values().filter(|one| !one.is_reliable);
            let whom = if unreliable.count() < UNRELIABLE_AT_ONCE {
                Whom::All
            } else {
                Whom::Reliable
            };
            let Some((destination, place)) = desk.lines.take(whom, now) else {
                return;
            };
            let failures = desk.lines.failures(&destination);
            let outbox = self.clone();
            let started = running
                .tries
                .spawn(async move { outbox.attempt(place, failures).await });
            let one = Try {
                place,
                destination,
                is_reliable: failures == 0,
            };
            running.by_task.insert(started.id(), one);
        }
    }

    /// Opens the line again that a try was made for.
    async fn finish(
        &self,
        desk: &mut Desk,
        running: &mut Running,
        ended: Result<(Id, Result<Standing, OutboxError>), JoinError>,
    ) -> Result<(), OutboxError> {
        let (id, standing) = match ended {
            Ok((id, standing)) => (id, Some(standing)),
            Err(error) => (error.id(), None),
        };
        let Some(Try {
            place, destination, ..
        }) = running.by_task.remove(&id)
        else {
            return Ok(());
        };
        match standing {
            Some(Ok(Standing::Answers)) => desk.lines.answered(&destination),
            Some(Ok(Standing::NotAsked)) => desk.lines.left(&destination),
            Some(Ok(Standing::Fails(reason))) => {
                let chance = self.chance()?;
                let now = self.parts.clock.monotonic();
                let pause = desk.lines.failed(&destination, chance, now);
                log::info!(
                    "{destination} is left alone for {} s: {reason}",
                    pause.as_secs()
                );
                let failures = desk.lines.failures(&destination);
                let waiting = desk.lines.waiting(&destination);
                self.give_up_with(waiting, failures, reason).await?;
            }
            Some(Err(error)) => {
                desk.lines.left(&destination);
                desk.lines.add(place, destination);
                return Err(error);
            }
            // It panicked. The others are not to wait for it.
            None => {
                desk.lines.left(&destination);
                let failure = Failure::of_this("this server failed in doing it".to_owned());
                self.postpone(place, 0, failure).await?;
            }
        }
        Ok(())
    }

    /// Removes what was given up some time ago, and answers how much that was.
    ///
    /// # Errors
    /// When the store fails; what was removed stays removed.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let store = &self.parts.store;
        let stale = outbox::stale(store, self.parts.clock.now().minus(KEPT_AFTER_FAILURE))?;
        for places in stale.chunks(STEP) {
            let places = places.to_vec();
            let removed = store.write(move |tx| -> Result<(), StoreError> {
                for place in &places {
                    outbox::remove(tx, place)?;
                }
                Ok(())
            });
            removed.await?;
        }
        Ok(stale.len())
    }

    fn chance(&self) -> Result<u16, RandomError> {
        self.parts.random.bytes().map(u16::from_be_bytes)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}
