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
