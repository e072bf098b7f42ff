//! One try to do a piece of work, and what is written down of it.

use super::notice::Notice;
use super::{Failure, Outbox, OutboxError, STEP, Sent, Standing, Turn, pauses};
use crate::metrics::DeliveryOutcome;
use crate::storage::tables::{OutboxItem, OutboxPlace, OutboxRecord};
use crate::storage::{StoreError, Tx, outbox};

impl Outbox {
    /// Tries to do a piece of work, and writes down what came of it. The destination has failed so often until now.
    pub(super) async fn attempt(
        &self,
        place: OutboxPlace,
        failures: u32,
    ) -> Result<Standing, OutboxError> {
        let read = self.parts.store.read(|tx| outbox::get(tx, &place))?;
        let Some(record) = read else {
            return Ok(Standing::NotAsked);
        };
        let kind = record.item.kind();
        let turn = match self.carry_out(place, record).await {
            // Trying again may help, and the others are not to wait.
            Err(OutboxError::Sign(error)) => Turn::Failed(Failure::of_this(error.to_string())),
            turn => turn?,
        };
        let (standing, outcome) = match turn {
            Turn::Taken => (Standing::Answers, DeliveryOutcome::Delivered),
            Turn::NotWanted => (Standing::NotAsked, DeliveryOutcome::NotWanted),
            Turn::Failed(failure) => {
                let standing = if failure.is_of_destination {
                    Standing::Fails(failure.reason.clone())
                } else {
                    Standing::Answers
                };
                let failures = match standing {
                    Standing::Fails(_) => failures.saturating_add(1),
                    _ => 0,
                };
                self.postpone(place, failures, failure).await?;
                return Ok(standing);
            }
        };
        let done = move |tx: &mut Tx<'_>| outbox::remove(tx, &place);
        self.parts.store.write(done).await?;
        self.parts.metrics.delivery(kind, outcome);
        Ok(standing)
    }

    async fn carry_out(
        &self,
        place: OutboxPlace,
        record: OutboxRecord,
    ) -> Result<Turn, OutboxError> {
        let messages = &self.parts.messages;
        let sent = match record.item {
            OutboxItem::Onbind {
                threepid,
                mxid,
                announced,
            } => {
                let notice = Notice {
                    place,
                    threepid,
                    mxid,
                    announced,
                    first: record.attempts == 0,
                };
                return self.tell(notice).await;
            }
            OutboxItem::Verification { sid, send_attempt } => {
                messages.verification(sid, send_attempt).await
            }
            OutboxItem::Invitation { threepid, invite } => {
                messages.invitation((threepid, invite)).await
            }
        };
        Ok(match sent {
            Ok(Sent::Taken) => Turn::Taken,
            Ok(Sent::NotWanted) => Turn::NotWanted,
            Err(failure) => Turn::Failed(failure),
        })
    }

    /// Writes down that work failed, and when it is tried again, if it is. The destination has failed so often by now.
    pub(super) async fn postpone(
        &self,
        place: OutboxPlace,
        failures: u32,
        failure: Failure,
    ) -> Result<(), OutboxError> {
        let (now, chance) = (self.parts.clock.now(), self.chance()?);
        let Failure {
            reason, is_final, ..
        } = failure;
        let written = reason.clone();
        let postponed = self
            .parts
            .store
            .write(move |tx| -> Result<_, StoreError> {
                let Some(mut record) = outbox::get(tx, &place)? else {
                    return Ok(None);
                };
                record.attempts = record.attempts.saturating_add(1);
                record.last_error = Some(written.clone());
                let kind = record.item.kind();
                if is_final || pauses::is_over(&record, failures, now) {
                    outbox::give_up(tx, &place, record, now)?;
                    return Ok(Some((kind, DeliveryOutcome::Failed)));
                }
                let pause = pauses::pause(record.attempts.max(failures), chance);
                outbox::move_to(tx, &place, now.plus(pause), &record)?;
                Ok(Some((kind, DeliveryOutcome::Postponed)))
            })
            .await?;
        if let Some((kind, outcome)) = postponed {
            self.parts.metrics.delivery(kind, outcome);
            if outcome == DeliveryOutcome::Failed {
                log::warn!("gave up {} ({kind}): {reason}", place.1);
            }
        }
        Ok(())
    }

    /// Gives up what has waited for too long for a destination that has failed so often by now.
    pub(super) async fn give_up_with(
        &self,
        waiting: Vec<OutboxPlace>,
        failures: u32,
        reason: String,
    ) -> Result<(), OutboxError> {
        let now = self.parts.clock.now();
        for places in waiting.chunks(STEP) {
            let over = self.parts.store.read(|tx| -> Result<_, StoreError> {
                let mut over = Vec::new();
                for place in places {
                    let record = outbox::get(tx, place)?;
                    if record.is_some_and(|record| pauses::is_over(&record, failures, now)) {
                        over.push(*place);
                    }
                }
                Ok(over)
            })?;
            if over.is_empty() {
                continue;
            }
            let reason = reason.clone();
            let given_up = self
                .parts
                .store
                .write(move |tx| -> Result<_, StoreError> {
                    let mut given_up = Vec::new();
                    for place in &over {
                        if let Some(mut record) = outbox::get(tx, place)? {
                            record.last_error = Some(reason.clone());
                            given_up.push((place.1, record.item.kind()));
                            outbox::give_up(tx, place, record, now)?;
                        }
                    }
                    Ok(given_up)
                })
                .await?;
            for (id, kind) in given_up {
                self.parts.metrics.delivery(kind, DeliveryOutcome::Failed);
                log::warn!("gave up {id} ({kind}), which has waited for too long");
            }
        }
        Ok(())
    }
}
