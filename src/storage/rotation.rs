//! Bringing in another pepper: its table is built beside the one that answers while everything goes on, then one write
//! lets it answer.

use std::sync::Arc;
use std::time::Duration;

use super::lookup::LookupTables;
use super::tables::{Associations, Meta, MetaName, MetaRecord, PeppersRecord, PreviousPepper};
use super::{Store, StoreError};
use crate::clock::Clock;
use crate::types::{Pepper, ThreePid, Timestamp};

/// How many associations are taken up in one step. Nothing becomes visible meanwhile, so a step is short.
const STEP: usize = 64;

/// After how many associations it is said how far a rotation has come.
const REPORT_EVERY: u64 = 250_000;

/// Why a pepper was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Another change is under way.
    #[error("the pepper is being changed already; this takes seconds to minutes")]
    Running,
    /// There would be three peppers.
    #[error(
        "the pepper was changed a moment ago, and the one before it still answers (lookup.grace): \
         change it again after that"
    )]
    PreviousAnswers,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A pepper that is being brought in. What was built is given up if this is dropped before [`Self::finish`].
pub struct Rotation {
    store: Store,
    building: Arc<Building>,
    after: Option<ThreePid>,
    taken_up: u64,
}

/// The table that is being built.
struct Building {
    tables: Arc<LookupTables>,
    pepper: Pepper,
}

impl Drop for Building {
    fn drop(&mut self) {
        drop(self.tables.abandon(&self.pepper));
    }
}

/// What a [`Rotation`] has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many associations are taken up, and there are more.
    More(u64),
    /// All of so many are taken up.
    Built(u64),
}

impl Store {
    /// Brings in a pepper while everything goes on; the one before it answers until `grace` is over. Answers how many
    /// associations there are. Giving up on this leaves everything as it was.
    ///
    /// # Errors
    /// While another one is being brought in, or the previous one still answers, or when the store fails.
    pub async fn rotate_pepper(
        &self,
        pepper: Pepper,
        clock: &dyn Clock,
        grace: Duration,
    ) -> Result<u64, RotationError> {
        self.end_grace(clock.now()).await?;
        let mut rotation = self.rotate_to(pepper)?;
        let mut reported = 0;
        let taken_up = loop {
            match rotation.step()? {
                Progress::Built(taken_up) => break taken_up,
                Progress::More(taken_up) if taken_up - reported >= REPORT_EVERY => {
                    reported = taken_up;
                    log::info!("preparing a new pepper: {taken_up} associations so far");
                }
                Progress::More(_) => {}
            }
            tokio::task::yield_now().await;
        };
        rotation.finish(clock.now(), grace).await?;
        Ok(taken_up)
    }

    /// Begins to bring in a pepper.
    ///
    /// # Errors
    /// While another one is being brought in, or the previous one still answers.
    pub fn rotate_to(&self, pepper: Pepper) -> Result<Rotation, RotationError> {
        let tables = self.lookup_tables();
        tables.begin(&pepper)?;
        Ok(Rotation {
            store: self.clone(),
            building: Arc::new(Building { tables, pepper }),
            after: None,
            taken_up: 0,
        })
    }

    /// Drops the previous pepper and its table once its grace is over. Answers whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_grace(&self, now: Timestamp) -> Result<bool, StoreError> {
        let over = move |peppers: &PeppersRecord| {
            let previous = peppers.previous.as_ref();
            previous.is_some_and(|previous| {
                let grace = previous.until.since(peppers.since);
                // A clock that was set back must not let it answer for as long.
                previous.until <= now || now.plus(grace) < peppers.since
            })
        };
        let peppers = self.read(|tx| Ok::<_, StoreError>(tx.peppers()))?;
        if !peppers.is_some_and(|peppers| over(&peppers)) {
            return Ok(false);
        }
        self.write(move |tx| match tx.get::<Meta>(&MetaName::Peppers)? {
            Some(MetaRecord::Peppers(peppers)) if over(&peppers) => {
                let alone = PeppersRecord {
                    previous: None,
                    ..peppers
                };
                tx.put::<Meta>(&MetaName::Peppers, &MetaRecord::Peppers(alone))?;
                Ok(true)
            }
            _ => Ok(false),
        })
        .await
    }
}

impl Rotation {
    /// Takes up some more associations, on this thread.
    ///
    /// # Errors
    /// When the store fails.
    pub fn step(&mut self) -> Result<Progress, StoreError> {
        let rows = self.store.read(|tx| {
            let rows = tx.scan::<Associations>(&[], self.after.as_ref(), STEP)?;
            self.building.tables.fill(&self.building.pepper, &rows);
            Ok::<_, StoreError>(rows)
        })?;
        self.taken_up += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        match rows.into_iter().next_back() {
            Some((last, _)) => {
                self.after = Some(last);
                Ok(Progress::More(self.taken_up))
            }
            None => Ok(Progress::Built(self.taken_up)),
        }
    }

    /// Lets the pepper answer from now on, and the one before it until `grace` is over. To be called when
    /// [`Self::step`] has said that all is built.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(self, now: Timestamp, grace: Duration) -> Result<(), StoreError> {
        let Self {
            store, building, ..
        } = self;
        // The closure holds what was built until it is answered, also if nobody waits for the answer any more.
        store
            .write(move |tx| {
                let before = match tx.get::<Meta>(&MetaName::Peppers)? {
                    Some(MetaRecord::Peppers(peppers)) => Some(peppers.current),
                    _ => None,
                };
                let peppers = PeppersRecord {
                    current: building.pepper.clone(),
                    since: now,
                    previous: before.map(|pepper| PreviousPepper {
                        pepper,
                        until: now.plus(grace),
                    }),
                };
                tx.put::<Meta>(&MetaName::Peppers, &MetaRecord::Peppers(peppers))
            })
            .await
    }
}
