//! Hashes to the places of bindings.

use super::bindings::Place;
use super::region::Region;
use crate::types::LookupHash;

/// Into how many parts a table is cut. Each grows by itself, so that no change has to wait for a whole table to grow; they
/// are so few that with a million bindings each fills a large page.
const PARTS: usize = 16;

/// The end of a hash, which is as good as the whole: for two addresses to share 96 bits by chance is out of the question,
/// to hit one of a million others takes 2^76 tries, and who makes two of their own share them gains nothing. With its
/// place it takes 16 bytes, so that no slot lies in two lines of the processor's cache.
type End = [u8; 12];

/// A hash and its place among the bindings; none in a slot that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    end: End,
    place: Option<Place>,
}

/// A slot as it stands in memory; a free one is all zeros.
type Record = [u8; 16];

impl Slot {
    const FREE: Self = Self {
        end: [0; 12],
        place: None,
    };

    fn from_record(record: &Record) -> Self {
        let [end @ .., a, b, c, d] = *record;
        let place = Place::from_bytes([a, b, c, d]);
        Self { end, place }
    }

    fn to_record(self) -> Record {
        let mut record = [0; _];
        let (end, place) = record.split_at_mut(self.end.len());
        end.copy_from_slice(&self.end);
        place.copy_from_slice(&self.place.map_or([0; 4], Place::to_bytes));
        record
    }
}

/// How many hashes are looked for at a time.
pub(super) const AT_ONCE: usize = 128;

/// Hashes to places among the bindings.
pub(super) struct HashTable(Box<[Part]>);

impl Default for HashTable {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Part::empty(0)).collect())
    }
}

impl HashTable {
    pub(super) fn get(&self, hash: &LookupHash) -> Option<Place> {
        let (part, end) = split(hash);
        self.0.get(part)?.get(&end)
    }

    /// The places of at most [`AT_ONCE`] hashes, in their order.
    pub(super) fn get_many(&self, hashes: &[Option<LookupHash>]) -> [Option<Place>; AT_ONCE] {
        // First only the slots where the hashes would stand if they were alone. None of these reads waits for another
        // one, and nothing depends on what is read, so that the processor waits for many places in memory at once.
        let mut firsts = [Slot::FREE; AT_ONCE];
        for (first, hash) in firsts.iter_mut().zip(hashes) {
            if let Some(slot) = hash.as_ref().and_then(|hash| self.first(hash)) {
                *first = slot;
            }
        }
        let mut places = [None; AT_ONCE];
        for ((place, first), hash) in places.iter_mut().zip(firsts).zip(hashes) {
            if let Some(hash) = hash.as_ref().filter(|_| first.place.is_some()) {
                *place = match split(hash) {
                    (_, end) if end == first.end => first.place,
                    _ => self.get(hash),
                };
            }
        }
        places
    }

    /// The first slot where a hash might stand.
    fn first(&self, hash: &LookupHash) -> Option<Slot> {
        let (part, end) = split(hash);
        let part = self.0.get(part)?;
        part.slot(part.first(&end))
    }

    pub(super) fn set(&mut self, hash: &LookupHash, place: Place) {
        let (part, end) = split(hash);
        if let Some(part) = self.0.get_mut(part) {
            part.set(&end, place);
        }
    }

    pub(super) fn remove(&mut self, hash: &LookupHash) {
        let (part, end) = split(hash);
        if let Some(part) = self.0.get_mut(part) {
            part.remove(&end);
        }
    }

    /// Makes room for as many as there are in another table.
    pub(super) fn reserve_as(&mut self, other: &Self) {
        for (part, as_many) in self.0.iter_mut().zip(&other.0) {
            part.reserve(as_many.used);
        }
    }
}

/// The part of the table, and the end that is kept there.
fn split(hash: &LookupHash) -> (usize, End) {
    let [first, ..] = hash.as_bytes();
    let end = hash.as_bytes().last_chunk().copied().unwrap_or_default();
    (usize::from(*first) % PARTS, end)
}

/// A part of a table. A hash stands in the slot that its own end names, or in the next one that was free, and there is no
/// free slot between the two; so a search ends at the first free one, mostly within one line of the processor's cache.
struct Part {
    /// A power of two, of which at least a quarter is free; or none.
    slots: Region<{ size_of::<Record>() }>,
    used: usize,
}

impl Part {
    fn empty(slots: usize) -> Self {
        Self {
            slots: Region::full(slots),
            used: 0,
        }
    }

    /// Where the search for a hash begins. What is hashed is a hash already.
    fn first(&self, end: &End) -> usize {
        let [.., a, b, c, d] = end;
        let end = u32::from_le_bytes([*a, *b, *c, *d]);
        usize::try_from(end).unwrap_or_default() & self.mask()
    }

