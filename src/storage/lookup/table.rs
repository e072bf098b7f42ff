//! Hashes to the places of bindings.

use super::bindings::Place;
use super::region::{Line, NO_LINE, Region, fetch};
use crate::types::LookupHash;

/// Into how many parts a table is cut. Each grows by itself, so that no change has to wait for a whole table to grow; they
/// are so few that with a million bindings each fills a large page.
const PARTS: usize = 16;

/// The end of a hash, which is as good as the whole: for two addresses to share 96 bits by chance is out of the question,
/// to hit one of a million others takes 2^76 tries, and who makes two of their own share them gains nothing.
type End = [u8; 12];

/// A hash and its place among the bindings; none in a slot that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    end: End,
    place: Option<Place>,
}

/// A slot as it stands in a line, of which it fills a quarter; a free one is all zeros.
type Record = [u8; 16];

impl Slot {
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

/// What a line says of a hash.
enum Seen {
    /// It stands here, with this place.
    Here(Place),
    /// It stands nowhere; in this line there is room for it.
    Nowhere,
    /// It may stand in the next line.
    Beyond,
}

fn search(line: &Line, end: &End) -> Seen {
    // All of it in any case: a search that could end early would be guessed wrong by the processor too often.
    let (mut found, mut is_full) = (None, true);
    for slot in slots(line) {
        is_full &= slot.place.is_some();
        found = found.or(slot.place.filter(|_| slot.end == *end));
    }
    match found {
        Some(place) => Seen::Here(place),
        None if is_full => Seen::Beyond,
        None => Seen::Nowhere,
    }
}

fn slots(line: &Line) -> impl Iterator<Item = Slot> {
    let (records, _) = line.as_chunks();
    records.iter().map(Slot::from_record)
}

/// How many hashes are looked for at a time.
pub(super) const AT_ONCE: usize = 256;

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
        let mut lines = [&NO_LINE; AT_ONCE];
        for (line, hash) in lines.iter_mut().zip(hashes) {
            let first = hash.as_ref().and_then(|hash| self.first(hash));
            *line = first.unwrap_or(&NO_LINE);
        }
        fetch(&lines);
        let mut places = [None; AT_ONCE];
        for ((place, line), hash) in places.iter_mut().zip(lines).zip(hashes) {
            if let Some(hash) = hash {
                *place = match search(line, &split(hash).1) {
                    Seen::Here(place) => Some(place),
                    Seen::Nowhere => None,
                    Seen::Beyond => self.get(hash),
                };
            }
        }
        places
    }

    /// The first line where a hash may stand.
    fn first(&self, hash: &LookupHash) -> Option<&Line> {
        let (part, end) = split(hash);
        let part = self.0.get(part)?;
        part.lines.lines().get(part.first(&end))
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

/// A part of a table. A hash stands in the line that its own end names, or in the next one that was not full, and all lines
/// between the two are full; so a search ends at the first line that is not, mostly the first of all.
struct Part {
    /// A power of two, of whose slots at least a quarter is free; or none.
    lines: Region,
    /// How many slots are not free.
    used: usize,
}

/// How many slots a line has.
const SLOTS: usize = size_of::<Line>() / size_of::<Record>();

/// A line of a part, and a slot of it.
type Position = (usize, usize);

impl Part {
    fn empty(lines: usize) -> Self {
        Self {
            lines: Region::full(lines),
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
        self.lines.lines().len().saturating_sub(1)
    }

    /// The line where a search for a hash ends, and the place that it found; none in a part without lines.
    fn find(&self, end: &End) -> Option<(usize, Option<Place>)> {
        let mut at = self.first(end);
        loop {
            match search(self.lines.lines().get(at)?, end) {
                Seen::Here(place) => return Some((at, Some(place))),
                Seen::Nowhere => return Some((at, None)),
                Seen::Beyond => at = (at + 1) & self.mask(),
            }
        }
    }

    fn get(&self, end: &End) -> Option<Place> {
        self.find(end)?.1
    }

    /// The slot of a line where a hash stands, or else a free one.
    fn position(&self, line: usize, end: &End) -> Option<Position> {
        let own = self
            .slots(line)
            .position(|slot| slot.place.is_some() && slot.end == *end);
        let free = || self.slots(line).position(|slot| slot.place.is_none());
        Some((line, own.or_else(free)?))
    }

    fn set(&mut self, end: &End, place: Place) {
        self.reserve(self.used + 1);
        let Some((line, before)) = self.find(end) else {
            return;
        };
        if let Some(position) = self.position(line, end) {
            let slot = Slot {
                end: *end,
                place: Some(place),
            };
            self.put(position, slot.to_record());
            self.used += usize::from(before.is_none());
        }
    }

    fn remove(&mut self, end: &End) {
        let Some((line, Some(_))) = self.find(end) else {
            return;
        };
        let Some(mut hole) = self.position(line, end) else {
            return;
        };
        self.used -= 1;
        // What found the line full stands behind it, and would not be found there any more.
        while let Some((position, slot)) = self.behind(hole) {
            self.put(hole, slot.to_record());
            hole = position;
        }
        self.put(hole, [0; _]);
    }

    /// The nearest slot behind the line of a position whose search leads through that line.
    fn behind(&self, (hole, _): Position) -> Option<(Position, Slot)> {
        let distance = |from: usize, to: usize| to.wrapping_sub(from) & self.mask();
        let mut line = hole;
        while self.slots(line).all(|slot| slot.place.is_some()) {
            line = (line + 1) & self.mask();
            let passed = distance(hole, line);
            let behind = self.slots(line).enumerate().find(|(_, slot)| {
                slot.place.is_some() && distance(self.first(&slot.end), line) >= passed
            });
            if let Some((at, slot)) = behind {
                return Some(((line, at), slot));
            }
        }
        None
    }

    fn slots(&self, line: usize) -> impl Iterator<Item = Slot> {
        self.lines.lines().get(line).into_iter().flat_map(slots)
    }

    /// Puts something into a slot.
    fn put(&mut self, (line, at): Position, record: Record) {
        let line = self.lines.lines_mut().get_mut(line);
        if let Some(slot) = line.and_then(|line| line.as_chunks_mut().0.get_mut(at)) {
            *slot = record;
        }
    }

    /// Makes room for so many.
    fn reserve(&mut self, used: usize) {
        if used <= self.lines.lines().len() * SLOTS / 4 * 3 {
            return;
        }
        let lines = (used.div_ceil(3) * 4).div_ceil(SLOTS);
        let grown = Self::empty(lines.next_power_of_two().max(2));
        let before = std::mem::replace(self, grown);
        for slot in before.lines.lines().iter().flat_map(slots) {
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
        /// Few hashes that begin in few lines, so that they stand in each other's way.
        #[test]
        fn a_part_is_a_map(steps in prop::collection::vec((0..40_u8, any::<Option<u8>>()), 0..200)) {
            let end = |number: u8| {
                let mut end = [number; 12];
                end[8..].copy_from_slice(&u32::from(number % 4 * 3).to_le_bytes());
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
