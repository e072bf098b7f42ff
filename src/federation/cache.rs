use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// What is known of each server, of a bounded number of them; the ones not used for longest are forgotten.
///
/// What is known is read at once. Who wants to find out more takes a turn, so that many who ask for one server at once ask
/// that server once.
pub(super) struct Cache<V> {
    slots: Mutex<LruCache<String, Slot<V>>>,
}

struct Slot<V> {
    known: Option<Arc<V>>,
    turn: Arc<AsyncMutex<()>>,
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Self {
            known: None,
            turn: Arc::default(),
        }
    }
}

impl<V> Cache<V> {
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            slots: Mutex::new(LruCache::new(capacity)),
        }
    }

    /// What is known of a server, fresh or not.
    pub fn get(&self, server: &str) -> Option<Arc<V>> {
        self.lock().get(server)?.known.clone()
    }

    /// Waits for the turn to find out more. What is known may have changed meanwhile.
    pub async fn turn(&self, server: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut slots = self.lock();
            Arc::clone(
                &slots
                    .get_or_insert_mut(server.to_owned(), Slot::default)
                    .turn,
            )
        };
        turn.lock_owned().await
    }

    /// Notes what is known of a server now.
    pub fn put(&self, server: &str, value: V) -> Arc<V> {
        let value = Arc::new(value);
        let mut slots = self.lock();
        let slot = slots.get_or_insert_mut(server.to_owned(), Slot::default);
        slot.known = Some(Arc::clone(&value));
        value
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<String, Slot<V>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_servers_are_remembered() {
        let cache = Cache::new(NonZeroUsize::new(2).unwrap());
        for server in ["a", "b"] {
            cache.put(server, server.to_owned());
        }
        assert_eq!(cache.get("a").unwrap().as_str(), "a");
        cache.put("c", "c".to_owned());
        assert!(cache.get("b").is_none(), "not used for longest");
        assert!(cache.get("a").is_some());
    }
}
