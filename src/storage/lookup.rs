//! Who is found by which hash: tables in memory that follow the associations.
//!
//! There is one table for each pepper that answers, and one for a pepper that is being brought in; never more than two.
//! Nothing of this is stored but the peppers: the tables are made anew at each start, in the scan that checks the rows,
//! and changed in the step that makes a group of changes visible. They share the bindings themselves.

mod bindings;
mod found;
mod region;
mod table;

use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::bindings::{Binding, Bindings};
pub use self::found::Found;
use self::table::{AT_ONCE, HashTable};
use super::StoreError;
use super::changes::Changes;
use super::codec::{Key as _, Record as _, threepid_parts};
use super::index::{Index, IndexError};
use super::rotation::RotationError;
use super::tables::{
    AssociationRecord, Associations, Meta, MetaName, MetaRecord, PeppersRecord, Table as _,
};
use crate::types::{LookupHash, Medium, Pepper, ThreePid, Timestamp};

/// The tables.
#[derive(Default)]
pub(super) struct LookupTables(RwLock<State>);

#[derive(Default)]
struct State {
    peppers: Option<PeppersRecord>,
    /// For the current pepper, then for the previous one.
    answering: Vec<Peppered>,
    /// For the next one.
    building: Option<Peppered>,
    bindings: Bindings,
}

struct Peppered {
    pepper: Pepper,
    table: HashTable,
}