    fn mask(&self) -> usize {
        self.slots.records().len().saturating_sub(1)
    }

    fn slot(&self, at: usize) -> Option<Slot> {
        self.slots.records().get(at).map(Slot::from_record)
    }

    fn put(&mut self, at: usize, slot: Slot) {
        if let Some(record) = self.slots.records_mut().get_mut(at) {
            *record = slot.to_record();
        }
    }

    /// Where a hash stands, or else the free slot where it would be put; none in a part without slots.
    fn find(&self, end: &End) -> Option<(usize, Slot)> {
        let mut at = self.first(end);
        loop {
            let slot = self.slot(at)?;
            if slot.place.is_none() || slot.end == *end {
                return Some((at, slot));
            }
            at = (at + 1) & self.mask();
        }
    }

    fn get(&self, end: &End) -> Option<Place> {
        self.find(end)?.1.place
    }

    fn set(&mut self, end: &End, place: Place) {
        self.reserve(self.used + 1);
        if let Some((at, before)) = self.find(end) {
            self.used += usize::from(before.place.is_none());
            let slot = Slot {
                end: *end,
                place: Some(place),
            };
            self.put(at, slot);
        }
    }

    fn remove(&mut self, end: &End) {
        let Some((mut hole, _)) = self.find(end).filter(|(_, slot)| slot.place.is_some()) else {
            return;
        };
        self.used -= 1;
        let mask = self.mask();
        let mut at = hole;
        // What stands behind the hole moves into it, unless its search would begin only after it.
        loop {
            at = (at + 1) & mask;
            let next = self.slot(at).unwrap_or(Slot::FREE);
            let is_movable = next.place.is_none() || {
                let first = self.first(&next.end);
                at.wrapping_sub(first) & mask >= at.wrapping_sub(hole) & mask
            };
            if is_movable {
                self.put(hole, next);
                hole = at;
            }
            if next.place.is_none() {
                return;
            }
        }
    }

    /// Makes room for so many.
    fn reserve(&mut self, used: usize) {
        let slots = self.slots.records().len();
        if used <= slots / 4 * 3 {
            return;
        }
        let size = (used.div_ceil(3) * 4).next_power_of_two().max(8);
        let before = std::mem::replace(self, Self::empty(size));
        for slot in before.slots.records().iter().map(Slot::from_record) {
            if let Some(place) = slot.place {
                self.set(&slot.end, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::types::{Medium, Pepper};
    use proptest::prelude::*;

    proptest! {
        /// Few hashes that begin at few slots, so that they stand in each other's way.
        #[test]
        fn a_part_is_a_map(steps in prop::collection::vec((0..40_u8, any::<Option<u8>>()), 0..200)) {
            let end = |number: u8| {
                let mut end = [number; 12];
                end[8..].copy_from_slice(&u32::from(number % 11 * 3).to_le_bytes());
                end
            };
            let (mut part, mut model) = (Part::empty(0), HashMap::new());
            for (number, place) in steps {
                if let Some(place) = place.and_then(|place| Place::at(place.into())) {
                    let end = end(number);
                    part.set(&end, place);
                    model.insert(number, place);
                } else {
                    part.remove(&end(number));
                    model.remove(&number);
                }
                prop_assert_eq!(part.used, model.len());
                for number in 0..40 {
                    prop_assert_eq!(part.get(&end(number)), model.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn every_hash_has_its_own_place() {
        let pepper = Pepper::parse("p").unwrap();
        let hash = |number: u32| LookupHash::of(&number.to_string(), Medium::Msisdn, &pepper);
        let place = |number| Place::at(usize::try_from(number).unwrap()).unwrap();
        let (mut table, mut like) = (HashTable::default(), HashTable::default());
        for number in 0..10_000 {
            table.set(&hash(number), place(number));
        }
        for number in (0..10_000).step_by(2) {
            table.remove(&hash(number));
        }
        for number in 0..10_000 {
            let expected = (number % 2 == 1).then(|| place(number));
            assert_eq!(table.get(&hash(number)), expected);
        }
        let hashes = (0..10_000).map(|number| (number % 3 != 0).then(|| hash(number)));
        let hashes: Vec<_> = hashes.collect();
        for hashes in hashes.chunks(AT_ONCE) {
            let many = table.get_many(hashes).into_iter().take(hashes.len());
            assert!(many.eq(hashes.iter().map(|hash| table.get(hash.as_ref()?))));
        }
        like.reserve_as(&table);
        assert_eq!(like.get(&hash(1)), None);
    }
}
