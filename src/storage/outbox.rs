//! Outgoing work: what is due, what is tried again, what has failed for good.
//!
//! A row stands under the time when it is due, so that what is to be done next stands first. Whoever changes one names
//! its place; if it is not there any more, somebody else has done so meanwhile, and that is no error.

use std::fmt;

use super::tables::{InvitationState, Outbox, OutboxItem, OutboxPlace, OutboxRecord, Sessions};
use super::{StoreError, Tx, invitations};
use crate::types::{Medium, RecordId, ServerName, Timestamp};

/// Whom a piece of work goes to. What goes to one destination fares alike when that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A homeserver.
    Homeserver(ServerName),
    /// Whoever takes the mails.
    Mail,
    /// Whoever takes the SMS.
    Sms,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Homeserver(name) => write!(f, "the homeserver `{name}`"),
            Self::Mail => f.write_str("the mail transport"),
            Self::Sms => f.write_str("the SMS provider"),
        }
    }
}

/// Where a piece of work goes.
///
/// # Errors
/// When the store fails.
pub fn destination(tx: &Tx<'_>, item: &OutboxItem) -> Result<Destination, StoreError> {
    Ok(match item {
        OutboxItem::Onbind { mxid, .. } => Destination::Homeserver(mxid.homeserver()),
        OutboxItem::Invitation { .. } => Destination::Mail,
        OutboxItem::Verification { sid, .. } => {
            let session = tx.get::<Sessions>(sid)?;
            match session.map(|session| session.threepid.medium()) {
                Some(Medium::Msisdn) => Destination::Sms,
                Some(Medium::Email) | None => Destination::Mail,
            }
        }
    })
}

/// Writes down work that is due at `due`.
///
/// # Errors
/// When the store fails.
pub fn queue(
    tx: &mut Tx<'_>,
    id: RecordId,
    item: OutboxItem,
    due: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = OutboxRecord {
        item,
        queued: now,
        attempts: 0,
        last_error: None,
        failed: None,
    };
    tx.put::<Outbox>(&(due, id), &record)
}

/// At most `limit` pieces of work, those after `after`, in the order in which they are due; what has failed for good
/// comes last.
///
/// # Errors
/// When the store fails.
pub fn list(
    tx: &Tx<'_>,
    after: Option<&OutboxPlace>,
    limit: usize,
) -> Result<Vec<(OutboxPlace, OutboxRecord)>, StoreError> {
    tx.scan::<Outbox>(&[], after, limit)
}

/// The record of a piece of work; none if it is not there any more.
///
/// # Errors
/// When the store fails.
pub fn get(tx: &Tx<'_>, place: &OutboxPlace) -> Result<Option<OutboxRecord>, StoreError> {
    tx.get::<Outbox>(place)
}

/// The work is done, or not wanted any more. Answers whether it was still there.
///
/// # Errors
/// When the store fails.
pub fn remove(tx: &mut Tx<'_>, place: &OutboxPlace) -> Result<bool, StoreError> {
    let known = tx.get::<Outbox>(place)?.is_some();
    if known {
        tx.delete::<Outbox>(place)?;
    }
    Ok(known)
}

/// Writes what has become of work, if it is still there.
///
/// # Errors
/// When the store fails.
pub fn put(tx: &mut Tx<'_>, place: &OutboxPlace, record: &OutboxRecord) -> Result<(), StoreError> {
    if tx.get::<Outbox>(place)?.is_some() {
        tx.put::<Outbox>(place, record)?;
    }
    Ok(())
}

/// Moves work to another time and writes what has become of it. Answers whether it was still there.
///
/// # Errors
/// When the store fails.
pub fn move_to(
    tx: &mut Tx<'_>,
    place: &OutboxPlace,
    due: Timestamp,
    record: &OutboxRecord,
) -> Result<bool, StoreError> {
    let known = remove(tx, place)?;
    if known {
        tx.put::<Outbox>(&(due, place.1), record)?;
    }
    Ok(known)
}

/// The work has failed for good: it is kept for the operator, and its invitations are said to have failed.
///
/// # Errors
/// When the store fails.
pub fn give_up(
    tx: &mut Tx<'_>,
    place: &OutboxPlace,
    mut record: OutboxRecord,
    now: Timestamp,
) -> Result<bool, StoreError> {
    record.failed = Some(now);
    settle_failed(tx, &record.item, now)?;
    move_to(tx, place, Timestamp::NEVER, &record)
}

/// The invitations that are still to be told with this work will not be.
fn settle_failed(tx: &mut Tx<'_>, item: &OutboxItem, now: Timestamp) -> Result<(), StoreError> {
    let OutboxItem::Onbind { threepid, mxid, .. } = item else {
        return Ok(());
    };
    for (invitation, _) in invitations::bound_to(tx, threepid, mxid, now)? {
        let to = mxid.clone();
        let state = InvitationState::Failed { mxid: to, at: now };
        invitations::settle(tx, &invitation, mxid, state)?;
    }
    Ok(())
}

/// The work with this id, which only an operator asks for: all rows are looked at.
///
/// # Errors
/// When the store fails.
pub fn find(tx: &Tx<'_>, id: &RecordId) -> Result<Option<(OutboxPlace, OutboxRecord)>, StoreError> {
    const STEP: usize = 256;
    let mut after = None;
    loop {
        let rows = list(tx, after.as_ref(), STEP)?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        after = Some(*last);
        if let Some(found) = rows.into_iter().find(|((_, found), _)| found == id) {
            return Ok(Some(found));
        }
    }
}
