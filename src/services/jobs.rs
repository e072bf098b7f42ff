//! Work that nobody waits for: sweeping what has come to its end.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::metrics::{InvitationFigures, Metrics};
use crate::storage::tables::{
    Budgets, InvitationRecord, InvitationState, Invitations, Sessions, Table,
};
use crate::storage::{Rows, Store, StoreError, Tx, invitations, sessions};
use crate::types::Timestamp;

/// How long an ended session is kept, so that a late client is told that it expired.
const SESSION_KEPT: Duration = Duration::from_hours(24);

/// How long an ended invitation is kept, so that an operator who is asked what became of it still sees it.
const INVITATION_KEPT: Duration = Duration::from_hours(14 * 24);

/// How many rows are looked at in one step, so that nobody waits behind a sweep.
const STEP: usize = 256;

/// Removes one row, with all that belongs to it.
type Remove<T> =
    fn(&mut Tx<'_>, &<T as Table>::Key, &<T as Table>::Record) -> Result<(), StoreError>;

/// Removes what has ended from the store, some time after its end.
pub struct Sweeper {
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Sweeper {
    /// The job over its parts.
    pub fn new(store: Store, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            clock,
            metrics,
        }
    }

    /// Goes through all sessions once, and answers how many it removed.
    ///
    /// # Errors
    /// When the store fails; what was removed stays removed.
    pub async fn sessions(&self) -> Result<usize, StoreError> {
        let horizon = self.clock.now().minus(SESSION_KEPT);
        self.sweep::<Sessions>(move |record| record.expires <= horizon, sessions::remove)
            .await
    }

    /// Goes through all budgets once, and answers how many it removed: with those whose time is over go the numbers that SMS
    /// once went to.
    ///
    /// # Errors
    /// As [`Self::sessions`].
    pub async fn budgets(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        self.sweep::<Budgets>(
            move |record| record.until <= now,
            |tx, budget, _| tx.delete::<Budgets>(budget),
        )
        .await
    }

    /// Goes through all invitations once, answers how many it removed, and counts those that are left.
    ///
    /// # Errors
    /// As [`Self::sessions`].
    pub async fn invitations(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let horizon = now.minus(INVITATION_KEPT);
        let removed = self
            .sweep::<Invitations>(
                move |record| record.expires <= horizon,
                |tx, place, _| invitations::remove(tx, place).map(drop),
            )
            .await?;
        let mut figures = InvitationFigures::default();
        self.steps::<Invitations>(|rows| {
            for (_, record) in rows {
                *figure(&mut figures, &record, now) += 1;
            }
        })?;
        self.metrics.invitations(&figures);
        Ok(removed)
    }

    /// Removes the rows of a table that have ended. Each is looked at again in the write that removes it, since it may have
    /// begun anew.
    async fn sweep<T: Table>(
        &self,
        has_ended: impl Fn(&T::Record) -> bool + Copy + Send + 'static,
        remove: Remove<T>,
    ) -> Result<usize, StoreError> {
        let mut ended = Vec::new();
        self.steps::<T>(|rows| {
            let of_step = rows.into_iter().filter(|(_, record)| has_ended(record));
            ended.extend(of_step.map(|(key, _)| key));
        })?;
        let mut removed = 0;
        for step in ended.chunks(STEP) {
            let step = step.to_vec();
            removed += self
                .store
                .write(move |tx| -> Result<usize, StoreError> {
                    let mut removed = 0;
                    for key in &step {
                        if let Some(record) = tx.get::<T>(key)?
                            && has_ended(&record)
                        {
                            remove(tx, key, &record)?;
                            removed += 1;
                        }
                    }
                    Ok(removed)
                })
                .await?;
        }
        Ok(removed)
    }

    /// Shows all rows of a table, a step at a time.
    fn steps<T: Table>(&self, mut show: impl FnMut(Rows<T>)) -> Result<(), StoreError> {
        let mut after: Option<T::Key> = None;
        loop {
            let rows = self
                .store
                .read(|tx| tx.scan::<T>(&[], after.as_ref(), STEP))?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            show(rows);
        }
    }
}

/// What an invitation counts for.
fn figure<'a>(
    figures: &'a mut InvitationFigures,
    record: &InvitationRecord,
    now: Timestamp,
) -> &'a mut u64 {
    match record.state {
        _ if record.expires <= now => &mut figures.expired,
        InvitationState::Pending => &mut figures.pending,
        InvitationState::Bound { .. } => &mut figures.bound,
        InvitationState::Delivered { .. } => &mut figures.delivered,
        InvitationState::Failed { .. } => &mut figures.failed,
    }
}
