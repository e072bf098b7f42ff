//! The two rows of an account, which change together.

use super::tables::{AccountRecord, Accounts, AccountsByUser, Nothing};
use super::{StoreError, Tx};
use crate::types::AccessTokenHash;

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
