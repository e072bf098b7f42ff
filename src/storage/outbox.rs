//! Outgoing work: what is due, what is tried again, what has failed for good.
//!
//! A row stands under the time when it is due, so that what is to be done next stands first. Whoever changes one names
//! its place; if it is not there any more, somebody else has done so meanwhile, and that is no error.

use super::tables::{Outbox, OutboxItem, OutboxPlace, OutboxRecord};
use super::{StoreError, Tx};
use crate::types::{RecordId, Timestamp};

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
