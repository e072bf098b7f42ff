//! Validation sessions as a state machine over their records; what validation and associations both ask.

use std::time::Duration;

use super::tables::{SessionRecord, Sessions, SessionsByThreePid, SidRecord};
use super::{StoreError, Tx};
use crate::types::{ClientSecretHash, Sid, ThreePid, Timestamp};

/// A session at some moment.
#[derive(Debug)]
pub enum Session {
    /// Waits for the token.
    Pending(PendingSession),
    /// Proves the 3PID until it ends.
    Validated(ValidatedSession),
    /// Came to its end, confirmed or not.
    Expired,
}

/// A session that waits for its token.
#[derive(Debug)]
pub struct PendingSession {
    sid: Sid,
    record: SessionRecord,
}

/// A session whose token came in time.
#[derive(Debug, Clone)]
pub struct ValidatedSession {
    /// What was proved.
    pub threepid: ThreePid,
    /// When it was proved.
    pub validated_at: Timestamp,
    /// Where the user goes on.
    pub next_link: Option<String>,
}

impl Session {
    /// The state that a record is in at `now`.
    pub fn at(sid: &Sid, record: SessionRecord, now: Timestamp) -> Self {
        if now >= record.expires {
            return Self::Expired;
        }
        match record.validated_at {
            None => Self::Pending(PendingSession {
                sid: sid.clone(),
                record,
            }),
            Some(validated_at) => Self::Validated(ValidatedSession {
                threepid: record.threepid,
                validated_at,
                next_link: record.next_link,
            }),
        }
    }
}

impl PendingSession {
    /// What is to be proved.
    pub fn threepid(&self) -> &ThreePid {
        &self.record.threepid
    }

    /// The token came: the session proves the 3PID for `lifetime` from `now`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn validate(
        mut self,
        tx: &mut Tx<'_>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<ValidatedSession, StoreError> {
        self.record.validated_at = Some(now);
        self.record.expires = now.plus(lifetime);
        tx.put::<Sessions>(&self.sid, &self.record)?;
        Ok(ValidatedSession {
            threepid: self.record.threepid,
            validated_at: now,
            next_link: self.record.next_link,
        })
    }

    /// A wrong token came. The last of `tries` burns the session: it is gone, and looks as if it had never been.
    /// Answers whether it was burnt.
    ///
    /// # Errors
    /// When the store fails.
    pub fn count_wrong_try(mut self, tx: &mut Tx<'_>, tries: u32) -> Result<bool, StoreError> {
        self.record.wrong_tries = self.record.wrong_tries.saturating_add(1);
        if self.record.wrong_tries >= tries {
            remove(tx, &self.sid, &self.record)?;
            return Ok(true);
        }
        tx.put::<Sessions>(&self.sid, &self.record)?;
        Ok(false)
    }
}

/// The session with this sid, if there is one and the secret is its own; the two cases cannot be told apart.
///
/// # Errors
/// When the store fails.
pub fn find(
    tx: &Tx<'_>,
    sid: &Sid,
    client_secret: &ClientSecretHash,
    now: Timestamp,
) -> Result<Option<Session>, StoreError> {
    let record = tx
        .get::<Sessions>(sid)?
        .filter(|record| record.client_secret == *client_secret);
    Ok(record.map(|record| Session::at(sid, record, now)))
}

/// The session that the client with this secret has for the 3PID, while it waits for its token.
///
/// # Errors
/// When the store fails.
pub fn pending_for(
    tx: &Tx<'_>,
    threepid: &ThreePid,
    client_secret: &ClientSecretHash,
    now: Timestamp,
) -> Result<Option<(Sid, SessionRecord)>, StoreError> {
    let key = (threepid.clone(), client_secret.clone());
    let Some(SidRecord { sid }) = tx.get::<SessionsByThreePid>(&key)? else {
        return Ok(None);
    };
    let Some(record) = tx.get::<Sessions>(&sid)? else {
        return Ok(None);
    };
    let pending = record.validated_at.is_none() && now < record.expires;
    Ok(pending.then_some((sid, record)))
}

/// Writes a session and makes it the one that its client finds for the 3PID.
///
/// # Errors
/// When the store fails.
pub fn put(tx: &mut Tx<'_>, sid: &Sid, record: &SessionRecord) -> Result<(), StoreError> {
    let key = (record.threepid.clone(), record.client_secret.clone());
    tx.put::<Sessions>(sid, record)?;
    tx.put::<SessionsByThreePid>(&key, &SidRecord { sid: sid.clone() })
}

/// Removes a session, and the way its client finds it unless that already leads to a newer one.
///
/// # Errors
/// When the store fails.
pub fn remove(tx: &mut Tx<'_>, sid: &Sid, record: &SessionRecord) -> Result<(), StoreError> {
    let key = (record.threepid.clone(), record.client_secret.clone());
    tx.delete::<Sessions>(sid)?;
    if tx
        .get::<SessionsByThreePid>(&key)?
        .is_some_and(|found| found.sid == *sid)
    {
        tx.delete::<SessionsByThreePid>(&key)?;
    }
    Ok(())
}
