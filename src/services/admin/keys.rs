//! Listing, rotating and revoking the server's keys. File, store and memory change in this order: a key that is not in
//! the file yet signs nothing, and one that the store does not know yet only holds.

use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Admin, AdminError, KeyInfo};
use crate::random::RandomError;
use crate::signing::{KeyFileError, KeyRing, encode_base64};
use crate::storage::secret_file::{self, ReadError};
use crate::storage::tables::KeyStateEntry;
use crate::storage::{StoreError, key_states};
use crate::types::{KeyId, KeyState};

/// Why the keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: ReadError,
    },
    /// The key file cannot be written.
    #[error("cannot write {}: {source}; the keys are as they were", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The key file does not have the right form.
    #[error("{}: {source}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// The line and what is wrong with it.
        source: KeyFileError,
    },
    /// There is no such key.
    #[error("there is no key `{0}`; `bindery keys list` shows those that there are")]
    Unknown(KeyId),
    /// The key signs.
    #[error("`{0}` signs: run `bindery keys rotate` first, so that it has a successor")]
    Current(KeyId),
    /// Invitations name the key.
    #[error(
        "{waiting} invitations are still to be signed by `{key}`: wait until they are delivered, revoke them with \
         `bindery invites revoke`, or revoke the key with --force, and homeservers will not take them"
    )]
    Needed {
        /// The key.
        key: KeyId,
        /// How many invitations.
        waiting: usize,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Admin {
    /// All keys that the store knows, revoked ones too.
    pub(super) fn keys(&self) -> Result<Vec<KeyInfo>, StoreError> {
        let states = self.parts.store.read(key_states::get)?;
        let info = |entry: KeyStateEntry| {
            Some(KeyInfo {
                id: KeyId::from_version(&entry.version).ok()?,
                public_key: encode_base64(&entry.public_key),
                state: entry.state,
            })
        };
        Ok(states.into_iter().filter_map(info).collect())
    }

    /// Makes a key that signs from now on. The one before holds until it is revoked.
    pub(super) async fn rotate_key(&self) -> Result<KeyId, AdminError> {
        let _alone = self.changing_keys.lock().await;
        let file = &self.parts.key_file;
        let text = secret_file::read(file).map_err(|source| KeyError::Read {
            file: file.clone(),
            source,
        })?;
        let form = |source| KeyError::Form {
            file: file.clone(),
            source,
        };
        let mut ring = KeyRing::parse(&text).map_err(form)?;
        let taken = self.parts.store.read(key_states::get)?;
        let taken: Vec<&str> = taken.iter().map(|entry| entry.version.as_str()).collect();
        let seed = Zeroizing::new(self.parts.random.bytes::<32>().map_err(KeyError::from)?);
        let id = ring.add(&seed, &taken).map_err(form)?;
        let new = ring.appended_to(&text);
        secret_file::write(file, &new).map_err(|source| KeyError::Write {
            file: file.clone(),
            source,
        })?;
        let key = ring
            .into_keys()
            .into_iter()
            .find(|key| *key.id() == id)
            .ok_or_else(|| KeyError::Unknown(id.clone()))?;
        let entry = KeyStateEntry {
            version: id.version().to_owned(),
            public_key: key.public_key(),
            state: KeyState::Current,
        };
        self.parts
            .store
            .write(move |tx| -> Result<(), StoreError> {
                let mut states = key_states::get(tx)?;
                for known in &mut states {
                    if known.state == KeyState::Current {
                        known.state = KeyState::Valid;
                    }
                }
                states.push(entry.clone());
                key_states::put(tx, states)
            })
            .await?;
        self.parts.keys.rotate(key);
        Ok(id)
    }

    /// Trusts a key no longer; with `force` also one that invitations are still to be signed by. Once more changes nothing.
    pub(super) async fn revoke_key(&self, id: &KeyId, force: bool) -> Result<(), AdminError> {
        let _alone = self.changing_keys.lock().await;
        let known = self.keys()?.into_iter().find(|key| key.id == *id);
        match known.map(|key| key.state) {
            None => return Err(KeyError::Unknown(id.clone()).into()),
            Some(KeyState::Current) => return Err(KeyError::Current(id.clone()).into()),
            Some(KeyState::Valid | KeyState::Revoked) => {}
        }
        let waiting = self.invitations_signed_by(id)?;
        if waiting > 0 && !force {
            let key = id.clone();
            return Err(KeyError::Needed { key, waiting }.into());
        }
        let version = id.version().to_owned();
        self.parts
            .store
            .write(move |tx| -> Result<(), StoreError> {
                let mut states = key_states::get(tx)?;
                for known in states.iter_mut().filter(|known| known.version == version) {
                    known.state = KeyState::Revoked;
                }
                key_states::put(tx, states)
            })
            .await?;
        self.parts.keys.revoke(id);
        Ok(())
    }
}
