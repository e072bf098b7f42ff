//! Work that nobody waits for: sweeping what has come to its end.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::metrics::{InvitationFigures, Metrics};
use crate::storage::tables::{Budget, Budgets, InvitationPlace, InvitationState, Sessions};
use crate::storage::{Store, StoreError, invitations, sessions};
use crate::types::Sid;

/// How long an ended session is kept, so that a late client is told that it expired.
const KEPT_AFTER_END: Duration = Duration::from_hours(24);

/// How long an ended invitation is kept, so that an operator who is asked what became of it still sees it.
const INVITATION_KEPT: Duration = Duration::from_hours(14 * 24);

/// How many sessions are looked at in one step, so that nobody waits behind a sweep.
const STEP: usize = 256;

/// Removes sessions some time after their end.
pub struct SessionSweeper {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl SessionSweeper {
    /// The job over its parts.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Goes through all sessions once, in small steps, and answers how many it removed.
    ///
    /// # Errors
    /// When the store fails; what was removed stays removed.
    pub async fn run_once(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        let mut after: Option<Sid> = None;
        loop {
            let rows = self
                .store
                .read(|tx| tx.scan::<Sessions>(&[], after.as_ref(), STEP))?;
            let Some((last, _)) = rows.last() else {
                return Ok(removed);
            };
            after = Some(last.clone());
            let horizon = self.clock.now().minus(KEPT_AFTER_END);
            let ended: Vec<Sid> = rows
                .into_iter()
                .filter(|(_, record)| record.expires <= horizon)
                .map(|(sid, _)| sid)
                .collect();
            if ended.is_empty() {
                continue;
            }
            removed += self
                .store
                .write(move |tx| -> Result<usize, StoreError> {
                    let mut removed = 0;
                    for sid in &ended {
                        if let Some(record) = tx.get::<Sessions>(sid)?
                            && record.expires <= horizon
                        {
                            sessions::remove(tx, sid, &record)?;
                            removed += 1;
                        }
                    }
                    Ok(removed)
                })
                .await?;
        }
    }
}

/// Removes budgets whose time is over, and with them the numbers that SMS once went to.
pub struct BudgetSweeper {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl BudgetSweeper {
    /// The job over its parts.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Goes through all budgets once, in small steps, and answers how many it removed.
    ///
    /// # Errors
    /// When the store fails; what was removed stays removed.
    pub async fn run_once(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        let mut after: Option<Budget> = None;
        loop {
            let rows = self
                .store
                .read(|tx| tx.scan::<Budgets>(&[], after.as_ref(), STEP))?;
            let Some((last, _)) = rows.last() else {
                return Ok(removed);
            };
            after = Some(last.clone());
            let now = self.clock.now();
            let ended: Vec<Budget> = rows
                .into_iter()
                .filter(|(_, record)| record.until <= now)
                .map(|(budget, _)| budget)
                .collect();
            if ended.is_empty() {
                continue;
            }
            removed += self
                .store
                .write(move |tx| -> Result<usize, StoreError> {
                    let mut removed = 0;
                    for budget in &ended {
                        // One that somebody spends from again has begun anew.
                        if let Some(record) = tx.get::<Budgets>(budget)?
                            && record.until <= now
                        {
                            tx.delete::<Budgets>(budget)?;
                            removed += 1;
                        }
                    }
                    Ok(removed)
                })
                .await?;
        }
    }
}

/// Removes invitations some time after their end, and counts those that there are.
pub struct InvitationSweeper {
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl InvitationSweeper {
    /// The job over its parts.
    pub fn new(store: Store, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            clock,
            metrics,
        }
    }

    /// Goes through all invitations once, in small steps, and answers how many it removed.
    ///
    /// # Errors
    /// When the store fails; what was removed stays removed.
    pub async fn run_once(&self) -> Result<usize, StoreError> {
        let mut figures = InvitationFigures::default();
        let mut removed = 0;
        let mut after: Option<InvitationPlace> = None;
        loop {
            let rows = self
                .store
                .read(|tx| invitations::list(tx, None, after.as_ref(), STEP))?;
            let Some((last, _)) = rows.last() else {
                self.metrics.invitations(&figures);
                return Ok(removed);
            };
            after = Some(last.clone());
            let now = self.clock.now();
            let horizon = now.minus(INVITATION_KEPT);
            let mut ended = Vec::new();
            for (place, record) in rows {
                if record.expires <= horizon {
                    ended.push(place);
                    continue;
                }
                let number = match record.state {
                    _ if record.expires <= now => &mut figures.expired,
                    InvitationState::Pending => &mut figures.pending,
                    InvitationState::Bound { .. } => &mut figures.bound,
                    InvitationState::Delivered { .. } => &mut figures.delivered,
                    InvitationState::Failed { .. } => &mut figures.failed,
                };
                *number += 1;
            }
            if !ended.is_empty() {
                removed += self.remove(ended).await?;
            }
        }
    }

    async fn remove(&self, ended: Vec<InvitationPlace>) -> Result<usize, StoreError> {
        self.store
            .write(move |tx| {
                let mut removed = 0;
                for place in &ended {
                    removed += usize::from(invitations::remove(tx, place)?);
                }
                Ok(removed)
            })
            .await
    }
}
