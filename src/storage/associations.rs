//! The two rows of an association, which change together, and what follows from a bind.

use serde_json::{Map, Value};

use super::codec::Key as _;
use super::tables::{AssociationRecord, Associations, AssociationsByUser, Nothing, OutboxItem};
use super::{StoreError, Tx, invitations, outbox};
use crate::types::{RecordId, ThreePid, UserId};

/// Binds the 3PID, in place of whoever it was bound to, makes the invitations that wait for it the user's, and queues the
/// word to the user's homeserver under `notice`.
///
/// # Errors
/// When the store fails.
pub fn bind(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    record: &AssociationRecord,
    notice: RecordId,
) -> Result<(), StoreError> {
    put(tx, threepid, record)?;
    invitations::hand_over(tx, threepid, &record.mxid, record.ts)?;
    let item = OutboxItem::Onbind {
        threepid: threepid.clone(),
        mxid: record.mxid.clone(),
        announced: false,
    };
    outbox::queue(tx, notice, item, record.ts, record.ts)
}

/// The association as the specification writes it, for an address as it was asked for; not signed yet.
pub fn to_json(
    address: &str,
    threepid: &ThreePid,
    record: &AssociationRecord,
) -> Map<String, Value> {
    let fields: [(&str, Value); 6] = [
        ("address", address.into()),
        ("medium", threepid.medium().as_str().into()),
        ("mxid", record.mxid.as_str().into()),
        ("not_before", record.not_before.as_millis().into()),
        ("not_after", record.not_after.as_millis().into()),
        ("ts", record.ts.as_millis().into()),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Writes the rows of an association alone, in place of whoever the 3PID was bound to: nobody is told.
///
/// # Errors
/// When the store fails.
pub fn put(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    record: &AssociationRecord,
) -> Result<(), StoreError> {
    if let Some(previous) = tx.get::<Associations>(threepid)?
        && previous.mxid != record.mxid
    {
        tx.delete::<AssociationsByUser>(&(previous.mxid, threepid.clone()))?;
    }
    tx.put::<Associations>(threepid, record)?;
    tx.put::<AssociationsByUser>(&(record.mxid.clone(), threepid.clone()), &Nothing {})
}

/// At most `limit` 3PIDs that are bound to a user, in the order of their addresses, those after `after`.
///
/// # Errors
/// When the store fails.
pub fn of_user(
    tx: &Tx<'_>,
    mxid: &UserId,
    after: Option<&ThreePid>,
    limit: usize,
) -> Result<Vec<ThreePid>, StoreError> {
    let after = after.map(|threepid| (mxid.clone(), threepid.clone()));
    let rows = tx.scan::<AssociationsByUser>(&mxid.to_bytes(), after.as_ref(), limit)?;
    Ok(rows
        .into_iter()
        .map(|((_, threepid), _)| threepid)
        .collect())
}

/// Unbinds the 3PID if it is bound to this user. Invitations that their homeserver has not taken wait again.
///
/// # Errors
/// When the store fails.
pub fn remove(tx: &mut Tx<'_>, threepid: &ThreePid, mxid: &UserId) -> Result<(), StoreError> {
    if tx
        .get::<Associations>(threepid)?
        .is_some_and(|found| found.mxid == *mxid)
    {
        tx.delete::<Associations>(threepid)?;
        tx.delete::<AssociationsByUser>(&(mxid.clone(), threepid.clone()))?;
        invitations::take_back(tx, threepid)?;
    }
    Ok(())
}
