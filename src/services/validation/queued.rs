//! Messages that could not be sent when they were asked for.

use super::{Validation, ValidationError};
use crate::storage::tables::Sessions;
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
}
