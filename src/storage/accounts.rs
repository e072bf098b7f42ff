//! The two rows of an account, which change together.

use super::codec::Key;
use super::tables::{AccountRecord, Accounts, AccountsByUser, Nothing};
use super::{StoreError, Tx};
use crate::types::{AccessTokenHash, UserId};

/// Writes an account.
///
/// # Errors
/// When the store fails.
pub fn put(
    tx: &mut Tx<'_>,
    token: &AccessTokenHash,
    record: &AccountRecord,
) -> Result<(), StoreError> {
    tx.put::<Accounts>(token, record)?;
    tx.put::<AccountsByUser>(&(record.mxid.clone(), *token), &Nothing {})
}

/// At most `limit` accounts by user and token, of one user or of all, those after `after`.
///
/// # Errors
/// When the store fails.
pub fn places(
    tx: &Tx<'_>,
    user: Option<&UserId>,
    after: Option<&(UserId, AccessTokenHash)>,
    limit: usize,
) -> Result<Vec<(UserId, AccessTokenHash)>, StoreError> {
    let prefix = user.map(Key::to_bytes).unwrap_or_default();
    let rows = tx.scan::<AccountsByUser>(&prefix, after, limit)?;
    Ok(rows.into_iter().map(|(place, _)| place).collect())
}

/// Removes an account, if there is one.
///
/// # Errors
/// When the store fails.
pub fn remove(tx: &mut Tx<'_>, token: &AccessTokenHash) -> Result<(), StoreError> {
    if let Some(record) = tx.get::<Accounts>(token)? {
        tx.delete::<AccountsByUser>(&(record.mxid, *token))?;
    }
    tx.delete::<Accounts>(token)
}
