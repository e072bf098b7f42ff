//! The two rows of an association, which change together.

use super::codec::Key as _;
use super::tables::{AssociationRecord, Associations, AssociationsByUser, Nothing};
use super::{StoreError, Tx};
use crate::types::{ThreePid, UserId};

/// Binds the 3PID, in place of whoever it was bound to.
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

/// Unbinds the 3PID if it is bound to this user.
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
    }
    Ok(())
}
