//! What a request for a token does: which session it means, and whether a message goes out.

use crate::storage::tables::{SessionRecord, Sessions};
use crate::storage::{StoreError, Tx, sessions};
use crate::types::{Sid, Timestamp};

/// The session of a request, once it is written.
pub(super) struct Planned {
    pub(super) sid: Sid,
    /// Whether it is a new one.
    pub(super) created: bool,
    /// Set when a message goes out.
    pub(super) message: Option<PlannedMessage>,
}

/// A message that goes out.
pub(super) struct PlannedMessage {
    /// The session as it is written.
    pub(super) record: SessionRecord,
    /// The highest attempt before, to go back to should the message be refused.
    pub(super) previous: Option<u64>,
}

/// Whether a message would go out, for the limits to be asked before anything is written.
pub(super) fn sends_message(
    tx: &Tx<'_>,
    wanted: &SessionRecord,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let existing = sessions::pending_for(tx, &wanted.threepid, &wanted.client_secret, now)?;
    Ok(existing.is_none_or(|(_, record)| wanted.send_attempt > record.send_attempt))
}

/// Makes the session, or writes the higher attempt into the one there is.
pub(super) fn carry_out(
    tx: &mut Tx<'_>,
    wanted: &SessionRecord,
    new_sid: &Sid,
    now: Timestamp,
) -> Result<Planned, StoreError> {
    let existing = sessions::pending_for(tx, &wanted.threepid, &wanted.client_secret, now)?;
    let created = existing.is_none();
    let (sid, record, previous) = match existing {
        None => (new_sid.clone(), wanted.clone(), None),
        Some((sid, record)) if wanted.send_attempt <= record.send_attempt => {
            return Ok(Planned {
                sid,
                created,
                message: None,
            });
        }
        Some((sid, record)) => {
            let previous = record.send_attempt;
            let record = SessionRecord {
                wrong_tries: record.wrong_tries,
                created: record.created,
                expires: record.expires,
                ..wanted.clone()
            };
            (sid, record, previous)
        }
    };
    sessions::put(tx, &sid, &record)?;
    Ok(Planned {
        sid,
        created,
        message: Some(PlannedMessage { record, previous }),
    })
}

/// Takes a message back that did not go out, so that the same attempt can be made again.
pub(super) fn give_back(
    tx: &mut Tx<'_>,
    sid: &Sid,
    failed: u64,
    previous: Option<u64>,
) -> Result<(), StoreError> {
    if let Some(mut record) = tx.get::<Sessions>(sid)?
        && record.send_attempt == Some(failed)
    {
        record.send_attempt = previous;
        tx.put::<Sessions>(sid, &record)?;
    }
    Ok(())
}
