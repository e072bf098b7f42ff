//! Which of the server's keys signs, which only hold, and which are revoked.

use std::sync::{Arc, PoisonError, RwLock};

use super::ServerKey;
use crate::types::{KeyId, KeyState};

/// The server's keys with what each may still do. Exactly one signs.
pub struct ServerKeys(RwLock<Keys>);

struct Keys {
    current: Arc<ServerKey>,
    others: Vec<(Arc<ServerKey>, KeyState)>,
}

impl ServerKeys {
    /// The key that signs, and the others with their states; one of these that says it is current only holds.
    pub fn new(current: ServerKey, others: Vec<(ServerKey, KeyState)>) -> Self {
        let others = others
            .into_iter()
            .map(|(key, state)| (Arc::new(key), state))
            .collect();
        Self(RwLock::new(Keys {
            current: Arc::new(current),
            others,
        }))
    }

    /// The key that signs now.
    pub fn current(&self) -> Arc<ServerKey> {
        Arc::clone(&self.read().current)
    }

    /// The key with this id, if there is one and it is not revoked.
    pub fn valid(&self, id: &KeyId) -> Option<Arc<ServerKey>> {
        self.find_valid(|key| key.id() == id)
    }

    /// Whether this is the public half of a key that is not revoked.
    pub fn is_valid(&self, public_key: &[u8]) -> bool {
        self.find_valid(|key| key.public_key().as_slice() == public_key)
            .is_some()
    }

    /// This key signs from now on; the one before only holds.
    pub fn rotate(&self, key: ServerKey) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut keys.current, Arc::new(key));
        keys.others.push((before, KeyState::Valid));
    }

    /// This key is no longer trusted. The one that signs is left alone.
    pub fn revoke(&self, id: &KeyId) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (_, state) in keys.others.iter_mut().filter(|(key, _)| key.id() == id) {
            *state = KeyState::Revoked;
        }
    }

    fn find_valid(&self, wanted: impl Fn(&ServerKey) -> bool) -> Option<Arc<ServerKey>> {
        let keys = self.read();
        let others = keys
            .others
            .iter()
            .filter(|(_, state)| *state != KeyState::Revoked);
        std::iter::once(&keys.current)
            .chain(others.map(|(key, _)| key))
            .find(|key| wanted(key))
            .map(Arc::clone)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: &str, seed: u8) -> ServerKey {
        ServerKey::from_seed(KeyId::from_version(version).unwrap(), &[seed; 32]).unwrap()
    }

    #[test]
    fn a_revoked_key_is_known_neither_by_id_nor_by_its_public_half() {
        let others = vec![
            (key("1", 1), KeyState::Revoked),
            (key("2", 2), KeyState::Valid),
        ];
        let keys = ServerKeys::new(key("3", 3), others);
        assert_eq!(keys.current().id().version(), "3");
        for (version, seed, valid) in [("1", 1, false), ("2", 2, true), ("3", 3, true)] {
            let key = key(version, seed);
            assert_eq!(keys.valid(key.id()).is_some(), valid, "{version}");
            assert_eq!(keys.is_valid(&key.public_key()), valid, "{version}");
        }
        assert!(keys.valid(&KeyId::from_version("4").unwrap()).is_none());
        assert!(!keys.is_valid(&[]));
        assert!(!keys.is_valid(&key("3", 3).public_key()[..31]));
    }
}
