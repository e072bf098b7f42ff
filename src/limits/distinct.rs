//! How many different things somebody asked for: an exact set each, so that asking for the same again costs nothing.
//!
//! An exact set and not an estimate: who is near the limit is told the truth, and a client that looks up the same address
//! book every day never pays twice. What is kept of an address is 64 bits of its hash, about 20 bytes of memory. When too
//! much is kept, who has asked for nothing the longest is forgotten first.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::table::Subject128;

/// How many things are remembered of all subjects together.
const CAP: usize = 2_000_000;

/// What the subjects asked for.
pub(super) struct Distinct {
    kept: Mutex<Kept>,
    cap: usize,
}

struct Kept {
    subjects: LruCache<Subject128, Window>,
    things: usize,
}

/// The time since a subject's first question.
struct Window {
    /// By the monotonic clock.
    began: Duration,
    seen: HashSet<u64>,
}

impl Distinct {
    pub(super) fn new() -> Self {
        Self::with_cap(CAP)
    }

    fn with_cap(cap: usize) -> Self {
        let kept = Kept {
            subjects: LruCache::unbounded(),
            things: 0,
        };
        Self {
            kept: Mutex::new(kept),
            cap,
        }
    }

    /// Counts the things that are new, unless they are too many; then answers after how long the count begins anew.
    pub(super) fn take(
        &self,
        subject: Subject128,
        most: NonZeroU32,
        per: Duration,
        now: Duration,
        things: impl Iterator<Item = u64>,
    ) -> Result<(), Duration> {
        let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        let window = kept.subjects.get_or_insert_mut(subject, || Window {
            began: now,
            seen: HashSet::new(),
        });
        if now.saturating_sub(window.began) >= per {
            kept.things -= window.seen.len();
            window.began = now;
            window.seen = HashSet::new();
        }
        let before = window.seen.len();
        let mut new = Vec::new();
        for thing in things {
            if window.seen.insert(thing) {
                new.push(thing);
            }
            if window.seen.len() > most {
                break;
            }
        }
        // What was counted under a higher limit is no reason to refuse what is known.
        if window.seen.len() > most && !new.is_empty() {
            for thing in &new {
                window.seen.remove(thing);
            }
            return Err((window.began + per).saturating_sub(now));
        }
        kept.things += window.seen.len() - before;
        while kept.things > self.cap && kept.subjects.len() > 1 {
            let Some((_, forgotten)) = kept.subjects.pop_lru() else {
                break;
            };
            kept.things -= forgotten.seen.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const ALICE: Subject128 = Subject128(1);
    const BOB: Subject128 = Subject128(2);

    fn ten() -> NonZeroU32 {
        NonZeroU32::new(10).unwrap()
    }

    #[test]
    fn the_same_again_is_free_and_a_refused_question_counts_nothing() {
        let distinct = Distinct::new();
        let take =
            |things: std::ops::Range<u64>| distinct.take(ALICE, ten(), DAY, Duration::ZERO, things);
        take(0..8).unwrap();
        take(0..8).unwrap();
        assert_eq!(take(5..11), Err(DAY));
        take(8..10).unwrap();
        take(0..10).unwrap();
        assert_eq!(take(10..11), Err(DAY));
        distinct
            .take(BOB, ten(), DAY, Duration::ZERO, 10..20)
            .unwrap();
    }

    #[test]
    fn the_count_begins_anew_after_its_time() {
        let distinct = Distinct::new();
        let take =
            |now, things: std::ops::Range<u64>| distinct.take(ALICE, ten(), DAY, now, things);
        take(DAY, 0..10).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(take((2 * DAY).saturating_sub(second), 10..11), Err(second));
        take(DAY + DAY, 10..20).unwrap();
    }

    #[test]
    fn who_has_not_asked_for_the_longest_time_is_forgotten_first() {
        let distinct = Distinct::with_cap(25);
        let take = |subject, things: std::ops::Range<u64>| {
            distinct.take(subject, ten(), DAY, Duration::ZERO, things)
        };
        take(ALICE, 0..10).unwrap();
        take(BOB, 0..10).unwrap();
        take(ALICE, 0..1).unwrap();
        take(Subject128(3), 0..10).unwrap();
        assert_eq!(take(ALICE, 10..11), Err(DAY));
        take(BOB, 10..20).unwrap();
    }
}
