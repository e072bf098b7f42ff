//! Which server key signs, which only hold, and which are revoked.

use super::tables::{KeyStateEntry, Meta, MetaName, MetaRecord};
use super::{StoreError, Tx};

/// The keys that the store knows.
///
/// # Errors
/// When the store fails.
pub fn get(tx: &Tx<'_>) -> Result<Vec<KeyStateEntry>, StoreError> {
    Ok(match tx.get::<Meta>(&MetaName::KeyStates)? {
        Some(MetaRecord::KeyStates(states)) => states,
        _ => Vec::new(),
    })
}

/// Writes what the keys may do from now on.
///
/// # Errors
/// When the store fails.
pub fn put(tx: &mut Tx<'_>, states: Vec<KeyStateEntry>) -> Result<(), StoreError> {
    tx.put::<Meta>(&MetaName::KeyStates, &MetaRecord::KeyStates(states))
}
