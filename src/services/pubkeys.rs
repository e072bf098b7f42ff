//! Answering for public keys: the server's own, and the ephemeral ones of invitations.

use std::sync::Arc;

use crate::clock::Clock;
use crate::signing::{ServerKeys, decode_base64};
use crate::storage::tables::{EphemeralKeys, Invitations};
use crate::storage::{Store, StoreError};
use crate::types::KeyId;

/// The service.
pub struct Pubkeys {
    store: Store,
    keys: Arc<ServerKeys>,
    clock: Arc<dyn Clock>,
}

impl Pubkeys {
    /// The service over its parts.
    pub fn new(store: Store, keys: Arc<ServerKeys>, clock: Arc<dyn Clock>) -> Self {
        Self { store, keys, clock }
    }

    /// The public key with this id, as unpadded base64, unless it is unknown or revoked (identity service,
    /// `GET pubkey/{keyId}`).
    pub fn public_key(&self, id: &KeyId) -> Option<String> {
        self.keys.valid(id).map(|key| key.public_key_base64())
    }

    /// Whether this is a valid key of the server, in whichever base64 it is written (identity service,
    /// `GET pubkey/isvalid`).
    pub fn is_valid(&self, public_key: &str) -> bool {
        decode_base64(public_key).is_some_and(|bytes| self.keys.is_valid(&bytes))
    }

    /// Whether this is an ephemeral key that the server vouches for: as long as its invitation holds, whether or not
    /// something was signed with it (identity service, `GET pubkey/ephemeral/isvalid`).
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_valid_ephemeral(&self, public_key: &str) -> Result<bool, StoreError> {
        let Some(key) = decode_base64(public_key).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(false);
        };
        let now = self.clock.now();
        self.store.read(|tx| {
            let Some(record) = tx.get::<EphemeralKeys>(&key)? else {
                return Ok(false);
            };
            let Some(of) = record.invite else {
                return Ok(true);
            };
            let invitation = tx.get::<Invitations>(&(of.threepid, of.invite))?;
            Ok(invitation.is_some_and(|invitation| now < invitation.expires))
        })
    }
}