/// Tables that nobody needs any more. To drop a large one takes a while, which is nothing to do under a lock.
#[must_use]
pub(super) struct Discarded(#[expect(dead_code, reason = "it is only dropped")] Vec<Peppered>);

impl LookupTables {
    /// Tables for the peppers of an index, without rows yet.
    pub(super) fn for_peppers_of(index: &Index) -> Result<Self, IndexError> {
        let row = index.get(Meta::ID, &MetaName::Peppers.to_bytes())?;
        let mut state = State::default();
        if let Some(peppers) = row.as_deref().and_then(peppers) {
            let previous = peppers.previous.iter().map(|previous| &previous.pepper);
            state.answering = std::iter::once(&peppers.current)
                .chain(previous)
                .map(Peppered::empty)
                .collect();
            state.peppers = Some(peppers);
        }
        Ok(Self(RwLock::new(state)))
    }

    /// Takes up one row of the associations at the start.
    pub(super) fn load(&mut self, key: &[u8], record: &[u8]) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !state.answering.is_empty() {
            state.change(key, Some(record));
        }
    }

    /// Follows a group of changes. To be called in the step in which readers come to see it.
    pub(super) fn apply(&self, changes: &Changes) -> Discarded {
        let mut rows = changes
            .range(Associations::ID, Bound::Unbounded, &[])
            .peekable();
        let turned = changes
            .get(Meta::ID, &MetaName::Peppers.to_bytes())
            .flatten()
            .and_then(peppers);
        if rows.peek().is_none() && turned.is_none() {
            return Discarded(Vec::new());
        }
        let mut state = self.write();
        for (key, record) in rows {
            state.change(key, record);
        }
        Discarded(turned.map_or_else(Vec::new, |peppers| state.turn_to(peppers)))
    }

    /// The pepper that clients are told; none before the first one is brought in.
    pub(super) fn peppers(&self) -> Option<PeppersRecord> {
        self.read().peppers.clone()
    }

    /// Whether a pepper answers at this time: the current one, or the previous one in its grace.
    pub(super) fn answers_to(&self, pepper: &Pepper, now: Timestamp) -> bool {
        self.read().answers_to(pepper, now)
    }

    /// Who is bound, in the order of the hashes, of which some may be none; none if the pepper does not answer at this
    /// time.
    ///
    /// # Errors
    /// When there is no table for a pepper that should answer, which the next start repairs.
    pub(super) fn find(
        &self,
        pepper: &Pepper,
        hashes: &[Option<LookupHash>],
        now: Timestamp,
    ) -> Result<Option<Found>, StoreError> {
        let state = self.read();
        if !state.answers_to(pepper, now) {
            return Ok(None);
        }
        let table = state
            .answering
            .iter()
            .find(|of| of.pepper == *pepper)
            .ok_or_else(|| StoreError::unavailable("the table of hashes is not built"))?;
        let holding = |binding: &Binding<'_>| now < binding.not_after;
        let mut found = Found::for_as_many(hashes.len());
        for hashes in hashes.chunks(AT_ONCE) {
            let places = table.table.get_many(hashes);
            let bound = state.bindings.get_many(places);
            for binding in bound.into_iter().take(hashes.len()) {
                found.push(binding.filter(holding).map(|binding| binding.mxid));
            }
        }
        Ok(Some(found))
    }

    /// Begins a table for another pepper, which from now on follows all changes.
    pub(super) fn begin(&self, pepper: &Pepper) -> Result<(), RotationError> {
        let mut state = self.write();
        if state.building.is_some() {
            return Err(RotationError::Running);
        }
        if state.answering.len() > 1 {
            return Err(RotationError::PreviousAnswers);
        }
        let mut next = Peppered::empty(pepper);
        if let Some(current) = state.answering.first() {
            next.table.reserve_as(&current.table);
        }
        state.building = Some(next);
        Ok(())
    }

    /// Puts rows into the table that was begun. No group may become visible between the reading of the rows and this.
    pub(super) fn fill(&self, pepper: &Pepper, rows: &[(ThreePid, AssociationRecord)]) {
        let current = {
            let state = self.read();
            state.answering.first().map(|of| of.pepper.clone())
        };
        let hash = |threepid: &ThreePid, pepper: &Pepper| {
            LookupHash::of(threepid.address(), threepid.medium(), pepper)
        };
        let hashed: Vec<_> = rows
            .iter()
            .map(|(threepid, record)| {
                let known = current.as_ref().map(|current| hash(threepid, current));
                (known, hash(threepid, pepper), record)
            })
            .collect();
        let mut state = self.write();
        let State {
            answering,
            building: Some(building),
            bindings,
            ..
        } = &mut *state
        else {
            return;
        };
        let current = answering.first();
        for (known, next, record) in hashed {
            let place = current
                .zip(known)
                .and_then(|(current, known)| current.table.get(&known))
                .or_else(|| building.table.get(&next))
                .or_else(|| bindings.add(binding(record)));
            if let Some(place) = place {
                building.table.set(&next, place);
            }
        }
    }

    /// Gives up a table that was begun and does not answer.
    pub(super) fn abandon(&self, pepper: &Pepper) -> Discarded {
        let mut state = self.write();
        let abandoned = state.building.take_if(|of| of.pepper == *pepper);
        if state.answering.is_empty() {
            state.bindings = Bindings::default();
        }
        Discarded(abandoned.into_iter().collect())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peppered {
    fn empty(pepper: &Pepper) -> Self {
        Self {
            pepper: pepper.clone(),
            table: HashTable::default(),
        }
    }

    fn hash(&self, address: &str, medium: Medium) -> LookupHash {
        LookupHash::of(address, medium, &self.pepper)
    }
}

impl State {
    fn answers_to(&self, pepper: &Pepper, now: Timestamp) -> bool {
        self.peppers.as_ref().is_some_and(|peppers| {
            let in_grace = |previous: &super::tables::PreviousPepper| {
                previous.pepper == *pepper && now < previous.until
            };
            peppers.current == *pepper || peppers.previous.as_ref().is_some_and(in_grace)
        })
    }

    fn change(&mut self, key: &[u8], record: Option<&[u8]>) {
        let Some((medium, address)) = threepid_parts(key) else {
            return;
        };
        let bound = record.and_then(AssociationRecord::from_bytes);
        let Self {
            answering,
            building,
            bindings,
            ..
        } = self;
        let mut tables: Vec<(LookupHash, &mut HashTable)> = answering
            .iter_mut()
            .chain(building)
            .map(|of| (of.hash(address, medium), &mut of.table))
            .collect();
        let known = tables.iter().find_map(|(hash, table)| table.get(hash));
        let Some(bound) = bound else {
            for (hash, table) in &mut tables {
                table.remove(hash);
            }
            if let Some(place) = known {
                bindings.remove(place);
            }
            return;
        };
        if tables.is_empty() {
            return;
        }
        let place = match known {
            Some(place) => bindings.replace(place, binding(&bound)),
            None => bindings.add(binding(&bound)),
        };
        if let Some(place) = place {
            for (hash, table) in &mut tables {
                table.set(hash, place);
            }
        }
    }

    /// Lets other peppers answer; what was begun for one of them is complete. Answers what is left over.
    fn turn_to(&mut self, peppers: PeppersRecord) -> Vec<Peppered> {
        let previous = peppers.previous.as_ref().map(|previous| &previous.pepper);
        let mut tables: Vec<Peppered> = std::mem::take(&mut self.answering);
        if let Some(built) = self
            .building
            .take_if(|building| building.pepper == peppers.current)
        {
            tables.insert(0, built);
        }
        let (answering, discarded) = tables
            .into_iter()
            .partition(|of| of.pepper == peppers.current || Some(&of.pepper) == previous);
        self.answering = answering;
        self.peppers = Some(peppers);
        discarded
    }
}

fn binding(record: &AssociationRecord) -> Binding<'_> {
    Binding {
        mxid: record.mxid.as_str(),
        not_after: record.not_after,
    }
}

fn peppers(record: &[u8]) -> Option<PeppersRecord> {
    match MetaRecord::from_bytes(record)? {
        MetaRecord::Peppers(peppers) => Some(peppers),
        _ => None,
    }
}
