//! Messages that could not be sent when they were asked for.

use std::time::Duration;

use super::{Validation, ValidationError};
use crate::storage::tables::{OutboxItem, Sessions};
use crate::storage::{Tx, outbox};
use crate::types::{Sid, ThreePid};

impl Validation {
    /// Sends the message of a session that was asked for with this attempt, if it is still wanted: the session waits for its
    /// token, no higher attempt has sent another message, and a phone number is still one that gets SMS. Answers whether it
    /// was wanted.
    ///
    /// # Errors
    /// When it was not taken, or all SMS are stopped.
    pub async fn send_queued(&self, sid: &Sid, send_attempt: u64) -> Result<bool, ValidationError> {
        let now = self.clock.now();
        let record = self.store.read(|tx| tx.get::<Sessions>(sid))?;
        let wanted = record.filter(|record| {
            record.validated_at.is_none()
                && now < record.expires
                && record.send_attempt == Some(send_attempt)
        });
        let Some(record) = wanted else {
            return Ok(false);
        };
        match &record.threepid {
            ThreePid::Email(email) => {
                self.send_verification(sid, email, &record).await?;
                Ok(true)
            }
            ThreePid::Msisdn(msisdn) => self.send_queued_code(sid, msisdn, &record).await,
        }
    }

    /// Leaves the message of a session to the outbox, which tries it after a first pause.
    pub(super) async fn send_later(
        &self,
        sid: &Sid,
        send_attempt: u64,
        pause: Duration,
    ) -> Result<(), ValidationError> {
        let (id, now) = (self.random.record_id()?, self.clock.now());
        let item = OutboxItem::Verification {
            sid: sid.clone(),
            send_attempt,
        };
        let queue =
            move |tx: &mut Tx<'_>| outbox::queue(tx, id, item.clone(), now.plus(pause), now);
        Ok(self.store.write(queue).await?)
    }
}
