//! Where governor keeps its counts: a table with a cap, out of which the subject goes that was asked for longest ago.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use lru::LruCache;

/// How many subjects one rate keeps at most; about 100 bytes each.
pub(super) const CAP: usize = 100_000;

/// The table is cut into parts with a lock each.
const PARTS: usize = 16;

/// A subject, hidden in 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject128(pub(super) u128);

/// When each subject's next action would be early.
pub(super) struct Table([Mutex<LruCache<Subject128, Nanos>>; PARTS]);

impl Table {
    pub(super) fn new() -> Self {
        let cap = NonZeroUsize::new(CAP / PARTS).unwrap_or(NonZeroUsize::MIN);
        // A cache that is made with a cap takes the memory for it at once; one that gets it later grows as it fills.
        let part = || {
            let mut part = LruCache::unbounded();
            part.resize(cap);
            Mutex::new(part)
        };
        Self(std::array::from_fn(|_| part()))
    }

    fn with<T>(
        &self,
        key: &Subject128,
        run: impl FnOnce(&mut LruCache<Subject128, Nanos>) -> Option<T>,
    ) -> Option<T> {
        let place = usize::try_from(key.0 % (PARTS as u128)).ok()?;
        let mut part = self
            .0
            .get(place)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        run(&mut part)
    }

    fn measure<T, F, E>(&self, key: Subject128, keep: bool, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let measured = self.with(&key, |part| {
            // Asking is use, also where the answer is no: who goes on trying is not forgotten for newer ones.
            let outcome = measure(part.get(&key).copied());
            if let (true, Ok((_, next))) = (keep, &outcome) {
                part.put(key, *next);
            }
            Some(outcome)
        });
        // The remainder of a division is a place in the table; a subject without one would be new.
        measured
            .unwrap_or_else(|| measure(None))
            .map(|(answer, _)| answer)
    }

    fn len(&self) -> usize {
        self.0
            .iter()
            .map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }
}

/// Asks the table without counting: the new state is dropped.
pub(super) struct Peek(pub(super) Arc<Table>);

/// Asks the table and counts.
pub(super) struct Take(pub(super) Arc<Table>);

impl StateStore for Peek {
    type Key = Subject128;

    fn measure_and_replace<T, F, E>(&self, key: &Subject128, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure(*key, false, measure)
    }
}

impl StateStore for Take {
    type Key = Subject128;

    fn measure_and_replace<T, F, E>(&self, key: &Subject128, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure(*key, true, measure)
    }
}

impl ShrinkableKeyedStateStore<Subject128> for Take {
    fn retain_recent(&self, _: Nanos) {}

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}
