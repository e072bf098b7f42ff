use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that run at once, to all destinations together.
const IN_ALL: usize = 64;

/// Requests that run at once to one destination.
const TO_ONE: usize = 4;

/// Destinations that are told apart. A forgotten one merely counts anew, within the bound for all.
const DESTINATIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Lets only so many requests run at once.
pub(super) struct Queue {
    all: Arc<Semaphore>,
    each: Mutex<LruCache<String, Arc<Semaphore>>>,
}

/// The right to have one request run.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
}

impl Queue {
    pub fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(IN_ALL)),
            each: Mutex::new(LruCache::new(DESTINATIONS)),
        }
    }

    /// Waits for a turn. The place at the destination comes first, so that one slow destination never holds the places of
    /// all others. None is given only if the queue were closed, which it never is.
    pub async fn turn(&self, destination: &str) -> Option<Turn> {
        let one = {
            let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
            let make = || Arc::new(Semaphore::new(TO_ONE));
            Arc::clone(each.get_or_insert(destination.to_ascii_lowercase(), make))
        };
        let one = one.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn {
            _all: all,
            _one: one,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_destination_and_all_together_have_only_so_many_turns() {
        let queue = Queue::new();
        let now = |destination: &str| queue.turn(destination).now_or_never().flatten();
        let mut turns: Vec<Turn> = (0..TO_ONE).map(|_| now("a.example").unwrap()).collect();
        assert!(now("a.example").is_none());
        assert!(now("A.EXAMPLE").is_none());
        turns.pop();
        turns.push(now("a.example").unwrap());
        while turns.len() < IN_ALL {
            turns.push(now(&format!("{}.example", turns.len())).unwrap());
        }
        assert!(now("z.example").is_none());
        turns.pop();
        assert!(now("z.example").is_some());
    }

    #[test]
    fn many_destinations_do_not_fill_the_memory() {
        let queue = Queue::new();
        for number in 0..10_000 {
            queue
                .turn(&number.to_string())
                .now_or_never()
                .flatten()
                .unwrap();
        }
        assert_eq!(queue.each.lock().unwrap().len(), DESTINATIONS.get());
    }
}
