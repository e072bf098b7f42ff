//! How many requests may be answered at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A place for each request that may be answered at once.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    most: usize,
}

impl Places {
    /// So many.
    pub fn new(most: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self { taken, most }
    }

    /// How many requests are being answered.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place until it is dropped, if one is free.
    pub(super) fn take(&self) -> Option<Place<'_>> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Place(&self.taken))
    }
}

/// The place of a request that is being answered.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_they_come_back() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none());
        assert_eq!(places.taken(), 2);
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
        drop(second);
        assert_eq!(places.taken(), 0);
    }
}
