//! Rows that are read again and again.

use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use lru::{DefaultHasher, LruCache};

/// How many rows are kept at most.
const KEPT: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// After how many marks all are taken away, and for how many there is room. With room for eight times as many, few rows
/// find the mark of another one and come in at their first read, which does no harm.
const MARKED: usize = 16_384;
const ROOM: usize = MARKED * 8;

/// Some rows of a table, such as the account of whoever calls. A row comes in when it is asked for a second time, so that
/// one that is read once costs no more than a mark, and hardly ever drives out another.
pub(super) struct Recent<R>(RwLock<Inner<R>>);

struct Inner<R> {
    rows: LruCache<Box<[u8]>, R>,
    hasher: DefaultHasher,
    /// A bit for each row that was asked for once, in the place that the hash of its key gives.
    marks: Vec<u64>,
    marked: usize,
}

/// What is known of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<R> {
    /// The row.
    Kept(R),
    /// It was asked for before, so it is worth keeping.
    Again,
    /// It was not asked for lately.
    New,
}

impl<R: Clone> Recent<R> {
    pub(super) fn new() -> Self {
        // Made with its bound it would take room for all of them at once.
        let mut rows = LruCache::unbounded();
        rows.resize(KEPT);
        Self(RwLock::new(Inner {
            rows,
            hasher: DefaultHasher::default(),
            marks: Vec::new(),
            marked: 0,
        }))
    }

    pub(super) fn get(&self, key: &[u8]) -> Known<R> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // The row that has been kept longest goes first, asked for or not: to bring each that is asked for to the front
        // would make readers wait for one another.
        if let Some(row) = inner.rows.peek(key) {
            return Known::Kept(row.clone());
        }
        drop(inner);
        if self.change().mark(key) {
            Known::Again
        } else {
            Known::New
        }
    }

    pub(super) fn keep(&self, key: &[u8], row: R) {
        self.change().rows.put(key.into(), row);
    }

    pub(super) fn forget(&self, key: &[u8]) {
        self.change().rows.pop(key);
    }

    fn change(&self) -> RwLockWriteGuard<'_, Inner<R>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Inner<R> {
    /// Marks a row as asked for; whether it was already.
    fn mark(&mut self, key: &[u8]) -> bool {
        // Tables that nobody reads from need no room.
        if self.marks.is_empty() || self.marked == MARKED {
            self.marks.clear();
            self.marks.resize(ROOM / 64, 0);
            self.marked = 0;
        }
        let [a, b, c, d, ..] = self.hasher.hash_one(key).to_ne_bytes();
        let place = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(0) % ROOM;
        let bit = 1 << (place % 64);
        let Some(word) = self.marks.get_mut(place / 64) else {
            return false;
        };
        let was_marked = *word & bit != 0;
        *word |= bit;
        self.marked += usize::from(!was_marked);
        was_marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    /// Reads as the index does: a row that is not kept is read elsewhere, and kept if it is worth it.
    fn read(recent: &Recent<u32>, number: u32) -> Known<u32> {
        let known = recent.get(&key(number));
        if known == Known::Again {
            recent.keep(&key(number), number);
        }
        known
    }

    #[test]
    fn a_row_is_kept_from_its_second_read_on() {
        let recent = Recent::new();
        assert_eq!(read(&recent, 7), Known::New);
        assert_eq!(read(&recent, 7), Known::Again);
        assert_eq!(read(&recent, 7), Known::Kept(7));
        recent.forget(&key(7));
        assert_ne!(read(&recent, 7), Known::Kept(7));
    }

    #[test]
    fn all_of_what_is_read_in_turn_is_kept() {
        let recent = Recent::new();
        for _ in 0..3 {
            (0..5_000).for_each(|number| {
                read(&recent, number);
            });
        }
        let kept = (0..5_000).filter(|&number| read(&recent, number) == Known::Kept(number));
        assert_eq!(kept.count(), 5_000);
    }

    #[test]
    fn what_is_read_once_drives_out_little() {
        let recent = Recent::new();
        let often = || 0..4_000;
        for number in often().chain(often()) {
            read(&recent, number);
        }
        for once in 4_000..54_000 {
            read(&recent, once);
        }
        let kept = often().filter(|&number| read(&recent, number) == Known::Kept(number));
        // Without marks it would be none.
        assert!(kept.count() > 3_000);
    }

    #[test]
    fn the_rows_that_came_in_last_are_kept_and_no_more() {
        let recent = Recent::new();
        for number in 0..20_000 {
            recent.keep(&key(number), number);
        }
        let kept = (0..20_000).filter(|&number| recent.get(&key(number)) == Known::Kept(number));
        assert!(kept.eq(20_000 - 8_192..20_000));
    }
}
