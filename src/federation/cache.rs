use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// What is known of each server, of a bounded number of them; the ones not used for longest are forgotten.
///
/// What is known is read at once. Who wants to find out more takes a turn, so that many who ask for one server at once ask
/// that server once. Turns are kept apart: names that lead to nothing push out nothing that is known.
pub(super) struct Cache<V> {
    known: Mutex<LruCache<String, Arc<V>>>,
    turns: Mutex<LruCache<String, Turn>>,
}

type Turn = Arc<AsyncMutex<()>>;

impl<V> Cache<V> {
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            known: Mutex::new(LruCache::new(capacity)),
            turns: Mutex::new(LruCache::new(capacity)),
        }
    }

    /// What is known of a server, fresh or not.
    pub fn get(&self, server: &str) -> Option<Arc<V>> {
        lock(&self.known).get(server).cloned()
    }

    /// Waits for the turn to find out more. What is known may have changed meanwhile.
    pub async fn turn(&self, server: &str) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(lock(&self.turns).get_or_insert(server.to_owned(), Turn::default));
        turn.lock_owned().await
    }

    /// Notes what is known of a server now.
    pub fn put(&self, server: &str, value: V) -> Arc<V> {
        let value = Arc::new(value);
        lock(&self.known).put(server.to_owned(), Arc::clone(&value));
        value
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn turns_push_out_nothing_that_is_known() {
        let cache = Cache::new(NonZeroUsize::new(2).unwrap());
        cache.put("a", ());
        for server in 0..100 {
            drop(cache.turn(&server.to_string()).await);
        }
        assert!(cache.get("a").is_some());
        assert_eq!(cache.turns.lock().unwrap().len(), 2);
    }
}
