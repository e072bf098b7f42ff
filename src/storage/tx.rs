//! What a closure sees: the index, what the group has changed so far, and what it changes itself.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::StoreError;
use super::changes::Changes;
use super::codec::{Key as _, Record as _};
use super::index::Index;
use super::lookup::{Found, LookupTables};
use super::tables::{Budget, BudgetRecord, Budgets, PeppersRecord, Table};
use crate::types::{LookupHash, Pepper, Timestamp};

/// Rows of a table, in the order of their keys' bytes.
pub type Rows<T> = Vec<(<T as Table>::Key, <T as Table>::Record)>;

/// What came of spending from a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It was counted.
    Yes,
    /// So much has been spent already, and nothing was counted.
    No {
        /// After how long the budget is whole again.
        again_in: Duration,
    },
}

/// A consistent view of all tables; in a write also the way to change them.
pub struct Tx<'a> {
    index: &'a Index,
    group: Option<&'a Changes>,
    own: Changes,
    lookup: Option<&'a LookupTables>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(index: &'a Index, group: Option<&'a Changes>) -> Self {
        Self {
            index,
            group,
            own: Changes::default(),
            lookup: None,
        }
    }

    pub(super) fn with_lookup(self, lookup: &'a LookupTables) -> Self {
        Self {
            lookup: Some(lookup),
            ..self
        }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.own
    }

    /// The record of a key.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Record>, StoreError> {
        let key = key.to_bytes();
        let changed = self
            .own
            .get(T::ID, &key)
            .or_else(|| self.group.and_then(|group| group.get(T::ID, &key)));
        match changed {
            Some(record) => record.map(decode_record::<T>).transpose(),
            None => match self.index.get(T::ID, &key)? {
                Some(record) => decode_record::<T>(&record).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The peppers that lookups are asked with, as of the last durable change; none before the first one.
    pub fn peppers(&self) -> Option<PeppersRecord> {
        self.lookup?.peppers()
    }

    /// Whether a pepper answers at this time: the current one, or the previous one in its grace.
    pub fn answers_to(&self, pepper: &Pepper, now: Timestamp) -> bool {
        self.lookup
            .is_some_and(|lookup| lookup.answers_to(pepper, now))
    }

    /// The users that addresses are bound to at this time, in the order of their hashes, of which some may be none, and
    /// as of the last durable change; none if the pepper does not answer.
    ///
    /// # Errors
    /// When the table for a pepper is missing.
    pub fn lookup(
        &self,
        pepper: &Pepper,
        hashes: &[Option<LookupHash>],
        now: Timestamp,
    ) -> Result<Option<Found>, StoreError> {
        match self.lookup {
            Some(lookup) => lookup.find(pepper, hashes, now),
            None => Ok(None),
        }
    }

    /// The records of many keys, in their order.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_many<T: Table>(
        &self,
        keys: &[T::Key],
    ) -> Result<Vec<Option<T::Record>>, StoreError> {
        keys.iter().map(|key| self.get::<T>(key)).collect()
    }

    /// At most `limit` rows in the order of their keys' bytes: those whose key begins with `prefix` and stands after
    /// `after`.
    ///
    /// # Errors
    /// When a row is damaged or cannot be read.
    pub fn scan<T: Table>(
        &self,
        prefix: &[u8],
        after: Option<&T::Key>,
        limit: usize,
    ) -> Result<Rows<T>, StoreError> {
        let from = match after {
            Some(key) => Bound::Excluded(key.to_bytes()),
            None => Bound::Included(prefix.to_vec()),
        };
        let from = from.as_ref().map(Vec::as_slice);
        let mut changed: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        if let Some(group) = self.group {
            changed.extend(group.range(T::ID, from, prefix));
        }
        changed.extend(self.own.range(T::ID, from, prefix));

        let mut changed = changed.into_iter().peekable();
        let mut stored = self
            .index
            .range(T::ID, (from, Bound::Unbounded), prefix)
            .peekable();
        let mut rows = Vec::new();
        while rows.len() < limit {
            // A changed row stands in place of the stored one with the same key.
            let take_changed = match (changed.peek(), stored.peek()) {
                (None, None) => break,
                (Some(_), None | Some(Err(_))) => true,
                (None, Some(_)) => false,
                (Some((key, _)), Some(Ok((stored_key, _)))) => *key <= stored_key.as_ref(),
            };
            if take_changed {
                let Some((key, record)) = changed.next() else {
                    break;
                };
                if matches!(stored.peek(), Some(Ok((stored_key, _))) if stored_key.as_ref() == key)
                {
                    stored.next();
                }
                if let Some(record) = record {
                    rows.push((decode_key::<T>(key)?, decode_record::<T>(record)?));
                }
            } else if let Some(row) = stored.next() {
                let (key, record) = row?;
                rows.push((decode_key::<T>(&key)?, decode_record::<T>(&record)?));
            }
        }
        Ok(rows)
    }

    /// Writes a record, in place of the one before.
    ///
    /// # Errors
    /// When the record cannot be put into bytes.
    pub fn put<T: Table>(&mut self, key: &T::Key, record: &T::Record) -> Result<(), StoreError> {
        let record = record
            .to_bytes()
            .map_err(|_| StoreError::Unwritable { table: T::NAME })?;
        self.own.set(T::ID, key.to_bytes(), Some(record));
        Ok(())
    }

    /// Spends one from a budget of at most `most` in each `per`, which begins with the first that is spent. What was spent
    /// survives a restart.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    pub fn take(
        &mut self,
        budget: &Budget,
        most: u32,
        per: Duration,
        now: Timestamp,
    ) -> Result<Spent, StoreError> {
        let running = self.running(budget, now)?;
        if let Some(no) = exhausted(running, most, now) {
            return Ok(no);
        }
        let mut record = running.unwrap_or(BudgetRecord {
            since: now,
            spent: 0,
            until: now.plus(per),
        });
        record.spent += 1;
        self.put::<Budgets>(budget, &record)?;
        Ok(Spent::Yes)
    }

    /// Whether [`Self::take`] would spend one now.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    pub fn can_take(
        &self,
        budget: &Budget,
        most: u32,
        now: Timestamp,
    ) -> Result<Spent, StoreError> {
        let running = self.running(budget, now)?;
        Ok(exhausted(running, most, now).unwrap_or(Spent::Yes))
    }

    /// How much of a budget is spent now.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    pub fn spent(&self, budget: &Budget, now: Timestamp) -> Result<u32, StoreError> {
        let running = self.running(budget, now)?;
        Ok(running.map_or(0, |record| record.spent))
    }

    fn running(&self, budget: &Budget, now: Timestamp) -> Result<Option<BudgetRecord>, StoreError> {
        let record = self.get::<Budgets>(budget)?;
        // A clock that is set back by more than the budget's own time was wrong before, perhaps by years.
        let holds = |record: &BudgetRecord| {
            now < record.until && record.since.since(now) <= record.until.since(record.since)
        };
        Ok(record.filter(holds))
    }

    /// Gives back one that was taken from a budget, for something that was not done after all.
    ///
    /// # Errors
    /// When the row is damaged or cannot be read.
    pub fn give_back(&mut self, budget: &Budget) -> Result<(), StoreError> {
        if let Some(mut record) = self.get::<Budgets>(budget)? {
            record.spent = record.spent.saturating_sub(1);
            self.put::<Budgets>(budget, &record)?;
        }
        Ok(())
    }

    /// Deletes a record, if there is one.
    ///
    /// # Errors
    /// None today; a change of the store may bring some.
    pub fn delete<T: Table>(&mut self, key: &T::Key) -> Result<(), StoreError> {
        self.own.set(T::ID, key.to_bytes(), None);
        Ok(())
    }
}

fn exhausted(running: Option<BudgetRecord>, most: u32, now: Timestamp) -> Option<Spent> {
    let (spent, until) = running.map_or((0, now), |record| (record.spent, record.until));
    (spent >= most).then(|| Spent::No {
        again_in: until.since(now),
    })
}

pub(super) fn decode_key<T: Table>(bytes: &[u8]) -> Result<T::Key, StoreError> {
    T::Key::from_bytes(bytes).ok_or(StoreError::Damaged { table: T::NAME })
}

pub(super) fn decode_record<T: Table>(bytes: &[u8]) -> Result<T::Record, StoreError> {
    T::Record::from_bytes(bytes).ok_or(StoreError::Damaged { table: T::NAME })
}
